// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which AMD-Vi domains may have their leaves replaced in place, and their faults
 *
 * How leaves are replaced, for AMDv1 and for x86_64 tables, is in
 * drivers/iommu/generic_pt/iommu_remap.h. A page is freed as soon as its leaf is
 * cleared and amd_iommu_iotlb_sync() has returned. So there may be no ATS: a device
 * TLB is flushed by a request that the device can leave unanswered, and here
 * reclaim would wait for it. And no domains may be nested, whose caches are flushed
 * by their own rules. Reads and writes that are on their way need no care:
 * COMPLETION_WAIT, with which a flush ends, is after those that used what was
 * invalidated.
 *
 * A domain takes any device until iommu_remap_prepare() was called for it, and from
 * then on only those without ATS.
 *
 * Faults are read from the event log in a thread, which may be behind: the device
 * can be detached and its domain freed meanwhile. dev_data lives as long as the
 * machine, and dev_data->domain is read under RCU. Freeing a domain with a fault
 * handler waits for a grace period, so that the handler's token is needed until
 * iommu_domain_free() returns, and no longer.
 *
 * Locks: domain->lock for its lists of devices and of virtual IOMMUs.
 */
#include <linux/generic_pt/iommu.h>
#include <linux/iommu.h>
#include <linux/rcupdate.h>

#include "amd_iommu.h"

/**
 * amd_iommu_remap_supported - Can leaves of this domain be replaced?
 * @dom: A paging domain
 *
 * Context: Any context. Takes the lock of the domain.
 * Return: true if iommu_remap_pte() works with the devices attached now.
 */
bool amd_iommu_remap_supported(struct iommu_domain *dom)
{
	struct protection_domain *domain = to_pdomain(dom);
	struct iommu_dev_data *dev_data;

	guard(spinlock_irqsave)(&domain->lock);
	list_for_each_entry(dev_data, &domain->dev_list, list) {
		if (dev_data->ats_enabled)
			return false;
	}
	return list_empty(&domain->viommu_list);
}

/**
 * amd_iommu_remap_may_attach - Does a device fit a domain whose leaves are replaced?
 * @domain: A paging domain, remapped or not
 * @dev_data: The device, whose ATS is enabled when it is attached
 *
 * Context: Any context.
 * Return: false if amd_iommu_remap_supported() is needed, and would not hold.
 */
bool amd_iommu_remap_may_attach(struct protection_domain *domain,
				struct iommu_dev_data *dev_data)
{
	bool ats = amd_iommu_iotlb_sup &&
		   (dev_data->flags & AMD_IOMMU_DEVICE_FLAG_ATS_SUP);

	return !pt_iommu_has_remap(&domain->iommu) || !ats;
}

/**
 * amd_iommu_remap_report_fault - Report a request that was blocked
 * @dev_data: The device
 * @dev: The device
 * @address: IOVA
 * @flags: IOMMU_FAULT_READ or IOMMU_FAULT_WRITE
 * @ret: What the handler of the domain returns, 0 for no message
 *
 * Context: Any context but NMI.
 * Return: true, or false if the device is not attached.
 */
bool amd_iommu_remap_report_fault(struct iommu_dev_data *dev_data,
				  struct device *dev, u64 address, int flags,
				  int *ret)
{
	struct protection_domain *domain;

	guard(rcu)();
	domain = READ_ONCE(dev_data->domain);
	if (!domain)
		return false;
	*ret = report_iommu_fault(&domain->domain, dev, address, flags);
	return true;
}

/**
 * amd_iommu_remap_free_domain - No fault of this domain is reported anymore
 * @domain: The domain, without devices
 *
 * Upon return nobody calls its fault handler.
 *
 * Context: Process context, may sleep.
 */
void amd_iommu_remap_free_domain(struct protection_domain *domain)
{
	if (domain->domain.cookie_type == IOMMU_COOKIE_FAULT_HANDLER)
		synchronize_rcu();
}
