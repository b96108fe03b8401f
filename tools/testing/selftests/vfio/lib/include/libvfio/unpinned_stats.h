/* SPDX-License-Identifier: GPL-2.0-only */
/* Counters of unpinned mappings, which the kernel has in debugfs for each process. */
#ifndef SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_UNPINNED_STATS_H
#define SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_UNPINNED_STATS_H

#include <linux/types.h>
#include <stdbool.h>
#include <sys/types.h>
#include <unistd.h>

/* Reason for SKIP() */
#define NO_STATS	"no vfio directory in debugfs"

/*
 * Counters of a process by name; mounts debugfs. The value is the sum over what the
 * process has, -1 if it has nothing.
 */
bool stats_available(void);
s64 stat_of(pid_t pid, const char *name);
/* Wait, for a limited time, for a value. Returns the last one seen. */
s64 stat_wait(const char *name, s64 value);
s64 stat_wait_of(pid_t pid, const char *name, s64 value);

static inline s64 stat_get(const char *name)
{
	return stat_of(getpid(), name);
}

/* For a test in which the counter is one of several checks. */
#define EXPECT_STAT(name, value)					\
do {									\
	if (stats_available())						\
		EXPECT_EQ(stat_get(name), value);			\
} while (0)

/*
 * Times of late passes: switch the measurement, which starts from 0, get a value
 * by name, and add up the lines of the histogram that are for less than @below ns.
 */
void late_pass_measure(bool on);
/* Returns 0 or -errno. */
int __late_pass_measure(const char *value);
s64 late_pass_get_of(pid_t pid, const char *name);
s64 late_pass_get(const char *name);
s64 late_pass_sum(u64 below);

#endif /* SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_UNPINNED_STATS_H */
