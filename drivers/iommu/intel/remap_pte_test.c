// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for remap_pte.c: leaves of 4 KiB, and the tables of a range
 */

#include "remap_pte_test.h"

#define NTHREADS	4
#define NREPLACE	20000

KUNIT_ARRAY_PARAM_DESC(remap_format, remap_formats, name);

static void test_entry_bits(struct kunit *test)
{
	const struct remap_format *format = use_format(test);
	struct remap_fixture *f = test->priv;
	int level;

	KUNIT_ASSERT_EQ(test, prepare(f, SZ_1M, SZ_4K), 0);
	for (level = 2; level <= 4; level++)
		KUNIT_EXPECT_EQ(test, BITS(entry(f, SZ_1M, level)->val),
				format->table);
	KUNIT_EXPECT_EQ(test, leaf(f, SZ_1M), 0);

	KUNIT_EXPECT_EQ(test, remap(f, SZ_1M, PADDR, 1, RW), 0);
	KUNIT_EXPECT_EQ(test, leaf(f, SZ_1M), PADDR | format->rw);
	KUNIT_EXPECT_EQ(test, remap(f, SZ_1M, PADDR, 1, IOMMU_READ), 0);
	KUNIT_EXPECT_EQ(test, leaf(f, SZ_1M), PADDR | format->ro);
	KUNIT_EXPECT_EQ(test, remap(f, SZ_1M, 0, 1, 0), 0);
	KUNIT_EXPECT_EQ(test, leaf(f, SZ_1M), 0);
}

/* A leaf doesn't show which path wrote it, nor does a table. */
static void test_same_as_map(struct kunit *test)
{
	static const int prots[] = { IOMMU_READ, RW, IOMMU_WRITE };
	struct remap_fixture *f = test->priv;
	unsigned long iova = SZ_1M;
	int i, level;

	use_format(test);
	KUNIT_ASSERT_EQ(test, prepare(f, SZ_1M, SZ_1M), 0);
	for (i = 0; i < ARRAY_SIZE(prots); i++, iova += SZ_4K) {
		KUNIT_EXPECT_EQ(test, remap(f, iova, PADDR, 1, prots[i]), 0);
		KUNIT_EXPECT_EQ(test, map(f, SZ_1G + iova, PADDR, SZ_4K,
					  prots[i]), 0);
		KUNIT_EXPECT_EQ(test, leaf(f, iova), leaf(f, SZ_1G + iova));
	}
	for (level = 2; level <= 3; level++)
		KUNIT_EXPECT_EQ(test, BITS(entry(f, SZ_1M, level)->val),
				BITS(entry(f, SZ_1G + SZ_1M, level)->val));
}

static void test_clflush_incoherent(struct kunit *test)
{
	struct remap_fixture *f = test->priv;

	f->domain->iommu_coherency = false;
	KUNIT_ASSERT_EQ(test, prepare(f, SZ_1M, SZ_1M), 0);
	KUNIT_EXPECT_EQ(test, f->table_clflushes, 3);
	KUNIT_EXPECT_EQ(test, f->entry_clflushes, 3);

	/* The tables are there, but who linked them may not have flushed yet */
	KUNIT_EXPECT_EQ(test, prepare(f, SZ_512K, SZ_4K), 0);
	KUNIT_EXPECT_EQ(test, f->table_clflushes, 3);
	KUNIT_EXPECT_EQ(test, f->entry_clflushes, 6);

	f->entry_clflushes = 0;
	f->entry_bytes = 0;
	KUNIT_EXPECT_EQ(test, remap(f, SZ_1M, PADDR, 8, RW), 0);
	KUNIT_EXPECT_EQ(test, f->entry_clflushes, 1);
	KUNIT_EXPECT_EQ(test, f->entry_bytes, 64);
	KUNIT_EXPECT_EQ(test, remap(f, SZ_1M, PADDR, 8, RW), 0);
	KUNIT_EXPECT_EQ(test, f->entry_clflushes, 1);
	KUNIT_EXPECT_EQ(test, remap(f, SZ_1M, 0, 8, 0), 0);
	KUNIT_EXPECT_EQ(test, f->entry_clflushes, 2);
	KUNIT_EXPECT_EQ(test, f->entry_bytes, 128);

	release(f, 0, SZ_2M);
	KUNIT_EXPECT_EQ(test, f->entry_clflushes, 3);
	KUNIT_EXPECT_EQ(test, f->table_clflushes, 3);
}

static void test_clflush_coherent(struct kunit *test)
{
	struct remap_fixture *f = test->priv;

	KUNIT_ASSERT_EQ(test, prepare(f, 0, SZ_2M), 0);
	KUNIT_EXPECT_EQ(test, remap(f, SZ_1M, PADDR, 8, RW), 0);
	KUNIT_EXPECT_EQ(test, remap(f, SZ_1M, 0, 8, 0), 0);
	release(f, 0, SZ_2M);
	KUNIT_EXPECT_EQ(test, f->table_clflushes, 0);
	KUNIT_EXPECT_EQ(test, f->entry_clflushes, 0);
	KUNIT_EXPECT_EQ(test, f->table_flushes, 1);
}

/* Gathered is what was present and changed, neither more nor less. */
static void test_gather(struct kunit *test)
{
	struct remap_fixture *f = test->priv;
	unsigned long iova = SZ_2M - 4 * SZ_4K;

	KUNIT_ASSERT_EQ(test, prepare(f, iova, 8 * SZ_4K), 0);
	KUNIT_EXPECT_EQ(test, remap(f, iova, PADDR, 8, RW), 0);
	KUNIT_EXPECT_TRUE(test, gathered_nothing(f));
	KUNIT_EXPECT_EQ(test, remap(f, iova, PADDR, 8, RW), 0);
	KUNIT_EXPECT_TRUE(test, gathered_nothing(f));

	KUNIT_EXPECT_EQ(test, remap(f, iova + 3 * SZ_4K, 0, 2, 0), 0);
	KUNIT_EXPECT_TRUE(test, gathered(f, iova + 3 * SZ_4K, 2 * SZ_4K));
	KUNIT_EXPECT_EQ(test, remap(f, iova + 3 * SZ_4K, 0, 2, 0), 0);
	KUNIT_EXPECT_TRUE(test, gathered_nothing(f));

	KUNIT_EXPECT_EQ(test, remap(f, iova + 2 * SZ_4K, PADDR, 3, RW), 0);
	KUNIT_EXPECT_TRUE(test, gathered(f, iova + 2 * SZ_4K, SZ_4K));
	KUNIT_EXPECT_EQ(test, remap(f, iova, PADDR, 1, IOMMU_READ), 0);
	KUNIT_EXPECT_TRUE(test, gathered(f, iova, SZ_4K));
	KUNIT_EXPECT_EQ(test, remap(f, iova, 0, 8, 0), 0);
	KUNIT_EXPECT_TRUE(test, gathered(f, iova, 8 * SZ_4K));
}

static void test_neighbours(struct kunit *test)
{
	struct remap_fixture *f = test->priv;
	unsigned long iova = SZ_2M - 2 * SZ_4K;
	int i;

	KUNIT_ASSERT_EQ(test, prepare(f, 0, 2 * SZ_2M), 0);
	KUNIT_ASSERT_EQ(test, remap(f, iova - SZ_4K, PADDR, 6, RW), 0);
	KUNIT_EXPECT_EQ(test, remap(f, iova, 2 * PADDR, 4, RW), 0);
	KUNIT_EXPECT_EQ(test, leaf(f, iova - SZ_4K), PADDR | 3);
	for (i = 0; i < 4; i++)
		KUNIT_EXPECT_EQ(test, leaf(f, iova + i * SZ_4K),
				(2 * PADDR + i * SZ_4K) | 3);
	KUNIT_EXPECT_EQ(test, leaf(f, iova + 4 * SZ_4K), (PADDR + 5 * SZ_4K) | 3);
	KUNIT_EXPECT_EQ(test, leaf(f, iova - 2 * SZ_4K), 0);
	KUNIT_EXPECT_EQ(test, leaf(f, iova + 5 * SZ_4K), 0);
}

/* What a unit with SSADE has set is no change, and stays with the leaf. */
static void test_accessed_and_dirty(struct kunit *test)
{
	struct remap_fixture *f = test->priv;
	u64 hw = BIT_ULL(8) | DMA_SL_PTE_DIRTY;

	KUNIT_ASSERT_EQ(test, prepare(f, 0, SZ_4K), 0);
	KUNIT_ASSERT_EQ(test, remap(f, 0, PADDR, 1, RW), 0);
	entry(f, 0, 1)->val |= hw;
	KUNIT_EXPECT_EQ(test, remap(f, 0, PADDR, 1, RW), 0);
	KUNIT_EXPECT_EQ(test, leaf(f, 0), PADDR | 3 | hw);
	KUNIT_EXPECT_TRUE(test, gathered_nothing(f));

	KUNIT_EXPECT_EQ(test, remap(f, 0, 2 * PADDR, 1, RW), 0);
	KUNIT_EXPECT_EQ(test, leaf(f, 0), 2 * PADDR | 3);
	KUNIT_EXPECT_TRUE(test, gathered(f, 0, SZ_4K));
}

static void test_holes(struct kunit *test)
{
	struct remap_fixture *f = test->priv;
	unsigned long iova = SZ_1G - 2 * SZ_4K;

	KUNIT_EXPECT_EQ(test, remap(f, iova, 0, 4, 0), 0);
	KUNIT_EXPECT_TRUE(test, gathered_nothing(f));
	KUNIT_EXPECT_EQ(test, remap(f, iova, PADDR, 4, RW), -ENOENT);
	KUNIT_EXPECT_EQ(test, count_tables(f), 1);

	KUNIT_ASSERT_EQ(test, prepare(f, iova, 2 * SZ_4K), 0);
	KUNIT_EXPECT_EQ(test, remap(f, iova, PADDR, 4, RW), -ENOENT);
	KUNIT_EXPECT_EQ(test, leaf(f, iova), 0);
	KUNIT_ASSERT_EQ(test, remap(f, iova, PADDR, 2, RW), 0);
	KUNIT_EXPECT_EQ(test, remap(f, iova, 0, 4, 0), 0);
	KUNIT_EXPECT_EQ(test, leaf(f, iova), 0);
	KUNIT_EXPECT_TRUE(test, gathered(f, iova, 2 * SZ_4K));
}

/* The data that a superpage maps is not taken for a table. */
static void test_superpage(struct kunit *test)
{
	struct remap_fixture *f = test->priv;
	struct page *page = alloc_pages(GFP_KERNEL, 9);
	u64 super;

	KUNIT_ASSERT_NOT_NULL(test, page);
	memset(page_address(page), 3, SZ_2M);
	KUNIT_ASSERT_EQ(test, map(f, SZ_4M, page_to_phys(page), SZ_2M, RW), 0);
	super = entry(f, SZ_4M, 2)->val;
	KUNIT_EXPECT_TRUE(test, super & DMA_PTE_LARGE_PAGE);

	KUNIT_EXPECT_EQ(test, prepare(f, 0, SZ_8M), -EINVAL);
	KUNIT_ASSERT_EQ(test, prepare(f, 0, SZ_4M), 0);
	KUNIT_ASSERT_EQ(test, remap(f, SZ_2M, PADDR, 512, RW), 0);
	KUNIT_EXPECT_EQ(test, remap(f, SZ_4M - SZ_4K, 2 * PADDR, 2, RW),
			-EINVAL);
	KUNIT_EXPECT_EQ(test, remap(f, SZ_4M - SZ_4K, 0, 2, 0), -EINVAL);
	KUNIT_EXPECT_TRUE(test, gathered_nothing(f));
	KUNIT_EXPECT_EQ(test, leaf(f, SZ_4M - SZ_4K),
			(PADDR + 511 * SZ_4K) | 3);

	KUNIT_EXPECT_EQ(test, remap(f, SZ_2M, 0, 512, 0), 0);
	release(f, 0, SZ_8M);
	KUNIT_EXPECT_EQ(test, count_tables(f), 3);
	KUNIT_EXPECT_EQ(test, entry(f, SZ_4M, 2)->val, super);
	KUNIT_EXPECT_NULL(test, memchr_inv(page_address(page), 3, SZ_2M));
	__free_pages(page, 9);
}

/* Who comes second uses the tables of the first, and frees his own. */
static void test_lost_race(struct kunit *test)
{
	struct remap_fixture *f = test->priv;

	f->domain->iommu_coherency = false;
	f->rival = SZ_1M;
	KUNIT_ASSERT_EQ(test, prepare(f, 0, SZ_4K), 0);
	KUNIT_ASSERT_NOT_NULL(test, f->watched);
	KUNIT_EXPECT_EQ(test, f->table_clflushes, 1 + 3);
	KUNIT_EXPECT_EQ(test, count_tables(f), 1 + 3);
	KUNIT_EXPECT_EQ(test, leaf(f, SZ_1M), PADDR | 3);
	KUNIT_EXPECT_EQ(test, page_count(f->watched), 1);
	put_page(f->watched);
}

static void test_release_partly_covered(struct kunit *test)
{
	struct remap_fixture *f = test->priv;

	/* Four level-1 tables, the outer two reach beyond the range */
	KUNIT_ASSERT_EQ(test, prepare(f, SZ_1M, SZ_4M + SZ_2M), 0);
	KUNIT_EXPECT_EQ(test, count_tables(f), 3 + 4);

	f->watched = virt_to_page(entry(f, SZ_2M, 1));
	get_page(f->watched);
	release(f, SZ_1M, SZ_4M + SZ_2M);
	KUNIT_EXPECT_EQ(test, count_tables(f), 3 + 2);
	KUNIT_EXPECT_EQ(test, f->table_flushes, 1);
	KUNIT_EXPECT_EQ(test, page_count(f->watched), 1);
	put_page(f->watched);
	f->watched = NULL;

	/* Nothing is lost, nothing is built twice */
	KUNIT_EXPECT_EQ(test, prepare(f, SZ_1M, SZ_4M + SZ_2M), 0);
	KUNIT_EXPECT_EQ(test, count_tables(f), 3 + 4);
	release(f, 0, SZ_8M);
	KUNIT_EXPECT_EQ(test, count_tables(f), 3);
	release(f, 0, SZ_8M);
	KUNIT_EXPECT_EQ(test, f->table_flushes, 2);
}

static void test_release_upper_levels(struct kunit *test)
{
	struct remap_fixture *f = test->priv;

	/* Over the border of two level-2 tables, the second one covered whole */
	KUNIT_ASSERT_EQ(test, prepare(f, SZ_1G - SZ_2M, SZ_1G + SZ_2M), 0);
	KUNIT_EXPECT_EQ(test, count_tables(f), 2 + 2 + 1 + 512);
	f->watched = virt_to_page(entry(f, SZ_1G, 2));
	get_page(f->watched);
	release(f, SZ_1G - SZ_2M, SZ_1G + SZ_2M);
	KUNIT_EXPECT_EQ(test, count_tables(f), 2 + 1);
	KUNIT_EXPECT_EQ(test, page_count(f->watched), 1);
	put_page(f->watched);
	f->watched = NULL;

	/* All that the domain can map: only the root stays */
	release(f, 0, BIT(48));
	KUNIT_EXPECT_EQ(test, count_tables(f), 1);
}

static void test_reach(struct kunit *test)
{
	struct remap_fixture *f = test->priv;

	f->domain->gaw = 39;
	KUNIT_EXPECT_EQ(test, prepare(f, BIT(39) - SZ_4K, SZ_8K), -EINVAL);
	KUNIT_EXPECT_EQ(test, prepare(f, BIT(39) - SZ_4K, SZ_4K), 0);
	KUNIT_EXPECT_EQ(test, remap(f, BIT(39) - SZ_4K, 0, 2, 0), -EINVAL);
	KUNIT_EXPECT_EQ(test, f->domain->max_addr, BIT_ULL(39));
	KUNIT_EXPECT_TRUE(test, f->domain->has_remap && f->domain->has_mappings);

	/* The width of the device is more than the tables have */
	f->domain->gaw = 57;
	KUNIT_EXPECT_EQ(test, prepare(f, BIT(48), SZ_4K), -EINVAL);
	KUNIT_EXPECT_EQ(test, remap(f, BIT(48), 0, 1, 0), -EINVAL);
}

static void test_bad_arguments(struct kunit *test)
{
	struct remap_fixture *f = test->priv;
	struct iommu_domain *domain = &f->domain->domain;

	KUNIT_ASSERT_EQ(test, prepare(f, 0, SZ_4M), 0);
	KUNIT_EXPECT_EQ(test, remap(f, 0, PADDR, 1, IOMMU_CACHE), -EINVAL);
	KUNIT_EXPECT_EQ(test, remap(f, 0, PADDR, 0, RW), -EINVAL);
	KUNIT_EXPECT_EQ(test, intel_iommu_remap_pte(domain, 0, 0, SZ_64K, 1, RW,
						    &f->gather), -EINVAL);
	KUNIT_EXPECT_EQ(test, remap_sized(f, 0, 0, SZ_2M, 1, 0), -EINVAL);
	KUNIT_EXPECT_EQ(test, leaf(f, 0), 0);
	KUNIT_EXPECT_TRUE(test, gathered_nothing(f));
}

static void test_supported(struct kunit *test)
{
	static const enum cache_tag_type refused[] = {
		CACHE_TAG_DEVTLB, CACHE_TAG_NESTING_DEVTLB,
		CACHE_TAG_NESTING_IOTLB,
	};
	struct remap_fixture *f = test->priv;
	struct iommu_domain *domain = &f->domain->domain;
	struct cache_tag iotlb = { .type = CACHE_TAG_IOTLB };
	struct cache_tag tag = {};
	int i;

	iotlb.iommu = new_unit(test, CAP_DRD | CAP_DWD);
	tag.iommu = iotlb.iommu;
	list_add(&iotlb.node, &f->domain->cache_tags);
	KUNIT_EXPECT_TRUE(test, intel_iommu_remap_supported(domain));
	for (i = 0; i < ARRAY_SIZE(refused); i++) {
		tag.type = refused[i];
		list_add(&tag.node, &f->domain->cache_tags);
		KUNIT_EXPECT_FALSE(test, intel_iommu_remap_supported(domain));
		list_del(&tag.node);
	}
	f->domain->nested_parent = true;
	KUNIT_EXPECT_FALSE(test, intel_iommu_remap_supported(domain));
	list_del(&iotlb.node);
}

/* A unit that can't drain reads or writes spoils it, also for others. */
static void test_draining(struct kunit *test)
{
	static const u64 refused[] = { 0, CAP_DRD, CAP_DWD };
	struct remap_fixture *f = test->priv;
	struct iommu_domain *domain = &f->domain->domain;
	struct cache_tag tags[2] = {};
	int i;

	for (i = 0; i < 2; i++) {
		tags[i].type = CACHE_TAG_IOTLB;
		tags[i].iommu = new_unit(test, CAP_DRD | CAP_DWD);
		list_add(&tags[i].node, &f->domain->cache_tags);
	}
	KUNIT_EXPECT_TRUE(test, intel_iommu_remap_supported(domain));
	for (i = 0; i < ARRAY_SIZE(refused); i++) {
		tags[i % 2].iommu->cap = refused[i];
		KUNIT_EXPECT_FALSE(test, intel_iommu_remap_supported(domain));
		tags[i % 2].iommu->cap = CAP_DRD | CAP_DWD;
	}
	KUNIT_EXPECT_TRUE(test, intel_iommu_remap_supported(domain));
	list_del(&tags[0].node);
	list_del(&tags[1].node);
}

/* A device that joins has to fit the tables as they are. */
static void test_attach(struct kunit *test)
{
	static const u64 needed[] = { CAP_DRD, CAP_DWD, CAP_1G };
	const u64 cap = CAP_DRD | CAP_DWD | CAP_2M | CAP_1G | CAP_MGAW_48;
	struct remap_fixture *f = test->priv;
	struct iommu_domain *domain = &f->domain->domain;
	struct device_domain_info *info;
	struct intel_iommu *iommu = new_unit(test, cap);
	struct device *dev;
	int i;

	info = kunit_kzalloc(test, sizeof(*info), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, info);
	dev = kunit_kzalloc(test, sizeof(*dev), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, dev);
	dev->iommu = kunit_kzalloc(test, sizeof(*dev->iommu), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, dev->iommu);
	dev->iommu->priv = info;
	info->iommu = iommu;
	iommu->agaw = f->domain->agaw;
	iommu->ecap = ECAP_COHERENT;

	info->ats_supported = true;
	KUNIT_EXPECT_EQ(test, prepare_domain_attach_device(domain, dev), 0);
	KUNIT_ASSERT_EQ(test, prepare(f, 0, SZ_2M), 0);
	KUNIT_EXPECT_EQ(test, prepare_domain_attach_device(domain, dev), -EINVAL);
	info->ats_supported = false;
	KUNIT_EXPECT_EQ(test, prepare_domain_attach_device(domain, dev), 0);
	for (i = 0; i < ARRAY_SIZE(needed); i++) {
		iommu->cap = cap & ~needed[i];
		KUNIT_EXPECT_EQ(test, prepare_domain_attach_device(domain, dev),
				-EINVAL);
	}
	iommu->cap = cap;
	iommu->agaw--;
	KUNIT_EXPECT_EQ(test, prepare_domain_attach_device(domain, dev), -EINVAL);
	iommu->agaw++;
	iommu->ecap = 0;
	KUNIT_EXPECT_EQ(test, prepare_domain_attach_device(domain, dev), -EINVAL);
	f->domain->iommu_coherency = false;
	KUNIT_EXPECT_EQ(test, prepare_domain_attach_device(domain, dev), 0);
}

/*
 * What a prepare has built goes when it fails, and what map_pages has built stays:
 * a table with a leaf, in the range whole, and those above.
 */
static void test_prepare_fails(struct kunit *test)
{
	struct remap_fixture *f = test->priv;
	unsigned long iova = SZ_1G + SZ_4M;
	unsigned int tables;

	KUNIT_ASSERT_EQ(test, map(f, iova, PADDR, SZ_4K, RW), 0);
	/* A superpage, where prepare gets to last */
	KUNIT_ASSERT_EQ(test, map(f, 2UL * SZ_1G, SZ_2M, SZ_2M, RW), 0);
	tables = count_tables(f);
	f->domain->iommu_coherency = false;
	KUNIT_EXPECT_EQ(test, prepare(f, SZ_1G, SZ_1G + SZ_2M), -EINVAL);
	KUNIT_EXPECT_EQ(test, f->table_clflushes, 511);
	KUNIT_EXPECT_EQ(test, leaf(f, iova), PADDR | 3);
	KUNIT_EXPECT_EQ(test, count_tables(f), tables);
	KUNIT_EXPECT_TRUE(test, xa_empty(&f->domain->remap_tables));
	KUNIT_EXPECT_EQ(test, f->table_flushes, 1);

	/* The same once more in the other order */
	KUNIT_ASSERT_EQ(test, map(f, iova + SZ_1G, PADDR, SZ_4K, RW), 0);
	tables = count_tables(f);
	KUNIT_EXPECT_EQ(test, prepare(f, 2UL * SZ_1G, SZ_1G), -EINVAL);
	KUNIT_EXPECT_EQ(test, leaf(f, iova + SZ_1G), PADDR | 3);
	KUNIT_EXPECT_EQ(test, count_tables(f), tables);
}

/* Reads the leaf like a unit does, at any moment. */
static int watch_leaf(void *data)
{
	struct remap_thread *t = data;

	while (!kthread_should_stop()) {
		struct dma_pte *pte = entry(t->f, SZ_1M, 1);
		unsigned int i;

		for (i = 0; i < 1000; i++) {
			u64 val = READ_ONCE(pte->val);

			if (val != (PADDR | 3) && val != (2 * PADDR | 3))
				t->ret = -EIO;
		}
		WRITE_ONCE(t->seen, t->seen + i);
		cond_resched();
	}
	return 0;
}

/* A leaf that is replaced is never seen absent or mixed. */
static void test_hitless(struct kunit *test)
{
	struct remap_fixture *f = test->priv;
	struct remap_thread t = { .f = f };
	unsigned int i;

	KUNIT_ASSERT_EQ(test, prepare(f, SZ_1M, SZ_4K), 0);
	KUNIT_ASSERT_EQ(test, remap(f, SZ_1M, PADDR, 1, RW), 0);
	t.task = kthread_run(watch_leaf, &t, "remap_watch");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, t.task);
	for (i = 1; i <= NREPLACE || READ_ONCE(t.seen) < NREPLACE; i++) {
		KUNIT_EXPECT_EQ(test, remap(f, SZ_1M, i & 1 ? 2 * PADDR : PADDR,
					    1, RW), 0);
		KUNIT_EXPECT_TRUE(test, gathered(f, SZ_1M, SZ_4K));
		cond_resched();
	}
	kthread_stop(t.task);
	KUNIT_EXPECT_EQ(test, t.ret, 0);
}

/* Every NTHREADSth page: all threads need all the tables. */
static int build_interleaved(void *data)
{
	struct remap_thread *t = data;
	struct iommu_domain *domain = &t->f->domain->domain;
	struct iommu_iotlb_gather gather;
	unsigned long iova;

	iommu_iotlb_gather_init(&gather);
	for (iova = t->nr * SZ_4K; iova < SZ_64M && !t->ret;
	     iova += NTHREADS * SZ_4K) {
		t->ret = intel_iommu_remap_prepare(domain, iova, SZ_4K,
						   GFP_KERNEL);
		if (!t->ret)
			t->ret = intel_iommu_remap_pte(domain, iova,
						       PADDR + iova, SZ_4K, 1,
						       RW, &gather);
	}
	complete(&t->done);
	while (!kthread_should_stop())
		schedule_timeout_uninterruptible(1);
	return 0;
}

static void test_concurrent_prepare(struct kunit *test)
{
	struct remap_fixture *f = test->priv;
	struct remap_thread t[NTHREADS];
	unsigned long iova, wrong = 0;
	unsigned int i;

	for (i = 0; i < NTHREADS; i++) {
		t[i] = (struct remap_thread) { .f = f, .nr = i };
		init_completion(&t[i].done);
		t[i].task = kthread_create(build_interleaved, &t[i],
					   "remap_build/%u", i);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, t[i].task);
	}
	for (i = 0; i < NTHREADS; i++)
		wake_up_process(t[i].task);
	for (i = 0; i < NTHREADS; i++) {
		wait_for_completion(&t[i].done);
		kthread_stop(t[i].task);
		KUNIT_EXPECT_EQ(test, t[i].ret, 0);
	}
	for (iova = 0; iova < SZ_64M; iova += SZ_4K)
		wrong += leaf(f, iova) != ((PADDR + iova) | 3);
	KUNIT_EXPECT_EQ(test, wrong, 0);
	KUNIT_EXPECT_EQ(test, count_tables(f), 3 + 32);
}

static struct kunit_case remap_test_cases[] = {
	KUNIT_CASE_PARAM(test_entry_bits, remap_format_gen_params),
	KUNIT_CASE_PARAM(test_same_as_map, remap_format_gen_params),
	KUNIT_CASE(test_clflush_incoherent),
	KUNIT_CASE(test_clflush_coherent),
	KUNIT_CASE(test_gather),
	KUNIT_CASE(test_neighbours),
	KUNIT_CASE(test_accessed_and_dirty),
	KUNIT_CASE(test_holes),
	KUNIT_CASE(test_superpage),
	KUNIT_CASE(test_lost_race),
	KUNIT_CASE(test_release_partly_covered),
	KUNIT_CASE(test_release_upper_levels),
	KUNIT_CASE(test_reach),
	KUNIT_CASE(test_bad_arguments),
	KUNIT_CASE(test_supported),
	KUNIT_CASE(test_draining),
	KUNIT_CASE(test_attach),
	KUNIT_CASE(test_prepare_fails),
	KUNIT_CASE(test_hitless),
	KUNIT_CASE(test_concurrent_prepare),
	{}
};

static struct kunit_suite remap_test_suite = {
	.name = "intel-iommu-remap",
	.init = remap_test_init,
	.exit = remap_test_exit,
	.test_cases = remap_test_cases,
};

kunit_test_suite(remap_test_suite);
