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
struct vfio_unpinned_map;
struct vfio_unpinned_mm;

/**
 * struct vfio_unpinned_event - What a container tells its user
 * @lock: protects what is recorded; taken by interrupts
 * @faults: requests of its devices that were blocked; @lock
 * @iova: of the last one; @lock
 * @segment: of the device, PCI; @lock
 * @source: requester ID of the device; @lock
 * @write: it was a write; @lock
 * @ctx_lock: protects @ctx
 * @ctx: what is signalled, or NULL
 * @signalled: when, in jiffies, or 0; @work only
 * @work: signals
 */
struct vfio_unpinned_event {
	raw_spinlock_t lock;	/* what is recorded */
	u64 faults;
	u64 iova;
	u32 segment;
	u32 source;
	bool write;
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

#if IS_ENABLED(CONFIG_VFIO_IOMMU_TYPE1_UNPINNED)
struct vfio_unpinned_map *
vfio_unpinned_map_create(dma_addr_t iova, unsigned long vaddr, size_t size,
			 struct vfio_unpinned_event *event);
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
int vfio_unpinned_bitmap_ioctl(struct vfio_unpinned_mm **registered,
			       void __user *arg);
void vfio_unpinned_bitmap_unregister(struct vfio_unpinned_mm **registered);
void vfio_unpinned_event_init(struct vfio_unpinned_event *event);
void vfio_unpinned_event_exit(struct vfio_unpinned_event *event);
void vfio_unpinned_event_watch(struct vfio_unpinned_event *event,
			       struct vfio_unpinned_faults *faults,
			       struct iommu_domain *domain);
int vfio_unpinned_eventfd_ioctl(struct vfio_unpinned_event *event,
				void __user *arg);
int vfio_unpinned_stats_ioctl(struct vfio_unpinned_event *event,
			      struct vfio_unpinned_mm *unp, void __user *arg);
#else
static inline struct vfio_unpinned_map *
vfio_unpinned_map_create(dma_addr_t iova, unsigned long vaddr, size_t size,
			 struct vfio_unpinned_event *event)
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
vfio_unpinned_bitmap_ioctl(struct vfio_unpinned_mm **registered,
			   void __user *arg)
{
	return -ENOTTY;
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

static inline int
vfio_unpinned_eventfd_ioctl(struct vfio_unpinned_event *event, void __user *arg)
{
	return -ENOTTY;
}

static inline int
vfio_unpinned_stats_ioctl(struct vfio_unpinned_event *event,
			  struct vfio_unpinned_mm *unp, void __user *arg)
{
	return -ENOTTY;
}
#endif

/*
 * Give each group a domain of its own, as if it were behind another kind of IOMMU. In
 * a test configuration only.
 */
#ifdef CONFIG_VFIO_IOMMU_TYPE1_UNPINNED_TEST
extern bool vfio_unpinned_separate_domains;
#else
#define vfio_unpinned_separate_domains	false
#endif

#endif /* VFIO_UNPINNED_H */
