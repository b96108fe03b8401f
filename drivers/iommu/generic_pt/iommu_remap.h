/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Replacing leaves of a live table in place
 *
 * A part of iommu_pt.h, which includes it: remap_prepare, remap_range and
 * remap_release of struct pt_iommu_ops for every format. map_range and unmap_range
 * serve callers that map an address once and unmap it once. They refuse to
 * overwrite a leaf, allocate on the way down and free tables that they have
 * emptied. A mirror of a CPU page table needs leaves that come, go and change in
 * contexts where nothing can be allocated, while devices use their neighbours.
 *
 * Life of a range
 *
 *	bare --- remap_prepare ---> prepared --- remap_release ---> bare
 *
 * While a range is prepared, each of its addresses has a table of level 0, and
 * that table stays the same. So remap_range allocates nothing, and no table that
 * it or the hardware walks through is freed. A table that also serves addresses
 * outside of the range stays when the range is released, until unmap_range,
 * another remap_release or deinit covers it whole.
 *
 * Large leaves
 *
 * A leaf at level 1 or 2 takes the place of a table that lies in the range whole.
 * That table is parked: remap_tables knows it by what it maps since the range was
 * prepared, one xarray for each level. There are three states of an item that may
 * have a large leaf:
 *
 *	linked	the item points at the table, which says what is mapped
 *	parked	the item is a leaf, and the table says exactly the same
 *	cleared	as linked; the table, and those below it, have no leaf
 *
 * A parked table keeps saying the same as the leaf above it, down to level 0.
 * Hardware may have the pointer to it in a cache of non-leaf entries for as long
 * as it likes, and still finds the right translation. So setting a large leaf
 * needs no flush by itself, splitting one is a single store, and clearing one
 * empties the table and points the item at it again.
 *
 * Locks
 *
 * None in remap_range: it runs under page-table locks and inside of reclaim. The
 * caller serializes the calls for one leaf; what a large leaf covers, or is about
 * to cover, counts as one leaf. Neighbours that share a table need not be
 * serialized, not even with map_range and unmap_range: a table is linked by
 * cmpxchg, an entry of level 0 belongs to one range, and an item that may have a
 * large leaf lies in one range, too.
 *
 * remap_prepare and remap_release take the locks of remap_tables, which
 * remap_range reads under RCU, and remap_prepare takes get_top_lock().
 *
 * The top of the table may grow at any time, by map_range or remap_prepare for
 * other addresses. A walk loads the top with its level once. The old top becomes
 * the first table below the new one, and is not freed while a range that it serves
 * is prepared. So a walk that began there finds the same tables.
 *
 * Flushing
 *
 * An entry has its old or its new value at every moment. Leaves that were present
 * and changed are gathered, and nothing else; the caller syncs the gather before it
 * relies on old translations being gone. remap_release unlinks tables, syncs,
 * which includes the walk caches, and only then frees them.
 *
 * With PT_FEAT_DMA_INCOHERENT each store is followed by a cache flush, and what a
 * table says is flushed before the entry that makes it reachable. An entry that
 * somebody else has linked is flushed, too, unless it says that this is done: the
 * winner of the race may not have come to it yet.
 *
 * Dirty bits
 *
 * What the hardware has set in a leaf stays if the leaf does not change, and goes
 * with its translation into the leaves of another size. While a large leaf is in
 * place, hardware can set the bit in a parked table instead. iommu_remap_supported()
 * is false for domains with dirty tracking therefore: it would miss that.
 */
#ifndef __GENERIC_PT_IOMMU_REMAP_H
#define __GENERIC_PT_IOMMU_REMAP_H

#include <kunit/static_stub.h>
#include <kunit/visibility.h>
#include <linux/iommu-debug-pagealloc.h>
#include <linux/xarray.h>

#include "../iommu-priv.h"

struct pt_iommu_remap_args {
	struct iommu_iotlb_gather *gather;
	struct pt_write_attrs attrs;
	pt_oaddr_t oa;
	unsigned int leaf_level;
	bool set;
};

struct pt_iommu_remap_release_args {
	struct iommupt_pending_gather pending;
	/* Look for leaves at level 0, too, and keep the tables that have some */
	bool look;
	bool may_sleep;
};

/* Items are exchanged as a whole. */
static_assert(sizeof(u64) == PT_ITEM_WORD_SIZE);

/* Functions of their own, which the KUnit tests count and delay. */
#if IS_ENABLED(CONFIG_KUNIT)
void DOMAIN_NS(remap_flush)(struct pt_iommu *iommu_table, void *table,
			    size_t offset, size_t len);
int DOMAIN_NS(remap_new_table)(struct pt_state *pts,
			       struct pt_write_attrs *attrs);
#endif

/* Write back a part of a table that the hardware reads without snooping. */
VISIBLE_IF_KUNIT void DOMAIN_NS(remap_flush)(struct pt_iommu *iommu_table,
					     void *table, size_t offset,
					     size_t len)
{
	KUNIT_STATIC_STUB_REDIRECT(DOMAIN_NS(remap_flush), iommu_table, table,
				   offset, len);
	iommu_pages_flush_incoherent(iommu_table->iommu_device, table, offset,
				     len);
}
EXPORT_SYMBOL_IF_KUNIT(DOMAIN_NS(remap_flush));

/* Link a new table; -EAGAIN if another CPU has linked one meanwhile. */
VISIBLE_IF_KUNIT int DOMAIN_NS(remap_new_table)(struct pt_state *pts,
						struct pt_write_attrs *attrs)
{
	KUNIT_STATIC_STUB_REDIRECT(DOMAIN_NS(remap_new_table), pts, attrs);
	return pt_iommu_new_table(pts, attrs);
}
EXPORT_SYMBOL_IF_KUNIT(DOMAIN_NS(remap_new_table));

static void remap_flush_items(const struct pt_state *pts, unsigned int start,
			      unsigned int end)
{
	if (pts_feature(pts, PT_FEAT_DMA_INCOHERENT))
		DOMAIN_NS(remap_flush)(iommu_from_common(pts->range->common),
				       pts->table, start * PT_ITEM_WORD_SIZE,
				       (end - start) * PT_ITEM_WORD_SIZE);
}

static void remap_flush_item(const struct pt_state *pts)
{
	remap_flush_items(pts, pts->index, pts->index + 1);
}

/* Can remap_range set a leaf here? One item, never a contiguous entry. */
static bool remap_has_leaf(const struct pt_state *pts)
{
	struct pt_iommu *iommu_table = iommu_from_common(pts->range->common);

	return pts->level <= PT_IOMMU_REMAP_LEVELS && pt_can_have_leaf(pts) &&
	       (iommu_table->domain.pgsize_bitmap &
		log2_to_int(pt_table_item_lg2sz(pts)));
}

/* The tables that leaves of this level displace */
static struct xarray *remap_tables(const struct pt_state *pts)
{
	struct pt_iommu *iommu_table = iommu_from_common(pts->range->common);

	return &iommu_table->remap_tables[pts->level - 1];
}

/* Where remap_tables() has the one of the current item; sign bits don't count */
static unsigned long remap_place(const struct pt_state *pts)
{
	return log2_div(fvalog2_mod(pts->range->va,
				    pts->range->common->max_vasz_lg2),
			pt_table_item_lg2sz(pts));
}

static struct pt_table_p *remap_displaced(const struct pt_state *pts)
{
	if (!pts->level || pts->level > PT_IOMMU_REMAP_LEVELS)
		return NULL;
	return xa_load(remap_tables(pts), remap_place(pts));
}

/* A state like @pts whose table is @entry alone: the formats store where it says. */
static struct pt_state remap_scratch(const struct pt_state *pts, u64 *entry)
{
	struct pt_state scratch = pt_init(pts->range, pts->level,
					  (struct pt_table_p *)entry);

	scratch.entry = *entry;
	return scratch;
}

static u64 remap_encode_leaf(const struct pt_state *pts, pt_oaddr_t oa,
			     const struct pt_write_attrs *attrs)
{
	u64 entry = 0;
	struct pt_state scratch = remap_scratch(pts, &entry);

	pt_install_leaf_entry(&scratch, oa, pt_table_item_lg2sz(pts), attrs);
	return entry;
}

static u64 remap_encode_table(const struct pt_state *pts,
			      struct pt_table_p *table)
{
	struct pt_write_attrs attrs = {};
	u64 entry = 0;
	struct pt_state scratch = remap_scratch(pts, &entry);

	pt_install_table(&scratch, virt_to_phys(table), &attrs);
	/* The item lies in the range whole: nobody else depends on this flush. */
	if (pts_feature(pts, PT_FEAT_DMA_INCOHERENT))
		pt_set_sw_bit_release(&scratch, SW_BIT_CACHE_FLUSH_DONE);
	return entry;
}

static bool remap_entry_is_dirty(const struct pt_state *pts, u64 entry)
{
	struct pt_state scratch = remap_scratch(pts, &entry);

	return pt_entry_is_write_dirty(&scratch);
}

static u64 remap_make_dirty(const struct pt_state *pts, u64 entry)
{
	struct pt_state scratch = remap_scratch(pts, &entry);

	pt_entry_make_write_dirty(&scratch);
	return entry;
}

/* Does the loaded entry say the same as the leaf @entry, apart from dirty bits? */
static bool remap_same(const struct pt_state *pts, u64 entry)
{
	struct pt_state scratch = remap_scratch(pts, &entry);
	struct pt_write_attrs is, wanted;

	if (pts->type != PT_ENTRY_OA || pt_entry_oa(pts) != pt_entry_oa(&scratch))
		return false;
	pt_attr_from_entry(pts, &is);
	pt_attr_from_entry(&scratch, &wanted);
	return is.descriptor_bits == wanted.descriptor_bits;
}

/*
 * Exchange an entry. The hardware sees the old or the new value, and what it sets
 * in the old one until then is in the value that this returns.
 * Litmus: leaf-flush, leaf-hardware
 */
static u64 remap_exchange(const struct pt_state *pts, u64 new)
{
	u64 *entryp = pt_cur_table(pts, u64) + pts->index;
	u64 old = pts->entry;

	while (!try_cmpxchg64(entryp, &old, new))
		;
	return old;
}

static void remap_gather(const struct pt_state *pts,
			 struct pt_iommu_remap_args *args)
{
	unsigned int isz_lg2 = pt_table_item_lg2sz(pts);

	iommu_iotlb_gather_add_range(args->gather,
				     log2_set_mod(pts->range->va, 0, isz_lg2),
				     log2_to_int(isz_lg2));
	if (pts_feature(pts, PT_FEAT_DETAILED_GATHER))
		args->gather->pt.leaf_levels_bitmap |= BIT(pts->level);
}

/* The loaded entry was replaced by a leaf that points at @oa, or by none. */
static void remap_debug(const struct pt_state *pts, pt_oaddr_t oa,
			struct pt_iommu_remap_args *args)
{
	struct pt_iommu *iommu_table = iommu_from_common(pts->range->common);
	phys_addr_t old = pts->type == PT_ENTRY_OA ? pt_entry_oa(pts) : 0;

	iommu_debug_remap(&iommu_table->domain, old, args->set ? oa : 0,
			  log2_to_int(pt_table_item_lg2sz(pts)), args->gather);
}

/* The table that the current item points at, or that it has displaced */
static struct pt_table_p *remap_below(const struct pt_state *pts)
{
	if (pts->type == PT_ENTRY_TABLE)
		return pts->table_lower;
	return remap_displaced(pts);
}

/* The part of a range that the current item maps */
static struct pt_range remap_item_range(const struct pt_state *pts)
{
	unsigned int isz_lg2 = pt_table_item_lg2sz(pts);
	struct pt_range range = *pts->range;

	range.va = log2_set_mod(pts->range->va, 0, isz_lg2);
	range.last_va = log2_set_mod_max(pts->range->va, isz_lg2);
	return range;
}

/* What remap_fill() has found in a table that it has filled */
enum {
	REMAP_FOUND_LEAF = BIT(0),
	REMAP_FOUND_DIRTY = BIT(1),
};

/*
 * Let one item of a table say that it maps @oa. With @linked the hardware walks
 * through it now, so what it said counts.
 */
static unsigned int remap_fill_item(struct pt_state *pts, pt_oaddr_t oa,
				    struct pt_iommu_remap_args *args,
				    bool linked)
{
	u64 *entryp = pt_cur_table(pts, u64) + pts->index;
	u64 entry = remap_encode_leaf(pts, oa, &args->attrs);
	bool same = remap_same(pts, entry);

	if (!linked) {
		if (!same)
			WRITE_ONCE(*entryp, entry);
		return 0;
	}
	if (!same) {
		remap_exchange(pts, entry);
		/* What was below a table was told before. */
		if (pts->type != PT_ENTRY_TABLE)
			remap_debug(pts, oa, args);
	}
	if (pts->type != PT_ENTRY_OA)
		return 0;
	if (same && remap_entry_is_dirty(pts, pts->entry))
		return REMAP_FOUND_LEAF | REMAP_FOUND_DIRTY;
	return REMAP_FOUND_LEAF;
}

/* Let a table and those below it say that the item @parent maps @oa. */
static unsigned int remap_fill(const struct pt_state *parent,
			       struct pt_table_p *table, pt_oaddr_t oa,
			       struct pt_iommu_remap_args *args, bool linked)
{
	struct pt_range range = remap_item_range(parent);
	struct pt_state pts = pt_init(&range, parent->level - 1, table);
	unsigned int isz_lg2 = pt_table_item_lg2sz(&pts);
	unsigned int found = 0;

	for_each_pt_level_entry(&pts) {
		struct pt_table_p *below = remap_below(&pts);

		if (below)
			found |= remap_fill(&pts, below, oa, args, linked &&
					    pts.type == PT_ENTRY_TABLE);
		if (remap_has_leaf(&pts))
			found |= remap_fill_item(&pts, oa, args, linked);
		oa += log2_to_int(isz_lg2);
	}
	remap_flush_items(&pts, 0, pts.end_index);
	return found;
}

/* Leave no leaf in a table and those below it. The hardware may not find any. */
static void remap_empty(const struct pt_state *parent, struct pt_table_p *table)
{
	struct pt_range range = remap_item_range(parent);
	struct pt_state pts = pt_init(&range, parent->level - 1, table);
	u64 *entries = pt_cur_table(&pts, u64);

	for_each_pt_level_entry(&pts) {
		struct pt_table_p *below = remap_below(&pts);
		u64 entry = 0;

		if (below) {
			remap_empty(&pts, below);
			entry = remap_encode_table(&pts, below);
		}
		WRITE_ONCE(entries[pts.index], entry);
	}
	remap_flush_items(&pts, 0, pts.end_index);
}

/* Mark all leaves of a parked table as written to. */
static void remap_dirty_table(const struct pt_state *parent,
			      struct pt_table_p *table)
{
	struct pt_range range = remap_item_range(parent);
	struct pt_state pts = pt_init(&range, parent->level - 1, table);

	for_each_pt_level_entry(&pts) {
		if (pts.type == PT_ENTRY_OA)
			remap_exchange(&pts, remap_make_dirty(&pts, pts.entry));
		else
			remap_dirty_table(&pts, pts.table_lower);
	}
	remap_flush_items(&pts, 0, pts.end_index);
}

/* Put a large leaf in the place of the table, or large leaf, that is there. */
static void remap_set_large(struct pt_state *pts,
			    struct pt_iommu_remap_args *args)
{
	bool linked = pts->type == PT_ENTRY_TABLE;
	u64 entry = remap_encode_leaf(pts, args->oa, &args->attrs);
	unsigned int found;

	if (remap_same(pts, entry))
		return;
	found = remap_fill(pts, remap_displaced(pts), args->oa, args, linked);
	if (found & REMAP_FOUND_DIRTY)
		entry = remap_make_dirty(pts, entry);
	remap_exchange(pts, entry);
	remap_flush_item(pts);

	/* What was found in a linked table, remap_fill() has told the checker. */
	if (!linked)
		remap_debug(pts, args->oa, args);
	/* One size for each address in the IOTLB, also where nothing changes */
	if (!linked || (found & REMAP_FOUND_LEAF))
		remap_gather(pts, args);
}

static void remap_clear_large(struct pt_state *pts,
			      struct pt_iommu_remap_args *args)
{
	struct pt_table_p *table = remap_displaced(pts);

	remap_empty(pts, table);
	/* The table is empty before it is reachable. Litmus: table-link */
	remap_exchange(pts, remap_encode_table(pts, table));
	remap_flush_item(pts);
	remap_gather(pts, args);
	remap_debug(pts, 0, args);
}

/* Point at the parked table, which says the same as the large leaf. */
static void remap_split(struct pt_state *pts, struct pt_iommu_remap_args *args)
{
	u64 *entryp = pt_cur_table(pts, u64) + pts->index;
	struct pt_table_p *table = remap_displaced(pts);
	u64 link = remap_encode_table(pts, table);

	/* Only the hardware changes the leaf meanwhile, when it is written to. */
	do {
		if (remap_entry_is_dirty(pts, pts->entry))
			remap_dirty_table(pts, table);
		/* The table is full before it is reachable. Litmus: table-link */
	} while (!try_cmpxchg64(entryp, &pts->entry, link));
	remap_flush_item(pts);
	remap_gather(pts, args);
	pt_load_entry(pts);
}

/* Set, replace or clear the leaf of level 0; true if it changed. */
static bool remap_small(struct pt_state *pts, struct pt_iommu_remap_args *args)
{
	u64 entry = 0;

	if (args->set) {
		entry = remap_encode_leaf(pts, args->oa, &args->attrs);
		if (remap_same(pts, entry))
			return false;
	} else if (pts->type == PT_ENTRY_EMPTY) {
		return false;
	}
	remap_exchange(pts, entry);
	if (pts->type == PT_ENTRY_OA)
		remap_gather(pts, args);
	remap_debug(pts, args->oa, args);
	return true;
}

static void remap_small_leaves(struct pt_state *pts,
			       struct pt_iommu_remap_args *args)
{
	unsigned int start = UINT_MAX, end = 0;

	for_each_pt_level_entry(pts) {
		if (remap_small(pts, args)) {
			start = min(start, pts->index);
			end = pts->index + 1;
		}
		args->oa += log2_to_int(pt_table_item_lg2sz(pts));
	}
	if (end)
		remap_flush_items(pts, start, end);
}

/* Change the leaves. __remap_check() has passed, so this cannot fail. */
static int __remap_range(struct pt_range *range, void *arg, unsigned int level,
			 struct pt_table_p *table)
{
	struct pt_state pts = pt_init(range, level, table);
	unsigned int isz_lg2 = pt_table_item_lg2sz(&pts);
	struct pt_iommu_remap_args *args = arg;

	if (!level) {
		remap_small_leaves(&pts, args);
		return 0;
	}
	for_each_pt_level_entry(&pts) {
		if (args->set && level == args->leaf_level) {
			remap_set_large(&pts, args);
			args->oa += log2_to_int(isz_lg2);
			continue;
		}
		if (pts.type == PT_ENTRY_OA) {
			if (!args->set && pt_entry_fully_covered(&pts, isz_lg2)) {
				remap_clear_large(&pts, args);
				continue;
			}
			remap_split(&pts, args);
		}
		if (pts.type == PT_ENTRY_TABLE)
			pt_descend(&pts, arg, __remap_range);
	}
	return 0;
}

/* Is everything there that __remap_range() needs? */
static int __remap_check(struct pt_range *range, void *arg, unsigned int level,
			 struct pt_table_p *table)
{
	struct pt_state pts = pt_init(range, level, table);
	struct pt_iommu_remap_args *args = arg;
	int ret;

	if (!level)
		return 0;
	for_each_pt_level_entry(&pts) {
		if (pts.type == PT_ENTRY_EMPTY) {
			if (args->set)
				return -ENOENT;
			continue;
		}
		if (pts.type == PT_ENTRY_OA ||
		    (args->set && level == args->leaf_level)) {
			if (!remap_displaced(&pts))
				return -EINVAL;
			continue;
		}
		ret = pt_descend(&pts, arg, __remap_check);
		if (ret)
			return ret;
	}
	return 0;
}

/* The arguments of remap_range that don't depend on what the table has */
static int remap_init_args(struct pt_iommu *iommu_table,
			   struct pt_iommu_remap_args *args, size_t pgsize,
			   unsigned int prot)
{
	struct pt_common *common = common_from_iommu(iommu_table);
	struct pt_range range = pt_top_range(common);
	struct pt_state pts = pt_init_top(&range);

	if (!is_power_of_2(pgsize) ||
	    !(iommu_table->domain.pgsize_bitmap & pgsize))
		return -EINVAL;
	pts.level = pt_pgsz_lg2_to_level(common, ilog2(pgsize));
	if (pts.level > range.top_level || !remap_has_leaf(&pts) ||
	    ilog2(pgsize) != pt_table_item_lg2sz(&pts))
		return -EINVAL;

	args->leaf_level = pts.level;
	args->set = prot;
	if (!prot)
		return 0;
	if (!(prot & (IOMMU_READ | IOMMU_WRITE)))
		return -EINVAL;
	return pt_iommu_set_prot(common, &args->attrs, prot);
}

static int NS(remap_range)(struct pt_iommu *iommu_table, dma_addr_t iova,
			   phys_addr_t paddr, size_t pgsize, size_t pgcount,
			   unsigned int prot, struct iommu_iotlb_gather *gather)
{
	struct pt_common *common = common_from_iommu(iommu_table);
	struct pt_iommu_remap_args args = { .gather = gather, .oa = paddr };
	dma_addr_t len = (dma_addr_t)pgsize * pgcount;
	struct pt_range range, check;
	int ret;

	ret = remap_init_args(iommu_table, &args, pgsize, prot);
	if (ret)
		return ret;
	if (args.set && common->max_oasz_lg2 != PT_OADDR_MAX_LG2 &&
	    oalog2_div((pt_oaddr_t)paddr + len - 1, common->max_oasz_lg2))
		return -ERANGE;
	ret = make_range(common, &range, iova, len);
	if (ret)
		return ret;

	check = range;
	ret = pt_walk_range(&check, __remap_check, &args);
	if (ret)
		return ret;
	return pt_walk_range(&range, __remap_range, &args);
}

/* Make the current item point at a table, and its entry visible to the hardware. */
static int remap_link(struct pt_state *pts, struct pt_write_attrs *attrs)
{
	int ret;

	while (pts->type == PT_ENTRY_EMPTY) {
		ret = DOMAIN_NS(remap_new_table)(pts, attrs);
		if (!ret) {
			pts->type = PT_ENTRY_TABLE;
			return 0;
		}
		if (ret != -EAGAIN)
			return ret;
		pt_load_entry(pts);
	}
	if (pts->type == PT_ENTRY_OA)
		return -EADDRINUSE;

	/* Whoever linked it may not have come to the flush yet, see __map_range() */
	if (pts_feature(pts, PT_FEAT_DMA_INCOHERENT) &&
	    !pt_test_sw_bit_acquire(pts, SW_BIT_CACHE_FLUSH_DONE))
		remap_flush_item(pts);
	return 0;
}

/* Remember the table of the current item, for a leaf that displaces it. */
static int remap_remember(struct pt_state *pts, gfp_t gfp)
{
	if (!remap_has_leaf(pts) ||
	    !pt_entry_fully_covered(pts, pt_table_item_lg2sz(pts)))
		return 0;
	return xa_err(xa_store(remap_tables(pts), remap_place(pts),
			       pts->table_lower, gfp));
}

static int __remap_prepare(struct pt_range *range, void *arg,
			   unsigned int level, struct pt_table_p *table)
{
	struct pt_state pts = pt_init(range, level, table);
	struct pt_write_attrs *attrs = arg;
	int ret;

	for_each_pt_level_entry(&pts) {
		if (!level) {
			if (pts.type != PT_ENTRY_EMPTY)
				return -EADDRINUSE;
			continue;
		}
		ret = remap_link(&pts, attrs);
		if (!ret)
			ret = remap_remember(&pts, attrs->gfp);
		if (!ret)
			ret = pt_descend(&pts, arg, __remap_prepare);
		if (ret)
			return ret;
		if (gfpflags_allow_blocking(attrs->gfp))
			cond_resched();
	}
	return 0;
}

/* Unlink the tables that lie in the range whole; -EADDRINUSE if a leaf is left. */
static int __remap_release(struct pt_range *range, void *arg,
			   unsigned int level, struct pt_table_p *table)
{
	struct pt_iommu_remap_release_args *args = arg;
	struct pt_state pts = pt_init(range, level, table);
	int ret = 0;

	if (!level && !args->look)
		return 0;
	for_each_pt_level_entry(&pts) {
		bool whole;
		int used;

		if (pts.type == PT_ENTRY_OA)
			ret = -EADDRINUSE;
		if (pts.type != PT_ENTRY_TABLE)
			continue;

		whole = pt_entry_fully_covered(&pts, pt_table_item_lg2sz(&pts));
		if (whole && level <= PT_IOMMU_REMAP_LEVELS)
			xa_erase(remap_tables(&pts), remap_place(&pts));
		used = pt_descend(&pts, arg, __remap_release);
		if (used)
			ret = used;
		if (whole && !used) {
			gather_add_table(&args->pending, &pts, pts.table_lower);
			pt_clear_entries(&pts, ilog2(1));
			remap_flush_item(&pts);
		}
		if (args->may_sleep)
			cond_resched();
	}
	return ret;
}

static int remap_free_tables(struct pt_iommu *iommu_table, dma_addr_t iova,
			     dma_addr_t len, bool look, bool may_sleep)
{
	struct iommu_iotlb_gather gather;
	struct pt_iommu_remap_release_args args = {
		.pending.iotlb_gather = &gather,
		.pending.free_list =
			IOMMU_PAGES_LIST_INIT(args.pending.free_list),
		.look = look,
		.may_sleep = may_sleep,
	};
	struct pt_range range;
	int ret;

	iommu_iotlb_gather_init(&gather);
	ret = make_range(common_from_iommu(iommu_table), &range, iova, len);
	if (ret)
		return ret;
	ret = pt_walk_range(&range, __remap_release, &args);
	if (!iommu_pages_list_empty(&args.pending.free_list)) {
		gather_range_pending(&args.pending, iommu_table, iova, len);
		iommu_iotlb_sync(&iommu_table->domain, &gather);
	}
	return ret;
}

static void NS(remap_release)(struct pt_iommu *iommu_table, dma_addr_t iova,
			      dma_addr_t len)
{
	WARN_ON_ONCE(remap_free_tables(iommu_table, iova, len,
				       IS_ENABLED(CONFIG_DEBUG_GENERIC_PT),
				       true));
}

/* The highest level at which remap_range can set a leaf in this range */
static unsigned int remap_top_leaf(struct pt_range range)
{
	struct pt_state pts = pt_init(&range, 0, NULL);
	unsigned int top = 0;

	for (; pts.level <= PT_IOMMU_REMAP_LEVELS; pts.level++) {
		unsigned int isz_lg2 = pt_table_item_lg2sz(&pts);
		pt_vaddr_t first = log2_set_mod_max(range.va - 1, isz_lg2) + 1;

		if (remap_has_leaf(&pts) && first >= range.va &&
		    first <= range.last_va &&
		    range.last_va - first >= log2_to_max_int(isz_lg2))
			top = pts.level;
	}
	return top;
}

static int NS(remap_prepare)(struct pt_iommu *iommu_table, dma_addr_t iova,
			     dma_addr_t len, gfp_t gfp)
{
	struct pt_iommu_map_args map = { .attrs.gfp = gfp };
	struct pt_range range;
	int ret;

	ret = make_range_no_check(common_from_iommu(iommu_table), &range, iova,
				  len);
	if (ret)
		return ret;
	map.leaf_level = remap_top_leaf(range);
	ret = check_map_range(iommu_table, &range, &map);
	if (ret)
		return ret;

	/* Attaching a device that cannot do with remap_range fails from now on. */
	WRITE_ONCE(iommu_table->has_remap, true);
	ret = pt_walk_range(&range, __remap_prepare, &map.attrs);
	if (ret)
		remap_free_tables(iommu_table, iova, len, true,
				  gfpflags_allow_blocking(gfp));
	return ret;
}

/* Collect the tables that large leaves have displaced. */
static int __remap_collect(struct pt_range *range, void *arg,
			   unsigned int level, struct pt_table_p *table)
{
	struct pt_state pts = pt_init(range, level, table);
	struct iommupt_pending_gather *pending = arg;

	if (!level)
		return 0;
	for_each_pt_level_entry(&pts) {
		if (pts.type == PT_ENTRY_OA) {
			pts.table_lower = remap_displaced(&pts);
			if (!pts.table_lower)
				continue;
			gather_add_table(pending, &pts, pts.table_lower);
		}
		if (pts.type != PT_ENTRY_EMPTY)
			pt_descend(&pts, arg, __remap_collect);
	}
	return 0;
}

static void remap_init(struct pt_iommu *iommu_table)
{
	unsigned int i;

	for (i = 0; i < PT_IOMMU_REMAP_LEVELS; i++)
		xa_init_flags(&iommu_table->remap_tables[i], XA_FLAGS_ACCOUNT);
}

static void remap_deinit(struct pt_iommu *iommu_table,
			 struct iommupt_pending_gather *pending)
{
	struct pt_range range = pt_all_range(common_from_iommu(iommu_table));
	unsigned int i;

	if (iommu_table->has_remap)
		pt_walk_range(&range, __remap_collect, pending);
	for (i = 0; i < PT_IOMMU_REMAP_LEVELS; i++)
		xa_destroy(&iommu_table->remap_tables[i]);
}

#endif
