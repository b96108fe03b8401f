// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/limits.h>
#include <linux/types.h>

#include <libvfio/assert.h>
#include <libvfio/memcg.h>

#include "cgroup_util.h"

#define CHARGE_TRIES		100
#define CHARGE_INTERVAL_US	(100 * 1000)

static const char *memcg_root(void)
{
	static char root[PATH_MAX];

	return cg_find_unified_root(root, sizeof(root), NULL) ? NULL : root;
}

char *memcg_create(const char *parent, const char *name)
{
	char *cgroup;

	parent = parent ?: memcg_root();
	if (!parent)
		return NULL;
	if (cg_write(parent, "cgroup.subtree_control", "+memory"))
		return NULL;
	cgroup = cg_name(parent, name);
	/* A run that was killed may have left it. */
	cg_destroy(cgroup);
	VFIO_ASSERT_EQ(cg_create(cgroup), 0, "mkdir %s", cgroup);
	return cgroup;
}

void memcg_destroy(char *cgroup)
{
	VFIO_ASSERT_EQ(cg_destroy(cgroup), 0, "rmdir %s", cgroup);
	free(cgroup);
}

void memcg_enter(const char *cgroup)
{
	VFIO_ASSERT_TRUE(!cg_enter_current(cgroup), "write to cgroup.procs of %s",
			 cgroup);
}

void memcg_set(const char *cgroup, const char *control, s64 value)
{
	VFIO_ASSERT_TRUE(!cg_write_numeric(cgroup, control, value), "write to %s/%s",
			 cgroup, control);
}

int memcg_reclaim(const char *cgroup, s64 bytes)
{
	/* Fails if it takes another attempt, too. */
	return cg_write_numeric(cgroup, "memory.reclaim", bytes);
}

s64 memcg_get(const char *cgroup, const char *control)
{
	s64 value = cg_read_long(cgroup, control);

	VFIO_ASSERT_GE(value, 0, "read of %s/%s", cgroup, control);
	return value;
}

s64 memcg_get_key(const char *cgroup, const char *control, const char *key)
{
	char prefix[64], buf[8192], *line;

	VFIO_ASSERT_EQ(cg_read(cgroup, control, buf, sizeof(buf)), 0,
		       "read of %s/%s", cgroup, control);
	snprintf_assert(prefix, sizeof(prefix), "%s ", key);
	for (line = buf; line && strncmp(line, prefix, strlen(prefix));) {
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	VFIO_ASSERT_NOT_NULL(line, "no %s in %s/%s", key, cgroup, control);
	return atol(line + strlen(prefix));
}

s64 memcg_kernel_left(const char *cgroup, s64 bytes)
{
	s64 left = 0;
	int n;

	for (n = 0; n < CHARGE_TRIES; n++) {
		left = memcg_get_key(cgroup, "memory.stat", "kernel");
		if (left < bytes)
			break;
		usleep(CHARGE_INTERVAL_US);
	}
	return left;
}

char *memcg_join(void)
{
	char name[32], *cgroup;

	snprintf_assert(name, sizeof(name), "vfio-selftest-%d", getpid());
	cgroup = memcg_create(NULL, name);
	if (cgroup)
		memcg_enter(cgroup);
	return cgroup;
}

void memcg_leave(char *cgroup)
{
	if (!cgroup)
		return;
	memcg_enter(memcg_root());
	memcg_destroy(cgroup);
}
