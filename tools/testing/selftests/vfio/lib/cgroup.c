// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <libvfio/cgroup.h>
#include <libvfio/settings.h>

#define ROOT	"/sys/fs/cgroup"

static char dir[64];

static const char *file_path(const char *file)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	return path;
}

const char *cgroup_enter(void)
{
	if (setting_write(ROOT "/cgroup.subtree_control", "+memory"))
		return NO_CGROUP;
	snprintf(dir, sizeof(dir), ROOT "/vfio-selftest-%d", getpid());
	if (mkdir(dir, 0755) || setting_write(file_path("cgroup.procs"), "0"))
		return "can't make a cgroup";
	return NULL;
}

int cgroup_write(const char *file, const char *value)
{
	return setting_write(file_path(file), value);
}

long long cgroup_stat(const char *file, const char *name)
{
	FILE *stream = fopen(file_path(file), "r");
	long long value, found = -1;
	char key[64];

	if (!stream)
		return -1;
	while (fscanf(stream, "%63s %lld", key, &value) == 2) {
		if (!strcmp(key, name))
			found = value;
	}
	fclose(stream);
	return found;
}

void cgroup_leave(void)
{
	if (!dir[0])
		return;
	setting_write(ROOT "/cgroup.procs", "0");
	rmdir(dir);
	dir[0] = 0;
}
