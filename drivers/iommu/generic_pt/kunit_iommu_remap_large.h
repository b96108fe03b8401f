/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * KUnit tests for iommu_remap.h: large leaves, and the tables that they displace
 *
 * Included after kunit_iommu_remap.h, which has the fixture.
 */
#include "kunit_iommu.h"
#include "pt_iter.h"

#if defined(pt_entry_make_write_dirty)
static bool is_dirty(struct kunit_remap_priv *r, pt_vaddr_t va, bool make)
{
	struct kunit_remap_entry leaf = remap_find(r, va, 0);
	struct pt_range range = pt_make_range(r->priv.common, va, va);
	struct pt_state pts = pt_init(&range, leaf.level,
				      (struct pt_table_p *)leaf.entryp);

	pts.entry = leaf.entry;
	if (make)
		pt_entry_make_write_dirty(&pts);
	return pt_entry_is_write_dirty(&pts);
}

/* The bit stays with a translation, through all sizes. */
static void test_remap_dirty(struct kunit *test)
{
	struct kunit_remap_priv *r = test->priv;
	pt_vaddr_t page = r->size[0];

	KUNIT_ASSERT_EQ(test, prepare(r, 0, r->size[2]), 0);
	KUNIT_ASSERT_EQ(test, set(r, 0, REMAP_PA, 0, 512), 0);
	KUNIT_EXPECT_FALSE(test, is_dirty(r, page, false));
	KUNIT_EXPECT_TRUE(test, is_dirty(r, page, true));

	/* Still the same, then another page */
	KUNIT_EXPECT_EQ(test, set(r, page, REMAP_PA + page, 0, 1), 0);
	KUNIT_EXPECT_TRUE(test, gathered_nothing(r));
	KUNIT_EXPECT_TRUE(test, is_dirty(r, page, false));
	KUNIT_EXPECT_EQ(test, set(r, page, REMAP_PA2, 0, 1), 0);
	KUNIT_EXPECT_FALSE(test, is_dirty(r, page, false));

	/* Merged: only what is still the same counts */
	KUNIT_EXPECT_TRUE(test, is_dirty(r, page, true));
	KUNIT_ASSERT_EQ(test, set(r, 0, REMAP_PA, 1, 1), 0);
	KUNIT_EXPECT_FALSE(test, is_dirty(r, page, false));
	KUNIT_ASSERT_EQ(test, set(r, 0, REMAP_PA2, 0, 1), 0);
	KUNIT_ASSERT_EQ(test, set(r, 0, REMAP_PA, 0, 1), 0);
	KUNIT_EXPECT_TRUE(test, is_dirty(r, page, true));
	KUNIT_ASSERT_EQ(test, set(r, 0, REMAP_PA, 1, 1), 0);
	KUNIT_EXPECT_TRUE(test, is_dirty(r, 0, false));

	/* Split: all parts may be */
	KUNIT_ASSERT_EQ(test, set(r, 0, REMAP_PA, 2, 1), 0);
	KUNIT_EXPECT_TRUE(test, is_dirty(r, 0, true));
	KUNIT_EXPECT_EQ(test, clear(r, 0, 0, 1), 0);
	KUNIT_EXPECT_TRUE(test, is_dirty(r, page, false));
	KUNIT_EXPECT_TRUE(test, is_dirty(r, r->size[1], false));
	KUNIT_EXPECT_EQ(test, translate(r, page), REMAP_PA + page);
}
#else
static void test_remap_dirty(struct kunit *test)
{
	kunit_skip(test, "this format has no dirty bits");
}
#endif

/* A table comes back as it was, whatever size of leaf has displaced it. */
static void test_remap_large(struct kunit *test)
{
	struct kunit_remap_priv *r = test->priv;
	pt_vaddr_t size = r->size[1];
	u64 link, *entryp;

	KUNIT_ASSERT_EQ(test, prepare(r, 0, 4 * size), 0);
	link = remap_find(r, size, 1).entry;
	entryp = remap_find(r, size, 0).entryp;

	/* Over nothing: nothing to flush */
	KUNIT_EXPECT_EQ(test, set(r, size, REMAP_PA, 1, 1), 0);
	KUNIT_EXPECT_TRUE(test, gathered_nothing(r));
	KUNIT_EXPECT_EQ(test, remap_find(r, size, 0).level, 1);
	KUNIT_EXPECT_EQ(test, wrong_pages(r, size, REMAP_PA, size), 0);
	KUNIT_EXPECT_EQ(test, translate(r, size - r->size[0]), 0);
	KUNIT_EXPECT_EQ(test, translate(r, 2 * size), 0);

	/* The same, another one, none */
	KUNIT_EXPECT_EQ(test, set(r, size, REMAP_PA, 1, 1), 0);
	KUNIT_EXPECT_TRUE(test, gathered_nothing(r));
	KUNIT_EXPECT_EQ(test, set(r, size, REMAP_PA2, 1, 1), 0);
	KUNIT_EXPECT_TRUE(test, gathered(r, size, size));
	KUNIT_EXPECT_EQ(test, clear(r, size, 0, 512), 0);
	KUNIT_EXPECT_TRUE(test, gathered(r, size, size));
	KUNIT_EXPECT_EQ(test, remap_find(r, size, 1).entry, link);
	KUNIT_EXPECT_EQ(test, wrong_pages(r, size, 0, size), 0);

	/* Over small leaves with the same translation: their size goes */
	KUNIT_EXPECT_EQ(test, set(r, size, REMAP_PA, 0, 512), 0);
	KUNIT_EXPECT_EQ(test, set(r, size, REMAP_PA, 1, 1), 0);
	KUNIT_EXPECT_TRUE(test, gathered(r, size, size));
	KUNIT_EXPECT_EQ(test, set(r, size, REMAP_PA2, 0, 1), 0);
	KUNIT_EXPECT_TRUE(test, gathered(r, size, size));
	KUNIT_EXPECT_EQ(test, remap_find(r, size, 1).entry, link);
	KUNIT_EXPECT_PTR_EQ(test, remap_find(r, size, 0).entryp, entryp);
	KUNIT_EXPECT_EQ(test, wrong_pages(r, size, REMAP_PA, size), 1);
	KUNIT_EXPECT_EQ(test, clear(r, 0, 1, 4), 0);
	KUNIT_EXPECT_EQ(test, r->syncs, 0);
	release(r, 0, 4 * size);
	KUNIT_EXPECT_TRUE(test, xa_empty(&r->priv.iommu->remap_tables[0]));
}

/*
 * The hardware may still walk through the table that a large leaf displaces. It
 * finds the same there at any time.
 */
static void test_remap_displaced(struct kunit *test)
{
	struct kunit_remap_priv *r = test->priv;
	struct iommu_domain *domain = &r->priv.domain;
	pt_vaddr_t size = r->size[1];
	u64 *table, leaves[2];

	KUNIT_ASSERT_EQ(test, prepare(r, 0, 2 * size), 0);
	KUNIT_ASSERT_EQ(test, map_one(r, 4 * size, REMAP_PA2, 0, REMAP_RW), 0);
	KUNIT_ASSERT_EQ(test, map_one(r, 4 * size + r->size[0],
				      REMAP_PA2 + 511 * r->size[0], 0, REMAP_RW),
			0);
	leaves[0] = remap_find(r, 4 * size, 0).entry;
	leaves[1] = remap_find(r, 4 * size + r->size[0], 0).entry;

	table = remap_find(r, 0, 0).entryp;
	KUNIT_ASSERT_EQ(test, set(r, 0, REMAP_PA2, 1, 1), 0);
	KUNIT_EXPECT_EQ(test, table[0], leaves[0]);
	KUNIT_EXPECT_EQ(test, table[511], leaves[1]);
	KUNIT_ASSERT_EQ(test, set(r, 0, REMAP_PA, 1, 1), 0);
	KUNIT_EXPECT_NE(test, table[0], leaves[0]);
	KUNIT_ASSERT_EQ(test, iommu_remap_pte(domain, 0, REMAP_PA2, size, 1,
					      REMAP_RW, &r->gather), 0);
	KUNIT_EXPECT_EQ(test, table[0], leaves[0]);
	KUNIT_EXPECT_EQ(test, table[511], leaves[1]);
	KUNIT_ASSERT_EQ(test, clear(r, 0, 1, 1), 0);
	KUNIT_EXPECT_NULL(test, memchr_inv(table, 0, 512 * sizeof(u64)));
	do_unmap(test, 4 * size, 2 * r->size[0]);
}

static void test_remap_split(struct kunit *test)
{
	struct kunit_remap_priv *r = test->priv;
	pt_vaddr_t size = r->size[1], page = r->size[0];

	KUNIT_ASSERT_EQ(test, prepare(r, 0, 2 * size), 0);
	KUNIT_ASSERT_EQ(test, set(r, 0, REMAP_PA, 1, 2), 0);
	/* In the middle, over the border */
	KUNIT_EXPECT_EQ(test, set(r, size - page, REMAP_PA2, 0, 2), 0);
	KUNIT_EXPECT_TRUE(test, gathered(r, 0, 2 * size));
	KUNIT_EXPECT_EQ(test, wrong_pages(r, 0, REMAP_PA, 2 * size), 2);
	KUNIT_EXPECT_EQ(test, wrong_pages(r, size - page, REMAP_PA2, 2 * page), 0);

	/* The end of a large leaf is cleared */
	KUNIT_EXPECT_EQ(test, set(r, 0, REMAP_PA, 1, 1), 0);
	KUNIT_EXPECT_EQ(test, clear(r, size - 3 * page, 0, 3), 0);
	KUNIT_EXPECT_EQ(test, wrong_pages(r, 0, REMAP_PA, size), 3);
	KUNIT_EXPECT_EQ(test, translate(r, size - page), 0);
}

/* Two levels of tables are displaced, and come back. */
static void test_remap_huge(struct kunit *test)
{
	struct kunit_remap_priv *r = test->priv;
	pt_vaddr_t huge = r->size[2], size = r->size[1];
	unsigned int tables;

	KUNIT_ASSERT_EQ(test, prepare(r, huge - size, huge + size), 0);
	tables = count_tables(r);
	KUNIT_ASSERT_EQ(test, set(r, huge, REMAP_PA, 0, 512), 0);
	KUNIT_ASSERT_EQ(test, set(r, huge + size, REMAP_PA + size, 1, 511), 0);
	KUNIT_EXPECT_EQ(test, set(r, huge, REMAP_PA, 2, 1), 0);
	KUNIT_EXPECT_TRUE(test, gathered(r, huge, huge));
	KUNIT_EXPECT_EQ(test, count_tables(r), tables - 513);
	KUNIT_EXPECT_EQ(test, wrong_pages(r, huge, REMAP_PA, huge), 0);

	/* One page goes, all others stay: two splits */
	KUNIT_EXPECT_EQ(test, clear(r, huge + size, 0, 1), 0);
	KUNIT_EXPECT_TRUE(test, gathered(r, huge, huge));
	KUNIT_EXPECT_EQ(test, wrong_pages(r, huge, REMAP_PA, huge), 1);
	KUNIT_EXPECT_EQ(test, remap_find(r, huge, 0).level, 1);

	/* A leaf of the middle size within, over another page */
	KUNIT_ASSERT_EQ(test, set(r, huge, REMAP_PA, 2, 1), 0);
	KUNIT_ASSERT_EQ(test, set(r, huge + 3 * size, REMAP_PA2, 1, 1), 0);
	KUNIT_EXPECT_EQ(test, wrong_pages(r, huge, REMAP_PA, huge), 512);
	KUNIT_EXPECT_EQ(test, clear(r, huge + 3 * size, 0, 1), 0);
	KUNIT_EXPECT_EQ(test, wrong_pages(r, huge + 3 * size, REMAP_PA2, size), 1);

	/* Its first part goes, then all of it */
	KUNIT_ASSERT_EQ(test, set(r, huge, REMAP_PA, 2, 1), 0);
	KUNIT_EXPECT_EQ(test, clear(r, huge, 1, 1), 0);
	KUNIT_EXPECT_EQ(test, wrong_pages(r, huge, REMAP_PA, huge), 512);
	KUNIT_ASSERT_EQ(test, set(r, huge, REMAP_PA, 2, 1), 0);
	KUNIT_EXPECT_EQ(test, clear(r, huge, 2, 1), 0);
	KUNIT_EXPECT_EQ(test, count_tables(r), tables);
	KUNIT_EXPECT_EQ(test, wrong_pages(r, huge, 0, huge), 0);
	KUNIT_EXPECT_EQ(test, set(r, huge, REMAP_PA, 0, 1), 0);
	KUNIT_EXPECT_EQ(test, wrong_pages(r, huge, 0, huge), 1);
	KUNIT_EXPECT_EQ(test, clear(r, huge, 0, 1), 0);
	release(r, huge - size, huge + size);
	KUNIT_EXPECT_TRUE(test, xa_empty(&r->priv.iommu->remap_tables[0]));
	KUNIT_EXPECT_TRUE(test, xa_empty(&r->priv.iommu->remap_tables[1]));
}

/* Where a table would be displaced that is not all of the range's own */
static void test_remap_large_refused(struct kunit *test)
{
	struct kunit_remap_priv *r = test->priv;
	pt_vaddr_t size = r->size[1];

	KUNIT_ASSERT_EQ(test, prepare(r, size / 2, size), 0);
	KUNIT_EXPECT_EQ(test, set(r, 0, REMAP_PA, 1, 1), -EINVAL);
	KUNIT_EXPECT_EQ(test, set(r, r->size[2], REMAP_PA, 1, 1), -ENOENT);
	KUNIT_ASSERT_EQ(test, prepare(r, 2 * size, size), 0);
	KUNIT_EXPECT_EQ(test, set(r, 2 * size, REMAP_PA, 1, 2), -ENOENT);
	KUNIT_EXPECT_EQ(test, translate(r, 2 * size), 0);
	KUNIT_EXPECT_EQ(test, set(r, 0, REMAP_PA, 2, 1), -EINVAL);
	release(r, 2 * size, size);
	KUNIT_EXPECT_EQ(test, set(r, 2 * size, REMAP_PA, 1, 1), -ENOENT);
}

/* What the domain does not offer, remap_range does not set. */
static void test_remap_sizes(struct kunit *test)
{
	struct kunit_remap_priv *r = test->priv;
	pt_vaddr_t all = r->size[0] | r->size[1] | r->size[2];
	int level;

	for (level = PT_IOMMU_REMAP_LEVELS; level >= 0; level--) {
		r->priv.domain.pgsize_bitmap = all & (2 * r->size[level] - 1);
		KUNIT_ASSERT_EQ(test, prepare(r, 0, r->size[2]), 0);
		KUNIT_EXPECT_EQ(test, set(r, 0, REMAP_PA, 2, 1),
				level < 2 ? -EINVAL : 0);
		KUNIT_EXPECT_EQ(test, set(r, 0, REMAP_PA, 1, 1),
				level < 1 ? -EINVAL : 0);
		KUNIT_EXPECT_EQ(test, clear(r, 0, 0, 512 * 512), 0);
		release(r, 0, r->size[2]);
	}
}

/* The largest size without the one in the middle */
static void test_remap_no_middle(struct kunit *test)
{
	struct kunit_remap_priv *r = test->priv;

	r->priv.domain.pgsize_bitmap = r->size[0] | r->size[2];
	KUNIT_ASSERT_EQ(test, prepare(r, 0, r->size[2]), 0);
	KUNIT_ASSERT_EQ(test, set(r, r->size[0], REMAP_PA2, 0, 1), 0);
	KUNIT_ASSERT_EQ(test, set(r, 0, REMAP_PA, 2, 1), 0);
	KUNIT_EXPECT_EQ(test, wrong_pages(r, 0, REMAP_PA, r->size[2]), 0);
	KUNIT_EXPECT_EQ(test, clear(r, r->size[1], 0, 1), 0);
	KUNIT_EXPECT_EQ(test, wrong_pages(r, 0, REMAP_PA, r->size[2]), 1);
	KUNIT_ASSERT_EQ(test, set(r, 0, REMAP_PA2, 2, 1), 0);
	KUNIT_EXPECT_EQ(test, clear(r, 0, 0, 512 * 512), 0);
	KUNIT_EXPECT_EQ(test, wrong_pages(r, 0, 0, r->size[2]), 0);
}

/* The other half of a table with PT_FEAT_SIGN_EXTEND */
static void test_remap_upper(struct kunit *test)
{
	struct kunit_remap_priv *r = test->priv;
	struct pt_range upper = pt_upper_range(r->priv.common);
	pt_vaddr_t va = upper.va;

	if (!pt_feature(r->priv.common, PT_FEAT_SIGN_EXTEND))
		kunit_skip(test, "PT_FEAT_SIGN_EXTEND not set for this format");
	r->priv.domain.geometry.aperture_start = 0;
	r->priv.domain.geometry.aperture_end = ULONG_MAX;

	KUNIT_ASSERT_EQ(test, prepare(r, va, 2 * r->size[1]), 0);
	KUNIT_ASSERT_EQ(test, set(r, va, REMAP_PA, 1, 1), 0);
	KUNIT_EXPECT_EQ(test, translate(r, va + r->size[0]),
			REMAP_PA + r->size[0]);
	KUNIT_EXPECT_EQ(test, translate(r, 0), 0);
	/* The exit of the test finds what is displaced here, too. */
}

/* A table that ends with large leaves in it leaks none that they displace. */
static void test_remap_deinit(struct kunit *test)
{
	struct kunit_remap_priv *r = test->priv;

	KUNIT_ASSERT_EQ(test, prepare(r, 0, r->size[2] + r->size[1]), 0);
	KUNIT_EXPECT_EQ(test, set(r, 0, REMAP_PA, 2, 1), 0);
	KUNIT_EXPECT_EQ(test, set(r, r->size[2], REMAP_PA, 1, 1), 0);
}

/* Translates like hardware does, at any moment. */
static int watch_large(void *data)
{
	struct kunit_remap_thread *t = data;

	while (!kthread_should_stop()) {
		pt_vaddr_t va = t->r->size[1] / 2 +
				t->seen % 16 * t->r->size[0];

		if (translate(t->r, va) != REMAP_PA + va)
			t->ret = -EIO;
		WRITE_ONCE(t->seen, t->seen + 1);
		cond_resched();
	}
	return 0;
}

/* A page never loses its translation while large leaves come and are split. */
static void test_remap_large_hitless(struct kunit *test)
{
	struct kunit_remap_priv *r = test->priv;
	struct kunit_remap_thread t = { .r = r };
	unsigned int i;

	KUNIT_ASSERT_EQ(test, prepare(r, 0, r->size[2]), 0);
	KUNIT_ASSERT_EQ(test, set(r, 0, REMAP_PA, 2, 1), 0);
	run_thread(test, &t, watch_large);
	for (i = 0; i < 200; i++) {
		KUNIT_EXPECT_EQ(test, clear(r, 0, 0, 1), 0);
		cond_resched();
		KUNIT_EXPECT_EQ(test, set(r, 0, REMAP_PA, 1, 1), 0);
		cond_resched();
		if (i % 8)
			continue;
		KUNIT_EXPECT_EQ(test, set(r, 0, REMAP_PA, 2, 1), 0);
		cond_resched();
	}
	while (READ_ONCE(t.seen) < 200)
		cond_resched();
	kthread_stop(t.task);
	KUNIT_EXPECT_EQ(test, t.ret, 0);
}

static struct kunit_case remap_large_test_cases[] = {
	KUNIT_CASE_FMT(test_remap_dirty),
	KUNIT_CASE_FMT(test_remap_large),
	KUNIT_CASE_FMT(test_remap_displaced),
	KUNIT_CASE_FMT(test_remap_split),
	KUNIT_CASE_FMT(test_remap_huge),
	KUNIT_CASE_FMT(test_remap_large_refused),
	KUNIT_CASE_FMT(test_remap_sizes),
	KUNIT_CASE_FMT(test_remap_no_middle),
	KUNIT_CASE_FMT(test_remap_upper),
	KUNIT_CASE_FMT(test_remap_deinit),
	KUNIT_CASE_FMT(test_remap_large_hitless),
	{},
};

static struct kunit_suite NS(remap_large_suite) = {
	.name = __stringify(NS(remap_large_test)),
	.init = pt_kunit_remap_init,
	.exit = pt_kunit_remap_exit,
	.test_cases = remap_large_test_cases,
};

kunit_test_suites(&NS(remap_large_suite));
