/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Shared by the suites that test the marking of pages: marks and counters of their
 * own, and a buffer of a few pages.
 */
#ifndef _KERNEL_DMA_PINNING_TEST_H
#define _KERNEL_DMA_PINNING_TEST_H

#include <kunit/test.h>
#include <linux/log2.h>
#include <linux/types.h>
#include "pinning.h"

#define TEST_PAGES	8
#define TEST_ORDER	ilog2(TEST_PAGES)

struct pinning_test {
	struct dma_pinning	*dp;
	void			*marks;
	struct page		*page;	/* of TEST_PAGES free for use */
	void			*buf;
	phys_addr_t		phys;
	unsigned long		pfn;
	unsigned long		bad_pfn;	/* touch_most() fails on it, or on all if 0 */
	unsigned long		touched;	/* pages that touch_most() was asked for */
	unsigned long		unmarked;	/* those of them without a mark */
	unsigned long		alive;
};

int pinning_test_init(struct kunit *test);
void pinning_test_exit(struct kunit *test);
void pinning_test_set_limit(struct kunit *test, unsigned long limit);
void expect_marks(struct kunit *test, unsigned int mask);
void expect_no_events(struct kunit *test);
bool touch_most(struct dma_pinning *dp, unsigned long pfn, void *addr);
void run_threads(struct kunit *test, int (*fn)(void *arg), void *args, size_t size,
		 int n);
size_t marks_bytes(void);

/* The functions under test, for a buffer in the test's own object. */
static inline bool pin(struct pinning_test *ctx, phys_addr_t phys, size_t size)
{
	return dma_pinning_pin_pages(ctx->dp, phys, size);
}

static inline bool mark(struct pinning_test *ctx, phys_addr_t phys, size_t size)
{
	return dma_pinning_mark_pages(ctx->dp, phys, size);
}

static inline void unpin(struct pinning_test *ctx, phys_addr_t phys, size_t size)
{
	dma_pinning_unpin_pages(ctx->dp, phys, size);
}

static inline bool marked(struct pinning_test *ctx, int i)
{
	return test_bit_le(ctx->pfn + i, ctx->marks);
}

static inline u16 *counter_of(struct dma_pinning *dp, unsigned long pfn)
{
	u16 *counts = rcu_dereference_protected(dp->sections[pfn >> DMA_PINNING_SECTION_SHIFT],
						true);

	return counts ? &counts[pfn % DMA_PINNING_SECTION_PAGES] : NULL;
}

/* The value of a counter, whether or not it is there. */
static inline u16 count_of(struct dma_pinning *dp, unsigned long pfn)
{
	u16 *count = counter_of(dp, pfn);

	return count ? *count : DMA_PINNING_NOT_RAM;
}

/* Of memory, which has counters, as a value to read and write. */
static inline u16 *counter(struct pinning_test *ctx, int i)
{
	return counter_of(ctx->dp, ctx->pfn + i);
}

static inline long events(struct pinning_test *ctx, enum dma_pinning_event event)
{
	return atomic_long_read(&ctx->dp->events[event]);
}

static inline unsigned long used(struct pinning_test *ctx)
{
	return dma_pinning_quota_used(&ctx->dp->quota);
}

#endif /* _KERNEL_DMA_PINNING_TEST_H */
