// SPDX-License-Identifier: GPL-2.0-only
/*
 * VFIO: unpinned DMA mappings of type1 containers
 *
 * The glue between the ioctls of vfio_iommu_type1.c and the core, which has no uapi:
 * copies arguments from and to the user and checks their form, charges memory, adds
 * the capability to VFIO_IOMMU_GET_INFO. It has no state.
 *
 * Part of the module of the core, since vfio_iommu_type1.o is a module by itself. So
 * nothing here can call back into vfio_iommu_type1.c.
 *
 * Locks: none. Where a call needs vfio_iommu.lock, which is said there,
 * vfio_iommu_type1.c takes it.
 */
#include <linux/eventfd.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/uaccess.h>
#include <linux/vfio.h>
#include "vfio_iommu_type1_unpinned.h"

#ifdef CONFIG_VFIO_UNPINNED_TEST
bool vfio_type1_separate_domains;
EXPORT_SYMBOL_GPL(vfio_type1_separate_domains);
module_param_named(separate_domains, vfio_type1_separate_domains, bool, 0644);
MODULE_PARM_DESC(separate_domains, "TEST: a domain of its own for each group");
#endif

/* Charge to locked_vm, within RLIMIT_MEMLOCK or for CAP_IPC_LOCK of the caller. */
static int type1_charge(struct mm_struct *mm, long npages)
{
	int ret;

	if (!mmget_not_zero(mm))
		return -ESRCH;
	ret = account_locked_vm(mm, abs(npages), npages > 0);
	/* The last reference must not tear the mm down under our locks. */
	mmput_async(mm);
	return ret;
}

/**
 * vfio_type1_unpinned_copy_map - Get the arguments of VFIO_IOMMU_MAP_DMA_UNPINNED
 * @map: receives them
 * @uarg: the user's struct vfio_iommu_type1_dma_map
 *
 * Context: Process context of the user, may sleep.
 * Return: 0, -EFAULT, or -EINVAL for a bad size or flags.
 */
int vfio_type1_unpinned_copy_map(struct vfio_iommu_type1_dma_map *map,
				 void __user *uarg)
{
	const u32 flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
	size_t minsz = offsetofend(struct vfio_iommu_type1_dma_map, size);

	if (copy_from_user(map, uarg, minsz))
		return -EFAULT;
	if (map->argsz < minsz || map->flags != flags)
		return -EINVAL;
	return 0;
}
EXPORT_SYMBOL_GPL(vfio_type1_unpinned_copy_map);

/**
 * vfio_type1_unpinned_map - Prepare an unpinned mapping
 * @iova: first IOVA, page aligned
 * @vaddr: first address in the current address space, page aligned
 * @size: bytes, page aligned; neither range wraps
 * @event: of the container
 *
 * Context: Process context of the user, may sleep.
 * Return: See vfio_unpinned_map_create().
 */
struct vfio_unpinned_map *
vfio_type1_unpinned_map(dma_addr_t iova, unsigned long vaddr, size_t size,
			struct vfio_unpinned_event *event)
{
	return vfio_unpinned_map_create(iova, vaddr, size, event, type1_charge);
}
EXPORT_SYMBOL_GPL(vfio_type1_unpinned_map);

static int type1_register_bitmap(struct vfio_unpinned_mm **registered,
				 const struct vfio_iommu_type1_pin_bitmap *arg)
{
	const struct vfio_unpinned_bitmap_args bitmap = {
		.vaddr = arg->vaddr,
		.iova = arg->iova,
		.npages = arg->npages,
		.limit = arg->limit,
		.budget = arg->budget,
	};

	return vfio_unpinned_bitmap_register(registered, &bitmap, type1_charge);
}

/**
 * vfio_type1_unpinned_pin_bitmap - Handle VFIO_IOMMU_PIN_BITMAP
 * @registered: the container's slot: the address space whose bitmap it has
 *	registered, or NULL
 * @uarg: the user's struct vfio_iommu_type1_pin_bitmap
 *
 * Context: Process context of the user, with vfio_iommu.lock held.
 * Return: 0 or an errno as documented with the ioctl.
 */
int vfio_type1_unpinned_pin_bitmap(struct vfio_unpinned_mm **registered,
				   void __user *uarg)
{
	struct vfio_iommu_type1_pin_bitmap arg;
	size_t minsz = offsetofend(struct vfio_iommu_type1_pin_bitmap, budget);

	if (copy_from_user(&arg, uarg, minsz))
		return -EFAULT;
	if (arg.argsz < minsz)
		return -EINVAL;
	if (arg.flags == VFIO_PIN_BITMAP_FLAG_REGISTER)
		return type1_register_bitmap(registered, &arg);

	if (arg.vaddr || arg.iova || arg.npages || arg.limit || arg.budget)
		return -EINVAL;
	switch (arg.flags) {
	case VFIO_PIN_BITMAP_FLAG_UNREGISTER:
	case VFIO_PIN_BITMAP_FLAG_ENABLE_MARKS:
	case VFIO_PIN_BITMAP_FLAG_DISABLE_MARKS:
		break;
	default:
		return -EINVAL;
	}
	if (!*registered)
		return -ENOENT;
	if (arg.flags == VFIO_PIN_BITMAP_FLAG_UNREGISTER)
		vfio_unpinned_bitmap_unregister(registered);
	else
		vfio_unpinned_enable_marks(*registered, arg.flags ==
					   VFIO_PIN_BITMAP_FLAG_ENABLE_MARKS);
	return 0;
}
EXPORT_SYMBOL_GPL(vfio_type1_unpinned_pin_bitmap);

/**
 * vfio_type1_unpinned_eventfd - Handle VFIO_IOMMU_UNPINNED_EVENTFD
 * @event: the container's
 * @uarg: the user's struct vfio_iommu_type1_unpinned_eventfd
 *
 * Context: Process context of the user, may sleep.
 * Return: 0 or an errno as documented with the ioctl.
 */
int vfio_type1_unpinned_eventfd(struct vfio_unpinned_event *event,
				void __user *uarg)
{
	struct vfio_iommu_type1_unpinned_eventfd arg;
	size_t minsz = offsetofend(struct vfio_iommu_type1_unpinned_eventfd,
				   reserved);
	struct eventfd_ctx *ctx = NULL;

	if (copy_from_user(&arg, uarg, minsz))
		return -EFAULT;
	if (arg.argsz < minsz || arg.flags || arg.reserved || arg.fd < -1)
		return -EINVAL;
	if (arg.fd >= 0)
		ctx = eventfd_ctx_fdget(arg.fd);
	if (IS_ERR(ctx))
		return PTR_ERR(ctx);
	vfio_unpinned_event_signal(event, ctx);
	return 0;
}
EXPORT_SYMBOL_GPL(vfio_type1_unpinned_eventfd);

static void type1_fill_faults(struct vfio_iommu_type1_unpinned_stats *to,
			      struct vfio_unpinned_event *event)
{
	struct vfio_unpinned_fault from;

	vfio_unpinned_event_read(event, &from);
	to->dma_faults = from.count;
	if (from.count)
		to->flags |= VFIO_UNPINNED_STATS_FLAG_FAULT;
	if (from.write)
		to->flags |= VFIO_UNPINNED_STATS_FLAG_FAULT_WRITE;
	to->fault_iova = from.iova;
	to->fault_segment = from.segment;
	to->fault_source = from.source;
}

static void type1_fill_counters(struct vfio_iommu_type1_unpinned_stats *to,
				struct vfio_unpinned_mm *unp)
{
	struct vfio_unpinned_stats from;

	vfio_unpinned_read_stats(unp, &from);
	to->leaves = from.leaves;
	to->populates = from.populates;
	to->zaps = from.zaps;
	to->late_pins = from.late_pins;
	to->late_pins_peak = from.late_pins_peak;
	to->held = from.held;
	to->held_peak = from.held_peak;
	to->over_limit_zaps = from.over_limit_zaps;
	to->over_budget_zaps = from.over_budget_zaps;
	to->failed_pin_zaps = from.failed_pin_zaps;
	to->forced_zaps = from.forced_zaps;
	to->refused_pages = from.refused_pages;
}

/**
 * vfio_type1_unpinned_stats - Handle VFIO_IOMMU_UNPINNED_STATS
 * @event: the container's
 * @unp: the address space of its bitmap or of its mappings, or NULL
 * @uarg: the user's struct vfio_iommu_type1_unpinned_stats
 *
 * Context: Process context of the user, with vfio_iommu.lock held: @unp stays.
 * Return: 0 or an errno as documented with the ioctl.
 */
int vfio_type1_unpinned_stats(struct vfio_unpinned_event *event,
			      struct vfio_unpinned_mm *unp, void __user *uarg)
{
	struct vfio_iommu_type1_unpinned_stats stats = { .argsz = sizeof(stats) };
	size_t minsz = offsetofend(struct vfio_iommu_type1_unpinned_stats,
				   fault_source);
	u32 argsz;

	if (get_user(argsz, (u32 __user *)uarg))
		return -EFAULT;
	if (argsz < minsz)
		return -EINVAL;
	if (!unp)
		return -ENOENT;
	type1_fill_faults(&stats, event);
	type1_fill_counters(&stats, unp);
	if (copy_to_user(uarg, &stats, min_t(size_t, argsz, sizeof(stats))))
		return -EFAULT;
	return 0;
}
EXPORT_SYMBOL_GPL(vfio_type1_unpinned_stats);

/**
 * vfio_type1_unpinned_add_cap - Add the capability to VFIO_IOMMU_GET_INFO
 * @caps: the capabilities of the container, whose domains support it
 * @pgsizes: page sizes that all of its domains have
 *
 * Context: Process context, may sleep.
 * Return: 0 or -ENOMEM.
 */
int vfio_type1_unpinned_add_cap(struct vfio_info_cap *caps,
				unsigned long pgsizes)
{
	struct vfio_iommu_type1_info_cap_unpinned cap = {
		.header.id = VFIO_IOMMU_TYPE1_INFO_CAP_UNPINNED,
		.header.version = 1,
		.pgsize_bitmap = PAGE_SIZE | (pgsizes & (PMD_SIZE | PUD_SIZE)),
	};

	return vfio_info_add_capability(caps, &cap.header, sizeof(cap));
}
EXPORT_SYMBOL_GPL(vfio_type1_unpinned_add_cap);
