// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for remap_pte.c
 *
 * They run on a domain without any device: page tables in memory and nothing
 * that reads them. Redirected are the two places where the code reaches out to
 * hardware, clflush and the flush of the paging-structure caches. The tests
 * that write a table in another way do it through map_pages of the same
 * driver, so that both paths are compared.
 */

#include <kunit/static_stub.h>
#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/iommu.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/sizes.h>

#include "iommu.h"
#include "../iommu-pages.h"

#define RW		(IOMMU_READ | IOMMU_WRITE)
#define PADDR		0x123456000ULL
#define NTHREADS	4
#define NREPLACE	20000

/* What is not the address in an entry */
#define BITS(val)	((val) & ~VTD_PAGE_MASK)

/**
 * struct remap_fixture - A domain and what reached the hardware
 *
 * @domain: Three levels below its root (48 bits of IOVA)
 * @gather: As a caller of iommu_remap_pte() has it
 * @table_clflushes: Whole tables written back
 * @entry_clflushes: Calls that wrote back entries
 * @entry_bytes: Bytes that these wrote back
 * @table_flushes: Flushes of the paging-structure caches
 * @watched: Page of a table that a test expects to be freed, or NULL
 * @rival: Address that somebody else prepares and sets just before the next
 *	table is linked, or 0; the page of that table is @watched then
 */
struct remap_fixture {
	struct dmar_domain *domain;
	struct iommu_iotlb_gather gather;
	unsigned int table_clflushes;
	unsigned int entry_clflushes;
	unsigned int entry_bytes;
	unsigned int table_flushes;
	struct page *watched;
	unsigned long rival;
};

static bool is_table(u64 val)
{
	return (val & 3) && !(val & DMA_PTE_LARGE_PAGE);
}

/* Counts the tables below @table, or frees them. */
static unsigned int walk_tables(struct dma_pte *table, int level, bool free)
{
	unsigned int i, n = 1;

	for (i = 0; level > 1 && i < 512; i++) {
		if (is_table(table[i].val))
			n += walk_tables(phys_to_virt(dma_pte_addr(&table[i])),
					 level - 1, free);
	}
	if (free)
		iommu_free_page(table);
	return n;
}

static unsigned int count_tables(struct remap_fixture *f)
{
	return walk_tables(f->domain->pgd, agaw_to_level(f->domain->agaw),
			   false);
}

/* The entry of @iova at @level, found without the code under test */
static struct dma_pte *entry(struct remap_fixture *f, unsigned long iova,
			     int level)
{
	int at = agaw_to_level(f->domain->agaw);
	struct dma_pte *table = f->domain->pgd;

	for (; at > level; at--) {
		u64 val = table[pfn_level_offset(iova >> 12, at)].val;

		if (!is_table(val))
			return NULL;
		table = phys_to_virt(val & VTD_PAGE_MASK);
	}
	return &table[pfn_level_offset(iova >> 12, at)];
}

static u64 leaf(struct remap_fixture *f, unsigned long iova)
{
	struct dma_pte *pte = entry(f, iova, 1);

	return pte ? READ_ONCE(pte->val) : 0;
}

static bool reachable(struct dma_pte *table, int level, void *wanted)
{
	unsigned int i;

	if (table == wanted)
		return true;
	for (i = 0; level > 1 && i < 512; i++) {
		if (is_table(table[i].val) &&
		    reachable(phys_to_virt(dma_pte_addr(&table[i])), level - 1,
			      wanted))
			return true;
	}
	return false;
}

static bool in_tree(struct remap_fixture *f, void *table)
{
	return reachable(f->domain->pgd, agaw_to_level(f->domain->agaw), table);
}

static int prepare(struct remap_fixture *f, unsigned long iova, size_t size)
{
	return intel_iommu_remap_prepare(&f->domain->domain, iova, size,
					 GFP_KERNEL);
}

static void release(struct remap_fixture *f, unsigned long iova, size_t size)
{
	intel_iommu_remap_release(&f->domain->domain, iova, size);
}

/* Each call starts with an empty gather, as after iommu_iotlb_sync(). */
static int remap(struct remap_fixture *f, unsigned long iova, phys_addr_t paddr,
		 size_t count, int prot, struct iommu_remap_old *old)
{
	iommu_iotlb_gather_init(&f->gather);
	return intel_iommu_remap_pte(&f->domain->domain, iova, paddr, SZ_4K,
				     count, prot, &f->gather, old);
}

/* The caller has a new table and is about to link it. */
static void be_faster(struct kunit *test, struct page *table)
{
	struct remap_fixture *f = test->priv;
	unsigned long iova = f->rival;

	f->rival = 0;
	f->watched = table;
	get_page(table);
	KUNIT_EXPECT_EQ(test, prepare(f, iova, SZ_4K), 0);
	KUNIT_EXPECT_EQ(test, remap(f, iova, PADDR, 1, RW, NULL), 0);
}

/* A table is written back before, an entry after it becomes reachable. */
static void count_clflush(void *addr, unsigned int size)
{
	struct kunit *test = kunit_get_current_test();
	struct remap_fixture *f = test->priv;
	void *table = PTR_ALIGN_DOWN(addr, VTD_PAGE_SIZE);

	if (size == VTD_PAGE_SIZE && !in_tree(f, table)) {
		KUNIT_EXPECT_NULL(test, memchr_inv(addr, 0, size));
		f->table_clflushes++;
		if (f->rival)
			be_faster(test, virt_to_page(table));
		return;
	}
	KUNIT_EXPECT_TRUE(test, in_tree(f, table));
	f->entry_clflushes++;
	f->entry_bytes += size;
}

/* A table is out of reach, and not yet freed, when the caches are flushed. */
static void count_table_flush(struct dmar_domain *domain, unsigned long start,
			      unsigned long last)
{
	struct kunit *test = kunit_get_current_test();
	struct remap_fixture *f = test->priv;

	f->table_flushes++;
	if (!f->watched)
		return;
	KUNIT_EXPECT_FALSE(test, in_tree(f, page_address(f->watched)));
	KUNIT_EXPECT_EQ(test, page_count(f->watched), 2);
}

static int remap_test_init(struct kunit *test)
{
	struct remap_fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);
	struct dmar_domain *domain;

	KUNIT_ASSERT_NOT_NULL(test, f);
	domain = kunit_kzalloc(test, sizeof(*domain), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, domain);
	spin_lock_init(&domain->lock);
	spin_lock_init(&domain->cache_lock);
	INIT_LIST_HEAD(&domain->cache_tags);
	domain->nid = NUMA_NO_NODE;
	domain->agaw = 2;
	domain->gaw = 48;
	domain->iommu_superpage = 1;
	domain->iommu_coherency = true;
	domain->pgd = iommu_alloc_page(GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, domain->pgd);

	f->domain = domain;
	iommu_iotlb_gather_init(&f->gather);
	test->priv = f;
	kunit_activate_static_stub(test, intel_remap_clflush, count_clflush);
	kunit_activate_static_stub(test, intel_remap_flush_tables,
				   count_table_flush);
	return 0;
}

static void remap_test_exit(struct kunit *test)
{
	struct remap_fixture *f = test->priv;

	if (f && f->domain->pgd)
		walk_tables(f->domain->pgd, agaw_to_level(f->domain->agaw),
			    true);
}

static int map(struct remap_fixture *f, unsigned long iova, phys_addr_t paddr,
	       size_t pgsize, int prot)
{
	return intel_iommu_ops.default_domain_ops->map_pages(&f->domain->domain,
			iova, paddr, pgsize, 1, prot, GFP_KERNEL, NULL);
}

static bool gathered(struct remap_fixture *f, unsigned long iova, size_t size)
{
	return f->gather.start == iova && f->gather.end == iova + size - 1;
}

static bool gathered_nothing(struct remap_fixture *f)
{
	return !f->gather.end && list_empty(&f->gather.freelist);
}

/**
 * struct remap_format - Bits that a unit expects in the entries
 *
 * @name: For the report
 * @first_level: As in the domain
 * @snp: The domain has set_pte_snp
 * @table: Bits of an entry that points at a table
 * @rw: Bits of a leaf that can be written
 * @ro: Bits of a leaf that can't
 */
struct remap_format {
	const char *name;
	bool first_level;
	bool snp;
	u64 table;
	u64 rw;
	u64 ro;
};

static const struct remap_format remap_formats[] = {
	{ "second stage",	false, false,	0x003, 0x003, 0x001 },
	{ "second stage, SNP",	false, true,	0x003, 0x803, 0x801 },
	{ "first stage",	true, false,	0x027, 0x067, 0x025 },
};

KUNIT_ARRAY_PARAM_DESC(remap_format, remap_formats, name);

static const struct remap_format *use_format(struct kunit *test)
{
	const struct remap_format *format = test->param_value;
	struct remap_fixture *f = test->priv;

	f->domain->use_first_level = format->first_level;
	f->domain->set_pte_snp = format->snp;
	return format;
}

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

	KUNIT_EXPECT_EQ(test, remap(f, SZ_1M, PADDR, 1, RW, NULL), 0);
	KUNIT_EXPECT_EQ(test, leaf(f, SZ_1M), PADDR | format->rw);
	KUNIT_EXPECT_EQ(test, remap(f, SZ_1M, PADDR, 1, IOMMU_READ, NULL), 0);
	KUNIT_EXPECT_EQ(test, leaf(f, SZ_1M), PADDR | format->ro);
	KUNIT_EXPECT_EQ(test, remap(f, SZ_1M, 0, 1, 0, NULL), 0);
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
		KUNIT_EXPECT_EQ(test, remap(f, iova, PADDR, 1, prots[i], NULL), 0);
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
	KUNIT_EXPECT_EQ(test, remap(f, SZ_1M, PADDR, 8, RW, NULL), 0);
	KUNIT_EXPECT_EQ(test, f->entry_clflushes, 1);
	KUNIT_EXPECT_EQ(test, f->entry_bytes, 64);
	KUNIT_EXPECT_EQ(test, remap(f, SZ_1M, PADDR, 8, RW, NULL), 0);
	KUNIT_EXPECT_EQ(test, f->entry_clflushes, 1);
	KUNIT_EXPECT_EQ(test, remap(f, SZ_1M, 0, 8, 0, NULL), 0);
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
	KUNIT_EXPECT_EQ(test, remap(f, SZ_1M, PADDR, 8, RW, NULL), 0);
	KUNIT_EXPECT_EQ(test, remap(f, SZ_1M, 0, 8, 0, NULL), 0);
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
	KUNIT_EXPECT_EQ(test, remap(f, iova, PADDR, 8, RW, NULL), 0);
	KUNIT_EXPECT_TRUE(test, gathered_nothing(f));
	KUNIT_EXPECT_EQ(test, remap(f, iova, PADDR, 8, RW, NULL), 0);
	KUNIT_EXPECT_TRUE(test, gathered_nothing(f));

	KUNIT_EXPECT_EQ(test, remap(f, iova + 3 * SZ_4K, 0, 2, 0, NULL), 0);
	KUNIT_EXPECT_TRUE(test, gathered(f, iova + 3 * SZ_4K, 2 * SZ_4K));
	KUNIT_EXPECT_EQ(test, remap(f, iova + 3 * SZ_4K, 0, 2, 0, NULL), 0);
	KUNIT_EXPECT_TRUE(test, gathered_nothing(f));

	KUNIT_EXPECT_EQ(test, remap(f, iova + 2 * SZ_4K, PADDR, 3, RW, NULL), 0);
	KUNIT_EXPECT_TRUE(test, gathered(f, iova + 2 * SZ_4K, SZ_4K));
	KUNIT_EXPECT_EQ(test, remap(f, iova, PADDR, 1, IOMMU_READ, NULL), 0);
	KUNIT_EXPECT_TRUE(test, gathered(f, iova, SZ_4K));
	KUNIT_EXPECT_EQ(test, remap(f, iova, 0, 8, 0, NULL), 0);
	KUNIT_EXPECT_TRUE(test, gathered(f, iova, 8 * SZ_4K));
}

static void test_neighbours(struct kunit *test)
{
	struct remap_fixture *f = test->priv;
	unsigned long iova = SZ_2M - 2 * SZ_4K;
	int i;

	KUNIT_ASSERT_EQ(test, prepare(f, 0, 2 * SZ_2M), 0);
	KUNIT_ASSERT_EQ(test, remap(f, iova - SZ_4K, PADDR, 6, RW, NULL), 0);
	KUNIT_EXPECT_EQ(test, remap(f, iova, 2 * PADDR, 4, RW, NULL), 0);
	KUNIT_EXPECT_EQ(test, leaf(f, iova - SZ_4K), PADDR | 3);
	for (i = 0; i < 4; i++)
		KUNIT_EXPECT_EQ(test, leaf(f, iova + i * SZ_4K),
				(2 * PADDR + i * SZ_4K) | 3);
	KUNIT_EXPECT_EQ(test, leaf(f, iova + 4 * SZ_4K), (PADDR + 5 * SZ_4K) | 3);
	KUNIT_EXPECT_EQ(test, leaf(f, iova - 2 * SZ_4K), 0);
	KUNIT_EXPECT_EQ(test, leaf(f, iova + 5 * SZ_4K), 0);
}

static void test_old(struct kunit *test)
{
	struct remap_fixture *f = test->priv;
	struct iommu_remap_old old[3];

	KUNIT_ASSERT_EQ(test, prepare(f, 0, SZ_2M), 0);
	remap(f, 0, PADDR, 1, RW, NULL);
	remap(f, SZ_4K, PADDR, 1, IOMMU_READ, NULL);
	memset(old, 0xff, sizeof(old));
	KUNIT_EXPECT_EQ(test, remap(f, 0, 0, 3, 0, old), 0);
	KUNIT_EXPECT_TRUE(test, old[0].present && old[0].dirty);
	KUNIT_EXPECT_EQ(test, old[0].paddr, PADDR);
	KUNIT_EXPECT_TRUE(test, old[1].present && !old[1].dirty);
	KUNIT_EXPECT_EQ(test, old[1].paddr, PADDR);
	KUNIT_EXPECT_FALSE(test, old[2].present || old[2].dirty);
	KUNIT_EXPECT_EQ(test, old[2].paddr, 0);
}

/* What a unit with SSADE has set is no change, and stays with the leaf. */
static void test_accessed_and_dirty(struct kunit *test)
{
	struct remap_fixture *f = test->priv;
	u64 hw = BIT_ULL(8) | DMA_SL_PTE_DIRTY;
	struct iommu_remap_old old;

	KUNIT_ASSERT_EQ(test, prepare(f, 0, SZ_4K), 0);
	KUNIT_ASSERT_EQ(test, remap(f, 0, PADDR, 1, RW, NULL), 0);
	entry(f, 0, 1)->val |= hw;
	KUNIT_EXPECT_EQ(test, remap(f, 0, PADDR, 1, RW, &old), 0);
	KUNIT_EXPECT_EQ(test, leaf(f, 0), PADDR | 3 | hw);
	KUNIT_EXPECT_TRUE(test, gathered_nothing(f));

	KUNIT_EXPECT_EQ(test, remap(f, 0, 2 * PADDR, 1, RW, &old), 0);
	KUNIT_EXPECT_EQ(test, leaf(f, 0), 2 * PADDR | 3);
	KUNIT_EXPECT_EQ(test, old.paddr, PADDR);
	KUNIT_EXPECT_TRUE(test, old.dirty);
	KUNIT_EXPECT_TRUE(test, gathered(f, 0, SZ_4K));
}

static void test_holes(struct kunit *test)
{
	struct remap_fixture *f = test->priv;
	struct iommu_remap_old old[4];
	unsigned long iova = SZ_1G - 2 * SZ_4K;

	memset(old, 0xff, sizeof(old));
	KUNIT_EXPECT_EQ(test, remap(f, iova, 0, 4, 0, old), 0);
	KUNIT_EXPECT_NULL(test, memchr_inv(old, 0, sizeof(old)));
	KUNIT_EXPECT_TRUE(test, gathered_nothing(f));
	KUNIT_EXPECT_EQ(test, remap(f, iova, PADDR, 4, RW, NULL), -ENOENT);
	KUNIT_EXPECT_EQ(test, count_tables(f), 1);

	KUNIT_ASSERT_EQ(test, prepare(f, iova, 2 * SZ_4K), 0);
	KUNIT_EXPECT_EQ(test, remap(f, iova, PADDR, 4, RW, NULL), -ENOENT);
	KUNIT_EXPECT_EQ(test, leaf(f, iova), 0);
	KUNIT_ASSERT_EQ(test, remap(f, iova, PADDR, 2, RW, NULL), 0);
	KUNIT_EXPECT_EQ(test, remap(f, iova, 0, 4, 0, old), 0);
	KUNIT_EXPECT_EQ(test, old[1].paddr, PADDR + SZ_4K);
	KUNIT_EXPECT_FALSE(test, old[2].present || old[3].present);
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
	KUNIT_ASSERT_EQ(test, remap(f, SZ_2M, PADDR, 512, RW, NULL), 0);
	KUNIT_EXPECT_EQ(test, remap(f, SZ_4M - SZ_4K, 2 * PADDR, 2, RW, NULL),
			-EINVAL);
	KUNIT_EXPECT_EQ(test, remap(f, SZ_4M - SZ_4K, 0, 2, 0, NULL), -EINVAL);
	KUNIT_EXPECT_TRUE(test, gathered_nothing(f));
	KUNIT_EXPECT_EQ(test, leaf(f, SZ_4M - SZ_4K),
			(PADDR + 511 * SZ_4K) | 3);

	KUNIT_EXPECT_EQ(test, remap(f, SZ_2M, 0, 512, 0, NULL), 0);
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
	KUNIT_EXPECT_EQ(test, remap(f, BIT(39) - SZ_4K, 0, 2, 0, NULL), -EINVAL);
	KUNIT_EXPECT_EQ(test, f->domain->max_addr, BIT_ULL(39));
	KUNIT_EXPECT_TRUE(test, f->domain->has_remap && f->domain->has_mappings);

	/* The width of the device is more than the tables have */
	f->domain->gaw = 57;
	KUNIT_EXPECT_EQ(test, prepare(f, BIT(48), SZ_4K), -EINVAL);
	KUNIT_EXPECT_EQ(test, remap(f, BIT(48), 0, 1, 0, NULL), -EINVAL);
}

static void test_bad_arguments(struct kunit *test)
{
	struct remap_fixture *f = test->priv;
	struct iommu_domain *domain = &f->domain->domain;

	KUNIT_ASSERT_EQ(test, prepare(f, 0, SZ_4M), 0);
	KUNIT_EXPECT_EQ(test, remap(f, 0, PADDR, 1, IOMMU_CACHE, NULL), -EINVAL);
	KUNIT_EXPECT_EQ(test, remap(f, 0, PADDR, 0, RW, NULL), -EINVAL);
	KUNIT_EXPECT_EQ(test, intel_iommu_remap_pte(domain, 0, 0, SZ_2M, 1, RW,
						    &f->gather, NULL), -EINVAL);
	KUNIT_EXPECT_EQ(test, leaf(f, 0), 0);
	KUNIT_EXPECT_TRUE(test, gathered_nothing(f));
}

static void test_supported(struct kunit *test)
{
	static const enum cache_tag_type refused[] = {
		CACHE_TAG_DEVTLB, CACHE_TAG_NESTING_DEVTLB,
		CACHE_TAG_NESTING_IOTLB,
	};
	struct cache_tag iotlb = { .type = CACHE_TAG_IOTLB };
	struct remap_fixture *f = test->priv;
	struct iommu_domain *domain = &f->domain->domain;
	struct cache_tag tag = {};
	int i;

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

/**
 * struct remap_thread - One of the tests' threads
 *
 * @f: The fixture
 * @nr: Which of the threads it is
 * @ret: What it found; 0 is good
 * @seen: How often it looked
 * @done: Nothing more to come
 * @task: The thread
 */
struct remap_thread {
	struct remap_fixture *f;
	unsigned int nr;
	int ret;
	unsigned long seen;
	struct completion done;
	struct task_struct *task;
};

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
	KUNIT_ASSERT_EQ(test, remap(f, SZ_1M, PADDR, 1, RW, NULL), 0);
	t.task = kthread_run(watch_leaf, &t, "remap_watch");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, t.task);
	for (i = 1; i <= NREPLACE || READ_ONCE(t.seen) < NREPLACE; i++) {
		KUNIT_EXPECT_EQ(test, remap(f, SZ_1M, i & 1 ? 2 * PADDR : PADDR,
					    1, RW, NULL), 0);
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
						       RW, &gather, NULL);
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
	KUNIT_CASE(test_old),
	KUNIT_CASE(test_accessed_and_dirty),
	KUNIT_CASE(test_holes),
	KUNIT_CASE(test_superpage),
	KUNIT_CASE(test_lost_race),
	KUNIT_CASE(test_release_partly_covered),
	KUNIT_CASE(test_release_upper_levels),
	KUNIT_CASE(test_reach),
	KUNIT_CASE(test_bad_arguments),
	KUNIT_CASE(test_supported),
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
