// SPDX-License-Identifier: GPL-2.0-only
/*
 * VFIO: what went wrong with the DMA of a container's devices
 *
 * A posted write that the IOMMU blocks is lost, and the device does not know. So the
 * user is told: an eventfd is signalled when
 *
 *   - a request of a device of the container was blocked, which the handler of
 *     each of its IOMMU domains is told, in hard interrupt context;
 *   - a page lost its leaf though it was marked, in the late pass;
 *
 * and counters tell which one and how many.
 *
 * A hostile guest can cause any number of both. They only record and queue the work,
 * which signals immediately at first, and then at most once per UNP_EVENT_INTERVAL.
 *
 * Locks: vfio_unpinned_event.lock is innermost, and raw since interrupts take it;
 * ctx_lock is a mutex of the work and the user's calls.
 */
#include <linux/eventfd.h>
#include <linux/iommu.h>
#include <linux/jiffies.h>
#include <linux/pci.h>
#include "vfio_unpinned_priv.h"

#define UNP_EVENT_INTERVAL	DIV_ROUND_UP(HZ, 10)

static void unp_event_work(struct work_struct *work)
{
	struct vfio_unpinned_event *event =
		container_of(work, struct vfio_unpinned_event, work.work);
	unsigned long next = event->signalled + UNP_EVENT_INTERVAL;

	if (event->signalled && time_before(jiffies, next)) {
		queue_delayed_work(system_unbound_wq, &event->work,
				   next - jiffies);
		return;
	}
	/* 0 is for never */
	event->signalled = jiffies ?: 1;
	guard(mutex)(&event->ctx_lock);
	if (event->ctx)
		eventfd_signal(event->ctx);
}

static void unp_event_kick(struct vfio_unpinned_event *event)
{
	queue_delayed_work(system_unbound_wq, &event->work, 0);
}

/* A request was blocked. @token: the struct vfio_unpinned_faults of the domain. */
static int unp_fault(struct iommu_domain *domain, struct device *dev,
		     unsigned long iova, int flags, void *token)
{
	struct vfio_unpinned_faults *faults = token;
	struct vfio_unpinned_event *event = faults->event;
	struct pci_dev *pdev = dev && dev_is_pci(dev) ? to_pci_dev(dev) : NULL;
	unsigned long irq;

	raw_spin_lock_irqsave(&event->lock, irq);
	faults->count++;
	event->fault.count++;
	event->fault.iova = iova;
	event->fault.segment = pdev ? pci_domain_nr(pdev->bus) : 0;
	event->fault.source = pdev ? pci_dev_id(pdev) : 0;
	event->fault.write = flags & IOMMU_FAULT_WRITE;
	raw_spin_unlock_irqrestore(&event->lock, irq);
	unp_event_kick(event);
	/* Let the driver go on as if there were no handler. */
	return -EOPNOTSUPP;
}

/**
 * vfio_unpinned_event_init - Prepare a container for events
 * @event: the container's
 *
 * Context: Any context.
 */
void vfio_unpinned_event_init(struct vfio_unpinned_event *event)
{
	raw_spin_lock_init(&event->lock);
	mutex_init(&event->ctx_lock);
	INIT_DELAYED_WORK(&event->work, unp_event_work);
}
EXPORT_SYMBOL_GPL(vfio_unpinned_event_init);

/**
 * vfio_unpinned_event_exit - Undo vfio_unpinned_event_init()
 * @event: the container's, which has neither domains nor mappings anymore
 *
 * Context: Process context, may sleep.
 */
void vfio_unpinned_event_exit(struct vfio_unpinned_event *event)
{
	cancel_delayed_work_sync(&event->work);
	if (event->ctx)
		eventfd_ctx_put(event->ctx);
}
EXPORT_SYMBOL_GPL(vfio_unpinned_event_exit);

/**
 * vfio_unpinned_event_watch - Tell a container of the faults in a domain
 * @event: the container's
 * @faults: of the domain; needed until iommu_domain_free() returns
 * @domain: the domain, without devices yet
 *
 * Context: Any context.
 */
void vfio_unpinned_event_watch(struct vfio_unpinned_event *event,
			       struct vfio_unpinned_faults *faults,
			       struct iommu_domain *domain)
{
	faults->event = event;
	/* Other drivers don't say when they stop to call it. */
	if (domain->ops->remap_supported)
		iommu_set_fault_handler(domain, unp_fault, faults);
}
EXPORT_SYMBOL_GPL(vfio_unpinned_event_watch);

/**
 * vfio_unpinned_event_lost - A page loses its leaf though it is marked
 * @unp: the address space
 * @vaddr: user address
 * @size: bytes, of one page or of a chunk
 *
 * Tells all containers that have it mapped.
 *
 * Context: Any context, with @unp->lock held.
 */
void vfio_unpinned_event_lost(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			      unsigned long size)
{
	unsigned long last = vaddr + size - 1;
	struct vfio_unpinned_map *map;

	lockdep_assert_held(&unp->lock);
	for (map = unp_map_first(unp, vaddr, last); map;
	     map = unp_map_next(map, vaddr, last)) {
		if (map->event)
			unp_event_kick(map->event);
	}
}

/**
 * vfio_unpinned_faults_of - How many requests were blocked in a domain
 * @domain: a domain that has unpinned mappings
 *
 * Context: Any context.
 * Return: as many as the IOMMU has recorded.
 */
u64 vfio_unpinned_faults_of(struct iommu_domain *domain)
{
	struct vfio_unpinned_faults *faults;
	unsigned long irq;
	u64 count;

	if (domain->cookie_type != IOMMU_COOKIE_FAULT_HANDLER ||
	    domain->handler != unp_fault)
		return 0;
	faults = domain->handler_token;
	raw_spin_lock_irqsave(&faults->event->lock, irq);
	count = faults->count;
	raw_spin_unlock_irqrestore(&faults->event->lock, irq);
	return count;
}

/**
 * vfio_unpinned_event_signal - Signal another eventfd from now on
 * @event: the container's
 * @ctx: the eventfd, which the event keeps, or NULL for none
 *
 * Context: Process context, may sleep.
 */
void vfio_unpinned_event_signal(struct vfio_unpinned_event *event,
				struct eventfd_ctx *ctx)
{
	mutex_lock(&event->ctx_lock);
	swap(event->ctx, ctx);
	mutex_unlock(&event->ctx_lock);
	if (ctx)
		eventfd_ctx_put(ctx);
}
EXPORT_SYMBOL_GPL(vfio_unpinned_event_signal);

/**
 * vfio_unpinned_event_read - What was blocked
 * @event: the container's
 * @fault: receives it
 *
 * Context: Any context.
 */
void vfio_unpinned_event_read(struct vfio_unpinned_event *event,
			      struct vfio_unpinned_fault *fault)
{
	unsigned long irq;

	raw_spin_lock_irqsave(&event->lock, irq);
	*fault = event->fault;
	raw_spin_unlock_irqrestore(&event->lock, irq);
}
EXPORT_SYMBOL_GPL(vfio_unpinned_event_read);
