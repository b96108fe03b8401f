/* SPDX-License-Identifier: GPL-2.0-only */
/* A memory cgroup (version 2) of the test's own. */
#ifndef SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_CGROUP_H
#define SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_CGROUP_H

#define NO_CGROUP	"no memory controller in /sys/fs/cgroup"

/*
 * Make it, and move the calling process there: memory that it touches from now on
 * is charged to it. Returns NULL, or why it can't be done: a line for SKIP().
 */
const char *cgroup_enter(void);
/* Return 0 or an errno. */
int cgroup_write(const char *file, const char *value);
/* Number after @name in a file of "name number" lines, -1 if there is none. */
long long cgroup_stat(const char *file, const char *name);
/* Back to the root, and remove it. By the process that has called cgroup_enter(). */
void cgroup_leave(void);

#endif /* SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_CGROUP_H */
