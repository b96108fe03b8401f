/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tests of hostile and broken users share: parameters from the
 * environment, and counts of what the kernel holds for users.
 */
#ifndef SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_HOSTILE_H
#define SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_HOSTILE_H

#include <linux/types.h>
#include <stdbool.h>

#include <libvfio/iommu.h>

/* The number in an environment variable, or @value; printed for a repetition. */
u64 env_number(const char *name, u64 value);

/* VFIO_SELFTESTS_SEED, the same for each test of a program. */
u32 env_seed(void);

/* From now on the process may lock @pages, whatever its capabilities. */
void limit_memlock(u64 pages);

/* What a failed call must not change, and a call that is undone neither */
struct user_state {
	u32 dma_avail;
	u64 locked;
	s64 pins;
	s64 leaves;
};

struct user_state user_state(struct iommu *iommu);

#define EXPECT_STATE(iommu, before)					\
do {									\
	struct user_state __now = user_state(iommu), __then = (before);	\
									\
	EXPECT_EQ(__now.dma_avail, __then.dma_avail);			\
	EXPECT_EQ(__now.locked, __then.locked);				\
	EXPECT_EQ(__now.pins, __then.pins);				\
	EXPECT_EQ(__now.leaves, __then.leaves);				\
} while (0)

/* What users make the kernel hold; exact numbers. */
struct kernel_counts {
	s64 pins;		/* FOLL_PIN references */
	s64 iommu_pages;	/* tables of the IOMMU */
};

struct kernel_counts kernel_counts(void);
/*
 * Wait, for a limited time, until the counts are back to @before. Returns what
 * there is more then: zeroes if nothing is left.
 */
struct kernel_counts kernel_counts_left(const struct kernel_counts *before);

/* Kernel memory that no user page explains, in KiB: noisy, it only must not grow. */
s64 meminfo_kernel_kib(void);

#endif /* SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_HOSTILE_H */
