// SPDX-License-Identifier: GPL-2.0
/*
 * Tests for kernel/dma/pinning.c, with marks and counters of their own, so that
 * they run on any machine:
 *
 *	tools/testing/kunit/kunit.py run --kunitconfig=kernel/dma
 */
#include <kunit/static_stub.h>
#include <kunit/test.h>
#include <kunit/test-bug.h>
#include <linux/dma-pinning.h>
#include <linux/kthread.h>
#include <linux/memblock.h> /* for max_pfn */
#include <linux/mm.h>
#include <linux/pfn.h>
#include <linux/printk.h>
#include <linux/prandom.h>
#include <linux/sched/task.h>
#include <linux/set_memory.h>
#include <linux/slab.h>
#include "pinning_test.h"

#define STORM_THREADS	4
#define STORM_ROUNDS	20000

size_t marks_bytes(void)
{
	return BITS_TO_LONGS(max_pfn) * sizeof(long);
}

int pinning_test_init(struct kunit *test)
{
	struct pinning_test *ctx = kunit_kzalloc(test, sizeof(*ctx), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, ctx);
	test->priv = ctx;

	ctx->marks = kvzalloc(marks_bytes(), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, ctx->marks);
	ctx->dp = dma_pinning_create(ctx->marks, max_pfn, max_pfn);
	KUNIT_ASSERT_NOT_NULL(test, ctx->dp);
	ctx->page = alloc_pages(GFP_KERNEL, TEST_ORDER);
	KUNIT_ASSERT_NOT_NULL(test, ctx->page);

	ctx->buf = page_address(ctx->page);
	ctx->phys = page_to_phys(ctx->page);
	ctx->pfn = page_to_pfn(ctx->page);
	return 0;
}

void pinning_test_exit(struct kunit *test)
{
	struct pinning_test *ctx = test->priv;

	if (!ctx)
		return;
	if (ctx->page)
		__free_pages(ctx->page, TEST_ORDER);
	dma_pinning_destroy(ctx->dp);
	kvfree(ctx->marks);
}

/* By default all memory may be marked. Call it before anything is. */
void pinning_test_set_limit(struct kunit *test, unsigned long limit)
{
	struct pinning_test *ctx = test->priv;

	dma_pinning_quota_exit(&ctx->dp->quota);
	KUNIT_ASSERT_EQ(test, dma_pinning_quota_init(&ctx->dp->quota, limit), 0);
}

/* The bitmap of all memory has marks for exactly these pages of the buffer. */
void expect_marks(struct kunit *test, unsigned int mask)
{
	struct pinning_test *ctx = test->priv;
	int i;

	for (i = 0; i < TEST_PAGES; i++)
		KUNIT_EXPECT_EQ_MSG(test, marked(ctx, i), !!(mask & BIT(i)),
				    "page %d", i);
	KUNIT_EXPECT_EQ(test, memweight(ctx->marks, marks_bytes()), hweight32(mask));
	KUNIT_EXPECT_EQ(test, used(ctx), hweight32(mask));
}

void expect_no_events(struct kunit *test)
{
	struct pinning_test *ctx = test->priv;
	int i;

	for (i = 0; i < DMA_PINNING_NR_EVENTS; i++)
		KUNIT_EXPECT_EQ_MSG(test, events(ctx, i), 0, "event %d", i);
}

/* Stands in for dma_pinning_touch(): a page that cannot be written to. */
bool touch_most(struct dma_pinning *dp, unsigned long pfn, void *addr)
{
	struct pinning_test *ctx = kunit_get_current_test()->priv;

	ctx->touched++;
	ctx->unmarked += !test_bit_le(pfn, dp->marks);
	return ctx->bad_pfn && ctx->bad_pfn != pfn;
}

/* Runs @n threads with an argument of @size bytes each, and waits for them. */
void run_threads(struct kunit *test, int (*fn)(void *arg), void *args, size_t size,
		 int n)
{
	struct task_struct **tasks;
	int i;

	tasks = kunit_kcalloc(test, n, sizeof(*tasks), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, tasks);
	for (i = 0; i < n; i++) {
		tasks[i] = kthread_create(fn, args + i * size, "pinning/%d", i);
		if (IS_ERR(tasks[i]))
			continue;
		get_task_struct(tasks[i]);
		wake_up_process(tasks[i]);
	}
	for (i = 0; i < n; i++) {
		KUNIT_EXPECT_FALSE(test, IS_ERR(tasks[i]));
		if (!IS_ERR(tasks[i]))
			kthread_stop_put(tasks[i]);
	}
}

static void test_count(struct kunit *test)
{
	struct pinning_test *ctx = test->priv;

	KUNIT_EXPECT_TRUE(test, pin(ctx, ctx->phys, 8));
	KUNIT_EXPECT_EQ(test, *counter(ctx, 0), 1);
	expect_marks(test, 0x1);

	KUNIT_EXPECT_TRUE(test, pin(ctx, ctx->phys + 8, 8));
	KUNIT_EXPECT_EQ(test, *counter(ctx, 0), 2);
	expect_marks(test, 0x1);

	unpin(ctx, ctx->phys, 8);
	KUNIT_EXPECT_EQ(test, *counter(ctx, 0), 1);
	expect_marks(test, 0x1);

	unpin(ctx, ctx->phys + 8, 8);
	KUNIT_EXPECT_EQ(test, *counter(ctx, 0), 0);
	expect_marks(test, 0);
	expect_no_events(test);
}

/* Overlapping buffers: each page lives as long as its own last user. */
static void test_overlap(struct kunit *test)
{
	struct pinning_test *ctx = test->priv;
	phys_addr_t second = ctx->phys + 2 * PAGE_SIZE;

	pin(ctx, ctx->phys, 3 * PAGE_SIZE);
	pin(ctx, second, 3 * PAGE_SIZE);
	expect_marks(test, 0x1f);
	KUNIT_EXPECT_EQ(test, *counter(ctx, 2), 2);

	unpin(ctx, ctx->phys, 3 * PAGE_SIZE);
	expect_marks(test, 0x1c);
	unpin(ctx, second, 3 * PAGE_SIZE);
	expect_marks(test, 0);
	expect_no_events(test);
}

static void test_page_crossing(struct kunit *test)
{
	static const struct {
		size_t offset, size;
		unsigned int mask;
	} cases[] = {
		{ 0, 0, 0 },
		{ 0, 1, 0x1 },
		{ 0, PAGE_SIZE, 0x1 },
		{ 0, PAGE_SIZE + 1, 0x3 },
		{ PAGE_SIZE - 1, 1, 0x1 },
		{ PAGE_SIZE - 1, 2, 0x3 },
		{ PAGE_SIZE - 1, PAGE_SIZE + 2, 0x7 },
		{ 100, 2 * PAGE_SIZE, 0x7 },
		{ 100, 2 * PAGE_SIZE - 100, 0x3 },
		{ 3 * PAGE_SIZE + 5, PAGE_SIZE - 5, 0x8 },
		{ 0, TEST_PAGES * PAGE_SIZE, 0xff },
	};
	struct pinning_test *ctx = test->priv;
	int i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		phys_addr_t phys = ctx->phys + cases[i].offset;

		KUNIT_EXPECT_TRUE(test, pin(ctx, phys, cases[i].size));
		expect_marks(test, cases[i].mask);
		unpin(ctx, phys, cases[i].size);
		expect_marks(test, 0);
	}
	expect_no_events(test);
}

static void test_touch_keeps_data(struct kunit *test)
{
	struct pinning_test *ctx = test->priv;
	u8 *buf = ctx->buf;
	size_t i;

	for (i = 0; i < TEST_PAGES * PAGE_SIZE; i++)
		buf[i] = i * 7 + (i >> PAGE_SHIFT);

	pin(ctx, ctx->phys + 3, TEST_PAGES * PAGE_SIZE - 3);
	unpin(ctx, ctx->phys + 3, TEST_PAGES * PAGE_SIZE - 3);

	for (i = 0; i < TEST_PAGES * PAGE_SIZE; i++)
		if (buf[i] != (u8)(i * 7 + (i >> PAGE_SHIFT)))
			KUNIT_FAIL(test, "byte %zu has changed", i);
}

static void test_saturation_is_sticky(struct kunit *test)
{
	struct pinning_test *ctx = test->priv;
	u16 *count = counter(ctx, 0);

	pin(ctx, ctx->phys, 1);
	*count = DMA_PINNING_STUCK - 2;
	pin(ctx, ctx->phys, 1);
	KUNIT_EXPECT_EQ(test, *count, DMA_PINNING_STUCK - 1);
	unpin(ctx, ctx->phys, 1);
	KUNIT_EXPECT_EQ(test, *count, DMA_PINNING_STUCK - 2);
	expect_no_events(test);

	pin(ctx, ctx->phys, 1);
	pin(ctx, ctx->phys, 1);
	KUNIT_EXPECT_EQ(test, *count, DMA_PINNING_STUCK);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_SATURATED), 1);

	KUNIT_EXPECT_TRUE(test, pin(ctx, ctx->phys, 1));
	KUNIT_EXPECT_EQ(test, *count, DMA_PINNING_STUCK);
	unpin(ctx, ctx->phys, 1);
	KUNIT_EXPECT_EQ(test, *count, DMA_PINNING_STUCK);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_SATURATED), 1);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_KEPT), 1);
	expect_marks(test, 0x1);
}

/* Ends of mappings that were never counted change nothing. */
static void test_unbalanced_unpin(struct kunit *test)
{
	struct pinning_test *ctx = test->priv;

	KUNIT_ASSERT_TRUE(test, pin(ctx, ctx->phys + PAGE_SIZE, 2 * PAGE_SIZE));
	*counter(ctx, 1) = DMA_PINNING_BUSY;

	unpin(ctx, ctx->phys, 3 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, *counter(ctx, 0), 0);
	KUNIT_EXPECT_EQ(test, *counter(ctx, 1), DMA_PINNING_BUSY);
	KUNIT_EXPECT_EQ(test, *counter(ctx, 2), 0);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_UNBALANCED), 2);
	expect_marks(test, 0x2);

	/* Page 0 works as before. */
	*counter(ctx, 1) = 0;
	KUNIT_EXPECT_TRUE(test, pin(ctx, ctx->phys, 1));
	KUNIT_EXPECT_EQ(test, *counter(ctx, 0), 1);
}

/* Memory without a counter is marked for good, and counts once against the limit. */
static void test_no_counter(struct kunit *test)
{
	struct pinning_test *ctx = test->priv;

	*counter(ctx, 1) = DMA_PINNING_NOT_RAM;
	*counter(ctx, 2) = DMA_PINNING_NOT_RAM;

	KUNIT_EXPECT_TRUE(test, pin(ctx, ctx->phys, 3 * PAGE_SIZE));
	expect_marks(test, 0x7);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_UNCOUNTED), 2);
	KUNIT_EXPECT_EQ(test, *counter(ctx, 1), DMA_PINNING_NOT_RAM);
	KUNIT_EXPECT_EQ(test, *counter(ctx, 2), DMA_PINNING_NOT_RAM);

	KUNIT_EXPECT_TRUE(test, pin(ctx, ctx->phys + PAGE_SIZE, 1));
	unpin(ctx, ctx->phys + PAGE_SIZE, 1);
	unpin(ctx, ctx->phys, 3 * PAGE_SIZE);
	expect_marks(test, 0x6);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_UNCOUNTED), 2);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_UNBALANCED), 0);
}

static void test_out_of_coverage(struct kunit *test)
{
	struct pinning_test *ctx = test->priv;

	ctx->dp->npages = ctx->pfn + 1;

	KUNIT_EXPECT_TRUE(test, pin(ctx, ctx->phys, 2 * PAGE_SIZE));
	expect_marks(test, 0x1);
	KUNIT_EXPECT_TRUE(test, mark(ctx, ctx->phys + PAGE_SIZE, PAGE_SIZE));
	expect_marks(test, 0x1);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_OUTSIDE), 2);

	unpin(ctx, ctx->phys, 2 * PAGE_SIZE);
	expect_marks(test, 0);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_UNBALANCED), 0);
}

/* What looks like MMIO is neither marked nor counted. */
static void test_mmio(struct kunit *test)
{
	struct pinning_test *ctx = test->priv;
	struct page *page = ctx->page + 1;

	*counter(ctx, 1) = DMA_PINNING_NOT_RAM;
	SetPageReserved(page);
	KUNIT_EXPECT_TRUE(test, pin(ctx, ctx->phys, 2 * PAGE_SIZE));
	ClearPageReserved(page);
	expect_marks(test, 0x1);
	KUNIT_EXPECT_EQ(test, *counter(ctx, 1), DMA_PINNING_NOT_RAM);
	expect_no_events(test);

	/* No struct page at all. */
	KUNIT_EXPECT_TRUE(test, pin(ctx, PFN_PHYS(max_pfn) * 64, PAGE_SIZE));
	expect_no_events(test);
}

/* Counted, but not touched; even what is not known as memory is marked. */
static void test_mark(struct kunit *test)
{
	struct pinning_test *ctx = test->priv;

	kunit_activate_static_stub(test, dma_pinning_touch, touch_most);
	KUNIT_EXPECT_TRUE(test, mark(ctx, ctx->phys, PAGE_SIZE + 1));
	kunit_deactivate_static_stub(test, dma_pinning_touch);
	KUNIT_EXPECT_EQ(test, ctx->touched, 0);
	expect_marks(test, 0x3);
	KUNIT_EXPECT_EQ(test, *counter(ctx, 0), 1);
	unpin(ctx, ctx->phys, PAGE_SIZE + 1);
	expect_marks(test, 0);
	expect_no_events(test);

	*counter(ctx, 1) = DMA_PINNING_NOT_RAM;
	SetPageReserved(ctx->page + 1);
	KUNIT_EXPECT_TRUE(test, mark(ctx, ctx->phys, 2 * PAGE_SIZE));
	unpin(ctx, ctx->phys, 2 * PAGE_SIZE);
	ClearPageReserved(ctx->page + 1);
	expect_marks(test, 0x2);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_UNCOUNTED), 1);
}

static bool pin_in_oops(struct pinning_test *ctx)
{
	bool done;

	preempt_disable();
	oops_in_progress++;
	done = pin(ctx, ctx->phys, 1);
	oops_in_progress--;
	preempt_enable();
	return done;
}

/*
 * A counter that a stopped CPU has left BUSY does not stop the last words, and the
 * end of that mapping does not uncount anybody else.
 */
static void test_busy_in_oops(struct kunit *test)
{
	struct pinning_test *ctx = test->priv;

	KUNIT_ASSERT_TRUE(test, pin(ctx, ctx->phys, 1));
	*counter(ctx, 0) = DMA_PINNING_BUSY;
	clear_bit_le(ctx->pfn, ctx->marks);

	KUNIT_EXPECT_TRUE(test, pin_in_oops(ctx));
	expect_marks(test, 0x1);
	KUNIT_EXPECT_EQ(test, *counter(ctx, 0), DMA_PINNING_STUCK);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_UNCOUNTED), 1);

	/* Somebody else maps, the first one unmaps: the page stays marked. */
	KUNIT_EXPECT_TRUE(test, pin(ctx, ctx->phys, 1));
	unpin(ctx, ctx->phys, 1);
	expect_marks(test, 0x1);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_UNBALANCED), 0);
}

/* Each page of a buffer is touched once, inside of the buffer, when it is marked. */
static void test_every_page_touched(struct kunit *test)
{
	struct pinning_test *ctx = test->priv;

	ctx->bad_pfn = ULONG_MAX;
	kunit_activate_static_stub(test, dma_pinning_touch, touch_most);
	KUNIT_EXPECT_TRUE(test, pin(ctx, ctx->phys + 5, 3 * PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, ctx->touched, 4);
	/* Pages that are marked already are touched as well. */
	KUNIT_EXPECT_TRUE(test, pin(ctx, ctx->phys, TEST_PAGES * PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, ctx->touched, 4 + TEST_PAGES);
	unpin(ctx, ctx->phys, TEST_PAGES * PAGE_SIZE);
	unpin(ctx, ctx->phys + 5, 3 * PAGE_SIZE);
	kunit_deactivate_static_stub(test, dma_pinning_touch);
	KUNIT_EXPECT_EQ(test, ctx->touched, 4 + TEST_PAGES);
	KUNIT_EXPECT_EQ(test, ctx->unmarked, 0);
	expect_no_events(test);
}

static void count_alive(void)
{
	struct pinning_test *ctx = kunit_get_current_test()->priv;

	ctx->alive++;
}

/* A long buffer in atomic context does not look like a lockup. */
static void test_long_buffer(struct kunit *test)
{
	const unsigned long pages = 16 * DMA_PINNING_BATCH;
	struct pinning_test *ctx = test->priv;

	KUNIT_ASSERT_GT(test, max_pfn, 2 * pages);
	kunit_activate_static_stub(test, dma_pinning_alive, count_alive);
	ctx->bad_pfn = ULONG_MAX;
	kunit_activate_static_stub(test, dma_pinning_touch, touch_most);
	KUNIT_EXPECT_TRUE(test, pin(ctx, PFN_PHYS(pages), pages * PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, ctx->touched, pages);
	KUNIT_EXPECT_EQ(test, ctx->alive, 2 * 16);
	unpin(ctx, PFN_PHYS(pages), pages * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, ctx->alive, 3 * 16);
	expect_marks(test, 0);
}

/* A page that cannot be touched fails the mapping, and nothing is counted. */
static void test_untouchable(struct kunit *test)
{
	struct pinning_test *ctx = test->priv;
	int i;

	KUNIT_EXPECT_TRUE(test, pin(ctx, ctx->phys, 1));

	ctx->bad_pfn = ctx->pfn + 2;
	kunit_activate_static_stub(test, dma_pinning_touch, touch_most);
	KUNIT_EXPECT_FALSE(test, pin(ctx, ctx->phys, 4 * PAGE_SIZE));
	KUNIT_EXPECT_TRUE(test, pin(ctx, ctx->phys, 2 * PAGE_SIZE));
	kunit_deactivate_static_stub(test, dma_pinning_touch);

	KUNIT_EXPECT_EQ(test, *counter(ctx, 0), 2);
	KUNIT_EXPECT_EQ(test, *counter(ctx, 1), 1);
	for (i = 2; i < TEST_PAGES; i++)
		KUNIT_EXPECT_EQ(test, *counter(ctx, i), 0);
	expect_marks(test, 0x3);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_UNTOUCHABLE), 1);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_UNBALANCED), 0);
}

#ifdef CONFIG_X86
/* The same with a page that is really read-only. */
static void test_read_only(struct kunit *test)
{
	struct pinning_test *ctx = test->priv;
	unsigned long second = (unsigned long)ctx->buf + PAGE_SIZE;
	bool done, again;

	pin(ctx, ctx->phys, 1);
	KUNIT_ASSERT_EQ(test, set_memory_ro(second, 1), 0);
	done = pin(ctx, ctx->phys, 3 * PAGE_SIZE);
	KUNIT_ASSERT_EQ(test, set_memory_rw(second, 1), 0);
	again = pin(ctx, ctx->phys + PAGE_SIZE, 1);

	KUNIT_EXPECT_FALSE(test, done);
	KUNIT_EXPECT_TRUE(test, again);
	KUNIT_EXPECT_EQ(test, *counter(ctx, 0), 1);
	KUNIT_EXPECT_EQ(test, *counter(ctx, 1), 1);
	KUNIT_EXPECT_EQ(test, *counter(ctx, 2), 0);
	expect_marks(test, 0x3);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_UNTOUCHABLE), 1);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_UNBALANCED), 0);
}

/* The touch must not go through an uncached or write-combining direct map. */
static void test_uncached(struct kunit *test)
{
	struct pinning_test *ctx = test->priv;
	struct page *page = ctx->page + 1;
	bool done, again;
	int i, ret;

	for (i = 0; i < 2; i++) {
		if (i)
			ret = set_pages_array_uc(&page, 1);
		else
			ret = set_pages_array_wc(&page, 1);
		KUNIT_ASSERT_EQ(test, ret, 0);
		done = pin(ctx, ctx->phys, 3 * PAGE_SIZE);
		KUNIT_ASSERT_EQ(test, set_pages_array_wb(&page, 1), 0);
		again = pin(ctx, ctx->phys, 3 * PAGE_SIZE);

		KUNIT_EXPECT_FALSE(test, done);
		KUNIT_EXPECT_TRUE(test, again);
		KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_UNCACHED), i + 1);
		expect_marks(test, 0x7);
		unpin(ctx, ctx->phys, 3 * PAGE_SIZE);
		expect_marks(test, 0);
	}
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_UNTOUCHABLE), 0);
}

/* The touch must not reach what looks like MMIO: here it would fail. */
static void test_mmio_untouched(struct kunit *test)
{
	struct pinning_test *ctx = test->priv;
	unsigned long addr = (unsigned long)ctx->buf;
	bool done;

	*counter(ctx, 0) = DMA_PINNING_NOT_RAM;
	SetPageReserved(ctx->page);
	KUNIT_ASSERT_EQ(test, set_memory_ro(addr, 1), 0);
	done = pin(ctx, ctx->phys, 1);
	KUNIT_ASSERT_EQ(test, set_memory_rw(addr, 1), 0);
	ClearPageReserved(ctx->page);

	KUNIT_EXPECT_TRUE(test, done);
	expect_no_events(test);
}
#endif /* CONFIG_X86 */

struct storm {
	struct pinning_test	*ctx;
	struct rnd_state	rnd;
	unsigned long		lost;	/* marks not there while mapped */
};

/* Maps and unmaps random parts of the buffer; a mapped page must be marked. */
static int storm_thread(void *arg)
{
	struct storm *s = arg;
	struct pinning_test *ctx = s->ctx;
	int round, i;

	for (round = 0; round < STORM_ROUNDS; round++) {
		int first = prandom_u32_state(&s->rnd) % TEST_PAGES;
		int n = 1 + prandom_u32_state(&s->rnd) % (TEST_PAGES - first);
		phys_addr_t phys = ctx->phys + first * PAGE_SIZE + 1;
		size_t size = n * PAGE_SIZE - 1;

		if (!pin(ctx, phys, size))
			s->lost++;
		if (!(round % 16))
			cond_resched();
		for (i = first; i < first + n; i++)
			s->lost += !marked(ctx, i);
		unpin(ctx, phys, size);
	}
	return 0;
}

static void test_concurrent(struct kunit *test)
{
	struct pinning_test *ctx = test->priv;
	struct storm *s;
	int i;

	s = kunit_kcalloc(test, STORM_THREADS, sizeof(*s), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, s);
	for (i = 0; i < STORM_THREADS; i++) {
		s[i].ctx = ctx;
		prandom_seed_state(&s[i].rnd, i + 1);
	}
	run_threads(test, storm_thread, s, sizeof(*s), STORM_THREADS);
	for (i = 0; i < STORM_THREADS; i++)
		KUNIT_EXPECT_EQ(test, s[i].lost, 0);

	for (i = 0; i < TEST_PAGES; i++)
		KUNIT_EXPECT_EQ(test, *counter(ctx, i), 0);
	expect_marks(test, 0);
	expect_no_events(test);
}

static struct kunit_case dma_pinning_cases[] = {
	KUNIT_CASE(test_count),
	KUNIT_CASE(test_overlap),
	KUNIT_CASE(test_page_crossing),
	KUNIT_CASE(test_touch_keeps_data),
	KUNIT_CASE(test_saturation_is_sticky),
	KUNIT_CASE(test_unbalanced_unpin),
	KUNIT_CASE(test_no_counter),
	KUNIT_CASE(test_out_of_coverage),
	KUNIT_CASE(test_mmio),
	KUNIT_CASE(test_mark),
	KUNIT_CASE(test_busy_in_oops),
	KUNIT_CASE(test_every_page_touched),
	KUNIT_CASE(test_long_buffer),
	KUNIT_CASE(test_untouchable),
#ifdef CONFIG_X86
	KUNIT_CASE(test_read_only),
	KUNIT_CASE(test_uncached),
	KUNIT_CASE(test_mmio_untouched),
#endif
	KUNIT_CASE_SLOW(test_concurrent),
	{}
};

static struct kunit_suite dma_pinning_suite = {
	.name		= "dma_pinning",
	.init		= pinning_test_init,
	.exit		= pinning_test_exit,
	.test_cases	= dma_pinning_cases,
};

kunit_test_suite(dma_pinning_suite);
