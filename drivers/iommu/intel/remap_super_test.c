// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for remap_pte.c: superpages, and the tables that they displace
 */

#include "remap_pte_test.h"

KUNIT_ARRAY_PARAM_DESC(remap_format, remap_formats, name);

/* What a unit finds for @iova: the address with the bits of the leaf, or 0 */
static u64 translate(struct remap_fixture *f, unsigned long iova)
{
	int level = agaw_to_level(f->domain->agaw);
	struct dma_pte *table = f->domain->pgd;
	u64 val;

	for (;; level--) {
		val = READ_ONCE(table[pfn_level_offset(iova >> 12, level)].val);
		if (level == 1 || !is_table(val))
			break;
		table = phys_to_virt(val & VTD_PAGE_MASK);
	}
	if (!(val & 3))
		return 0;
	return (val & ~DMA_PTE_LARGE_PAGE) +
	       (iova & (level_size(level) - 1) << 12);
}

/* How many pages of the range don't have their part of what is at @paddr? */
static unsigned int wrong_pages(struct remap_fixture *f, unsigned long iova,
				phys_addr_t paddr, size_t size)
{
	unsigned int wrong = 0;
	size_t off;

	for (off = 0; off < size; off += SZ_4K)
		wrong += translate(f, iova + off) != ((paddr + off) | 3);
	return wrong;
}

#define SUPER_PADDR	(4ULL * SZ_1G)

/* The small leaves go, but not before the caches are flushed. */
static void test_super_over_small(struct kunit *test)
{
	struct remap_fixture *f = test->priv;
	unsigned int tables;

	KUNIT_ASSERT_EQ(test, prepare(f, 0, SZ_8M), 0);
	tables = count_tables(f);
	KUNIT_ASSERT_EQ(test, remap(f, SZ_2M, SUPER_PADDR, 512, RW), 0);
	f->parked = entry(f, SZ_2M, 1);
	KUNIT_EXPECT_EQ(test, set_super(f, SZ_2M, SUPER_PADDR, SZ_2M, 1), 0);
	KUNIT_EXPECT_EQ(test, f->table_flushes, 1);
	KUNIT_EXPECT_TRUE(test, gathered_nothing(f));
	KUNIT_EXPECT_NULL(test, memchr_inv(f->parked, 0, SZ_4K));
	KUNIT_EXPECT_EQ(test, count_tables(f), tables - 1);
	KUNIT_EXPECT_EQ(test, wrong_pages(f, SZ_2M, SUPER_PADDR, SZ_2M), 0);
	KUNIT_EXPECT_EQ(test, translate(f, SZ_2M - SZ_4K), 0);
	KUNIT_EXPECT_EQ(test, translate(f, SZ_4M), 0);

	/* Nothing changes */
	KUNIT_EXPECT_EQ(test, set_super(f, SZ_2M, SUPER_PADDR, SZ_2M, 1), 0);
	KUNIT_EXPECT_EQ(test, f->table_flushes, 1);

	/* The table comes back */
	KUNIT_EXPECT_EQ(test, remap(f, SZ_2M, 0, 512, 0), 0);
	KUNIT_EXPECT_TRUE(test, gathered(f, SZ_2M, SZ_2M));
	KUNIT_EXPECT_PTR_EQ(test, entry(f, SZ_2M, 1), f->parked);
	KUNIT_EXPECT_EQ(test, count_tables(f), tables);
	KUNIT_EXPECT_EQ(test, wrong_pages(f, SZ_2M, 0, SZ_2M), 512);
	f->parked = NULL;
	release(f, 0, SZ_8M);
	KUNIT_EXPECT_EQ(test, count_tables(f), 3);
	KUNIT_EXPECT_TRUE(test, xa_empty(&f->domain->remap_tables));
}

/* A superpage has the bits that map_pages gives it. */
static void test_super_bits(struct kunit *test)
{
	struct remap_fixture *f = test->priv;

	use_format(test);
	KUNIT_ASSERT_EQ(test, prepare(f, 0, SZ_1G), 0);
	KUNIT_EXPECT_EQ(test, set_super(f, SZ_2M, SUPER_PADDR, SZ_2M, 1), 0);
	KUNIT_EXPECT_EQ(test, map(f, SZ_1G, SUPER_PADDR, SZ_2M, RW), 0);
	KUNIT_EXPECT_EQ(test, entry(f, SZ_2M, 2)->val, entry(f, SZ_1G, 2)->val);
	KUNIT_EXPECT_EQ(test, set_super(f, 0, SUPER_PADDR, SZ_1G, 1), 0);
	KUNIT_EXPECT_EQ(test, map(f, 2UL * SZ_1G, SUPER_PADDR, SZ_1G, RW), 0);
	KUNIT_EXPECT_EQ(test, entry(f, 0, 3)->val,
			entry(f, 2UL * SZ_1G, 3)->val);
}

static void test_super_split(struct kunit *test)
{
	struct remap_fixture *f = test->priv;

	KUNIT_ASSERT_EQ(test, prepare(f, 0, SZ_4M), 0);
	KUNIT_ASSERT_EQ(test, set_super(f, 0, SUPER_PADDR, SZ_2M, 2), 0);
	KUNIT_EXPECT_EQ(test, f->table_flushes, 1);
	/* In the middle, over the border */
	KUNIT_EXPECT_EQ(test, remap(f, SZ_2M - SZ_4K, PADDR, 2, RW), 0);
	KUNIT_EXPECT_TRUE(test, gathered(f, 0, SZ_4M));
	KUNIT_EXPECT_EQ(test, wrong_pages(f, 0, SUPER_PADDR, SZ_4M), 2);
	KUNIT_EXPECT_EQ(test, wrong_pages(f, SZ_2M - SZ_4K, PADDR, SZ_8K), 0);
	KUNIT_EXPECT_EQ(test, f->table_flushes, 1);

	/* The end of a superpage is cleared */
	KUNIT_EXPECT_EQ(test, set_super(f, 0, SUPER_PADDR, SZ_2M, 1), 0);
	KUNIT_EXPECT_EQ(test, remap(f, SZ_2M - 3 * SZ_4K, 0, 3, 0), 0);
	KUNIT_EXPECT_EQ(test, wrong_pages(f, 0, SUPER_PADDR, SZ_2M), 3);
	KUNIT_EXPECT_EQ(test, translate(f, SZ_2M - SZ_4K), 0);
}

/* What a unit with SSADE has set stays, and reaches each part. */
static void test_super_dirty(struct kunit *test)
{
	u64 hw = BIT_ULL(8) | DMA_SL_PTE_DIRTY;
	struct remap_fixture *f = test->priv;

	KUNIT_ASSERT_EQ(test, prepare(f, 0, SZ_2M), 0);
	KUNIT_ASSERT_EQ(test, set_super(f, 0, SUPER_PADDR, SZ_2M, 1), 0);
	entry(f, 0, 2)->val |= hw;
	KUNIT_EXPECT_EQ(test, set_super(f, 0, SUPER_PADDR, SZ_2M, 1), 0);
	KUNIT_EXPECT_EQ(test, f->table_flushes, 1);
	KUNIT_EXPECT_EQ(test, remap(f, 0, 0, 1, 0), 0);
	KUNIT_EXPECT_EQ(test, leaf(f, SZ_4K), (SUPER_PADDR + SZ_4K) | 3 | hw);
}

/* Two levels of tables are displaced, emptied, and come back. */
static void test_super_1g(struct kunit *test)
{
	struct remap_fixture *f = test->priv;
	unsigned int tables;

	KUNIT_ASSERT_EQ(test, prepare(f, SZ_1G - SZ_2M, SZ_1G + SZ_4M), 0);
	tables = count_tables(f);
	KUNIT_ASSERT_EQ(test, remap(f, SZ_1G, SUPER_PADDR, 512, RW), 0);
	KUNIT_ASSERT_EQ(test, set_super(f, SZ_1G + SZ_2M, SUPER_PADDR + SZ_2M,
					SZ_2M, 511), 0);
	f->parked = entry(f, SZ_1G, 2);
	KUNIT_EXPECT_EQ(test, set_super(f, SZ_1G, SUPER_PADDR, SZ_1G, 1), 0);
	KUNIT_EXPECT_EQ(test, f->table_flushes, 2);
	KUNIT_EXPECT_EQ(test, count_tables(f), tables - 513);
	KUNIT_EXPECT_EQ(test, wrong_pages(f, SZ_1G, SUPER_PADDR, SZ_1G), 0);
	f->parked = NULL;

	/* One page goes, all others stay: two splits */
	KUNIT_EXPECT_EQ(test, remap(f, SZ_1G + SZ_2M, 0, 1, 0), 0);
	KUNIT_EXPECT_TRUE(test, gathered(f, SZ_1G, SZ_1G));
	KUNIT_EXPECT_EQ(test, wrong_pages(f, SZ_1G, SUPER_PADDR, SZ_1G), 1);
	KUNIT_EXPECT_EQ(test, entry(f, SZ_1G, 2)->val & 0x83, 0x83);

	/* Its first 2 MiB go, then all of it */
	KUNIT_ASSERT_EQ(test, set_super(f, SZ_1G, SUPER_PADDR, SZ_1G, 1), 0);
	KUNIT_EXPECT_EQ(test, remap(f, SZ_1G, 0, 512, 0), 0);
	KUNIT_EXPECT_EQ(test, wrong_pages(f, SZ_1G, SUPER_PADDR, SZ_1G), 512);
	KUNIT_ASSERT_EQ(test, set_super(f, SZ_1G, SUPER_PADDR, SZ_1G, 1), 0);
	KUNIT_EXPECT_EQ(test, remap(f, SZ_1G, 0, 512 * 512, 0), 0);
	KUNIT_EXPECT_EQ(test, count_tables(f), tables);
	KUNIT_EXPECT_EQ(test, wrong_pages(f, SZ_1G, 0, SZ_1G), 512 * 512);
	release(f, 0, 4UL * SZ_1G);
	KUNIT_EXPECT_EQ(test, count_tables(f), 2);
	KUNIT_EXPECT_TRUE(test, xa_empty(&f->domain->remap_tables));
}

/* Where a table has to be displaced that is not all of the range's own. */
static void test_super_refused(struct kunit *test)
{
	struct remap_fixture *f = test->priv;

	KUNIT_ASSERT_EQ(test, prepare(f, SZ_1M, SZ_2M), 0);
	KUNIT_EXPECT_EQ(test, set_super(f, 0, SUPER_PADDR, SZ_2M, 1), -EINVAL);
	KUNIT_EXPECT_EQ(test, set_super(f, SZ_1G, SUPER_PADDR, SZ_2M, 1),
			-EINVAL);
	KUNIT_ASSERT_EQ(test, prepare(f, SZ_4M, SZ_2M), 0);
	KUNIT_EXPECT_EQ(test, set_super(f, SZ_4M, SUPER_PADDR, SZ_2M, 2),
			-EINVAL);
	KUNIT_EXPECT_EQ(test, translate(f, SZ_4M), 0);
	KUNIT_EXPECT_EQ(test, set_super(f, 0, SUPER_PADDR, SZ_1G, 1), -EINVAL);
	KUNIT_EXPECT_EQ(test, f->table_flushes, 0);
	release(f, SZ_4M, SZ_2M);
	KUNIT_EXPECT_EQ(test, set_super(f, SZ_4M, SUPER_PADDR, SZ_2M, 1),
			-EINVAL);
}

/* What all units of the domain can do, not one of them. */
static void test_super_sizes(struct kunit *test)
{
	static const unsigned long sizes[] = {
		SZ_4K, SZ_4K | SZ_2M, SZ_4K | SZ_2M | SZ_1G,
	};
	struct remap_fixture *f = test->priv;
	int i;

	for (i = ARRAY_SIZE(sizes) - 1; i >= 0; i--) {
		f->domain->iommu_superpage = i;
		KUNIT_ASSERT_EQ(test, prepare(f, 0, SZ_1G), 0);
		KUNIT_EXPECT_EQ(test, f->domain->domain.pgsize_bitmap, sizes[i]);
		KUNIT_EXPECT_EQ(test, set_super(f, 0, SUPER_PADDR, SZ_1G, 1),
				i < 2 ? -EINVAL : 0);
		KUNIT_EXPECT_EQ(test, set_super(f, 0, SUPER_PADDR, SZ_2M, 1),
				i < 1 ? -EINVAL : 0);
		f->domain->iommu_superpage = 2;
		KUNIT_EXPECT_EQ(test, remap(f, 0, 0, 512 * 512, 0), 0);
		release(f, 0, SZ_1G);
	}
}

/* Translates like a unit does, at any moment. */
static int watch_translation(void *data)
{
	struct remap_thread *t = data;

	while (!kthread_should_stop()) {
		unsigned long iova = SZ_1M + (t->seen % 16) * SZ_4K;

		if (translate(t->f, iova) != ((SUPER_PADDR + iova) | 3))
			t->ret = -EIO;
		WRITE_ONCE(t->seen, t->seen + 1);
		cond_resched();
	}
	return 0;
}

/* A page never loses its translation while superpages come and are split. */
static void test_super_hitless(struct kunit *test)
{
	struct remap_fixture *f = test->priv;
	struct remap_thread t = { .f = f };
	unsigned int i;

	KUNIT_ASSERT_EQ(test, prepare(f, 0, SZ_1G), 0);
	KUNIT_ASSERT_EQ(test, set_super(f, 0, SUPER_PADDR, SZ_1G, 1), 0);
	t.task = kthread_run(watch_translation, &t, "remap_watch");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, t.task);
	f->walker = &t;
	for (i = 0; i < 200; i++) {
		KUNIT_EXPECT_EQ(test, remap(f, SZ_512K, 0, 1, 0), 0);
		KUNIT_EXPECT_EQ(test, set_super(f, 0, SUPER_PADDR, SZ_2M, 1), 0);
		if (i % 8)
			continue;
		KUNIT_EXPECT_EQ(test, set_super(f, 0, SUPER_PADDR, SZ_1G, 1), 0);
	}
	f->walker = NULL;
	kthread_stop(t.task);
	KUNIT_EXPECT_EQ(test, t.ret, 0);
	KUNIT_EXPECT_GT(test, t.seen, 200);
}

static struct kunit_case remap_super_cases[] = {
	KUNIT_CASE(test_super_over_small),
	KUNIT_CASE_PARAM(test_super_bits, remap_format_gen_params),
	KUNIT_CASE(test_super_split),
	KUNIT_CASE(test_super_dirty),
	KUNIT_CASE(test_super_1g),
	KUNIT_CASE(test_super_refused),
	KUNIT_CASE(test_super_sizes),
	KUNIT_CASE(test_super_hitless),
	{}
};

static struct kunit_suite remap_super_suite = {
	.name = "intel-iommu-remap-super",
	.init = remap_test_init,
	.exit = remap_test_exit,
	.test_cases = remap_super_cases,
};

kunit_test_suite(remap_super_suite);
