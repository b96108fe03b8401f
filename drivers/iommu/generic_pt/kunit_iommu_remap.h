/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * KUnit tests for iommu_remap.h: leaves of the smallest size, and tables
 *
 * They run on a page table in memory, without hardware that reads it. What should
 * reach the hardware is counted: cache flushes and IOTLB flushes. Where a table is
 * written in another way, that is done by iommu_map(), so that both are compared.
 */
#include <kunit/static_stub.h>
#include <linux/completion.h>
#include <linux/kthread.h>
#include <linux/sched.h>

#include "kunit_iommu.h"
#include "pt_iter.h"

#define REMAP_RW	(IOMMU_READ | IOMMU_WRITE)

/* Physical addresses that leaves point at, aligned for all sizes */
#define REMAP_PA	(4ULL * SZ_1G)
#define REMAP_PA2	(8ULL * SZ_1G)

#define REMAP_THREADS	4
#define REMAP_REPLACES	20000

#define pt_iommu_remap_flush \
	CONCATENATE(CONCATENATE(pt_iommu_, PTPFX), remap_flush)
#define pt_iommu_remap_new_table \
	CONCATENATE(CONCATENATE(pt_iommu_, PTPFX), remap_new_table)
void pt_iommu_remap_flush(struct pt_iommu *iommu_table, void *table,
			  size_t offset, size_t len);
int pt_iommu_remap_new_table(struct pt_state *pts,
			     struct pt_write_attrs *attrs);

/**
 * struct kunit_remap_priv - A page table and what reached the hardware
 *
 * @priv: What the other tests have, too
 * @gather: As a caller of iommu_remap_pte() has it
 * @size: What an item of the levels 0 to PT_IOMMU_REMAP_LEVELS maps
 * @flushes: Calls that wrote back a part of a table, by the code under test
 * @flushed: Bytes that these wrote back
 * @syncs: Calls of iotlb_sync
 * @freed: Tables that came with them
 * @rival: Address that somebody else prepares and sets just before the next table
 *	is linked, or 0
 */
struct kunit_remap_priv {
	struct kunit_iommu_priv priv;
	struct iommu_iotlb_gather gather;
	pt_vaddr_t size[PT_IOMMU_REMAP_LEVELS + 1];
	unsigned int flushes;
	size_t flushed;
	unsigned int syncs;
	unsigned int freed;
	pt_vaddr_t rival;
};

/**
 * struct kunit_remap_thread - One of the threads of a test
 *
 * @r: The page table
 * @nr: Which of the threads it is
 * @ret: What it found; 0 is good
 * @seen: How often it looked
 * @done: Nothing more to come
 * @task: The thread
 */
struct kunit_remap_thread {
	struct kunit_remap_priv *r;
	unsigned int nr;
	int ret;
	unsigned long seen;
	struct completion done;
	struct task_struct *task;
};

/**
 * struct kunit_remap_entry - The entry that a walk has come to
 *
 * @wanted: The level where the walk ends
 * @level: The level where it did end, above @wanted at a hole or large leaf
 * @type: What is there
 * @entry: Its value
 * @entryp: Its place
 */
struct kunit_remap_entry {
	unsigned int wanted;
	unsigned int level;
	enum pt_entry_type type;
	u64 entry;
	u64 *entryp;
};

static void count_flush(struct pt_iommu *iommu_table, void *table,
			size_t offset, size_t len)
{
	struct kunit_remap_priv *r = kunit_get_current_test()->priv;

	r->flushes++;
	r->flushed += len;
}

/* Tables that come with a gather are out of reach, and not yet freed. */
static void count_sync(struct iommu_domain *domain,
		       struct iommu_iotlb_gather *gather)
{
	struct kunit_remap_priv *r = container_of(domain, struct kunit_remap_priv,
						  priv.domain);
	struct ioptdesc *iopt;

	r->syncs++;
	list_for_each_entry(iopt, &gather->freelist.pages, iopt_freelist_elm)
		r->freed++;
	iommu_put_pages_list(&gather->freelist);
}

static bool always_supported(struct iommu_domain *domain)
{
	return true;
}

static const struct iommu_domain_ops kunit_remap_ops = {
	IOMMU_PT_DOMAIN_OPS1(PTPFX_RAW),
	.iotlb_sync = &count_sync,
	.remap_supported = &always_supported,
};

static int __remap_find(struct pt_range *range, void *arg, unsigned int level,
			struct pt_table_p *table)
{
	struct pt_state pts = pt_init(range, level, table);
	struct kunit_remap_entry *found = arg;

	found->type = pt_load_single_entry(&pts);
	found->level = level;
	found->entry = pts.entry;
	found->entryp = pt_cur_table(&pts, u64) + pts.index;
	if (level == found->wanted || found->type != PT_ENTRY_TABLE)
		return 0;
	return pt_descend(&pts, arg, __remap_find);
}

static struct kunit_remap_entry remap_find(struct kunit_remap_priv *r,
					   pt_vaddr_t va, unsigned int level)
{
	struct kunit_remap_entry found = { .wanted = level };
	struct pt_range range = pt_make_range(r->priv.common, va, va);

	pt_walk_range(&range, __remap_find, &found);
	return found;
}

static int __remap_count(struct pt_range *range, void *arg, unsigned int level,
			 struct pt_table_p *table)
{
	struct pt_state pts = pt_init(range, level, table);
	unsigned int *count = arg;

	for_each_pt_level_entry(&pts) {
		if (pts.type != PT_ENTRY_TABLE)
			continue;
		(*count)++;
		if (level > 1)
			pt_descend(&pts, arg, __remap_count);
	}
	return 0;
}

/* Tables that are linked, without the top */
static unsigned int count_tables(struct kunit_remap_priv *r)
{
	struct pt_range range = pt_all_range(r->priv.common);
	unsigned int count = 0;

	pt_walk_range(&range, __remap_count, &count);
	return count;
}

static int prepare(struct kunit_remap_priv *r, pt_vaddr_t va, pt_vaddr_t len)
{
	return iommu_remap_prepare(&r->priv.domain, va, len, GFP_KERNEL);
}

static void release(struct kunit_remap_priv *r, pt_vaddr_t va, pt_vaddr_t len)
{
	iommu_remap_release(&r->priv.domain, va, len);
}

/* Each call starts with an empty gather, as after iommu_iotlb_sync(). */
static int remap(struct kunit_remap_priv *r, pt_vaddr_t va, phys_addr_t pa,
		 unsigned int level, size_t count, int prot)
{
	iommu_iotlb_gather_init(&r->gather);
	return iommu_remap_pte(&r->priv.domain, va, pa, r->size[level], count,
			       prot, &r->gather);
}

static int set(struct kunit_remap_priv *r, pt_vaddr_t va, phys_addr_t pa,
	       unsigned int level, size_t count)
{
	return remap(r, va, pa, level, count, REMAP_RW);
}

/* Clear what a number of items of @level map. */
static int clear(struct kunit_remap_priv *r, pt_vaddr_t va, unsigned int level,
		 size_t count)
{
	return remap(r, va, 0, level, count, 0);
}

static int map_one(struct kunit_remap_priv *r, pt_vaddr_t va, phys_addr_t pa,
		   unsigned int level, int prot)
{
	return iommu_map(&r->priv.domain, va, pa, r->size[level], prot,
			 GFP_KERNEL);
}

static phys_addr_t translate(struct kunit_remap_priv *r, pt_vaddr_t va)
{
	return iommu_iova_to_phys(&r->priv.domain, va);
}

/* How many pages of a range don't have their part of what is at @pa (0: nothing)? */
static unsigned int wrong_pages(struct kunit_remap_priv *r, pt_vaddr_t va,
				phys_addr_t pa, pt_vaddr_t len)
{
	unsigned int wrong = 0;
	pt_vaddr_t off;

	for (off = 0; off < len; off += r->size[0])
		wrong += translate(r, va + off) != (pa ? pa + off : 0);
	return wrong;
}

static bool gathered(struct kunit_remap_priv *r, pt_vaddr_t va, pt_vaddr_t len)
{
	return r->gather.start == va && r->gather.end == va + len - 1;
}

static bool gathered_nothing(struct kunit_remap_priv *r)
{
	return !r->gather.end && iommu_pages_list_empty(&r->gather.freelist);
}

/* A leaf, a table and one above have the bits that iommu_map() gives them. */
static void test_remap_same_as_map(struct kunit *test)
{
	static const int prots[] = { IOMMU_READ, REMAP_RW, IOMMU_WRITE };
	struct kunit_remap_priv *r = test->priv;
	unsigned int level, i;

	for (level = 0; level <= PT_IOMMU_REMAP_LEVELS; level++) {
		pt_vaddr_t size = r->size[level], va = size, other = 2 * size;

		KUNIT_ASSERT_EQ(test, prepare(r, va, size), 0);
		for (i = 0; i < ARRAY_SIZE(prots); i++) {
			KUNIT_EXPECT_EQ(test, remap(r, va, REMAP_PA, level, 1,
						    prots[i]), 0);
			KUNIT_EXPECT_EQ(test, map_one(r, other, REMAP_PA, level,
						      prots[i]), 0);
			KUNIT_EXPECT_EQ(test, remap_find(r, va, level).entry,
					remap_find(r, other, level).entry);
			do_unmap(test, other, size);
		}
		KUNIT_EXPECT_EQ(test, clear(r, va, level, 1), 0);
		release(r, va, size);
	}
}

/* Gathered is what was present and changed, neither more nor less. */
static void test_remap_gather(struct kunit *test)
{
	struct kunit_remap_priv *r = test->priv;
	pt_vaddr_t page = r->size[0], va = r->size[1] - 4 * page;

	KUNIT_ASSERT_EQ(test, prepare(r, va, 8 * page), 0);
	KUNIT_EXPECT_EQ(test, set(r, va, REMAP_PA, 0, 8), 0);
	KUNIT_EXPECT_TRUE(test, gathered_nothing(r));
	KUNIT_EXPECT_EQ(test, set(r, va, REMAP_PA, 0, 8), 0);
	KUNIT_EXPECT_TRUE(test, gathered_nothing(r));

	KUNIT_EXPECT_EQ(test, clear(r, va + 3 * page, 0, 2), 0);
	KUNIT_EXPECT_TRUE(test, gathered(r, va + 3 * page, 2 * page));
	if (PT_SUPPORTED_FEATURE(PT_FEAT_DETAILED_GATHER))
		KUNIT_EXPECT_EQ(test, r->gather.pt.leaf_levels_bitmap, BIT(0));
	KUNIT_EXPECT_EQ(test, clear(r, va + 3 * page, 0, 2), 0);
	KUNIT_EXPECT_TRUE(test, gathered_nothing(r));

	KUNIT_EXPECT_EQ(test, set(r, va + 2 * page, REMAP_PA2, 0, 3), 0);
	KUNIT_EXPECT_TRUE(test, gathered(r, va + 2 * page, page));
	KUNIT_EXPECT_EQ(test, remap(r, va, REMAP_PA, 0, 1, IOMMU_READ), 0);
	KUNIT_EXPECT_TRUE(test, gathered(r, va, page));
	KUNIT_EXPECT_EQ(test, clear(r, va, 0, 8), 0);
	KUNIT_EXPECT_TRUE(test, gathered(r, va, 8 * page));
	KUNIT_EXPECT_EQ(test, r->syncs, 0);
}

/* Neighbours in the same table stay, whoever has set them. */
static void test_remap_neighbours(struct kunit *test)
{
	struct kunit_remap_priv *r = test->priv;
	pt_vaddr_t page = r->size[0], va = r->size[1] - 2 * page;

	KUNIT_ASSERT_EQ(test, map_one(r, va - page, REMAP_PA, 0, REMAP_RW), 0);
	KUNIT_ASSERT_EQ(test, prepare(r, va, 4 * page), 0);
	KUNIT_ASSERT_EQ(test, map_one(r, va + 4 * page, REMAP_PA, 0, REMAP_RW), 0);
	KUNIT_EXPECT_EQ(test, set(r, va, REMAP_PA2, 0, 4), 0);
	KUNIT_EXPECT_EQ(test, wrong_pages(r, va, REMAP_PA2, 4 * page), 0);
	KUNIT_EXPECT_EQ(test, translate(r, va - page), REMAP_PA);
	KUNIT_EXPECT_EQ(test, translate(r, va + 4 * page), REMAP_PA);
	KUNIT_EXPECT_EQ(test, translate(r, va - 2 * page), 0);

	do_unmap(test, va - page, page);
	do_unmap(test, va + 4 * page, page);
	KUNIT_EXPECT_EQ(test, wrong_pages(r, va, REMAP_PA2, 4 * page), 0);
	KUNIT_ASSERT_EQ(test, map_one(r, va - page, REMAP_PA, 0, REMAP_RW), 0);
	KUNIT_EXPECT_EQ(test, clear(r, va, 0, 4), 0);
	release(r, va, 4 * page);
	KUNIT_EXPECT_EQ(test, translate(r, va - page), REMAP_PA);
	do_unmap(test, va - page, page);
}

/* Cleared is through holes, set is only where tables are. */
static void test_remap_holes(struct kunit *test)
{
	struct kunit_remap_priv *r = test->priv;
	pt_vaddr_t page = r->size[0], va = r->size[2] - 2 * page;

	KUNIT_EXPECT_EQ(test, clear(r, va, 0, 4), 0);
	KUNIT_EXPECT_TRUE(test, gathered_nothing(r));
	KUNIT_EXPECT_EQ(test, set(r, va, REMAP_PA, 0, 4), -ENOENT);
	KUNIT_EXPECT_EQ(test, count_tables(r), 0);

	KUNIT_ASSERT_EQ(test, prepare(r, va, 2 * page), 0);
	KUNIT_EXPECT_EQ(test, set(r, va, REMAP_PA, 0, 4), -ENOENT);
	KUNIT_EXPECT_EQ(test, translate(r, va), 0);
	KUNIT_ASSERT_EQ(test, set(r, va, REMAP_PA, 0, 2), 0);
	KUNIT_EXPECT_EQ(test, clear(r, va, 0, 4), 0);
	KUNIT_EXPECT_TRUE(test, gathered(r, va, 2 * page));
	KUNIT_EXPECT_EQ(test, wrong_pages(r, va, 0, 4 * page), 0);
}

static void test_remap_bad_arguments(struct kunit *test)
{
	struct kunit_remap_priv *r = test->priv;
	struct iommu_domain *domain = &r->priv.domain;
	unsigned long last = domain->geometry.aperture_end;
	pt_vaddr_t page = r->size[0];

	KUNIT_ASSERT_EQ(test, prepare(r, 0, r->size[1]), 0);
	KUNIT_EXPECT_EQ(test, remap(r, 0, REMAP_PA, 0, 1, IOMMU_CACHE), -EINVAL);
	KUNIT_EXPECT_EQ(test, set(r, 0, REMAP_PA, 0, 0), -EINVAL);
	KUNIT_EXPECT_EQ(test, set(r, 1, REMAP_PA, 0, 1), -EINVAL);
	KUNIT_EXPECT_EQ(test, set(r, 0, REMAP_PA + 1, 0, 1), -EINVAL);
	KUNIT_EXPECT_EQ(test, set(r, 0, REMAP_PA, 1, SIZE_MAX / page), -EINVAL);
	/* AMDv1 and RISC-V map it, by a contiguous entry */
	KUNIT_EXPECT_EQ(test, iommu_remap_pte(domain, 0, REMAP_PA, 16 * page, 1,
					      REMAP_RW, &r->gather), -EINVAL);
	KUNIT_EXPECT_EQ(test, iommu_remap_pte(domain, 0, REMAP_PA, 3 * page, 1,
					      REMAP_RW, &r->gather), -EINVAL);
	KUNIT_EXPECT_EQ(test, prepare(r, 1, page), -EINVAL);
	KUNIT_EXPECT_EQ(test, prepare(r, 0, 0), -EINVAL);
	if (last != ULONG_MAX) {
		KUNIT_EXPECT_EQ(test, prepare(r, last + 1, page), -EINVAL);
		KUNIT_EXPECT_EQ(test, clear(r, last + 1, 0, 1), -EINVAL);
		KUNIT_EXPECT_EQ(test, prepare(r, last + 1 - page, page), 0);
		KUNIT_EXPECT_EQ(test, clear(r, last + 1 - page, 0, 1), 0);
		KUNIT_EXPECT_EQ(test, clear(r, last + 1 - page, 0, 2), -EINVAL);
	}
	if (r->priv.common->max_oasz_lg2 < 64)
		KUNIT_EXPECT_EQ(test, set(r, 0,
					  1ULL << r->priv.common->max_oasz_lg2, 0,
					  1), -ERANGE);
	KUNIT_EXPECT_TRUE(test, gathered_nothing(r));
	KUNIT_EXPECT_EQ(test, wrong_pages(r, 0, 0, r->size[1]), 0);
}

/* Not with dirty tracking, and not where the driver says no */
static void test_remap_supported(struct kunit *test)
{
	static const struct iommu_dirty_ops dirty_ops;
	struct kunit_remap_priv *r = test->priv;
	struct iommu_domain *domain = &r->priv.domain;

	KUNIT_EXPECT_FALSE(test, pt_iommu_has_remap(r->priv.iommu));
	domain->dirty_ops = &dirty_ops;
	KUNIT_EXPECT_FALSE(test, iommu_remap_supported(domain));
	KUNIT_EXPECT_EQ(test, prepare(r, 0, r->size[0]), -EOPNOTSUPP);
	domain->dirty_ops = NULL;
	domain->ops = &kunit_pt_ops;
	KUNIT_EXPECT_FALSE(test, iommu_remap_supported(domain));
	KUNIT_EXPECT_FALSE(test, pt_iommu_has_remap(r->priv.iommu));
	domain->ops = &kunit_remap_ops;
	KUNIT_EXPECT_EQ(test, prepare(r, 0, r->size[0]), 0);
	KUNIT_EXPECT_TRUE(test, pt_iommu_has_remap(r->priv.iommu));
}

/* Leaves of iommu_map() are in the way, and stay as they are. */
static void test_remap_mapped(struct kunit *test)
{
	struct kunit_remap_priv *r = test->priv;
	pt_vaddr_t size = r->size[1], va = 2 * size;
	unsigned int tables;

	KUNIT_ASSERT_EQ(test, map_one(r, va, REMAP_PA, 1, REMAP_RW), 0);
	tables = count_tables(r);
	KUNIT_EXPECT_EQ(test, prepare(r, 0, 4 * size), -EADDRINUSE);
	KUNIT_EXPECT_EQ(test, count_tables(r), tables);
	KUNIT_ASSERT_EQ(test, prepare(r, 0, va), 0);
	KUNIT_ASSERT_EQ(test, set(r, size, REMAP_PA2, 0, 512), 0);
	KUNIT_EXPECT_EQ(test, set(r, va - r->size[0], REMAP_PA, 0, 2), -EINVAL);
	KUNIT_EXPECT_EQ(test, clear(r, va - r->size[0], 0, 2), -EINVAL);
	KUNIT_EXPECT_TRUE(test, gathered_nothing(r));
	KUNIT_EXPECT_EQ(test, wrong_pages(r, size, REMAP_PA2, size), 0);
	KUNIT_EXPECT_EQ(test, wrong_pages(r, va, REMAP_PA, size), 0);

	KUNIT_EXPECT_EQ(test, clear(r, size, 1, 1), 0);
	release(r, 0, va);
	KUNIT_EXPECT_EQ(test, count_tables(r), tables);
	do_unmap(test, va, size);
}

/* What a prepare has built goes when it fails, and what was there stays. */
static void test_remap_prepare_fails(struct kunit *test)
{
	struct kunit_remap_priv *r = test->priv;
	pt_vaddr_t va = r->size[2] + 2 * r->size[1], page = r->size[0];
	unsigned int tables;

	/* A leaf in the last table of the range, and one in front of the range */
	KUNIT_ASSERT_EQ(test, map_one(r, va, REMAP_PA, 0, REMAP_RW), 0);
	KUNIT_ASSERT_EQ(test, map_one(r, r->size[2] - r->size[1], REMAP_PA2, 0,
				      REMAP_RW), 0);
	tables = count_tables(r);
	KUNIT_EXPECT_EQ(test, prepare(r, r->size[2] - r->size[1] + page,
				      4 * r->size[1] - page), -EADDRINUSE);
	KUNIT_EXPECT_EQ(test, count_tables(r), tables);
	KUNIT_EXPECT_EQ(test, r->syncs, 1);
	KUNIT_EXPECT_EQ(test, r->freed, 2);
	KUNIT_EXPECT_EQ(test, translate(r, va), REMAP_PA);
	KUNIT_EXPECT_EQ(test, translate(r, r->size[2] - r->size[1]), REMAP_PA2);
	KUNIT_EXPECT_EQ(test, set(r, r->size[2], REMAP_PA, 1, 1), -ENOENT);

	/* Whole tables, with and without a leaf */
	KUNIT_EXPECT_EQ(test, prepare(r, r->size[2], r->size[2]), -EADDRINUSE);
	KUNIT_EXPECT_EQ(test, count_tables(r), tables);
	KUNIT_EXPECT_EQ(test, translate(r, va), REMAP_PA);
	do_unmap(test, va, page);
	do_unmap(test, r->size[2] - r->size[1], page);
}

/* Tables go with the range that has them whole. */
static void test_remap_release(struct kunit *test)
{
	struct kunit_remap_priv *r = test->priv;
	pt_vaddr_t size = r->size[1], va = r->size[1] / 2, len = 3 * size;
	struct pt_range top = pt_top_range(r->priv.common);
	unsigned int upper = top.top_level - 1;

	/* Four tables of level 0, the outer two reach beyond the range */
	KUNIT_ASSERT_EQ(test, prepare(r, va, len), 0);
	KUNIT_EXPECT_EQ(test, count_tables(r), upper + 4);
	release(r, va, len);
	KUNIT_EXPECT_EQ(test, count_tables(r), upper + 2);
	KUNIT_EXPECT_EQ(test, r->syncs, 1);
	KUNIT_EXPECT_EQ(test, r->freed, 2);
	KUNIT_EXPECT_TRUE(test, xa_empty(&r->priv.iommu->remap_tables[0]));

	/* Nothing is lost, nothing is built twice */
	KUNIT_ASSERT_EQ(test, prepare(r, va, len), 0);
	KUNIT_EXPECT_EQ(test, count_tables(r), upper + 4);
	release(r, 0, 4 * size);
	KUNIT_EXPECT_EQ(test, count_tables(r), upper);
	release(r, 0, 4 * size);
	KUNIT_EXPECT_EQ(test, r->syncs, 2);

	/* Over the border of two tables of level 1, the second one covered whole */
	KUNIT_ASSERT_EQ(test, prepare(r, r->size[2] - size, size + r->size[2]), 0);
	KUNIT_EXPECT_EQ(test, count_tables(r), upper + 1 + 1 + 512);
	release(r, r->size[2] - size, size + r->size[2]);
	KUNIT_EXPECT_EQ(test, count_tables(r), upper);

	/* All that the top maps: only the top stays */
	release(r, top.va, top.last_va - top.va + 1);
	KUNIT_EXPECT_EQ(test, count_tables(r), 0);
}

/* Whoever loses the race uses the tables of the winner. */
static int lose_race(struct pt_state *pts, struct pt_write_attrs *attrs)
{
	struct kunit *test = kunit_get_current_test();
	struct kunit_remap_priv *r = test->priv;

	kunit_deactivate_static_stub(test, pt_iommu_remap_new_table);
	KUNIT_EXPECT_EQ(test, prepare(r, r->rival, r->size[0]), 0);
	KUNIT_EXPECT_EQ(test, set(r, r->rival, REMAP_PA, 0, 1), 0);
	r->flushes = 0;
	return pt_iommu_remap_new_table(pts, attrs);
}

static void test_remap_lost_race(struct kunit *test)
{
	struct kunit_remap_priv *r = test->priv;
	struct pt_range top = pt_top_range(r->priv.common);

	r->rival = r->size[1] / 2;
	kunit_activate_static_stub(test, pt_iommu_remap_new_table, lose_race);
	KUNIT_ASSERT_EQ(test, prepare(r, 0, r->size[0]), 0);
	KUNIT_EXPECT_EQ(test, count_tables(r), top.top_level);
	KUNIT_EXPECT_EQ(test, translate(r, r->rival), REMAP_PA);
	/* The winner has marked its entries as flushed. */
	KUNIT_EXPECT_EQ(test, r->flushes, 0);
}

#if defined(pt_sw_bit)
/* The loser flushes an entry, unless the winner says that it has. */
static void test_remap_flush_entry(struct kunit *test)
{
	struct kunit_remap_priv *r = test->priv;
	struct kunit_remap_entry link;

	if (!pt_feature(r->priv.common, PT_FEAT_DMA_INCOHERENT))
		kunit_skip(test, "PT_FEAT_DMA_INCOHERENT not set for this format");

	KUNIT_ASSERT_EQ(test, prepare(r, 0, r->size[0]), 0);
	KUNIT_ASSERT_EQ(test, prepare(r, r->size[0], r->size[0]), 0);
	KUNIT_EXPECT_EQ(test, r->flushes, 0);
	link = remap_find(r, 0, 1);
	KUNIT_ASSERT_EQ(test, link.type, PT_ENTRY_TABLE);
	*link.entryp &= ~pt_sw_bit(0);
	KUNIT_ASSERT_EQ(test, prepare(r, 2 * r->size[0], r->size[0]), 0);
	KUNIT_EXPECT_EQ(test, r->flushes, 1);
	KUNIT_EXPECT_EQ(test, r->flushed, sizeof(u64));
}
#else
static void test_remap_flush_entry(struct kunit *test)
{
	kunit_skip(test, "this format has no software bits");
}
#endif

/* Each store is flushed from the cache, as far as the hardware does not snoop. */
static void test_remap_flush(struct kunit *test)
{
	struct kunit_remap_priv *r = test->priv;
	bool incoherent = pt_feature(r->priv.common, PT_FEAT_DMA_INCOHERENT);
	size_t table = log2_to_int(PT_TABLEMEM_LG2SZ);

	KUNIT_ASSERT_EQ(test, prepare(r, 0, r->size[1]), 0);
	KUNIT_EXPECT_EQ(test, r->flushes, 0);
	KUNIT_EXPECT_EQ(test, set(r, 8 * r->size[0], REMAP_PA, 0, 8), 0);
	KUNIT_EXPECT_EQ(test, r->flushes, incoherent ? 1 : 0);
	KUNIT_EXPECT_EQ(test, r->flushed, incoherent ? 64 : 0);
	KUNIT_EXPECT_EQ(test, set(r, 8 * r->size[0], REMAP_PA, 0, 8), 0);
	KUNIT_EXPECT_EQ(test, r->flushes, incoherent ? 1 : 0);

	/* The table, then the entry; to split it, the entry */
	r->flushed = 0;
	KUNIT_EXPECT_EQ(test, set(r, 0, REMAP_PA, 1, 1), 0);
	KUNIT_EXPECT_EQ(test, r->flushed, incoherent ? table + 8 : 0);
	KUNIT_EXPECT_EQ(test, set(r, 0, REMAP_PA2, 0, 1), 0);
	KUNIT_EXPECT_EQ(test, r->flushed, incoherent ? table + 8 + 8 + 8 : 0);
	r->flushed = 0;
	KUNIT_EXPECT_EQ(test, set(r, 0, REMAP_PA, 1, 1), 0);
	KUNIT_EXPECT_EQ(test, clear(r, 0, 1, 1), 0);
	KUNIT_EXPECT_EQ(test, r->flushed, incoherent ? 2 * (table + 8) : 0);
	r->flushed = 0;
	release(r, 0, r->size[1]);
	KUNIT_EXPECT_EQ(test, r->flushed, incoherent ? 8 : 0);
}

/* Tables of a prepared range stay where they are when the top grows. */
static void test_remap_grow_top(struct kunit *test)
{
	struct kunit_remap_priv *r = test->priv;
	struct pt_common *common = r->priv.common;
	struct pt_range top = pt_top_range(common);
	u64 *entryp;

	if (!pt_feature(common, PT_FEAT_DYNAMIC_TOP) ||
	    common->max_vasz_lg2 <= top.max_vasz_lg2)
		kunit_skip(test, "the top of this format does not grow");

	KUNIT_ASSERT_EQ(test, prepare(r, 0, 2 * r->size[1]), 0);
	KUNIT_ASSERT_EQ(test, set(r, 0, REMAP_PA, 0, 1), 0);
	KUNIT_ASSERT_EQ(test, set(r, r->size[1], REMAP_PA, 1, 1), 0);
	entryp = remap_find(r, 0, 0).entryp;
	KUNIT_ASSERT_EQ(test, prepare(r, top.last_va + 1, r->size[0]), 0);
	KUNIT_EXPECT_EQ(test, pt_top_range(common).top_level, top.top_level + 1);
	KUNIT_EXPECT_PTR_EQ(test, remap_find(r, 0, 0).entryp, entryp);
	KUNIT_EXPECT_EQ(test, set(r, top.last_va + 1, REMAP_PA2, 0, 1), 0);
	KUNIT_EXPECT_EQ(test, translate(r, top.last_va + 1), REMAP_PA2);

	/* One who has loaded the top before still finds all. */
	top.va = 0;
	top.last_va = 0;
	{
		struct kunit_remap_entry found = {};

		pt_walk_range(&top, __remap_find, &found);
		KUNIT_EXPECT_PTR_EQ(test, found.entryp, entryp);
	}
	KUNIT_EXPECT_EQ(test, clear(r, 0, 1, 2), 0);
	KUNIT_EXPECT_TRUE(test, gathered(r, 0, 2 * r->size[1]));
	release(r, 0, 2 * r->size[1]);
	KUNIT_EXPECT_EQ(test, translate(r, r->size[1]), 0);
}

/* Reads the leaf like hardware does, at any moment. */
static int watch_leaf(void *data)
{
	struct kunit_remap_thread *t = data;

	while (!kthread_should_stop()) {
		unsigned int i;

		for (i = 0; i < 1000; i++) {
			phys_addr_t pa = translate(t->r, t->r->size[1]);

			if (pa != REMAP_PA && pa != REMAP_PA2)
				t->ret = -EIO;
		}
		WRITE_ONCE(t->seen, t->seen + i);
		cond_resched();
	}
	return 0;
}

static void run_thread(struct kunit *test, struct kunit_remap_thread *t,
		       int (*fn)(void *data))
{
	init_completion(&t->done);
	t->task = kthread_run(fn, t, "remap/%u", t->nr);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, t->task);
}

/* A leaf that is replaced is never seen absent or mixed. */
static void test_remap_hitless(struct kunit *test)
{
	struct kunit_remap_priv *r = test->priv;
	struct kunit_remap_thread t = { .r = r };
	pt_vaddr_t va = r->size[1];
	unsigned int i;

	KUNIT_ASSERT_EQ(test, prepare(r, va, r->size[0]), 0);
	KUNIT_ASSERT_EQ(test, set(r, va, REMAP_PA, 0, 1), 0);
	run_thread(test, &t, watch_leaf);
	for (i = 1; i <= REMAP_REPLACES || READ_ONCE(t.seen) < REMAP_REPLACES;
	     i++) {
		set(r, va, i & 1 ? REMAP_PA2 : REMAP_PA, 0, 1);
		if (!gathered(r, va, r->size[0]))
			break;
		cond_resched();
	}
	KUNIT_EXPECT_GT(test, i, REMAP_REPLACES);
	kthread_stop(t.task);
	KUNIT_EXPECT_EQ(test, t.ret, 0);
}

/* Every REMAP_THREADSth page: all threads need all the tables. */
static int build_interleaved(void *data)
{
	struct kunit_remap_thread *t = data;
	struct iommu_domain *domain = &t->r->priv.domain;
	pt_vaddr_t page = t->r->size[0], va;
	struct iommu_iotlb_gather gather;

	iommu_iotlb_gather_init(&gather);
	for (va = t->nr * page; va < 32 * t->r->size[1] && !t->ret;
	     va += REMAP_THREADS * page) {
		/* Half of them by iommu_map() */
		if (t->nr & 1) {
			t->ret = iommu_map(domain, va, REMAP_PA + va, page,
					   REMAP_RW, GFP_KERNEL);
			continue;
		}
		t->ret = iommu_remap_prepare(domain, va, page, GFP_KERNEL);
		if (!t->ret)
			t->ret = iommu_remap_pte(domain, va, REMAP_PA + va,
						 page, 1, REMAP_RW, &gather);
	}
	complete(&t->done);
	while (!kthread_should_stop())
		schedule_timeout_uninterruptible(1);
	return 0;
}

static void test_remap_concurrent(struct kunit *test)
{
	struct kunit_remap_priv *r = test->priv;
	struct kunit_remap_thread t[REMAP_THREADS];
	unsigned int i;

	for (i = 0; i < REMAP_THREADS; i++) {
		t[i] = (struct kunit_remap_thread){ .r = r, .nr = i };
		run_thread(test, &t[i], build_interleaved);
	}
	for (i = 0; i < REMAP_THREADS; i++) {
		wait_for_completion(&t[i].done);
		kthread_stop(t[i].task);
		KUNIT_EXPECT_EQ(test, t[i].ret, 0);
	}
	KUNIT_EXPECT_EQ(test, wrong_pages(r, 0, REMAP_PA, 32 * r->size[1]), 0);
	KUNIT_EXPECT_EQ(test, count_tables(r),
			pt_top_range(r->priv.common).top_level - 1 + 32);
}

static struct kunit_case remap_test_cases[] = {
	KUNIT_CASE_FMT(test_remap_same_as_map),
	KUNIT_CASE_FMT(test_remap_gather),
	KUNIT_CASE_FMT(test_remap_neighbours),
	KUNIT_CASE_FMT(test_remap_holes),
	KUNIT_CASE_FMT(test_remap_bad_arguments),
	KUNIT_CASE_FMT(test_remap_supported),
	KUNIT_CASE_FMT(test_remap_mapped),
	KUNIT_CASE_FMT(test_remap_prepare_fails),
	KUNIT_CASE_FMT(test_remap_release),
	KUNIT_CASE_FMT(test_remap_lost_race),
	KUNIT_CASE_FMT(test_remap_flush_entry),
	KUNIT_CASE_FMT(test_remap_flush),
	KUNIT_CASE_FMT(test_remap_grow_top),
	KUNIT_CASE_FMT(test_remap_hitless),
	KUNIT_CASE_FMT(test_remap_concurrent),
	{},
};

/* Pages of tables, with what the CPUs have not summed up yet */
static long nr_table_pages(void)
{
	long nr = atomic_long_read(&vm_node_stat[NR_SECONDARY_PAGETABLE]);
#ifdef CONFIG_SMP
	struct pglist_data *pgdat;
	int cpu;

	for_each_online_pgdat(pgdat) {
		for_each_online_cpu(cpu)
			nr += per_cpu_ptr(pgdat->per_cpu_nodestats, cpu)
				      ->vm_node_stat_diff[NR_SECONDARY_PAGETABLE];
	}
#endif
	return nr;
}

static int pt_kunit_remap_init(struct kunit *test)
{
	struct kunit_remap_priv *r;
	unsigned int level;
	int ret;

	r = kunit_kzalloc(test, sizeof(*r), GFP_KERNEL);
	if (!r)
		return -ENOMEM;
	r->priv.orig_nr_secondary_pagetable = nr_table_pages();
	ret = pt_kunit_priv_init(test, &r->priv);
	if (ret) {
		kunit_kfree(test, r);
		return ret;
	}
	for (level = 0; level <= PT_IOMMU_REMAP_LEVELS; level++) {
		struct pt_range range = pt_top_range(r->priv.common);
		struct pt_state pts = pt_init(&range, level, NULL);

		r->size[level] = log2_to_int(pt_table_item_lg2sz(&pts));
	}
	r->priv.domain.ops = &kunit_remap_ops;
	iommu_iotlb_gather_init(&r->gather);
	test->priv = r;
	kunit_activate_static_stub(test, pt_iommu_remap_flush, count_flush);
	return 0;
}

static void pt_kunit_remap_exit(struct kunit *test)
{
	struct kunit_remap_priv *r = test->priv;

	if (!r)
		return;
	pt_iommu_deinit(r->priv.iommu);
	KUNIT_EXPECT_EQ(test, nr_table_pages(),
			r->priv.orig_nr_secondary_pagetable);
}

static struct kunit_suite NS(remap_suite) = {
	.name = __stringify(NS(remap_test)),
	.init = pt_kunit_remap_init,
	.exit = pt_kunit_remap_exit,
	.test_cases = remap_test_cases,
};

kunit_test_suites(&NS(remap_suite));

MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");
