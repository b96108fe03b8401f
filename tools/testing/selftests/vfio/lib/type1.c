// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include <libvfio/type1.h>

#define PAGE_SIZE	4096UL

int type1_ioctl(struct iommu *iommu, unsigned long cmd, void *arg)
{
	return ioctl(iommu->container_fd, cmd, arg) ? -errno : 0;
}

static int do_map(struct iommu *iommu, unsigned long cmd,
		  const struct dma_region *region)
{
	struct vfio_iommu_type1_dma_map args = {
		.argsz = sizeof(args),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (u64)region->vaddr,
		.iova = region->iova,
		.size = region->size,
	};

	return type1_ioctl(iommu, cmd, &args);
}

int __type1_map(struct iommu *iommu, const struct dma_region *region)
{
	return do_map(iommu, VFIO_IOMMU_MAP_DMA, region);
}

int __type1_map_unpinned(struct iommu *iommu, const struct dma_region *region)
{
	return do_map(iommu, VFIO_IOMMU_MAP_DMA_UNPINNED, region);
}

int __type1_unmap(struct iommu *iommu, const struct dma_region *region)
{
	struct vfio_iommu_type1_dma_unmap args = {
		.argsz = sizeof(args),
		.iova = region->iova,
		.size = region->size,
	};
	int ret = type1_ioctl(iommu, VFIO_IOMMU_UNMAP_DMA, &args);

	if (!ret && args.size != region->size)
		ret = -ENOENT;
	return ret;
}

int __type1_register_bitmap(struct iommu *iommu, void *bitmap,
			    const struct dma_region *region, u64 limit)
{
	return __type1_register_budget(iommu, bitmap, region, limit, 0);
}

int __type1_register_budget(struct iommu *iommu, void *bitmap,
			    const struct dma_region *region, u64 limit,
			    u64 budget)
{
	struct vfio_iommu_type1_pin_bitmap args = {
		.argsz = sizeof(args),
		.flags = VFIO_PIN_BITMAP_FLAG_REGISTER,
		.vaddr = (u64)bitmap,
		.iova = region->iova,
		.npages = region->size / PAGE_SIZE,
		.limit = limit,
		.budget = budget,
	};

	return type1_ioctl(iommu, VFIO_IOMMU_PIN_BITMAP, &args);
}

int __type1_pin_bitmap(struct iommu *iommu, u32 flag)
{
	struct vfio_iommu_type1_pin_bitmap args = {
		.argsz = sizeof(args),
		.flags = flag,
	};

	return type1_ioctl(iommu, VFIO_IOMMU_PIN_BITMAP, &args);
}

int __type1_dirty_tracking(struct iommu *iommu, u32 flag)
{
	struct vfio_iommu_type1_dirty_bitmap args = {
		.argsz = sizeof(args),
		.flags = flag,
	};

	return type1_ioctl(iommu, VFIO_IOMMU_DIRTY_PAGES, &args);
}

static struct vfio_bitmap dirty_bitmap(const struct dma_region *region,
				       void *bitmap)
{
	return (struct vfio_bitmap) {
		.pgsize = PAGE_SIZE,
		.size = (region->size / PAGE_SIZE + 63) / 64 * sizeof(u64),
		.data = bitmap,
	};
}

int __type1_dirty_get(struct iommu *iommu, const struct dma_region *region,
		      void *bitmap)
{
	struct {
		struct vfio_iommu_type1_dirty_bitmap args;
		struct vfio_iommu_type1_dirty_bitmap_get get;
	} request = {
		.args.argsz = sizeof(request),
		.args.flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP,
		.get.iova = region->iova,
		.get.size = region->size,
		.get.bitmap = dirty_bitmap(region, bitmap),
	};

	return type1_ioctl(iommu, VFIO_IOMMU_DIRTY_PAGES, &request);
}

int __type1_unmap_dirty(struct iommu *iommu, const struct dma_region *region,
			void *bitmap)
{
	struct {
		struct vfio_iommu_type1_dma_unmap args;
		struct vfio_bitmap bitmap;
	} request = {
		.args.argsz = sizeof(request),
		.args.flags = VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP,
		.args.iova = region->iova,
		.args.size = region->size,
		.bitmap = dirty_bitmap(region, bitmap),
	};

	return type1_ioctl(iommu, VFIO_IOMMU_UNMAP_DMA, &request);
}

bool type1_get_cap(struct iommu *iommu, u16 id, void *cap, size_t size)
{
	u8 buf[4096] = {};
	struct vfio_iommu_type1_info *info = (void *)buf;
	struct vfio_info_cap_header *header;
	u32 offset;

	info->argsz = sizeof(buf);
	ioctl_assert(iommu->container_fd, VFIO_IOMMU_GET_INFO, info);
	if (!(info->flags & VFIO_IOMMU_INFO_CAPS))
		return false;
	for (offset = info->cap_offset; offset; offset = header->next) {
		header = (void *)(buf + offset);
		if (header->id != id)
			continue;
		memcpy(cap, header, size);
		return true;
	}
	return false;
}

u32 type1_dma_avail(struct iommu *iommu)
{
	struct vfio_iommu_type1_info_dma_avail cap;

	VFIO_ASSERT_TRUE(type1_get_cap(iommu, VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL,
				       &cap, sizeof(cap)),
			 "the container does not report how many mappings it takes");
	return cap.avail;
}
