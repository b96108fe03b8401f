// SPDX-License-Identifier: GPL-2.0-only
#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <string.h>
#include <sys/mount.h>

#include <libvfio/assert.h>
#include <libvfio/settings.h>
#include <libvfio/unpinned_stats.h>

#define DEBUGFS		"/sys/kernel/debug"
#define STATS_DIR	DEBUGFS "/vfio/unpinned"

#define STAT_TRIES		300
#define STAT_INTERVAL_US	(100 * 1000)

bool stats_available(void)
{
	static int available = -1;

	if (available < 0) {
		if (access(DEBUGFS "/vfio", F_OK))
			mount("debugfs", DEBUGFS, "debugfs", 0, NULL);
		available = !access(DEBUGFS "/vfio", F_OK);
	}
	return available;
}

/* The value in "@name: value" of one file, 0 if the directory is gone by now. */
static s64 stat_read(const char *dir, const char *base, const char *name)
{
	char path[PATH_MAX], line[128];
	size_t len = strlen(name);
	FILE *file;
	bool gone;

	snprintf(path, sizeof(path), STATS_DIR "/%s/%s", dir, base);
	file = fopen(path, "r");
	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file)) {
		if (strncmp(line, name, len) || line[len] != ':')
			continue;
		fclose(file);
		return strtoll(line + len + 1, NULL, 0);
	}
	gone = ferror(file);
	fclose(file);
	VFIO_ASSERT_TRUE(gone, "no %s in %s", name, path);
	return 0;
}

static s64 file_stat_of(pid_t pid, const char *base, const char *name)
{
	char prefix[16];
	struct dirent *entry;
	s64 value = -1;
	DIR *dir;

	snprintf(prefix, sizeof(prefix), "%d-", pid);
	dir = opendir(STATS_DIR);
	if (!dir)
		return value;
	while ((entry = readdir(dir))) {
		if (strncmp(entry->d_name, prefix, strlen(prefix)))
			continue;
		if (value < 0)
			value = 0;
		value += stat_read(entry->d_name, base, name);
	}
	closedir(dir);
	return value;
}

s64 stat_of(pid_t pid, const char *name)
{
	return file_stat_of(pid, "stats", name);
}

s64 late_pass_get_of(pid_t pid, const char *name)
{
	return file_stat_of(pid, "late_pass_ns", name);
}

s64 late_pass_get(const char *name)
{
	return late_pass_get_of(getpid(), name);
}

/*
 * The file of each address space of this process; to be freed by globfree() if
 * this returns 0.
 */
static int find_late_pass_files(glob_t *found)
{
	char pattern[PATH_MAX];

	snprintf(pattern, sizeof(pattern), STATS_DIR "/%d-*/late_pass_ns",
		 getpid());
	return glob(pattern, 0, NULL, found);
}

int __late_pass_measure(const char *value)
{
	glob_t found;
	int err = -ENOENT;
	size_t n;

	if (find_late_pass_files(&found))
		return err;
	err = 0;
	for (n = 0; n < found.gl_pathc && !err; n++)
		err = setting_write(found.gl_pathv[n], value);
	globfree(&found);
	return err;
}

void late_pass_measure(bool on)
{
	int err = __late_pass_measure(on ? "1" : "0");

	VFIO_ASSERT_TRUE(!err, "write to late_pass_ns: %s", strerror(-err));
}

static s64 sum_lines(FILE *file, u64 below)
{
	char line[128];
	u64 limit, passes;
	s64 sum = 0;

	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lu: %lu", &limit, &passes) == 2 &&
		    limit <= below)
			sum += passes;
		else if (sscanf(line, "more: %lu", &passes) == 1 && !~below)
			sum += passes;
	}
	return sum;
}

s64 late_pass_sum(u64 below)
{
	glob_t found;
	s64 sum = 0;
	FILE *file;
	size_t n;

	VFIO_ASSERT_TRUE(!find_late_pass_files(&found), "no late_pass_ns");
	for (n = 0; n < found.gl_pathc; n++) {
		file = fopen(found.gl_pathv[n], "r");
		VFIO_ASSERT_NOT_NULL(file, "open of %s", found.gl_pathv[n]);
		sum += sum_lines(file, below);
		fclose(file);
	}
	globfree(&found);
	return sum;
}

s64 stat_wait_of(pid_t pid, const char *name, s64 value)
{
	int n;

	for (n = 0; n < STAT_TRIES && stat_of(pid, name) != value; n++)
		usleep(STAT_INTERVAL_US);
	return stat_of(pid, name);
}

s64 stat_wait(const char *name, s64 value)
{
	return stat_wait_of(getpid(), name, value);
}
