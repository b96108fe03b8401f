// SPDX-License-Identifier: GPL-2.0
/*
 * Tests for kernel/dma/pinning.c.
 *
 * The first suite works on marks and counters of its own and runs on any
 * machine. The second one enables the hooks in the DMA API, which would upset
 * the counts of real devices, so that it runs under UML only:
 *
 *	tools/testing/kunit/kunit.py run --kunitconfig=kernel/dma
 */
#include <kunit/device.h>
#include <kunit/static_stub.h>
#include <kunit/test.h>
#include <kunit/test-bug.h>
#include <linux/dma-mapping.h>
#include <linux/dma-pinning.h>
#include <linux/kthread.h>
#include <linux/log2.h>
#include <linux/memblock.h> /* for max_pfn */
#include <linux/mm.h>
#include <linux/pfn.h>
#include <linux/printk.h>
#include <linux/prandom.h>
#include <linux/scatterlist.h>
#include <linux/set_memory.h>
#include <linux/vmalloc.h>
#include "pinning.h"

#define TEST_PAGES	8
#define TEST_ORDER	ilog2(TEST_PAGES)

#define STORM_THREADS	4
#define STORM_ROUNDS	20000

struct context {
	struct dma_pinning	*dp;
	void			*marks;
	struct page		*page;	/* of TEST_PAGES free for use */
	void			*buf;
	phys_addr_t		phys;
	unsigned long		pfn;
	unsigned long		bad_pfn;	/* touch_most() fails on it, or on all if 0 */
};

static size_t marks_bytes(void)
{
	return BITS_TO_LONGS(max_pfn) * sizeof(long);
}

static int dma_pinning_test_init(struct kunit *test)
{
	struct context *ctx = kunit_kzalloc(test, sizeof(*ctx), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, ctx);
	test->priv = ctx;

	ctx->marks = vzalloc(marks_bytes());
	KUNIT_ASSERT_NOT_NULL(test, ctx->marks);
	ctx->dp = dma_pinning_create(ctx->marks, max_pfn);
	KUNIT_ASSERT_NOT_NULL(test, ctx->dp);
	ctx->page = alloc_pages(GFP_KERNEL, TEST_ORDER);
	KUNIT_ASSERT_NOT_NULL(test, ctx->page);

	ctx->buf = page_address(ctx->page);
	ctx->phys = page_to_phys(ctx->page);
	ctx->pfn = page_to_pfn(ctx->page);
	return 0;
}

static void dma_pinning_test_exit(struct kunit *test)
{
	struct context *ctx = test->priv;

	if (!ctx)
		return;
	if (ctx->page)
		__free_pages(ctx->page, TEST_ORDER);
	dma_pinning_destroy(ctx->dp);
	vfree(ctx->marks);
}

static bool marked(struct context *ctx, int i)
{
	return test_bit_le(ctx->pfn + i, ctx->marks);
}

static u16 *counter(struct context *ctx, int i)
{
	return &ctx->dp->counts[ctx->pfn + i];
}

static long events(struct context *ctx, enum dma_pinning_event event)
{
	return atomic_long_read(&ctx->dp->events[event]);
}

/* The bitmap of all memory has marks for exactly these pages of the buffer. */
static void expect_marks(struct kunit *test, unsigned int mask)
{
	struct context *ctx = test->priv;
	int i;

	for (i = 0; i < TEST_PAGES; i++)
		KUNIT_EXPECT_EQ_MSG(test, marked(ctx, i), !!(mask & BIT(i)),
				    "page %d", i);
	KUNIT_EXPECT_EQ(test, memweight(ctx->marks, marks_bytes()), hweight32(mask));
}

static void expect_no_events(struct kunit *test)
{
	struct context *ctx = test->priv;
	int i;

	for (i = 0; i < DMA_PINNING_NR_EVENTS; i++)
		KUNIT_EXPECT_EQ_MSG(test, events(ctx, i), 0, "event %d", i);
}

static void test_count(struct kunit *test)
{
	struct context *ctx = test->priv;

	KUNIT_EXPECT_TRUE(test, dma_pinning_get(ctx->dp, ctx->phys, 8));
	KUNIT_EXPECT_EQ(test, *counter(ctx, 0), 1);
	expect_marks(test, 0x1);

	KUNIT_EXPECT_TRUE(test, dma_pinning_get(ctx->dp, ctx->phys + 8, 8));
	KUNIT_EXPECT_EQ(test, *counter(ctx, 0), 2);
	expect_marks(test, 0x1);

	dma_pinning_put(ctx->dp, ctx->phys, 8);
	KUNIT_EXPECT_EQ(test, *counter(ctx, 0), 1);
	expect_marks(test, 0x1);

	dma_pinning_put(ctx->dp, ctx->phys + 8, 8);
	KUNIT_EXPECT_EQ(test, *counter(ctx, 0), 0);
	expect_marks(test, 0);
	expect_no_events(test);
}

/* Overlapping buffers: each page lives as long as its own last user. */
static void test_overlap(struct kunit *test)
{
	struct context *ctx = test->priv;
	phys_addr_t second = ctx->phys + 2 * PAGE_SIZE;

	dma_pinning_get(ctx->dp, ctx->phys, 3 * PAGE_SIZE);
	dma_pinning_get(ctx->dp, second, 3 * PAGE_SIZE);
	expect_marks(test, 0x1f);
	KUNIT_EXPECT_EQ(test, *counter(ctx, 2), 2);

	dma_pinning_put(ctx->dp, ctx->phys, 3 * PAGE_SIZE);
	expect_marks(test, 0x1c);
	dma_pinning_put(ctx->dp, second, 3 * PAGE_SIZE);
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
	struct context *ctx = test->priv;
	int i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		phys_addr_t phys = ctx->phys + cases[i].offset;

		KUNIT_EXPECT_TRUE(test, dma_pinning_get(ctx->dp, phys,
							cases[i].size));
		expect_marks(test, cases[i].mask);
		dma_pinning_put(ctx->dp, phys, cases[i].size);
		expect_marks(test, 0);
	}
	expect_no_events(test);
}

static void test_touch_keeps_data(struct kunit *test)
{
	struct context *ctx = test->priv;
	u8 *buf = ctx->buf;
	size_t i;

	for (i = 0; i < TEST_PAGES * PAGE_SIZE; i++)
		buf[i] = i * 7 + (i >> PAGE_SHIFT);

	dma_pinning_get(ctx->dp, ctx->phys + 3, TEST_PAGES * PAGE_SIZE - 3);
	dma_pinning_put(ctx->dp, ctx->phys + 3, TEST_PAGES * PAGE_SIZE - 3);

	for (i = 0; i < TEST_PAGES * PAGE_SIZE; i++)
		if (buf[i] != (u8)(i * 7 + (i >> PAGE_SHIFT)))
			KUNIT_FAIL(test, "byte %zu has changed", i);
}

static void test_saturation_is_sticky(struct kunit *test)
{
	struct context *ctx = test->priv;
	u16 *count = counter(ctx, 0);

	*count = DMA_PINNING_STUCK - 2;
	dma_pinning_get(ctx->dp, ctx->phys, 1);
	KUNIT_EXPECT_EQ(test, *count, DMA_PINNING_STUCK - 1);
	dma_pinning_put(ctx->dp, ctx->phys, 1);
	KUNIT_EXPECT_EQ(test, *count, DMA_PINNING_STUCK - 2);
	expect_no_events(test);

	dma_pinning_get(ctx->dp, ctx->phys, 1);
	dma_pinning_get(ctx->dp, ctx->phys, 1);
	KUNIT_EXPECT_EQ(test, *count, DMA_PINNING_STUCK);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_SATURATED), 1);

	KUNIT_EXPECT_TRUE(test, dma_pinning_get(ctx->dp, ctx->phys, 1));
	KUNIT_EXPECT_EQ(test, *count, DMA_PINNING_STUCK);
	dma_pinning_put(ctx->dp, ctx->phys, 1);
	KUNIT_EXPECT_EQ(test, *count, DMA_PINNING_STUCK);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_SATURATED), 1);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_KEPT), 1);
	expect_marks(test, 0x1);
}

/* Ends of mappings that were never counted change nothing. */
static void test_unbalanced_put(struct kunit *test)
{
	struct context *ctx = test->priv;

	*counter(ctx, 1) = DMA_PINNING_BUSY;
	*counter(ctx, 2) = 1;
	set_bit_le(ctx->pfn + 1, ctx->marks);
	set_bit_le(ctx->pfn + 2, ctx->marks);

	dma_pinning_put(ctx->dp, ctx->phys, 3 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, *counter(ctx, 0), 0);
	KUNIT_EXPECT_EQ(test, *counter(ctx, 1), DMA_PINNING_BUSY);
	KUNIT_EXPECT_EQ(test, *counter(ctx, 2), 0);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_UNBALANCED), 2);
	expect_marks(test, 0x2);

	/* Page 0 works as before. */
	*counter(ctx, 1) = 0;
	KUNIT_EXPECT_TRUE(test, dma_pinning_get(ctx->dp, ctx->phys, 1));
	KUNIT_EXPECT_EQ(test, *counter(ctx, 0), 1);
}

/* Memory that was added after the counters were made. */
static void test_no_counter(struct kunit *test)
{
	struct context *ctx = test->priv;

	*counter(ctx, 1) = DMA_PINNING_NOT_RAM;
	ctx->dp->ncounts = ctx->pfn + 2;

	KUNIT_EXPECT_TRUE(test, dma_pinning_get(ctx->dp, ctx->phys,
						3 * PAGE_SIZE));
	expect_marks(test, 0x7);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_UNCOUNTED), 2);
	KUNIT_EXPECT_EQ(test, *counter(ctx, 1), DMA_PINNING_NOT_RAM);
	KUNIT_EXPECT_EQ(test, *counter(ctx, 2), 0);

	dma_pinning_put(ctx->dp, ctx->phys, 3 * PAGE_SIZE);
	expect_marks(test, 0x6);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_UNBALANCED), 0);
}

static void test_out_of_coverage(struct kunit *test)
{
	struct context *ctx = test->priv;

	ctx->dp->npages = ctx->pfn + 1;
	ctx->dp->ncounts = ctx->pfn + 1;

	KUNIT_EXPECT_TRUE(test, dma_pinning_get(ctx->dp, ctx->phys,
						2 * PAGE_SIZE));
	expect_marks(test, 0x1);
	dma_pinning_keep(ctx->dp, ctx->phys + PAGE_SIZE, PAGE_SIZE);
	expect_marks(test, 0x1);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_OUTSIDE), 2);

	dma_pinning_put(ctx->dp, ctx->phys, 2 * PAGE_SIZE);
	expect_marks(test, 0);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_UNBALANCED), 0);
}

/* What looks like MMIO is neither marked nor counted. */
static void test_mmio(struct kunit *test)
{
	struct context *ctx = test->priv;
	struct page *page = ctx->page + 1;

	*counter(ctx, 1) = DMA_PINNING_NOT_RAM;
	SetPageReserved(page);
	KUNIT_EXPECT_TRUE(test, dma_pinning_get(ctx->dp, ctx->phys,
						2 * PAGE_SIZE));
	ClearPageReserved(page);
	expect_marks(test, 0x1);
	KUNIT_EXPECT_EQ(test, *counter(ctx, 1), DMA_PINNING_NOT_RAM);
	expect_no_events(test);

	/* No struct page at all. */
	ctx->dp->ncounts = 0;
	KUNIT_EXPECT_TRUE(test, dma_pinning_get(ctx->dp, PFN_PHYS(max_pfn) * 64,
						PAGE_SIZE));
	expect_no_events(test);
}

static void test_keep(struct kunit *test)
{
	struct context *ctx = test->priv;

	dma_pinning_keep(ctx->dp, ctx->phys, PAGE_SIZE + 1);
	expect_marks(test, 0x3);
	KUNIT_EXPECT_EQ(test, *counter(ctx, 0), 0);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_UNCOUNTED), 2);
}

/* A counter that a stopped CPU has left BUSY does not stop the last words. */
static void test_busy_in_oops(struct kunit *test)
{
	struct context *ctx = test->priv;
	bool done;

	*counter(ctx, 0) = DMA_PINNING_BUSY;
	preempt_disable();
	oops_in_progress++;
	done = dma_pinning_get(ctx->dp, ctx->phys, 1);
	oops_in_progress--;
	preempt_enable();

	KUNIT_EXPECT_TRUE(test, done);
	expect_marks(test, 0x1);
	KUNIT_EXPECT_EQ(test, *counter(ctx, 0), DMA_PINNING_BUSY);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_UNCOUNTED), 1);
}

/* Stands in for dma_pinning_touch(): a page that cannot be written to. */
static bool touch_most(struct dma_pinning *dp, unsigned long pfn, void *addr)
{
	struct context *ctx = kunit_get_current_test()->priv;

	return ctx->bad_pfn && ctx->bad_pfn != pfn;
}

/* A page that cannot be touched fails the mapping, and nothing is counted. */
static void test_untouchable(struct kunit *test)
{
	struct context *ctx = test->priv;
	int i;

	KUNIT_EXPECT_TRUE(test, dma_pinning_get(ctx->dp, ctx->phys, 1));

	ctx->bad_pfn = ctx->pfn + 2;
	kunit_activate_static_stub(test, dma_pinning_touch, touch_most);
	KUNIT_EXPECT_FALSE(test, dma_pinning_get(ctx->dp, ctx->phys,
						 4 * PAGE_SIZE));
	KUNIT_EXPECT_TRUE(test, dma_pinning_get(ctx->dp, ctx->phys,
						2 * PAGE_SIZE));
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
	struct context *ctx = test->priv;
	unsigned long second = (unsigned long)ctx->buf + PAGE_SIZE;
	bool done, again;

	dma_pinning_get(ctx->dp, ctx->phys, 1);
	KUNIT_ASSERT_EQ(test, set_memory_ro(second, 1), 0);
	done = dma_pinning_get(ctx->dp, ctx->phys, 3 * PAGE_SIZE);
	KUNIT_ASSERT_EQ(test, set_memory_rw(second, 1), 0);
	again = dma_pinning_get(ctx->dp, ctx->phys + PAGE_SIZE, 1);

	KUNIT_EXPECT_FALSE(test, done);
	KUNIT_EXPECT_TRUE(test, again);
	KUNIT_EXPECT_EQ(test, *counter(ctx, 0), 1);
	KUNIT_EXPECT_EQ(test, *counter(ctx, 1), 1);
	KUNIT_EXPECT_EQ(test, *counter(ctx, 2), 0);
	expect_marks(test, 0x3);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_UNTOUCHABLE), 1);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_UNBALANCED), 0);
}

/* The touch must not reach what looks like MMIO: here it would fail. */
static void test_mmio_untouched(struct kunit *test)
{
	struct context *ctx = test->priv;
	unsigned long addr = (unsigned long)ctx->buf;
	bool done;

	*counter(ctx, 0) = DMA_PINNING_NOT_RAM;
	SetPageReserved(ctx->page);
	KUNIT_ASSERT_EQ(test, set_memory_ro(addr, 1), 0);
	done = dma_pinning_get(ctx->dp, ctx->phys, 1);
	KUNIT_ASSERT_EQ(test, set_memory_rw(addr, 1), 0);
	ClearPageReserved(ctx->page);

	KUNIT_EXPECT_TRUE(test, done);
	expect_no_events(test);
}
#endif /* CONFIG_X86 */

struct storm {
	struct context		*ctx;
	struct task_struct	*task;
	struct rnd_state	rnd;
	unsigned long		lost;	/* marks not there while mapped */
};

/* Maps and unmaps random parts of the buffer; a mapped page must be marked. */
static int storm_thread(void *arg)
{
	struct storm *s = arg;
	struct context *ctx = s->ctx;
	int round, i;

	for (round = 0; round < STORM_ROUNDS; round++) {
		int first = prandom_u32_state(&s->rnd) % TEST_PAGES;
		int n = 1 + prandom_u32_state(&s->rnd) % (TEST_PAGES - first);
		phys_addr_t phys = ctx->phys + first * PAGE_SIZE + 1;
		size_t size = n * PAGE_SIZE - 1;

		if (!dma_pinning_get(ctx->dp, phys, size))
			s->lost++;
		if (!(round % 16))
			cond_resched();
		for (i = first; i < first + n; i++)
			s->lost += !marked(ctx, i);
		dma_pinning_put(ctx->dp, phys, size);
	}
	return 0;
}

static void test_concurrent(struct kunit *test)
{
	struct context *ctx = test->priv;
	struct storm *s;
	int i;

	s = kunit_kcalloc(test, STORM_THREADS, sizeof(*s), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, s);
	for (i = 0; i < STORM_THREADS; i++) {
		s[i].ctx = ctx;
		prandom_seed_state(&s[i].rnd, i + 1);
		s[i].task = kthread_create(storm_thread, &s[i], "storm/%d", i);
		if (IS_ERR(s[i].task))
			continue;
		get_task_struct(s[i].task);
		wake_up_process(s[i].task);
	}
	for (i = 0; i < STORM_THREADS; i++) {
		KUNIT_EXPECT_FALSE(test, IS_ERR(s[i].task));
		if (!IS_ERR(s[i].task))
			kthread_stop_put(s[i].task);
		KUNIT_EXPECT_EQ(test, s[i].lost, 0);
	}

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
	KUNIT_CASE(test_unbalanced_put),
	KUNIT_CASE(test_no_counter),
	KUNIT_CASE(test_out_of_coverage),
	KUNIT_CASE(test_mmio),
	KUNIT_CASE(test_keep),
	KUNIT_CASE(test_busy_in_oops),
	KUNIT_CASE(test_untouchable),
#ifdef CONFIG_X86
	KUNIT_CASE(test_read_only),
	KUNIT_CASE(test_mmio_untouched),
#endif
	KUNIT_CASE_SLOW(test_concurrent),
	{}
};

static struct kunit_suite dma_pinning_suite = {
	.name		= "dma_pinning",
	.init		= dma_pinning_test_init,
	.exit		= dma_pinning_test_exit,
	.test_cases	= dma_pinning_cases,
};

#ifdef CONFIG_UML

static struct device *hooks_device(struct kunit *test)
{
	struct device *dev = kunit_device_register(test, "dma-pinning-test");

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, dev);
	dev->dma_mask = &dev->coherent_dma_mask;
	dev->coherent_dma_mask = DMA_BIT_MASK(64);
	return dev;
}

static int hooks_test_init(struct kunit *test)
{
	struct context *ctx;
	int ret;

	ret = dma_pinning_test_init(test);
	if (ret)
		return ret;
	ctx = test->priv;
	dma_pinning_enable(ctx->dp);
	return 0;
}

static void hooks_test_exit(struct kunit *test)
{
	static_branch_disable(&dma_pinning_key);
	dma_pinning_test_exit(test);
}

static void test_map_page(struct kunit *test)
{
	struct device *dev = hooks_device(test);
	struct context *ctx = test->priv;
	dma_addr_t addr;

	addr = dma_map_page(dev, ctx->page, PAGE_SIZE - 4, 8, DMA_TO_DEVICE);
	KUNIT_ASSERT_FALSE(test, dma_mapping_error(dev, addr));
	expect_marks(test, 0x3);
	dma_unmap_page(dev, addr, 8, DMA_TO_DEVICE);
	expect_marks(test, 0);
	expect_no_events(test);
}

static void test_exempt_device(struct kunit *test)
{
	struct device *dev = hooks_device(test);
	struct context *ctx = test->priv;
	dma_addr_t addr;
	void *cpu;

	dev_set_dma_pinning_exempt(dev);
	addr = dma_map_page(dev, ctx->page, 0, PAGE_SIZE, DMA_FROM_DEVICE);
	KUNIT_ASSERT_FALSE(test, dma_mapping_error(dev, addr));
	expect_marks(test, 0);
	dma_unmap_page(dev, addr, PAGE_SIZE, DMA_FROM_DEVICE);

	cpu = dma_alloc_coherent(dev, PAGE_SIZE, &addr, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, cpu);
	expect_marks(test, 0);
	dma_free_coherent(dev, PAGE_SIZE, cpu, addr);
	expect_no_events(test);
}

static void test_map_sg(struct kunit *test)
{
	struct device *dev = hooks_device(test);
	struct context *ctx = test->priv;
	struct scatterlist sg[3];

	sg_init_table(sg, 3);
	sg_set_page(&sg[0], ctx->page, 16, 16);
	sg_set_page(&sg[1], ctx->page + 2, 2 * PAGE_SIZE, 0);
	sg_set_page(&sg[2], ctx->page + 5, PAGE_SIZE, PAGE_SIZE / 2);

	KUNIT_ASSERT_EQ(test, dma_map_sg(dev, sg, 3, DMA_BIDIRECTIONAL), 3);
	expect_marks(test, 0x6d);
	dma_unmap_sg(dev, sg, 3, DMA_BIDIRECTIONAL);
	expect_marks(test, 0);
	expect_no_events(test);
}

/* The third entry cannot be touched: the others are undone. */
static void test_map_sg_error(struct kunit *test)
{
	struct device *dev = hooks_device(test);
	struct context *ctx = test->priv;
	struct scatterlist sg[3];

	sg_init_table(sg, 3);
	sg_set_page(&sg[0], ctx->page, PAGE_SIZE, 0);
	sg_set_page(&sg[1], ctx->page + 1, PAGE_SIZE, 0);
	sg_set_page(&sg[2], ctx->page + 2, PAGE_SIZE, 0);

	ctx->bad_pfn = ctx->pfn + 2;
	kunit_activate_static_stub(test, dma_pinning_touch, touch_most);
	KUNIT_EXPECT_EQ(test, dma_map_sg(dev, sg, 3, DMA_TO_DEVICE), 0);
	expect_marks(test, 0);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_UNTOUCHABLE), 1);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_UNBALANCED), 0);
}

static void expect_allocation(struct kunit *test, dma_addr_t addr, size_t size)
{
	struct context *ctx = test->priv;
	unsigned long pfn;

	for (pfn = PHYS_PFN(addr); pfn < PFN_UP(addr + size); pfn++) {
		KUNIT_EXPECT_TRUE(test, test_bit_le(pfn, ctx->marks));
		KUNIT_EXPECT_EQ(test, ctx->dp->counts[pfn], 1);
	}
	KUNIT_EXPECT_EQ(test, memweight(ctx->marks, marks_bytes()), PFN_UP(size));
}

static void test_alloc(struct kunit *test)
{
	static const unsigned long attrs[] = { 0, DMA_ATTR_NO_KERNEL_MAPPING };
	const size_t size = 2 * PAGE_SIZE + 1;
	struct device *dev = hooks_device(test);
	dma_addr_t addr;
	void *cpu;
	int i;

	for (i = 0; i < ARRAY_SIZE(attrs); i++) {
		cpu = dma_alloc_attrs(dev, size, &addr, GFP_KERNEL, attrs[i]);
		KUNIT_ASSERT_NOT_NULL(test, cpu);
		expect_allocation(test, addr, size);
		dma_free_attrs(dev, size, cpu, addr, attrs[i]);
		expect_marks(test, 0);
	}
	expect_no_events(test);
}

/* Allocations that cannot be touched fail, and go back uncounted. */
static void test_alloc_error(struct kunit *test)
{
	struct device *dev = hooks_device(test);
	struct context *ctx = test->priv;
	dma_addr_t addr;

	kunit_activate_static_stub(test, dma_pinning_touch, touch_most);
	KUNIT_EXPECT_NULL(test, dma_alloc_coherent(dev, 2 * PAGE_SIZE, &addr,
						   GFP_KERNEL));
	KUNIT_EXPECT_NULL(test, dma_alloc_pages(dev, PAGE_SIZE, &addr,
						DMA_TO_DEVICE, GFP_KERNEL));
	expect_marks(test, 0);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_UNTOUCHABLE), 2);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_UNBALANCED), 0);
}

static void test_alloc_pages(struct kunit *test)
{
	struct device *dev = hooks_device(test);
	struct sg_table *sgt;
	struct page *page;
	dma_addr_t addr;

	page = dma_alloc_pages(dev, PAGE_SIZE, &addr, DMA_TO_DEVICE, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, page);
	expect_allocation(test, addr, PAGE_SIZE);
	dma_free_pages(dev, PAGE_SIZE, page, addr, DMA_TO_DEVICE);
	expect_marks(test, 0);

	sgt = dma_alloc_noncontiguous(dev, 3 * PAGE_SIZE, DMA_TO_DEVICE,
				      GFP_KERNEL, 0);
	KUNIT_ASSERT_NOT_NULL(test, sgt);
	expect_allocation(test, sg_dma_address(sgt->sgl), 3 * PAGE_SIZE);
	dma_free_noncontiguous(dev, 3 * PAGE_SIZE, sgt, DMA_TO_DEVICE);
	expect_marks(test, 0);
	expect_no_events(test);
}

static struct kunit_case hooks_cases[] = {
	KUNIT_CASE(test_map_page),
	KUNIT_CASE(test_exempt_device),
	KUNIT_CASE(test_map_sg),
	KUNIT_CASE(test_map_sg_error),
	KUNIT_CASE(test_alloc),
	KUNIT_CASE(test_alloc_error),
	KUNIT_CASE(test_alloc_pages),
	{}
};

static struct kunit_suite hooks_suite = {
	.name		= "dma_pinning_hooks",
	.init		= hooks_test_init,
	.exit		= hooks_test_exit,
	.test_cases	= hooks_cases,
};

kunit_test_suites(&dma_pinning_suite, &hooks_suite);

#else /* !CONFIG_UML */

kunit_test_suite(dma_pinning_suite);

#endif /* CONFIG_UML */
