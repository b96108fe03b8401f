/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the KUnit tests for remap_pte.c share
 *
 * They run on a domain without any device: page tables in memory and nothing
 * that reads them. Redirected are the two places where the code reaches out to
 * hardware, clflush and the flush of the paging-structure caches. The tests
 * that write a table in another way do it through map_pages of the same
 * driver, so that both paths are compared.
 */

#ifndef REMAP_PTE_TEST_H
#define REMAP_PTE_TEST_H

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

/* What a unit says that drains reads and writes */
#define CAP_DRD		BIT_ULL(55)
#define CAP_DWD		BIT_ULL(54)
/* ... and one that has superpages, 48 bits of IOVA, and snoops tables */
#define CAP_1G		BIT_ULL(35)
#define CAP_2M		BIT_ULL(34)
#define CAP_MGAW_48	(47ULL << 16)
#define ECAP_COHERENT	BIT_ULL(0)

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
 * @parked: A table that is displaced, and must be full until the caches are
 *	flushed, or NULL
 * @walker: Somebody who must have walked anew before a flush is done, or NULL
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
	struct dma_pte *parked;
	struct remap_thread *walker;
};

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

static inline struct intel_iommu *new_unit(struct kunit *test, u64 cap)
{
	struct intel_iommu *iommu = kunit_kzalloc(test, sizeof(*iommu),
						  GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, iommu);
	iommu->cap = cap;
	return iommu;
}

static inline bool is_table(u64 val)
{
	return (val & 3) && !(val & DMA_PTE_LARGE_PAGE);
}

/* Counts the tables below @table, or frees them. */
static inline unsigned int walk_tables(struct dma_pte *table, int level, bool free)
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

static inline unsigned int count_tables(struct remap_fixture *f)
{
	return walk_tables(f->domain->pgd, agaw_to_level(f->domain->agaw),
			   false);
}

/* The entry of @iova at @level, found without the code under test */
static inline struct dma_pte *entry(struct remap_fixture *f, unsigned long iova,
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

static inline u64 leaf(struct remap_fixture *f, unsigned long iova)
{
	struct dma_pte *pte = entry(f, iova, 1);

	return pte ? READ_ONCE(pte->val) : 0;
}

static inline bool reachable(struct dma_pte *table, int level, void *wanted)
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

static inline bool in_tree(struct remap_fixture *f, void *table)
{
	return reachable(f->domain->pgd, agaw_to_level(f->domain->agaw), table);
}

static inline int prepare(struct remap_fixture *f, unsigned long iova, size_t size)
{
	return intel_iommu_remap_prepare(&f->domain->domain, iova, size,
					 GFP_KERNEL);
}

static inline void release(struct remap_fixture *f, unsigned long iova, size_t size)
{
	intel_iommu_remap_release(&f->domain->domain, iova, size);
}

/* Each call starts with an empty gather, as after iommu_iotlb_sync(). */
static inline int remap_sized(struct remap_fixture *f, unsigned long iova,
			      phys_addr_t paddr, size_t pgsize, size_t count,
			      int prot)
{
	iommu_iotlb_gather_init(&f->gather);
	return intel_iommu_remap_pte(&f->domain->domain, iova, paddr, pgsize,
				     count, prot, &f->gather);
}

static inline int remap(struct remap_fixture *f, unsigned long iova,
			phys_addr_t paddr, size_t count, int prot)
{
	return remap_sized(f, iova, paddr, SZ_4K, count, prot);
}

/* Set superpages that can be read and written. */
static inline int set_super(struct remap_fixture *f, unsigned long iova,
			    phys_addr_t paddr, size_t pgsize, size_t count)
{
	return remap_sized(f, iova, paddr, pgsize, count, RW);
}

/* The caller has a new table and is about to link it. */
static inline void be_faster(struct kunit *test, struct page *table)
{
	struct remap_fixture *f = test->priv;
	unsigned long iova = f->rival;

	f->rival = 0;
	f->watched = table;
	get_page(table);
	KUNIT_EXPECT_EQ(test, prepare(f, iova, SZ_4K), 0);
	KUNIT_EXPECT_EQ(test, remap(f, iova, PADDR, 1, RW), 0);
}

/* A table is written back before, an entry after it becomes reachable. */
static inline void count_clflush(void *addr, unsigned int size)
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
static inline void count_table_flush(struct dmar_domain *domain,
				     unsigned long start, unsigned long last)
{
	struct kunit *test = kunit_get_current_test();
	struct remap_fixture *f = test->priv;

	f->table_flushes++;
	if (f->parked) {
		KUNIT_EXPECT_FALSE(test, in_tree(f, f->parked));
		KUNIT_EXPECT_NE(test, f->parked[511].val, 0);
	}
	if (f->walker) {
		unsigned long seen = READ_ONCE(f->walker->seen);

		while (READ_ONCE(f->walker->seen) < seen + 2)
			cond_resched();
	}
	if (!f->watched)
		return;
	KUNIT_EXPECT_FALSE(test, in_tree(f, page_address(f->watched)));
	KUNIT_EXPECT_EQ(test, page_count(f->watched), 2);
}

static inline int remap_test_init(struct kunit *test)
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
	domain->iommu_superpage = 2;
	domain->domain.pgsize_bitmap = SZ_4K | SZ_2M | SZ_1G;
	domain->iommu_coherency = true;
	intel_remap_init_domain(domain);
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

static inline void remap_test_exit(struct kunit *test)
{
	struct remap_fixture *f = test->priv;
	unsigned long place;
	void *table;

	if (!f || !f->domain->pgd)
		return;
	xa_for_each(&f->domain->remap_tables, place, table) {
		if (!in_tree(f, table))
			iommu_free_page(table);
	}
	walk_tables(f->domain->pgd, agaw_to_level(f->domain->agaw), true);
	intel_remap_exit_domain(f->domain);
}

static inline int map(struct remap_fixture *f, unsigned long iova,
		      phys_addr_t paddr, size_t pgsize, int prot)
{
	return intel_iommu_ops.default_domain_ops->map_pages(&f->domain->domain,
			iova, paddr, pgsize, 1, prot, GFP_KERNEL, NULL);
}

static inline bool gathered(struct remap_fixture *f, unsigned long iova, size_t size)
{
	return f->gather.start == iova && f->gather.end == iova + size - 1;
}

static inline bool gathered_nothing(struct remap_fixture *f)
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

static const struct remap_format *use_format(struct kunit *test)
{
	const struct remap_format *format = test->param_value;
	struct remap_fixture *f = test->priv;

	f->domain->use_first_level = format->first_level;
	f->domain->set_pte_snp = format->snp;
	return format;
}

#endif /* REMAP_PTE_TEST_H */
