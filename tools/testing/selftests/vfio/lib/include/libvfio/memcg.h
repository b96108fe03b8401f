/* SPDX-License-Identifier: GPL-2.0-only */
/* Memory cgroups, of version 2. */
#ifndef SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_MEMCG_H
#define SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_MEMCG_H

#include <linux/types.h>

/* Reason for SKIP() */
#define NO_MEMCG	"no cgroup2 with memory controller"

/*
 * NULL if there are none here. @parent is NULL for one below the root; a parent can't
 * have processes of its own.
 */
char *memcg_create(const char *parent, const char *name);
/* Kills who is in there. */
void memcg_destroy(char *cgroup);
/* The calling process, with what it allocates from now on. */
void memcg_enter(const char *cgroup);
void memcg_set(const char *cgroup, const char *control, s64 value);
/* Ask for reclaim once. Returns 0, or an error if there was not that much to be had. */
int memcg_reclaim(const char *cgroup, s64 bytes);
s64 memcg_get(const char *cgroup, const char *control);
/* A "key value" line, e.g. of memory.stat or memory.events. */
s64 memcg_get_key(const char *cgroup, const char *control, const char *key);
/*
 * Wait, for a limited time, until less kernel memory than @bytes is charged: some goes
 * in a grace period or by a worker, after the process has. Returns what is left.
 */
s64 memcg_kernel_left(const char *cgroup, s64 bytes);

/* A new one for the calling process, which enters it, or NULL as memcg_create(). */
char *memcg_join(void);
/* Back to the root, and remove the cgroup. NULL is none. */
void memcg_leave(char *cgroup);

#endif /* SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_MEMCG_H */
