/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * VFIO: unpinned DMA mappings of type1 containers
 *
 * vfio_iommu_type1.c uses vfio_unpinned.h for its mappings. Here is what stands
 * between that and the user: the ioctls with their arguments, and the capability.
 */
#ifndef VFIO_IOMMU_TYPE1_UNPINNED_H
#define VFIO_IOMMU_TYPE1_UNPINNED_H

#include <linux/err.h>
#include <linux/types.h>
#include "vfio_unpinned.h"

struct vfio_info_cap;
struct vfio_iommu_type1_dma_map;

#if IS_ENABLED(CONFIG_VFIO_IOMMU_TYPE1_UNPINNED)
int vfio_type1_unpinned_copy_map(struct vfio_iommu_type1_dma_map *map,
				 void __user *uarg);
struct vfio_unpinned_map *
vfio_type1_unpinned_map(dma_addr_t iova, unsigned long vaddr, size_t size,
			struct vfio_unpinned_event *event);
int vfio_type1_unpinned_pin_bitmap(struct vfio_unpinned_mm **registered,
				   void __user *uarg);
int vfio_type1_unpinned_eventfd(struct vfio_unpinned_event *event,
				void __user *uarg);
int vfio_type1_unpinned_stats(struct vfio_unpinned_event *event,
			      struct vfio_unpinned_mm *unp, void __user *uarg);
int vfio_type1_unpinned_add_cap(struct vfio_info_cap *caps,
				unsigned long pgsizes);
#else
static inline int
vfio_type1_unpinned_copy_map(struct vfio_iommu_type1_dma_map *map,
			     void __user *uarg)
{
	return -EOPNOTSUPP;
}

static inline struct vfio_unpinned_map *
vfio_type1_unpinned_map(dma_addr_t iova, unsigned long vaddr, size_t size,
			struct vfio_unpinned_event *event)
{
	return ERR_PTR(-EOPNOTSUPP);
}

static inline int
vfio_type1_unpinned_pin_bitmap(struct vfio_unpinned_mm **registered,
			       void __user *uarg)
{
	return -ENOTTY;
}

static inline int vfio_type1_unpinned_eventfd(struct vfio_unpinned_event *event,
					      void __user *uarg)
{
	return -ENOTTY;
}

static inline int vfio_type1_unpinned_stats(struct vfio_unpinned_event *event,
					    struct vfio_unpinned_mm *unp,
					    void __user *uarg)
{
	return -ENOTTY;
}

static inline int vfio_type1_unpinned_add_cap(struct vfio_info_cap *caps,
					      unsigned long pgsizes)
{
	return 0;
}
#endif

/*
 * Give each group a domain of its own, as if it were behind another kind of IOMMU. In
 * a test configuration only.
 */
#ifdef CONFIG_VFIO_UNPINNED_TEST
extern bool vfio_type1_separate_domains;
#else
#define vfio_type1_separate_domains	false
#endif

#endif /* VFIO_IOMMU_TYPE1_UNPINNED_H */
