/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * VFIO: DMA mappings of memory that is not pinned, for drivers of containers
 *
 * A container, here, is whatever has IOMMU domains and maps the memory of its user in
 * all of them. For each mapping:
 *
 *	map_create --> add_domain ... --> map_publish --> (map_close -->) map_destroy
 *
 * Domains can be added and removed later, too. The user's pin bitmap is registered by
 * the container, once; events and counters say what goes wrong.
 *
 * The driver serializes the calls for one mapping, and those for one registration.
 * What is taken inside is below all locks of the driver and above mmap_lock, see
 * vfio_unpinned_priv.h. All calls are made in process context and may sleep, except
 * for vfio_unpinned_event_watch().
 */
#ifndef VFIO_UNPINNED_H
#define VFIO_UNPINNED_H

#include <linux/err.h>
#include <linux/kconfig.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/workqueue.h>

struct eventfd_ctx;
struct iommu_domain;
struct mm_struct;
struct vfio_unpinned_map;
struct vfio_unpinned_mm;

/**
 * struct vfio_unpinned_fault - Blocked requests
 * @count: how many
 * @iova: of the last one
 * @segment: of its device, PCI
 * @source: requester ID of its device
 * @write: it was a write
 */
struct vfio_unpinned_fault {
	u64 count;
	u64 iova;
	u32 segment;
	u32 source;
	bool write;
};

/**
 * struct vfio_unpinned_event - What a container tells its user
 * @lock: protects @fault; taken by interrupts
 * @fault: requests of its devices that were blocked; @lock
 * @ctx_lock: protects @ctx
 * @ctx: what is signalled, or NULL
 * @signalled: when, in jiffies, or 0; @work only
 * @work: signals
 */
struct vfio_unpinned_event {
	raw_spinlock_t lock;	/* what is recorded */
	struct vfio_unpinned_fault fault;
	struct mutex ctx_lock;	/* who is signalled */
	struct eventfd_ctx *ctx;
	unsigned long signalled;
	struct delayed_work work;
};

/**
 * struct vfio_unpinned_faults - Blocked requests in an IOMMU domain
 * @event: of the container; immutable
 * @count: how many; vfio_unpinned_event.lock
 */
struct vfio_unpinned_faults {
	struct vfio_unpinned_event *event;
	u64 count;
};

/**
 * typedef vfio_unpinned_charge_fn - Charge memory to the user of a container
 * @mm: the address space that it is for, which may be gone
 * @npages: how many pages; negative gives back what was charged
 *
 * What is charged is what a mapping and a bitmap keep in memory: words, page tables,
 * and the pages that may be pinned.
 *
 * Context: Process context, may sleep; no lock is held but those of the container and
 *	update_lock.
 * Return: 0, -ENOMEM over the user's limit, -ESRCH if the address space is gone.
 */
typedef int (*vfio_unpinned_charge_fn)(struct mm_struct *mm, long npages);

/**
 * struct vfio_unpinned_bitmap_args - A pin bitmap to be registered
 * @vaddr: where the user has it; page aligned
 * @iova: of the page that bit 0 is for; page aligned
 * @npages: bits, up to INT_MAX
 * @limit: how many pages the guest may have marked at a time, 1 to @npages
 * @budget: how many pages late pins may hold, in whole folios, at least 2 * @limit;
 *	0: no bound
 */
struct vfio_unpinned_bitmap_args {
	u64 vaddr;
	u64 iova;
	u64 npages;
	u64 limit;
	u64 budget;
};

/*
 * Counters of an address space, in pages if nothing is said; what KVM maps in one
 * piece of a hugetlb page counts once.
 */
struct vfio_unpinned_stats {
	u64 populates;		/* set by the gate */
	u64 zaps;
	u64 flushes;		/* IOTLB flushes, per domain */
	u64 late_pins;		/* held now */
	u64 late_pins_peak;
	u64 held;		/* pages that they hold, whole folios */
	u64 held_peak;
	u64 pin_events;		/* late pins taken */
	u64 marks_found;	/* marked pages that a bracket met */
	u64 over_limit_zaps;	/* marked and zapped: twice the limit is held */
	u64 over_budget_zaps;	/* marked and zapped: the budget is held */
	u64 failed_pin_zaps;	/* marked and zapped: can't be pinned */
	u64 forced_zaps;	/* marked and zapped: exit, OOM or poison */
	u64 orphan_zaps;	/* the address got other memory */
	u64 refused_pages;	/* memory that gets no leaf */
	u64 released;		/* late pins released after the mark went */
	u64 worker_populates;	/* marked pages populated by the host */
	u64 worker_runs;
	u64 worker_scans;	/* chunks with pins that the worker looked at */
	u64 shrinker_scans;	/* chunks with pins that the shrinker looked at */
	u64 leaves;		/* present now */
};

#if IS_ENABLED(CONFIG_VFIO_UNPINNED)
struct vfio_unpinned_map *
vfio_unpinned_map_create(dma_addr_t iova, unsigned long vaddr, size_t size,
			 struct vfio_unpinned_event *event,
			 vfio_unpinned_charge_fn charge);
int vfio_unpinned_map_publish(struct vfio_unpinned_map *map);
void vfio_unpinned_map_close(struct vfio_unpinned_map *map);
void vfio_unpinned_map_destroy(struct vfio_unpinned_map *map);
int vfio_unpinned_add_domain(struct vfio_unpinned_map *map,
			     struct iommu_domain *domain);
void vfio_unpinned_del_domain(struct vfio_unpinned_map *map,
			      struct iommu_domain *domain);
struct vfio_unpinned_mm *
vfio_unpinned_map_mm(const struct vfio_unpinned_map *map);
int vfio_unpinned_dirty_start(struct vfio_unpinned_map *map);
void vfio_unpinned_dirty_stop(struct vfio_unpinned_map *map);
void vfio_unpinned_dirty_get(struct vfio_unpinned_map *map,
			     unsigned long *bitmap);
int vfio_unpinned_bitmap_register(struct vfio_unpinned_mm **registered,
				  const struct vfio_unpinned_bitmap_args *arg,
				  vfio_unpinned_charge_fn charge);
void vfio_unpinned_enable_marks(struct vfio_unpinned_mm *unp, bool enable);
void vfio_unpinned_bitmap_unregister(struct vfio_unpinned_mm **registered);
void vfio_unpinned_event_init(struct vfio_unpinned_event *event);
void vfio_unpinned_event_exit(struct vfio_unpinned_event *event);
void vfio_unpinned_event_watch(struct vfio_unpinned_event *event,
			       struct vfio_unpinned_faults *faults,
			       struct iommu_domain *domain);
void vfio_unpinned_event_signal(struct vfio_unpinned_event *event,
				struct eventfd_ctx *ctx);
void vfio_unpinned_event_read(struct vfio_unpinned_event *event,
			      struct vfio_unpinned_fault *fault);
void vfio_unpinned_read_stats(struct vfio_unpinned_mm *unp,
			      struct vfio_unpinned_stats *stats);
#else
static inline struct vfio_unpinned_map *
vfio_unpinned_map_create(dma_addr_t iova, unsigned long vaddr, size_t size,
			 struct vfio_unpinned_event *event,
			 vfio_unpinned_charge_fn charge)
{
	return ERR_PTR(-EOPNOTSUPP);
}

static inline int vfio_unpinned_map_publish(struct vfio_unpinned_map *map)
{
	return -EOPNOTSUPP;
}

static inline void vfio_unpinned_map_close(struct vfio_unpinned_map *map)
{
}

static inline void vfio_unpinned_map_destroy(struct vfio_unpinned_map *map)
{
}

static inline int vfio_unpinned_add_domain(struct vfio_unpinned_map *map,
					   struct iommu_domain *domain)
{
	return -EOPNOTSUPP;
}

static inline void vfio_unpinned_del_domain(struct vfio_unpinned_map *map,
					    struct iommu_domain *domain)
{
}

static inline struct vfio_unpinned_mm *
vfio_unpinned_map_mm(const struct vfio_unpinned_map *map)
{
	return NULL;
}

static inline int vfio_unpinned_dirty_start(struct vfio_unpinned_map *map)
{
	return -EOPNOTSUPP;
}

static inline void vfio_unpinned_dirty_stop(struct vfio_unpinned_map *map)
{
}

static inline void vfio_unpinned_dirty_get(struct vfio_unpinned_map *map,
					   unsigned long *bitmap)
{
}

static inline int
vfio_unpinned_bitmap_register(struct vfio_unpinned_mm **registered,
			      const struct vfio_unpinned_bitmap_args *arg,
			      vfio_unpinned_charge_fn charge)
{
	return -EOPNOTSUPP;
}

static inline void vfio_unpinned_enable_marks(struct vfio_unpinned_mm *unp,
					      bool enable)
{
}

static inline void
vfio_unpinned_bitmap_unregister(struct vfio_unpinned_mm **registered)
{
}

static inline void vfio_unpinned_event_init(struct vfio_unpinned_event *event)
{
}

static inline void vfio_unpinned_event_exit(struct vfio_unpinned_event *event)
{
}

static inline void
vfio_unpinned_event_watch(struct vfio_unpinned_event *event,
			  struct vfio_unpinned_faults *faults,
			  struct iommu_domain *domain)
{
}

static inline void vfio_unpinned_event_signal(struct vfio_unpinned_event *event,
					      struct eventfd_ctx *ctx)
{
}

static inline void vfio_unpinned_event_read(struct vfio_unpinned_event *event,
					    struct vfio_unpinned_fault *fault)
{
}

static inline void vfio_unpinned_read_stats(struct vfio_unpinned_mm *unp,
					    struct vfio_unpinned_stats *stats)
{
}
#endif

#endif /* VFIO_UNPINNED_H */
