// SPDX-License-Identifier: GPL-2.0-only
/*
 * A check on the users of iommu_remap_pte(): no page goes back to the page
 * allocator, or to the pool of hugetlb pages, while a leaf points at it, or while
 * an IOTLB may still hold such a leaf. It counts at the page frame, in page_ext,
 * and trusts no bookkeeping of the caller:
 *
 *	leaf set	count up
 *	leaf cleared or replaced
 *			pending: nothing, since a device may still use it
 *	gather synced, or tables released
 *			count down for all that is pending
 *	page freed	warn if the count is not 0
 *
 * One lock, remap_debug_lock, covers it all, the driver's change of the leaves
 * included, so that what is counted is what the leaves were: those are read
 * from the page table just before, page by page, whatever the sizes of leaves.
 * Innermost, taken with interrupts off. The look at a page that is freed is
 * lockless: the page has no other user who could set a leaf, unless something is
 * wrong.
 */
#include <linux/iommu.h>
#include <linux/iommu-remap-debug.h>
#include <linux/mm.h>
#include <linux/page_ext.h>
#include <linux/spinlock.h>

/* How many pages may wait for a flush, of all domains together */
#define REMAP_DEBUG_PENDING	65536

struct remap_ext {
	unsigned int leaves;	/* that point at the page, or may be cached */
	unsigned long iova;	/* of the one that was set last */
};

struct remap_pending {
	struct iommu_iotlb_gather *gather;
	struct iommu_domain *domain;
	unsigned long iova;
	unsigned long pfn;
};

static DEFINE_SPINLOCK(remap_debug_lock);
static struct remap_pending remap_pending[REMAP_DEBUG_PENDING];
static unsigned int nr_pending;
static bool remap_debug_off;

static bool __init need_remap_debug(void)
{
	return true;
}

struct page_ext_operations iommu_remap_debug_ops = {
	.size = sizeof(struct remap_ext),
	.need = need_remap_debug,
};

static void remap_debug_count(unsigned long pfn, int n, unsigned long iova)
{
	struct page *page = pfn_to_online_page(pfn);
	struct page_ext *page_ext = page ? page_ext_get(page) : NULL;
	struct remap_ext *ext;

	lockdep_assert_held(&remap_debug_lock);
	if (!page_ext)
		return;
	ext = page_ext_data(page_ext, &iommu_remap_debug_ops);
	WRITE_ONCE(ext->leaves, ext->leaves + n);
	if (n > 0)
		ext->iova = iova;
	page_ext_put(page_ext);
}

static void remap_debug_defer(struct iommu_iotlb_gather *gather,
			      struct iommu_domain *domain, unsigned long iova,
			      unsigned long pfn)
{
	lockdep_assert_held(&remap_debug_lock);
	if (nr_pending == REMAP_DEBUG_PENDING) {
		pr_err_once("remap: too many unflushed leaves, the check is off\n");
		WRITE_ONCE(remap_debug_off, true);
		return;
	}
	remap_pending[nr_pending++] = (struct remap_pending) {
		.gather = gather,
		.domain = domain,
		.iova = iova,
		.pfn = pfn,
	};
}

/* The pending leaf @i is flushed. Another one takes its place. */
static void remap_debug_done(unsigned int i)
{
	lockdep_assert_held(&remap_debug_lock);
	remap_debug_count(remap_pending[i].pfn, -1, 0);
	remap_pending[i] = remap_pending[--nr_pending];
}

/* Count what becomes of the pages of a range. Without @gather, it is flushed. */
static void remap_debug_track(struct iommu_domain *domain, unsigned long iova,
			      phys_addr_t paddr, size_t size, int prot,
			      struct iommu_iotlb_gather *gather)
{
	unsigned long last = iova + size - 1;

	lockdep_assert_held(&remap_debug_lock);
	for (; iova < last; iova += SZ_4K, paddr += SZ_4K) {
		phys_addr_t old = domain->ops->iova_to_phys(domain, iova);

		if (old && prot && old == paddr)
			continue;
		if (prot)
			remap_debug_count(PHYS_PFN(paddr), 1, iova);
		if (old && gather)
			remap_debug_defer(gather, domain, iova, PHYS_PFN(old));
		else if (old)
			remap_debug_count(PHYS_PFN(old), -1, 0);
	}
}

/**
 * iommu_remap_debug_pte - Replace leaves, and count them
 * @domain: as for iommu_remap_pte()
 * @iova: as for iommu_remap_pte()
 * @paddr: as for iommu_remap_pte()
 * @pgsize: as for iommu_remap_pte()
 * @pgcount: as for iommu_remap_pte()
 * @prot: as for iommu_remap_pte()
 * @gather: as for iommu_remap_pte()
 *
 * Context: Any context but NMI.
 * Return: What the driver returns. An error ends the check: what was counted
 *	didn't happen.
 */
int iommu_remap_debug_pte(struct iommu_domain *domain, unsigned long iova,
			  phys_addr_t paddr, size_t pgsize, size_t pgcount,
			  int prot, struct iommu_iotlb_gather *gather)
{
	unsigned long flags;
	int ret;

	spin_lock_irqsave(&remap_debug_lock, flags);
	/* The driver itself flushes when it sets superpages. */
	remap_debug_track(domain, iova, paddr, pgsize * pgcount, prot,
			  pgsize > SZ_4K ? NULL : gather);
	ret = domain->ops->remap_pte(domain, iova, paddr, pgsize, pgcount, prot,
				     gather);
	if (ret)
		WRITE_ONCE(remap_debug_off, true);
	spin_unlock_irqrestore(&remap_debug_lock, flags);
	WARN_ONCE(ret, "remap: error %d, the check is off\n", ret);
	return ret;
}

/**
 * iommu_remap_debug_synced - What was gathered is flushed
 * @gather: as passed to iommu_iotlb_sync()
 *
 * Context: Any context but NMI.
 */
void iommu_remap_debug_synced(struct iommu_iotlb_gather *gather)
{
	unsigned long flags;
	unsigned int i;

	/* Those of this gather are the caller's own, and count by now. */
	if (!data_race(READ_ONCE(nr_pending)))
		return;
	spin_lock_irqsave(&remap_debug_lock, flags);
	for (i = nr_pending; i--;) {
		if (remap_pending[i].gather == gather)
			remap_debug_done(i);
	}
	spin_unlock_irqrestore(&remap_debug_lock, flags);
}
EXPORT_SYMBOL_GPL(iommu_remap_debug_synced);

/**
 * iommu_remap_debug_released - The tables of a range are released and flushed
 * @domain: the domain
 * @iova: as passed to iommu_remap_release()
 * @size: as passed to iommu_remap_release()
 *
 * Context: Any context but NMI.
 */
void iommu_remap_debug_released(struct iommu_domain *domain,
				unsigned long iova, size_t size)
{
	unsigned long flags;
	unsigned int i;

	spin_lock_irqsave(&remap_debug_lock, flags);
	for (i = nr_pending; i--;) {
		if (remap_pending[i].domain == domain &&
		    remap_pending[i].iova - iova < size)
			remap_debug_done(i);
	}
	spin_unlock_irqrestore(&remap_debug_lock, flags);
}

/*
 * Pages of one section: their page_ext lie side by side. One warning will do for all
 * that is freed together: a huge page can have hundreds of such leaves.
 */
static void remap_debug_free(struct page *page, unsigned long nr)
{
	struct page_ext *page_ext = page_ext_get(page), *at = page_ext;
	unsigned long i;

	for (i = 0; at && !READ_ONCE(remap_debug_off) && i < nr; i++) {
		struct remap_ext *ext = page_ext_data(at, &iommu_remap_debug_ops);

		if (WARN(READ_ONCE(ext->leaves),
			 "page %#lx is freed while %u leaves may point at it, the last one set at IOVA %#lx\n",
			 page_to_pfn(page) + i, ext->leaves, ext->iova))
			break;
		at = page_ext_next(at);
	}
	page_ext_put(page_ext);
}

/**
 * __iommu_remap_debug_free - Warn if a device can still reach a page
 * @page: the first page that is freed
 * @order: how many pages
 *
 * Context: Any context.
 */
void __iommu_remap_debug_free(struct page *page, unsigned int order)
{
	unsigned long nr = BIT(order), done, step = MAX_ORDER_NR_PAGES;

	for (done = 0; done < nr; done += step) {
		step = min(step, nr - done);
		remap_debug_free(nth_page(page, done), step);
	}
}
