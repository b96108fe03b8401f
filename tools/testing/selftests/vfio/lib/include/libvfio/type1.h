/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The ioctls of a container of mode vfio_type1v2_iommu that <libvfio/iommu.h> does not
 * have, and those for mappings that it keeps no list of: parts of a region, several
 * at a time, or what the kernel must refuse. The functions here use nothing of a
 * region but its addresses and its size.
 */
#ifndef SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_TYPE1_H
#define SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_TYPE1_H

#include <linux/types.h>
#include <linux/vfio.h>
#include <stdbool.h>

#include <libvfio/iommu.h>

/* Any ioctl of the container: 0 or -errno. */
int type1_ioctl(struct iommu *iommu, unsigned long cmd, void *arg);

/*
 * Functions with two underscores return 0 or -errno, the others assert that they
 * succeed. __type1_unmap() says -ENOENT unless exactly the region was unmapped.
 */
int __type1_map(struct iommu *iommu, const struct dma_region *region);
int __type1_map_unpinned(struct iommu *iommu, const struct dma_region *region);
int __type1_unmap(struct iommu *iommu, const struct dma_region *region);

/* VFIO_PIN_BITMAP_FLAG_REGISTER for the pages of @region, without a budget or with. */
int __type1_register_bitmap(struct iommu *iommu, void *bitmap,
			    const struct dma_region *region, u64 limit);
int __type1_register_budget(struct iommu *iommu, void *bitmap,
			    const struct dma_region *region, u64 limit,
			    u64 budget);
/* One of the other flags of VFIO_IOMMU_PIN_BITMAP. */
int __type1_pin_bitmap(struct iommu *iommu, u32 flag);

/* VFIO_IOMMU_DIRTY_PAGES with the flag START or STOP. */
int __type1_dirty_tracking(struct iommu *iommu, u32 flag);
/*
 * The dirty pages of a region, which whole mappings and gaps make up, since the
 * last call. A bitmap has one bit per page, and begins with the first page.
 */
int __type1_dirty_get(struct iommu *iommu, const struct dma_region *region,
		      void *bitmap);
/* Unmap it, and get those since the last call of the above. */
int __type1_unmap_dirty(struct iommu *iommu, const struct dma_region *region,
			void *bitmap);

/* Copy capability @id of VFIO_IOMMU_GET_INFO: false if there is none. */
bool type1_get_cap(struct iommu *iommu, u16 id, void *cap, size_t size);
/* How many more mappings the container takes. */
u32 type1_dma_avail(struct iommu *iommu);

static inline void type1_map(struct iommu *iommu,
			     const struct dma_region *region)
{
	VFIO_ASSERT_EQ(__type1_map(iommu, region), 0);
}

static inline void type1_map_unpinned(struct iommu *iommu,
				      const struct dma_region *region)
{
	VFIO_ASSERT_EQ(__type1_map_unpinned(iommu, region), 0);
}

static inline void type1_unmap(struct iommu *iommu,
			       const struct dma_region *region)
{
	VFIO_ASSERT_EQ(__type1_unmap(iommu, region), 0);
}

static inline void type1_register_bitmap(struct iommu *iommu, void *bitmap,
					 const struct dma_region *region,
					 u64 limit)
{
	VFIO_ASSERT_EQ(__type1_register_bitmap(iommu, bitmap, region, limit), 0);
}

static inline void type1_register_budget(struct iommu *iommu, void *bitmap,
					 const struct dma_region *region,
					 u64 limit, u64 budget)
{
	VFIO_ASSERT_EQ(__type1_register_budget(iommu, bitmap, region, limit,
					       budget), 0);
}

static inline void type1_pin_bitmap(struct iommu *iommu, u32 flag)
{
	VFIO_ASSERT_EQ(__type1_pin_bitmap(iommu, flag), 0);
}

static inline void type1_dirty_tracking(struct iommu *iommu, u32 flag)
{
	VFIO_ASSERT_EQ(__type1_dirty_tracking(iommu, flag), 0);
}

static inline void type1_dirty_get(struct iommu *iommu,
				   const struct dma_region *region,
				   void *bitmap)
{
	VFIO_ASSERT_EQ(__type1_dirty_get(iommu, region, bitmap), 0);
}

static inline void type1_unmap_dirty(struct iommu *iommu,
				     const struct dma_region *region,
				     void *bitmap)
{
	VFIO_ASSERT_EQ(__type1_unmap_dirty(iommu, region, bitmap), 0);
}

#endif /* SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_TYPE1_H */
