// SPDX-License-Identifier: GPL-2.0-only
/*
 * Replacing leaves of a live VT-d page table one by one
 *
 * The ops behind iommu_remap_prepare(), iommu_remap_pte() and
 * iommu_remap_release(). map_pages and unmap_pages can't serve here: they
 * refuse to overwrite a leaf, round sizes up at holes, and free tables while
 * others walk through them.
 *
 * Formats
 *
 * Both stages have 512 entries of 8 bytes per table, level 1 maps 4 KiB
 * ("Intel Virtualization Technology for Directed I/O, Architecture
 * Specification", sections 3.6 First-Stage Translation, 3.7 Second-Stage
 * Translation, 9.7 First-Stage Paging Entries, 9.8 Second-Stage Paging
 * Entries). Code level n is named there: 1 PTE, 2 PDE, 3 PDPTE, 4 PML4E,
 * 5 PML5E.
 *
 *	       first stage			second stage
 *	table  P RW US A			R W
 *	leaf   P RW US A, D if writable		R W, SNP if the domain asks for it
 *	       PS above level 1			PS above level 1
 *
 * These are the bits that __domain_mapping() and pfn_to_dma_pte() set; the
 * attributes of a leaf never depend on which of the two paths wrote it.
 *
 * Life of a range
 *
 *	bare --- remap_prepare ---> prepared --- remap_release ---> bare
 *
 * While a range is prepared each of its addresses has a level-1 table, so
 * that remap_pte allocates nothing, and no table that it walks through is
 * freed. A table that also serves addresses outside of the range stays when
 * the range is released, until a range that covers it whole is released or
 * unmapped, or the domain is freed. A remap_prepare that fails leaves nothing
 * behind, and takes nothing that was there.
 *
 * Superpages
 *
 * A superpage takes the place of a table that lies in the range whole. The
 * table is parked: domain->remap_tables knows the tables that may be, by what
 * they map, since the range was prepared. A parked table is empty, and so are
 * those below it, but for their links to each other. So a superpage is cleared
 * by linking the table again, and split by filling it before: neither needs
 * memory.
 *
 * Locks
 *
 * None in remap_pte: it runs under page-table locks and inside of reclaim. The
 * caller serializes the calls for one leaf, keeps the range prepared
 * meanwhile, and keeps map_pages and unmap_pages away from it. Neighbours that
 * share a table need not be serialized: a table is linked by cmpxchg, and each
 * leaf belongs to one range, as does each table that a superpage may displace.
 * remap_prepare takes domain->lock (has_mappings, has_remap, max_addr), and it
 * and remap_release take that of domain->remap_tables, which remap_pte reads
 * under RCU; remap_supported takes domain->cache_lock (cache_tags).
 * pgd and agaw don't change anymore once has_remap is set:
 * prepare_domain_attach_device() refuses the devices that would need it.
 *
 * Flushing
 *
 * A unit that does not snoop reads tables from memory: each store is followed
 * by clflush, and a table is flushed before the entry that makes it reachable.
 * Present leaves that changed are gathered, and intel_iommu_tlb_sync() then
 * invalidates the IOTLB only (IH set); a table is unlinked, flushed with the
 * paging-structure caches (IH clear), and only then freed, or emptied when it
 * is parked: a unit that still has the link cached must find the translation.
 *
 * Newer kernels have the table formats in drivers/iommu/generic_pt. There the
 * walk below is a pt_walk_range() down to level 0, remap_replace() belongs
 * beside pt_install_leaf_entry(), and the formats' own attribute helpers
 * replace remap_leaf_bits() and remap_table_bits().
 */

#include <kunit/static_stub.h>
#include <kunit/visibility.h>
#include <linux/iommu.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/xarray.h>

#include "iommu.h"
#include "../iommu-pages.h"

/* The last page that one level-1 table maps together with @pfn */
#define REMAP_TABLE_LAST(pfn)	((pfn) | (level_size(2) - 1))

/* Superpages are leaves of levels 2 and 3 */
#define REMAP_TOP_LEVEL		3

/* What a unit with SSADE sets in a second-stage leaf: A and D */
#define REMAP_HW_BITS		(BIT_ULL(8) | DMA_SL_PTE_DIRTY)

static bool remap_present(u64 val)
{
	return val & (DMA_PTE_READ | DMA_PTE_WRITE);
}

static bool remap_is_table(u64 val)
{
	return remap_present(val) && !(val & DMA_PTE_LARGE_PAGE);
}

/* Bytes that an entry of @level maps */
static unsigned long remap_bytes(int level)
{
	return level_size(level) << VTD_PAGE_SHIFT;
}

/* Is all that an entry of @level maps together with @pfn in [@first, @last]? */
static bool remap_whole(unsigned long pfn, int level, unsigned long first,
			unsigned long last)
{
	return (pfn & level_mask(level)) >= first &&
	       (pfn | ~level_mask(level)) <= last;
}

static struct dma_pte *remap_entry(u64 table, unsigned long pfn, int level)
{
	struct dma_pte *pte = phys_to_virt(table & VTD_PAGE_MASK);

	return &pte[pfn_level_offset(pfn, level)];
}

static u64 remap_table_bits(struct dmar_domain *domain)
{
	u64 bits = DMA_PTE_READ | DMA_PTE_WRITE;

	if (domain->use_first_level)
		bits |= DMA_FL_PTE_US | DMA_FL_PTE_ACCESS;
	return bits;
}

static u64 remap_leaf_bits(struct dmar_domain *domain, int prot)
{
	u64 bits = DMA_FL_PTE_PRESENT;

	if (prot & IOMMU_WRITE)
		bits |= DMA_PTE_WRITE;
	if (domain->set_pte_snp)
		bits |= DMA_PTE_SNP;
	if (domain->use_first_level) {
		bits |= DMA_FL_PTE_US | DMA_FL_PTE_ACCESS;
		if (prot & IOMMU_WRITE)
			bits |= DMA_FL_PTE_DIRTY;
	}
	return bits;
}

/* An address beyond would wrap around in the top table. */
static bool remap_in_reach(struct dmar_domain *domain, unsigned long last)
{
	int width = min(domain->gaw, agaw_to_width(domain->agaw));

	return width >= BITS_PER_LONG || !(last >> width);
}

/* A function of its own for the tests to count. */
VISIBLE_IF_KUNIT void intel_remap_clflush(void *addr, unsigned int size)
{
	KUNIT_STATIC_STUB_REDIRECT(intel_remap_clflush, addr, size);
	clflush_cache_range(addr, size);
}

static void remap_flush_cache(struct dmar_domain *domain, void *addr,
			      unsigned int size)
{
	if (!domain->iommu_coherency)
		intel_remap_clflush(addr, size);
}

/* IOTLB and paging-structure caches, before a table is freed */
VISIBLE_IF_KUNIT void intel_remap_flush_tables(struct dmar_domain *domain,
					       unsigned long start,
					       unsigned long last)
{
	KUNIT_STATIC_STUB_REDIRECT(intel_remap_flush_tables, domain, start,
				   last);
	cache_tag_flush_range(domain, start, last, 0);
}

/*
 * Walk towards the entry of @pfn at @level. Stops above at a hole or a
 * superpage; @level tells where.
 */
static struct dma_pte *remap_walk(struct dmar_domain *domain,
				  unsigned long pfn, int *level)
{
	int at = agaw_to_level(domain->agaw);
	struct dma_pte *pte = &domain->pgd[pfn_level_offset(pfn, at)];

	while (at > *level) {
		u64 val = READ_ONCE(pte->val);

		if (!remap_is_table(val))
			break;
		pte = remap_entry(val, pfn, --at);
	}
	*level = at;
	return pte;
}

/**
 * intel_iommu_remap_supported - Can leaves of this domain be replaced?
 * @domain: A paging domain
 *
 * Not with ATS: an invalidation of a device TLB that times out is retried
 * with interrupts off, and here reclaim would wait for it. Not for the parent
 * of nested domains, whose caches are flushed by their own rules. Only where
 * all units drain reads and writes when they flush their IOTLB: a write that
 * was translated before, and is still on its way, would reach a page that is
 * somebody else's by then.
 *
 * Context: Any context. Takes the cache_lock of the domain.
 * Return: true if iommu_remap_pte() works with the devices attached now.
 */
bool intel_iommu_remap_supported(struct iommu_domain *domain)
{
	struct dmar_domain *dmar_domain = to_dmar_domain(domain);
	bool supported = !dmar_domain->nested_parent;
	struct cache_tag *tag;
	unsigned long flags;

	spin_lock_irqsave(&dmar_domain->cache_lock, flags);
	list_for_each_entry(tag, &dmar_domain->cache_tags, node) {
		if (tag->type != CACHE_TAG_IOTLB ||
		    !intel_remap_drains(tag->iommu))
			supported = false;
	}
	spin_unlock_irqrestore(&dmar_domain->cache_lock, flags);
	return supported;
}

/* Link an empty table, unless another CPU has linked one meanwhile. */
static int remap_link(struct dmar_domain *domain, struct dma_pte *pte,
		      gfp_t gfp)
{
	void *table = iommu_alloc_page_node(domain->nid, gfp);
	u64 none = 0;

	if (!table)
		return -ENOMEM;

	remap_flush_cache(domain, table, VTD_PAGE_SIZE);
	/* The table is empty before it is reachable. Litmus: table-link */
	if (!try_cmpxchg64(&pte->val, &none,
			   virt_to_phys(table) | remap_table_bits(domain)))
		iommu_free_page(table);
	return 0;
}

/* Where remap_tables has the table that a superpage of @level displaces */
static unsigned long remap_place(unsigned long pfn, int level)
{
	return pfn >> level_to_offset_bits(level) << 1 |
	       (level == REMAP_TOP_LEVEL);
}

/* Remember the table below the entry of @pfn at @level, for a superpage. */
static int remap_keep(struct dmar_domain *domain, unsigned long pfn, int level,
		      u64 val, gfp_t gfp)
{
	void *table = phys_to_virt(val & VTD_PAGE_MASK);
	unsigned long place = remap_place(pfn, level);

	if (xa_load(&domain->remap_tables, place) == table)
		return 0;
	return xa_err(xa_store(&domain->remap_tables, place, table, gfp));
}

/* Is there a page size for leaves of @level? */
static bool remap_has_level(struct dmar_domain *domain, int level)
{
	return level <= min(domain->iommu_superpage + 1, REMAP_TOP_LEVEL);
}

/*
 * Build all tables that the walk to the leaf of @pfn goes through, for a range
 * of pages from @first to @last.
 */
static int remap_build(struct dmar_domain *domain, unsigned long pfn,
		       unsigned long first, unsigned long last, gfp_t gfp)
{
	int level = agaw_to_level(domain->agaw);
	struct dma_pte *pte = &domain->pgd[pfn_level_offset(pfn, level)];
	int ret;

	while (level > 1) {
		if (!remap_present(READ_ONCE(pte->val))) {
			ret = remap_link(domain, pte, gfp);
			if (ret)
				return ret;
		}
		if (!remap_is_table(READ_ONCE(pte->val)))
			return -EINVAL;
		if (remap_has_level(domain, level) &&
		    remap_whole(pfn, level, first, last)) {
			ret = remap_keep(domain, pfn, level, pte->val, gfp);
			if (ret)
				return ret;
		}

		/* Even if another CPU linked it: its flush may still be pending. */
		remap_flush_cache(domain, pte, sizeof(*pte));
		pte = remap_entry(READ_ONCE(pte->val), pfn, --level);
	}
	return 0;
}

static bool remap_is_empty(u64 val)
{
	return !memchr_inv(remap_entry(val, 0, 1), 0, VTD_PAGE_SIZE);
}

/*
 * Unlink the tables of @level that map nothing outside of [@pfn, @last], all of
 * them or the empty ones. Their subordinates are unlinked before.
 */
static void remap_unlink(struct dmar_domain *domain, int level,
			 unsigned long pfn, unsigned long last, bool empty,
			 struct list_head *freelist)
{
	pfn = align_to_level(pfn, level + 1);

	while (pfn <= last && last - pfn >= level_size(level + 1) - 1) {
		int at = level + 1;
		struct dma_pte *pte = remap_walk(domain, pfn, &at);
		u64 val = READ_ONCE(pte->val);

		if (at == level + 1 && at <= REMAP_TOP_LEVEL)
			xa_erase(&domain->remap_tables, remap_place(pfn, at));
		if (at == level + 1 && remap_is_table(val) &&
		    (!empty || remap_is_empty(val))) {
			WRITE_ONCE(pte->val, 0);
			remap_flush_cache(domain, pte, sizeof(*pte));
			list_add_tail(&pfn_to_page(val >> VTD_PAGE_SHIFT)->lru,
				      freelist);
		}
		/* Nothing of @level is in a hole or superpage found above */
		pfn = (pfn | (level_size(at) - 1)) + 1;
		cond_resched();
	}
}

/* Free the tables that lie in a range whole, all of them or the empty ones. */
static void remap_free_tables(struct dmar_domain *domain, unsigned long iova,
			      size_t size, bool empty)
{
	unsigned long end = iova + size - 1;
	LIST_HEAD(freelist);
	int level;

	for (level = 1; level < agaw_to_level(domain->agaw); level++)
		remap_unlink(domain, level, iova >> VTD_PAGE_SHIFT,
			     end >> VTD_PAGE_SHIFT, empty, &freelist);

	if (list_empty(&freelist))
		return;
	intel_remap_flush_tables(domain, iova, end);
	iommu_put_pages_list(&freelist);
}

/**
 * intel_iommu_remap_prepare - Build the level-1 tables of a range
 * @domain: A domain for which intel_iommu_remap_supported() holds
 * @iova: First address, a multiple of 4 KiB
 * @size: Bytes, a multiple of 4 KiB
 * @gfp: How to allocate
 *
 * After an error the tables that are empty are released again. One that is not
 * is from map_pages, and stays.
 *
 * Context: Process context, may sleep; allocates as @gfp says. Takes the lock of
 *	the domain.
 * Return: 0, -EINVAL if the range is out of reach or holds a superpage,
 *	-ENOMEM.
 */
int intel_iommu_remap_prepare(struct iommu_domain *domain, unsigned long iova,
			      size_t size, gfp_t gfp)
{
	struct dmar_domain *dmar_domain = to_dmar_domain(domain);
	unsigned long last = (iova + size - 1) >> VTD_PAGE_SHIFT;
	unsigned long first = iova >> VTD_PAGE_SHIFT;
	unsigned long pfn, flags;
	int ret;

	if (!remap_in_reach(dmar_domain, iova + size - 1))
		return -EINVAL;

	spin_lock_irqsave(&dmar_domain->lock, flags);
	dmar_domain->has_mappings = true;
	dmar_domain->has_remap = true;
	dmar_domain->max_addr = max_t(u64, dmar_domain->max_addr, iova + size);
	/* It has what one of the units can do, and that is not enough. */
	domain->pgsize_bitmap &= 2 * remap_bytes(dmar_domain->iommu_superpage + 1) - 1;
	spin_unlock_irqrestore(&dmar_domain->lock, flags);

	for (pfn = first; pfn <= last; pfn = REMAP_TABLE_LAST(pfn) + 1) {
		ret = remap_build(dmar_domain, pfn, first, last, gfp);
		if (ret) {
			remap_free_tables(dmar_domain, iova, size, true);
			return ret;
		}
		if (gfpflags_allow_blocking(gfp))
			cond_resched();
	}
	return 0;
}

/**
 * intel_iommu_remap_release - Free the tables that lie in a range whole
 * @domain: The domain
 * @iova: First address, as given to intel_iommu_remap_prepare()
 * @size: Bytes, as given to intel_iommu_remap_prepare()
 *
 * No leaf of the range is present. Tolerates any hole.
 *
 * Context: May sleep.
 */
void intel_iommu_remap_release(struct iommu_domain *domain, unsigned long iova,
			       size_t size)
{
	struct dmar_domain *dmar_domain = to_dmar_domain(domain);

	if (remap_in_reach(dmar_domain, iova + size - 1))
		remap_free_tables(dmar_domain, iova, size, false);
}

/*
 * Exchange one leaf and return what it was. The unit sees the old or the new
 * value, and what it sets in the old one until then is not lost. A leaf that
 * points there already keeps what the unit has set.
 * Litmus: leaf-flush, leaf-hardware
 */
static u64 remap_replace(struct dma_pte *pte, u64 new)
{
	u64 old = READ_ONCE(pte->val);

	while ((old ^ new) & ~REMAP_HW_BITS)
		if (try_cmpxchg64(&pte->val, &old, new))
			break;
	return old;
}

/* Replace the leaf of @iova; true if it changed. */
static bool remap_leaf(struct dma_pte *pte, unsigned long iova, u64 new,
		       struct iommu_iotlb_gather *gather)
{
	u64 val = remap_replace(pte, new);
	bool changed = (val ^ new) & ~REMAP_HW_BITS;

	if (changed && remap_present(val))
		iommu_iotlb_gather_add_range(gather, iova, VTD_PAGE_SIZE);
	return changed;
}

/* Replace @count leaves of one table from @pte on. */
static void remap_leaves(struct dmar_domain *domain, struct dma_pte *pte,
			 unsigned long iova, unsigned long count, u64 new,
			 struct iommu_iotlb_gather *gather)
{
	bool changed = false;
	unsigned long i;

	for (i = 0; i < count; i++) {
		unsigned long offset = i << VTD_PAGE_SHIFT;

		changed |= remap_leaf(&pte[i], iova + offset,
				      new ? new + offset : 0, gather);
	}
	if (changed)
		remap_flush_cache(domain, pte, count * sizeof(*pte));
}

/* The entry that links the table that a superpage has displaced, or 0 */
static u64 remap_parked(struct dmar_domain *domain, unsigned long pfn, int level)
{
	void *table = xa_load(&domain->remap_tables, remap_place(pfn, level));

	return table ? virt_to_phys(table) | remap_table_bits(domain) : 0;
}

/*
 * Replace a superpage by a table of leaves that say the same. What the unit
 * sets in the superpage until then goes to all of them.
 */
static void remap_split(struct dmar_domain *domain, struct dma_pte *pte,
			unsigned long pfn, int level,
			struct iommu_iotlb_gather *gather)
{
	u64 link = remap_parked(domain, pfn, level);
	struct dma_pte *table = remap_entry(link, 0, 1);
	u64 val = READ_ONCE(pte->val), new;
	unsigned int i;

	do {
		new = level == 2 ? val & ~DMA_PTE_LARGE_PAGE : val;
		for (i = 0; i < BIT(LEVEL_STRIDE); i++)
			WRITE_ONCE(table[i].val, new + i * remap_bytes(level - 1));
		remap_flush_cache(domain, table, VTD_PAGE_SIZE);
		/* The table is full before it is reachable. Litmus: table-link */
	} while (!try_cmpxchg64(&pte->val, &val, link));
	remap_flush_cache(domain, pte, sizeof(*pte));
	iommu_iotlb_gather_add_range(gather,
				     (pfn & level_mask(level)) << VTD_PAGE_SHIFT,
				     remap_bytes(level));
}

/* Walk to the entry of @pfn at @level, splitting superpages on the way. */
static struct dma_pte *remap_descend(struct dmar_domain *domain,
				     unsigned long pfn, int *level,
				     struct iommu_iotlb_gather *gather)
{
	int wanted = *level;
	struct dma_pte *pte = remap_walk(domain, pfn, level);

	while (*level > wanted && remap_present(READ_ONCE(pte->val))) {
		remap_split(domain, pte, pfn, *level, gather);
		*level = wanted;
		pte = remap_walk(domain, pfn, level);
	}
	return pte;
}

/* Is there what remap_small() needs, in the whole range? */
static int remap_check(struct dmar_domain *domain, unsigned long pfn,
		       unsigned long last, bool set)
{
	for (; pfn <= last; pfn = REMAP_TABLE_LAST(pfn) + 1) {
		int level = 1;
		struct dma_pte *pte = remap_walk(domain, pfn, &level);

		if (level == 1)
			continue;
		if (!remap_present(READ_ONCE(pte->val))) {
			if (set)
				return -ENOENT;
		} else if (!remap_parked(domain, pfn, level)) {
			return -EINVAL;
		}
	}
	return 0;
}

static void remap_clear_super(struct dmar_domain *domain, struct dma_pte *pte,
			      unsigned long pfn, int level,
			      struct iommu_iotlb_gather *gather)
{
	/* Litmus: leaf-flush */
	xchg(&pte->val, remap_parked(domain, pfn, level));
	remap_flush_cache(domain, pte, sizeof(*pte));
	iommu_iotlb_gather_add_range(gather, pfn << VTD_PAGE_SHIFT,
				     remap_bytes(level));
}

/* Set (@new) or clear (0) leaves of 4 KiB. remap_check() has passed. */
static void remap_small(struct dmar_domain *domain, unsigned long pfn,
			unsigned long last, u64 new,
			struct iommu_iotlb_gather *gather)
{
	while (pfn <= last) {
		int level = 1;
		struct dma_pte *pte = remap_walk(domain, pfn, &level);
		unsigned long count = min(last, REMAP_TABLE_LAST(pfn)) - pfn + 1;
		bool super = level > 1 && remap_present(READ_ONCE(pte->val));

		if (super && !new && remap_whole(pfn, level, pfn, last)) {
			count = level_size(level);
			remap_clear_super(domain, pte, pfn, level, gather);
		} else if (super) {
			remap_split(domain, pte, pfn, level, gather);
			continue;
		} else if (level == 1) {
			remap_leaves(domain, pte, pfn << VTD_PAGE_SHIFT, count,
				     new, gather);
		}

		pfn += count;
		new += new ? count << VTD_PAGE_SHIFT : 0;
	}
}

/* Leave nothing in a parked table of @level but links to empty tables. */
static void remap_empty(struct dmar_domain *domain, u64 link, unsigned long pfn,
			int level)
{
	struct dma_pte *table = remap_entry(link, 0, 1);
	unsigned long i;

	pfn &= level_mask(level + 1);
	for (i = 0; i < BIT(LEVEL_STRIDE); i++, pfn += level_size(level)) {
		u64 below = level > 1 ? remap_parked(domain, pfn, level) : 0;

		if (below)
			remap_empty(domain, below, pfn, level - 1);
		WRITE_ONCE(table[i].val, below);
	}
	remap_flush_cache(domain, table, VTD_PAGE_SIZE);
}

/*
 * Set superpages of @level. The tables that they displace are emptied only when
 * no unit has a link to them cached anymore.
 */
static int remap_super(struct dmar_domain *domain, unsigned long pfn,
		       unsigned long last, int level, u64 new,
		       struct iommu_iotlb_gather *gather)
{
	bool changed = false;
	unsigned long at;

	for (at = pfn; at <= last; at += level_size(level)) {
		if (!remap_parked(domain, at, level))
			return -EINVAL;
	}
	for (at = pfn; at <= last; at += level_size(level)) {
		int reached = level;
		struct dma_pte *pte = remap_descend(domain, at, &reached, gather);

		if ((remap_replace(pte, new) ^ new) & ~REMAP_HW_BITS) {
			remap_flush_cache(domain, pte, sizeof(*pte));
			changed = true;
		}
		new += remap_bytes(level);
	}
	if (!changed)
		return 0;

	intel_remap_flush_tables(domain, pfn << VTD_PAGE_SHIFT,
				 ((last + 1) << VTD_PAGE_SHIFT) - 1);
	for (at = pfn; at <= last; at += level_size(level))
		remap_empty(domain, remap_parked(domain, at, level), at,
			    level - 1);
	return 0;
}

/* The level of leaves of @pgsize, or 0 if the domain has none of that size */
static int remap_level(struct dmar_domain *domain, size_t pgsize)
{
	int level;

	for (level = 1; remap_has_level(domain, level); level++) {
		if (pgsize == remap_bytes(level))
			return level;
	}
	return 0;
}

/**
 * intel_iommu_remap_pte - Replace, set or clear leaves of a prepared range
 * @domain: The domain
 * @iova: Address of the first leaf, a multiple of @pgsize
 * @paddr: What the first leaf shall point at, a multiple of @pgsize
 * @pgsize: Bytes that a leaf maps: 4 KiB, or to set them, also 2 MiB or 1 GiB
 *	if the domain has superpages of that size
 * @pgcount: Number of leaves
 * @prot: IOMMU_READ and IOMMU_WRITE; 0 clears the leaves
 * @gather: Receives the leaves that were present and changed
 *
 * Clears through holes; a hole counts as leaves that are not present. A
 * superpage that lies in the range in part is split. Superpages that are set
 * need no flush by the caller. Upon an error nothing is changed.
 *
 * Context: Any context. Neither allocates nor frees. For what the caller
 *	serializes see the head of this file.
 * Return: 0, -EINVAL for a @pgsize that can't be had, for a superpage in the
 *	range that this function has not set, for an address out of reach, or for
 *	a @prot without access; -ENOENT if a leaf shall be set where no table is.
 */
int intel_iommu_remap_pte(struct iommu_domain *domain, unsigned long iova,
			  phys_addr_t paddr, size_t pgsize, size_t pgcount,
			  int prot, struct iommu_iotlb_gather *gather)
{
	struct dmar_domain *dmar_domain = to_dmar_domain(domain);
	int level = remap_level(dmar_domain, pgsize);
	unsigned long pfn = iova >> VTD_PAGE_SHIFT;
	unsigned long last = pfn + pgcount * level_size(level ?: 1) - 1;
	u64 new = 0;
	int ret;

	if (!level || !pgcount || (level > 1 && !prot) ||
	    !remap_in_reach(dmar_domain, last << VTD_PAGE_SHIFT) ||
	    (prot && !(prot & (IOMMU_READ | IOMMU_WRITE))))
		return -EINVAL;

	if (prot)
		new = paddr | remap_leaf_bits(dmar_domain, prot);
	if (level > 1)
		return remap_super(dmar_domain, pfn, last, level,
				   new | DMA_PTE_LARGE_PAGE, gather);

	ret = remap_check(dmar_domain, pfn, last, prot);
	if (!ret)
		remap_small(dmar_domain, pfn, last, new, gather);
	return ret;
}

/**
 * intel_remap_init_domain - Prepare a new domain for remap_pte
 * @domain: The domain
 *
 * Context: Any context.
 */
void intel_remap_init_domain(struct dmar_domain *domain)
{
	xa_init_flags(&domain->remap_tables, XA_FLAGS_ACCOUNT);
}

/**
 * intel_remap_exit_domain - Forget the tables of a domain
 * @domain: The domain, without devices, whose tables are freed
 *
 * Upon return nobody calls the fault handler of the domain anymore.
 *
 * Context: Process context, may sleep.
 */
void intel_remap_exit_domain(struct dmar_domain *domain)
{
	if (domain->domain.handler)
		synchronize_rcu();
	xa_destroy(&domain->remap_tables);
}
