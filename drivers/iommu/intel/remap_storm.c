// SPDX-License-Identifier: GPL-2.0-only
/*
 * A bound for what a unit's faults cost
 *
 * A device that a guest drives can have requests blocked as fast as it sends
 * them, for as long as it likes, and each is a record for dmar_fault(), which runs
 * in hard interrupt context. In an interval a unit may have a number of records.
 * At that number its interrupt is masked, until the interval is over:
 *
 *	quiet --- DMAR_STORM_RECORDS in an interval ---> masked
 *	  ^                                                |
 *	  '----------- fault_work, an interval later ------'
 *
 * What the unit has no register for meanwhile, it drops, and says so by PFO.
 *
 * All is protected by register_lock.
 */
#include <linux/interrupt.h>
#include <linux/jiffies.h>
#include <linux/workqueue.h>

#include "iommu.h"

#define DMAR_STORM_RECORDS	64
#define DMAR_STORM_INTERVAL	(HZ / 10)

static void dmar_storm_start(struct intel_iommu *iommu)
{
	lockdep_assert_held(&iommu->register_lock);
	iommu->fault_start = jiffies;
	iommu->fault_records = 0;
}

static void dmar_storm_mask(struct intel_iommu *iommu, u32 mask)
{
	lockdep_assert_held(&iommu->register_lock);
	writel(mask, iommu->reg + DMAR_FECTL_REG);
	/* Read a register to force the write out */
	readl(iommu->reg + DMAR_FECTL_REG);
}

/*
 * What was recorded while the interrupt was masked raises none later, so look
 * for it. A unit that has dropped faults records none until PFO is cleared.
 */
static void dmar_storm_work(struct work_struct *work)
{
	struct intel_iommu *iommu = container_of(work, struct intel_iommu,
						 fault_work.work);
	unsigned long flags;

	raw_spin_lock_irqsave(&iommu->register_lock, flags);
	dmar_storm_start(iommu);
	writel(DMA_FSTS_PFO, iommu->reg + DMAR_FSTS_REG);
	dmar_storm_mask(iommu, 0);
	raw_spin_unlock_irqrestore(&iommu->register_lock, flags);
	dmar_fault(iommu->irq, iommu);
}

/**
 * dmar_storm_init - Prepare a unit for dmar_fault()
 * @iommu: The unit
 *
 * Context: Any context.
 */
void dmar_storm_init(struct intel_iommu *iommu)
{
	INIT_DELAYED_WORK(&iommu->fault_work, dmar_storm_work);
}

/**
 * dmar_storm_exit - Leave the interrupt as it is from now on
 * @iommu: The unit, whose interrupt is about to be freed
 *
 * Context: Process context, may sleep.
 */
void dmar_storm_exit(struct intel_iommu *iommu)
{
	disable_delayed_work_sync(&iommu->fault_work);
}

/**
 * dmar_storm_begin - Records of a unit are about to be handled
 * @iommu: The unit
 *
 * Context: Any context, with register_lock held.
 */
void dmar_storm_begin(struct intel_iommu *iommu)
{
	lockdep_assert_held(&iommu->register_lock);
	if (!time_before(jiffies, iommu->fault_start + DMAR_STORM_INTERVAL))
		dmar_storm_start(iommu);
}

/**
 * dmar_storm_record - One record was handled
 * @iommu: The unit
 *
 * Context: Any context, with register_lock held.
 * Return: true if that's enough for now: the interrupt is masked.
 */
bool dmar_storm_record(struct intel_iommu *iommu)
{
	lockdep_assert_held(&iommu->register_lock);
	if (++iommu->fault_records < DMAR_STORM_RECORDS)
		return false;
	dmar_storm_mask(iommu, DMA_FECTL_IM);
	schedule_delayed_work(&iommu->fault_work, DMAR_STORM_INTERVAL);
	return true;
}
