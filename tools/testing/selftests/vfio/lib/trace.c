// SPDX-License-Identifier: GPL-2.0-only
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <libvfio/assert.h>
#include <libvfio/settings.h>
#include <libvfio/trace.h>

#define TRACEFS		"/sys/kernel/tracing"

static char dir[64];

static const char *file_path(const char *file)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	return path;
}

bool trace_start(const char *event)
{
	if (access(TRACEFS "/instances", F_OK))
		mount("tracefs", TRACEFS, "tracefs", 0, NULL);
	snprintf(dir, sizeof(dir), TRACEFS "/instances/vfio-selftest-%d",
		 getpid());
	if (mkdir(dir, 0755)) {
		dir[0] = 0;
		return false;
	}
	/* For a test that ends by a failed assertion. */
	atexit(trace_stop);
	return !setting_write(file_path("set_event"), event);
}

void trace_each(void (*fn)(const char *line, void *data), void *data)
{
	FILE *file = fopen(file_path("trace"), "r");
	char line[512];

	VFIO_ASSERT_NOT_NULL(file, "no %s", file_path("trace"));
	while (fgets(line, sizeof(line), file)) {
		if (line[0] != '#')
			fn(line, data);
	}
	fclose(file);
}

struct trace_search {
	const char *text;
	u64 found;
};

static void count_line(const char *line, void *data)
{
	struct trace_search *search = data;

	if (strstr(line, search->text))
		search->found++;
}

u64 trace_count(const char *text)
{
	struct trace_search search = { .text = text };

	trace_each(count_line, &search);
	return search.found;
}

void trace_stop(void)
{
	if (!dir[0])
		return;
	setting_write(file_path("set_event"), "");
	VFIO_ASSERT_EQ(rmdir(dir), 0, "rmdir of %s", dir);
	dir[0] = 0;
}
