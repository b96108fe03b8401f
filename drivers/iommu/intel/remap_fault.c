// SPDX-License-Identifier: GPL-2.0-only
/*
 * Requests that a unit has blocked: whose they are, and who is told
 *
 * With tables whose leaves come and go, a DMA fault is an answer to be reported
 * to whoever made the mapping, and not just a broken driver's message. The user
 * of a domain sets a handler with iommu_set_fault_handler() before the first
 * device is attached. dmar_fault() calls it for each record, from hard interrupt
 * context, also on PREEMPT_RT.
 *
 * Sources
 *
 * A record has a source ID. remap_sources knows the device behind each, aliases
 * included; the driver's own tree of devices holds those with ATS only. Devices
 * behind a bridge that share an ID share a domain too, and the first one stands
 * for all.
 *
 * Locks
 *
 * None: dmar_fault() is an RCU reader. info->fault_domain is set while the device
 * is attached to a domain with a handler. Whoever releases the device, or frees
 * the domain, waits for a grace period before. So the handler's token has to live
 * until iommu_domain_free() returns, and no longer.
 *
 * Messages
 *
 * A device whose driver is a guest can have requests blocked without end. Each
 * device has a small share of the messages, so that it is not the neighbour's
 * fault that is missing in the log. How many records there are is bounded by
 * remap_storm.c.
 */
#include <linux/iommu.h>
#include <linux/pci.h>
#include <linux/ratelimit.h>
#include <linux/rcupdate.h>
#include <linux/xarray.h>
#include <trace/events/iommu.h>

#include "iommu.h"

/* Fault reasons that are about interrupt remapping */
#define REMAP_FAULT_INTR	0x20
#define REMAP_FAULT_INTR_LAST	0x2f

/* How many messages a device can cause in DEFAULT_RATELIMIT_INTERVAL */
#define REMAP_FAULT_MESSAGES	2

#define REMAP_SOURCE(segment, rid)	((unsigned long)(segment) << 16 | (rid))

static DEFINE_XARRAY(remap_sources);

/* Does the user of a domain want to know? */
static bool remap_is_watched(struct dmar_domain *domain)
{
	return domain->domain.cookie_type == IOMMU_COOKIE_FAULT_HANDLER;
}

static int remap_each_source(struct device_domain_info *info,
			     int (*fn)(struct pci_dev *pdev, u16 rid, void *info))
{
	if (dev_is_pci(info->dev))
		return pci_for_each_dma_alias(to_pci_dev(info->dev), fn, info);
	return fn(NULL, PCI_DEVID(info->bus, info->devfn), info);
}

static int remap_add_source(struct pci_dev *pdev, u16 rid, void *data)
{
	struct device_domain_info *info = data;
	int ret;

	ret = xa_insert(&remap_sources, REMAP_SOURCE(info->segment, rid), info,
			GFP_KERNEL);
	return ret == -EBUSY ? 0 : ret;
}

static int remap_del_source(struct pci_dev *pdev, u16 rid, void *info)
{
	struct device_domain_info *own = info;

	xa_cmpxchg(&remap_sources, REMAP_SOURCE(own->segment, rid), own, NULL,
		   GFP_KERNEL);
	return 0;
}

/**
 * intel_remap_add_device - Know whose requests are blocked
 * @info: The device, not attached yet
 *
 * Context: Process context, may sleep.
 */
void intel_remap_add_device(struct device_domain_info *info)
{
	ratelimit_state_init(&info->fault_messages, DEFAULT_RATELIMIT_INTERVAL,
			     REMAP_FAULT_MESSAGES);
	ratelimit_set_flags(&info->fault_messages, RATELIMIT_MSG_ON_RELEASE);
	if (remap_each_source(info, remap_add_source))
		dev_warn(info->dev, "no memory to tell of its DMA faults\n");
}

/**
 * intel_remap_del_device - Undo intel_remap_add_device()
 * @info: The device, not attached anymore
 *
 * Upon return no record is handled that needs it.
 *
 * Context: Process context, may sleep.
 */
void intel_remap_del_device(struct device_domain_info *info)
{
	remap_each_source(info, remap_del_source);
	synchronize_rcu();
}

/**
 * intel_remap_attach - Tell the user of a domain of the faults of a device
 * @domain: The domain
 * @info: The device, which is being attached
 *
 * Context: Any context.
 */
void intel_remap_attach(struct dmar_domain *domain,
			struct device_domain_info *info)
{
	if (remap_is_watched(domain))
		WRITE_ONCE(info->fault_domain, &domain->domain);
}

/**
 * intel_remap_detach - Undo intel_remap_attach()
 * @info: The device, attached or not
 *
 * Context: Any context.
 */
void intel_remap_detach(struct device_domain_info *info)
{
	WRITE_ONCE(info->fault_domain, NULL);
}

/**
 * intel_remap_free_domain - No fault of this domain is reported anymore
 * @domain: The domain, without devices
 *
 * Upon return nobody calls its fault handler.
 *
 * Context: Process context, may sleep.
 */
void intel_remap_free_domain(struct dmar_domain *domain)
{
	if (remap_is_watched(domain))
		synchronize_rcu();
}

/**
 * intel_remap_report_fault - Report a request that a unit has blocked
 * @iommu: The unit
 * @rid: Source ID of the request
 * @reason: Why it was blocked; interrupts are none of a domain's business
 * @addr: IOVA of the page
 * @read: It was a read
 *
 * Context: Any context but NMI.
 * Return: true if there may be a message, as far as the device is concerned.
 */
bool intel_remap_report_fault(struct intel_iommu *iommu, u16 rid, u8 reason,
			      u64 addr, bool read)
{
	int flags = read ? IOMMU_FAULT_READ : IOMMU_FAULT_WRITE;
	struct device_domain_info *info;
	struct iommu_domain *domain;

	if (reason >= REMAP_FAULT_INTR && reason <= REMAP_FAULT_INTR_LAST)
		return true;

	guard(rcu)();
	info = xa_load(&remap_sources, REMAP_SOURCE(iommu->segment, rid));
	if (!info)
		return true;
	domain = READ_ONCE(info->fault_domain);
	if (domain)
		report_iommu_fault(domain, info->dev, addr, flags);
	else
		trace_io_page_fault(info->dev, addr, flags);
	return __ratelimit(&info->fault_messages);
}
