/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A VFIO container with a type1 IOMMU, and what it maps.
 *
 * Functions with two underscores return 0 or the errno of the ioctl, the
 * others assert that it succeeds.
 */
#ifndef SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_IOMMU_H
#define SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_IOMMU_H

#include <linux/types.h>
#include <linux/vfio.h>
#include <stdbool.h>

#include "test_util.h"

typedef u64 iova_t;

struct dma_region {
	void *vaddr;
	iova_t iova;
	u64 size;
};

struct iommu {
	int container_fd;
	unsigned long type;	/* VFIO_TYPE1v2_IOMMU or VFIO_TYPE1_IOMMU */
	bool is_set;		/* VFIO_SET_IOMMU done, with the first group */
};

struct iommu *iommu_init(unsigned long type);
void iommu_cleanup(struct iommu *iommu);

/* Pinned, as VFIO_IOMMU_MAP_DMA has always been. */
int __iommu_map(struct iommu *iommu, const struct dma_region *region);
int __iommu_unmap(struct iommu *iommu, const struct dma_region *region);

int __iommu_map_unpinned(struct iommu *iommu, const struct dma_region *region);

/* VFIO_PIN_BITMAP_FLAG_REGISTER for the pages of @region, without a budget or with. */
int __iommu_register_bitmap(struct iommu *iommu, void *bitmap,
			    const struct dma_region *region, u64 limit);
int __iommu_register_budget(struct iommu *iommu, void *bitmap,
			    const struct dma_region *region, u64 limit,
			    u64 budget);
/* One of the other flags of VFIO_IOMMU_PIN_BITMAP. */
int __iommu_pin_bitmap(struct iommu *iommu, u32 flag);

/* VFIO_IOMMU_DIRTY_PAGES with the flag START or STOP. */
int __iommu_dirty_tracking(struct iommu *iommu, u32 flag);
/*
 * The dirty pages of a region, which whole mappings and gaps make up, since the
 * last call. A bitmap has one bit per page, and begins with the first page.
 */
int __iommu_dirty_get(struct iommu *iommu, const struct dma_region *region,
		      void *bitmap);
/* Unmap it, and get those since the last call of the above. */
int __iommu_unmap_dirty(struct iommu *iommu, const struct dma_region *region,
			void *bitmap);

/* Copy capability @id of VFIO_IOMMU_GET_INFO: false if there is none. */
bool iommu_get_cap(struct iommu *iommu, u16 id, void *cap, size_t size);
/* Leaves that a device has, by size */
struct iommu_leaves {
	u64 small;		/* 4 KiB */
	u64 huge;		/* 2 MiB */
	u64 gigantic;		/* 1 GiB */
};

/* Does the IOMMU driver show its page tables? */
bool iommu_shows_leaves(const char *bdf);
/* Those that begin in the range. */
void iommu_count_leaves(const char *bdf, iova_t iova, u64 size,
			struct iommu_leaves *leaves);

/* How many more mappings the container takes. */
u32 iommu_dma_avail(struct iommu *iommu);

#define IOMMU_ASSERT_OK(call)						\
do {									\
	int __err = (call);						\
									\
	TEST_ASSERT(!__err, "%s: %s", #call, strerror(__err));		\
} while (0)

static inline void iommu_map(struct iommu *iommu,
			     const struct dma_region *region)
{
	IOMMU_ASSERT_OK(__iommu_map(iommu, region));
}

static inline void iommu_unmap(struct iommu *iommu,
			       const struct dma_region *region)
{
	IOMMU_ASSERT_OK(__iommu_unmap(iommu, region));
}

static inline void iommu_map_unpinned(struct iommu *iommu,
				      const struct dma_region *region)
{
	IOMMU_ASSERT_OK(__iommu_map_unpinned(iommu, region));
}

static inline void iommu_register_bitmap(struct iommu *iommu, void *bitmap,
					 const struct dma_region *region,
					 u64 limit)
{
	IOMMU_ASSERT_OK(__iommu_register_bitmap(iommu, bitmap, region, limit));
}

static inline void iommu_register_budget(struct iommu *iommu, void *bitmap,
					 const struct dma_region *region,
					 u64 limit, u64 budget)
{
	IOMMU_ASSERT_OK(__iommu_register_budget(iommu, bitmap, region, limit,
						budget));
}

static inline void iommu_pin_bitmap(struct iommu *iommu, u32 flag)
{
	IOMMU_ASSERT_OK(__iommu_pin_bitmap(iommu, flag));
}

static inline void iommu_dirty_tracking(struct iommu *iommu, u32 flag)
{
	IOMMU_ASSERT_OK(__iommu_dirty_tracking(iommu, flag));
}

static inline void iommu_dirty_get(struct iommu *iommu,
				   const struct dma_region *region,
				   void *bitmap)
{
	IOMMU_ASSERT_OK(__iommu_dirty_get(iommu, region, bitmap));
}

static inline void iommu_unmap_dirty(struct iommu *iommu,
				     const struct dma_region *region,
				     void *bitmap)
{
	IOMMU_ASSERT_OK(__iommu_unmap_dirty(iommu, region, bitmap));
}

#endif /* SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_IOMMU_H */
