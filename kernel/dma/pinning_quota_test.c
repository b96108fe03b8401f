// SPDX-License-Identifier: GPL-2.0
/*
 * Tests for kernel/dma/pinning_quota.c and pinning_counters.c: how many pages may
 * be marked, memory that comes and goes, and marks of a former kernel.
 */
#include <kunit/static_stub.h>
#include <kunit/test.h>
#include <linux/dma-pinning.h>
#include <linux/memblock.h> /* for max_pfn */
#include <linux/memory.h>
#include <linux/mm.h>
#include <linux/pfn.h>
#include <linux/prandom.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include "pinning_test.h"

#define CROWD_THREADS	4
#define CROWD_ROUNDS	20000

/*
 * The limit
 */

static void test_exactly_the_limit(struct kunit *test)
{
	struct pinning_test *ctx = test->priv;

	pinning_test_set_limit(test, 4);
	KUNIT_EXPECT_TRUE(test, pin(ctx, ctx->phys, 4 * PAGE_SIZE));
	expect_marks(test, 0xf);
	expect_no_events(test);

	/* Pages that are marked cost nothing more, one more page is too much. */
	KUNIT_EXPECT_TRUE(test, pin(ctx, ctx->phys, 4 * PAGE_SIZE));
	KUNIT_EXPECT_FALSE(test, pin(ctx, ctx->phys + 4 * PAGE_SIZE, 1));
	expect_marks(test, 0xf);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_OVER_LIMIT), 1);

	/* One page is unpinned, one can be pinned. */
	unpin(ctx, ctx->phys, 4 * PAGE_SIZE);
	expect_marks(test, 0xf);
	unpin(ctx, ctx->phys, PAGE_SIZE);
	KUNIT_EXPECT_TRUE(test, pin(ctx, ctx->phys + 4 * PAGE_SIZE, 1));
	expect_marks(test, 0x1e);
	unpin(ctx, ctx->phys + PAGE_SIZE, 4 * PAGE_SIZE);
	expect_marks(test, 0);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_UNBALANCED), 0);
}

/* A mapping that is refused leaves counts and marks as they were. */
static void test_refused_and_undone(struct kunit *test)
{
	struct pinning_test *ctx = test->priv;
	int i;

	pinning_test_set_limit(test, 5);
	KUNIT_EXPECT_TRUE(test, pin(ctx, ctx->phys + 2 * PAGE_SIZE, 2 * PAGE_SIZE));
	KUNIT_EXPECT_FALSE(test, pin(ctx, ctx->phys + 7,
				     TEST_PAGES * PAGE_SIZE - 7));
	KUNIT_EXPECT_FALSE(test, mark(ctx, ctx->phys, TEST_PAGES * PAGE_SIZE));
	for (i = 0; i < TEST_PAGES; i++)
		KUNIT_EXPECT_EQ_MSG(test, *counter(ctx, i), i == 2 || i == 3,
				    "page %d", i);
	expect_marks(test, 0xc);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_OVER_LIMIT), 2);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_UNBALANCED), 0);

	/* Nothing is lost: the rest of the limit can be used. */
	KUNIT_EXPECT_TRUE(test, pin(ctx, ctx->phys + 4 * PAGE_SIZE, 3 * PAGE_SIZE));
	expect_marks(test, 0x7c);
}

/* A refusal of the first page of a buffer that does not begin with the page. */
static void test_first_page_refused(struct kunit *test)
{
	struct pinning_test *ctx = test->priv;

	pinning_test_set_limit(test, 1);
	KUNIT_EXPECT_TRUE(test, pin(ctx, ctx->phys, 8));
	KUNIT_EXPECT_FALSE(test, pin(ctx, ctx->phys + PAGE_SIZE + 8, 8));
	expect_marks(test, 0x1);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_UNBALANCED), 0);
}

/* Marks for good count as well. */
static void test_uncounted_pages_count(struct kunit *test)
{
	struct pinning_test *ctx = test->priv;

	pinning_test_set_limit(test, 2);
	*counter(ctx, 0) = DMA_PINNING_NOT_RAM;
	KUNIT_EXPECT_TRUE(test, pin(ctx, ctx->phys, 2 * PAGE_SIZE));
	expect_marks(test, 0x3);
	unpin(ctx, ctx->phys, 2 * PAGE_SIZE);
	expect_marks(test, 0x1);

	KUNIT_EXPECT_FALSE(test, pin(ctx, ctx->phys + PAGE_SIZE, 2 * PAGE_SIZE));
	expect_marks(test, 0x1);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_OVER_LIMIT), 1);
}

/* What another CPU has in stock can be had when nothing else is left. */
static void test_other_stock(struct kunit *test)
{
	struct pinning_test *ctx = test->priv;
	struct dma_pinning_quota *quota = &ctx->dp->quota;
	int cpu = cpumask_last(cpu_possible_mask);
	int i;

	pinning_test_set_limit(test, 64);
	atomic_long_set(&quota->reserved, 64);
	atomic_set(per_cpu_ptr(quota->stock, cpu), 64);
	KUNIT_EXPECT_EQ(test, used(ctx), 0);

	for (i = 0; i < 64; i++)
		KUNIT_EXPECT_TRUE(test, dma_pinning_quota_pin(quota));
	KUNIT_EXPECT_FALSE(test, dma_pinning_quota_pin(quota));
	KUNIT_EXPECT_EQ(test, used(ctx), 64);
	for (i = 0; i < 64; i++)
		dma_pinning_quota_unpin(quota);
	KUNIT_EXPECT_EQ(test, used(ctx), 0);
}

/* Usually a CPU has what it needs, and does not hoard. */
static void test_stock(struct kunit *test)
{
	struct pinning_test *ctx = test->priv;
	struct dma_pinning_quota *quota = &ctx->dp->quota;
	long reserved;
	int i;

	pinning_test_set_limit(test, 1UL << 20);
	migrate_disable();
	KUNIT_EXPECT_TRUE(test, dma_pinning_quota_pin(quota));
	reserved = atomic_long_read(&quota->reserved);
	KUNIT_EXPECT_GT(test, reserved, 1);
	for (i = 0; i < 1000; i++) {
		dma_pinning_quota_unpin(quota);
		KUNIT_EXPECT_TRUE(test, dma_pinning_quota_pin(quota));
	}
	KUNIT_EXPECT_EQ(test, atomic_long_read(&quota->reserved), reserved);

	for (i = 1; i < 1000; i++)
		KUNIT_EXPECT_TRUE(test, dma_pinning_quota_pin(quota));
	for (i = 0; i < 1000; i++)
		dma_pinning_quota_unpin(quota);
	KUNIT_EXPECT_LE(test, atomic_long_read(&quota->reserved), 3 * quota->batch);
	migrate_enable();
	KUNIT_EXPECT_EQ(test, used(ctx), 0);
}

struct crowd {
	struct pinning_test	*ctx;
	struct rnd_state	rnd;
	atomic_t		*pinned;
	unsigned long		limit;
	unsigned long		excess;
	unsigned long		refused;
};

/* Pins and unpins; all threads together never have more than the limit. */
static int crowd_thread(void *arg)
{
	struct crowd *c = arg;
	struct dma_pinning_quota *quota = &c->ctx->dp->quota;
	unsigned int have = 0;
	int round;

	for (round = 0; round < CROWD_ROUNDS; round++) {
		if (prandom_u32_state(&c->rnd) % 2) {
			if (dma_pinning_quota_pin(quota)) {
				have++;
				if (atomic_inc_return(c->pinned) > c->limit)
					c->excess++;
			} else {
				c->refused++;
			}
		} else if (have) {
			have--;
			atomic_dec(c->pinned);
			dma_pinning_quota_unpin(quota);
		}
		if (!(round % 16))
			cond_resched();
	}
	while (have--) {
		atomic_dec(c->pinned);
		dma_pinning_quota_unpin(quota);
	}
	return 0;
}

static void crowd(struct kunit *test, unsigned long limit, bool refusals)
{
	struct pinning_test *ctx = test->priv;
	unsigned long refused = 0;
	atomic_t pinned = ATOMIC_INIT(0);
	struct crowd *c;
	int i;

	pinning_test_set_limit(test, limit);
	c = kunit_kcalloc(test, CROWD_THREADS, sizeof(*c), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, c);
	for (i = 0; i < CROWD_THREADS; i++) {
		c[i].ctx = ctx;
		c[i].limit = limit;
		c[i].pinned = &pinned;
		prandom_seed_state(&c[i].rnd, i + 1);
	}
	run_threads(test, crowd_thread, c, sizeof(*c), CROWD_THREADS);
	for (i = 0; i < CROWD_THREADS; i++) {
		KUNIT_EXPECT_EQ(test, c[i].excess, 0);
		refused += c[i].refused;
	}
	KUNIT_EXPECT_EQ(test, !!refused, refusals);
	KUNIT_EXPECT_EQ(test, used(ctx), 0);

	/* All of it can be had afterwards, by one CPU. */
	for (i = 0; i < limit; i++)
		KUNIT_EXPECT_TRUE(test, dma_pinning_quota_pin(&ctx->dp->quota));
	KUNIT_EXPECT_FALSE(test, dma_pinning_quota_pin(&ctx->dp->quota));
}

static void test_concurrent_small_limit(struct kunit *test)
{
	crowd(test, 10, true);
}

static void test_concurrent_large_limit(struct kunit *test)
{
	crowd(test, CROWD_THREADS * CROWD_ROUNDS, false);
}

/*
 * Memory that comes and goes
 */

/* Stands in for memory hotplug, above the memory that the machine has. */
static int announce(struct pinning_test *ctx, unsigned long action,
		    unsigned long pfn, unsigned long nr_pages)
{
	struct notifier_block *nb = &ctx->dp->memory_nb;
	struct memory_notify arg = { .start_pfn = pfn, .nr_pages = nr_pages };

	return notifier_to_errno(nb->notifier_call(nb, action, &arg));
}

/* Replaces the object by one with room for more memory than there is. */
static unsigned long make_room(struct kunit *test, unsigned long nr_pages)
{
	struct pinning_test *ctx = test->priv;
	unsigned long first = ALIGN(max_pfn, DMA_PINNING_SECTION_PAGES);
	unsigned long end = first + nr_pages;

	dma_pinning_destroy(ctx->dp);
	ctx->dp = NULL;
	kvfree(ctx->marks);
	ctx->marks = kvcalloc(BITS_TO_LONGS(end), sizeof(long), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, ctx->marks);
	ctx->dp = dma_pinning_create(ctx->marks, end, end);
	KUNIT_ASSERT_NOT_NULL(test, ctx->dp);
	ctx->bad_pfn = ULONG_MAX;
	kunit_activate_static_stub(test, dma_pinning_touch, touch_most);
	return first;
}

static void expect_counted(struct kunit *test, unsigned long pfn)
{
	struct pinning_test *ctx = test->priv;

	KUNIT_EXPECT_TRUE(test, pin(ctx, PFN_PHYS(pfn), 1));
	KUNIT_EXPECT_TRUE(test, test_bit_le(pfn, ctx->marks));
	unpin(ctx, PFN_PHYS(pfn), 1);
	KUNIT_EXPECT_FALSE(test, test_bit_le(pfn, ctx->marks));
	expect_no_events(test);
}

/* New memory is counted from its first page to its last, and only while it is there. */
static void test_memory_online(struct kunit *test)
{
	unsigned long first = make_room(test, 4 * DMA_PINNING_SECTION_PAGES);
	unsigned long middle = first + DMA_PINNING_SECTION_PAGES / 2;
	const unsigned long nr_pages = 2 * DMA_PINNING_SECTION_PAGES;
	struct pinning_test *ctx = test->priv;

	KUNIT_EXPECT_NULL(test, counter_of(ctx->dp, middle));
	KUNIT_EXPECT_EQ(test, announce(ctx, MEM_GOING_ONLINE, middle, nr_pages), 0);
	expect_counted(test, middle);
	expect_counted(test, middle + nr_pages - 1);
	KUNIT_EXPECT_EQ(test, count_of(ctx->dp, middle - 1), DMA_PINNING_NOT_RAM);
	KUNIT_EXPECT_EQ(test, count_of(ctx->dp, middle + nr_pages),
			DMA_PINNING_NOT_RAM);

	/* A part that shares a section comes, stays when the other part goes. */
	KUNIT_EXPECT_EQ(test, announce(ctx, MEM_GOING_ONLINE, first, 16), 0);
	KUNIT_EXPECT_EQ(test, announce(ctx, MEM_OFFLINE, middle, nr_pages), 0);
	expect_counted(test, first);
	KUNIT_EXPECT_EQ(test, count_of(ctx->dp, middle), DMA_PINNING_NOT_RAM);
	KUNIT_EXPECT_NULL(test, counter_of(ctx->dp, middle + nr_pages - 1));
	KUNIT_EXPECT_EQ(test, announce(ctx, MEM_OFFLINE, first, 16), 0);
	KUNIT_EXPECT_NULL(test, counter_of(ctx->dp, first));
}

static void test_memory_cancelled(struct kunit *test)
{
	unsigned long first = make_room(test, DMA_PINNING_SECTION_PAGES);
	struct pinning_test *ctx = test->priv;

	KUNIT_EXPECT_EQ(test, announce(ctx, MEM_GOING_ONLINE, first, 1), 0);
	KUNIT_EXPECT_NOT_NULL(test, counter_of(ctx->dp, first));
	KUNIT_EXPECT_EQ(test, announce(ctx, MEM_CANCEL_ONLINE, first, 1), 0);
	KUNIT_EXPECT_NULL(test, counter_of(ctx->dp, first));
}

/* Memory beyond the bitmap has no counters, and no place in the table. */
static void test_memory_outside(struct kunit *test)
{
	unsigned long first = make_room(test, 16);
	struct pinning_test *ctx = test->priv;
	unsigned long nr = 3 * DMA_PINNING_SECTION_PAGES;

	KUNIT_EXPECT_EQ(test, announce(ctx, MEM_GOING_ONLINE, first, nr), 0);
	expect_counted(test, first + 15);
	KUNIT_EXPECT_EQ(test, count_of(ctx->dp, first + 16), DMA_PINNING_NOT_RAM);
	KUNIT_EXPECT_EQ(test, announce(ctx, MEM_OFFLINE, first, nr), 0);
	KUNIT_EXPECT_NULL(test, counter_of(ctx->dp, first));
	KUNIT_EXPECT_EQ(test, announce(ctx, MEM_GOING_ONLINE, first + nr, nr), 0);
}

/* A driver that has not unmapped keeps the counter until it does. */
static void test_memory_in_use(struct kunit *test)
{
	unsigned long first = make_room(test, DMA_PINNING_SECTION_PAGES);
	struct pinning_test *ctx = test->priv;

	KUNIT_EXPECT_EQ(test, announce(ctx, MEM_GOING_ONLINE, first, 4), 0);
	KUNIT_EXPECT_TRUE(test, pin(ctx, PFN_PHYS(first), 1));
	KUNIT_EXPECT_EQ(test, announce(ctx, MEM_OFFLINE, first, 4), 0);
	KUNIT_EXPECT_EQ(test, count_of(ctx->dp, first), 1);
	KUNIT_EXPECT_EQ(test, count_of(ctx->dp, first + 1), DMA_PINNING_NOT_RAM);

	KUNIT_EXPECT_EQ(test, announce(ctx, MEM_GOING_ONLINE, first, 4), 0);
	KUNIT_EXPECT_EQ(test, count_of(ctx->dp, first), 1);
	unpin(ctx, PFN_PHYS(first), 1);
	KUNIT_EXPECT_FALSE(test, test_bit_le(first, ctx->marks));
	KUNIT_EXPECT_EQ(test, used(ctx), 0);
	KUNIT_EXPECT_EQ(test, announce(ctx, MEM_OFFLINE, first, 4), 0);
	KUNIT_EXPECT_NULL(test, counter_of(ctx->dp, first));
	expect_no_events(test);
}

/*
 * Marks of a former kernel
 */

static void test_adopt(struct kunit *test)
{
	unsigned long first = make_room(test, DMA_PINNING_SECTION_PAGES);
	struct pinning_test *ctx = test->priv;

	set_bit_le(ctx->pfn, ctx->marks);
	set_bit_le(ctx->pfn + 1, ctx->marks);
	set_bit_le(first, ctx->marks);
	KUNIT_EXPECT_EQ(test, dma_pinning_adopt(ctx->dp), 3);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_INHERITED), 3);
	KUNIT_EXPECT_EQ(test, used(ctx), 3);

	/* Mappings of the new kernel come and go, the marks stay. */
	KUNIT_EXPECT_TRUE(test, pin(ctx, ctx->phys, 3 * PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, used(ctx), 4);
	unpin(ctx, ctx->phys, 3 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, used(ctx), 3);
	KUNIT_EXPECT_TRUE(test, marked(ctx, 0));
	KUNIT_EXPECT_TRUE(test, marked(ctx, 1));
	KUNIT_EXPECT_FALSE(test, marked(ctx, 2));
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_UNBALANCED), 0);

	/* Also that of memory that comes back later. */
	KUNIT_EXPECT_EQ(test, announce(ctx, MEM_GOING_ONLINE, first, 2), 0);
	KUNIT_EXPECT_EQ(test, count_of(ctx->dp, first), DMA_PINNING_STUCK);
	KUNIT_EXPECT_TRUE(test, pin(ctx, PFN_PHYS(first), 1));
	unpin(ctx, PFN_PHYS(first), 1);
	KUNIT_EXPECT_TRUE(test, test_bit_le(first, ctx->marks));
	KUNIT_EXPECT_EQ(test, used(ctx), 3);
}

/* Inherited marks that reach the limit: nothing else can be marked. */
static void test_adopt_too_many(struct kunit *test)
{
	struct pinning_test *ctx = test->priv;
	int i;

	pinning_test_set_limit(test, 2);
	for (i = 0; i < 3; i++)
		set_bit_le(ctx->pfn + i, ctx->marks);
	KUNIT_EXPECT_EQ(test, dma_pinning_adopt(ctx->dp), 3);

	KUNIT_EXPECT_TRUE(test, pin(ctx, ctx->phys, 3 * PAGE_SIZE));
	unpin(ctx, ctx->phys, 3 * PAGE_SIZE);
	KUNIT_EXPECT_FALSE(test, pin(ctx, ctx->phys, 4 * PAGE_SIZE));
	expect_marks(test, 0x7);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_OVER_LIMIT), 1);
}

static struct kunit_case quota_cases[] = {
	KUNIT_CASE(test_exactly_the_limit),
	KUNIT_CASE(test_refused_and_undone),
	KUNIT_CASE(test_first_page_refused),
	KUNIT_CASE(test_uncounted_pages_count),
	KUNIT_CASE(test_other_stock),
	KUNIT_CASE(test_stock),
	KUNIT_CASE_SLOW(test_concurrent_small_limit),
	KUNIT_CASE_SLOW(test_concurrent_large_limit),
	KUNIT_CASE(test_memory_online),
	KUNIT_CASE(test_memory_cancelled),
	KUNIT_CASE(test_memory_outside),
	KUNIT_CASE(test_memory_in_use),
	KUNIT_CASE(test_adopt),
	KUNIT_CASE(test_adopt_too_many),
	{}
};

static struct kunit_suite quota_suite = {
	.name		= "dma_pinning_quota",
	.init		= pinning_test_init,
	.exit		= pinning_test_exit,
	.test_cases	= quota_cases,
};

kunit_test_suite(quota_suite);
