// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which VT-d domains may have their leaves replaced in place
 *
 * How that is done, for both stages, is in drivers/iommu/generic_pt/iommu_remap.h.
 * Here is what it takes from the hardware, so that a page can be freed as soon as
 * its leaf is cleared and intel_iommu_tlb_sync() has returned:
 *
 * No ATS
 *	An invalidation of a device TLB that times out is retried with interrupts
 *	off, and here reclaim would wait for it.
 *
 * Draining (CAP.DRD and CAP.DWD)
 *	The flush waits for reads and writes that are on their way. Without it, a
 *	write that was translated before would reach a page that is somebody
 *	else's by then.
 *
 * No nesting
 *	The caches of the parent of nested domains are flushed by their own rules.
 *
 * States
 *
 *	open ----- first iommu_remap_prepare() -----> remapped
 *
 * An open domain takes any device; intel_iommu_remap_supported() tells whether all
 * that are attached at the time will do. A remapped one, see pt_iommu_has_remap(),
 * refuses those that will not, and VFIO then uses another domain for the device.
 * The levels, page sizes and coherency of a domain are those of the device that it
 * was allocated for, and paging_domain_compatible() compares them in any case.
 *
 * Locks
 *
 * intel_iommu_remap_supported() takes the cache_lock of the domain. Whoever prepares
 * the first range keeps devices from being attached meanwhile: the two decide by
 * each other's result.
 */
#include <linux/generic_pt/iommu.h>
#include <linux/iommu.h>

#include "iommu.h"

static bool intel_remap_drains(struct intel_iommu *iommu)
{
	return cap_read_drain(iommu->cap) && cap_write_drain(iommu->cap);
}

/**
 * intel_iommu_remap_supported - Can leaves of this domain be replaced?
 * @domain: A paging domain
 *
 * Context: Any context. Takes the cache_lock of the domain.
 * Return: true if iommu_remap_pte() works with the devices attached now.
 */
bool intel_iommu_remap_supported(struct iommu_domain *domain)
{
	struct dmar_domain *dmar_domain = to_dmar_domain(domain);
	struct cache_tag *tag;

	if (dmar_domain->nested_parent)
		return false;

	guard(spinlock_irqsave)(&dmar_domain->cache_lock);
	list_for_each_entry(tag, &dmar_domain->cache_tags, node) {
		if (tag->type != CACHE_TAG_IOTLB ||
		    !intel_remap_drains(tag->iommu))
			return false;
	}
	return true;
}

/**
 * intel_remap_may_attach - Does a device fit a domain whose leaves are replaced?
 * @domain: A paging domain, remapped or not
 * @info: The device, not attached yet
 *
 * In legacy mode the ATS of a device is enabled when it is attached.
 *
 * Context: Any context.
 * Return: false if intel_iommu_remap_supported() is needed, and would not hold.
 */
bool intel_remap_may_attach(struct dmar_domain *domain,
			    struct device_domain_info *info)
{
	return !pt_iommu_has_remap(&domain->iommu) ||
	       (!info->ats_supported && intel_remap_drains(info->iommu));
}
