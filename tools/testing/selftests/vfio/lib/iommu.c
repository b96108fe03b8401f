// SPDX-License-Identifier: GPL-2.0-only
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <libvfio/iommu.h>

#define VFIO_CONTAINER_PATH "/dev/vfio/vfio"

struct iommu *iommu_init(unsigned long type)
{
	struct iommu *iommu = calloc(1, sizeof(*iommu));

	TEST_ASSERT(iommu, "out of memory");
	iommu->type = type;
	iommu->container_fd = open(VFIO_CONTAINER_PATH, O_RDWR);
	TEST_ASSERT(iommu->container_fd >= 0, "open %s", VFIO_CONTAINER_PATH);
	return iommu;
}

void iommu_cleanup(struct iommu *iommu)
{
	close(iommu->container_fd);
	free(iommu);
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

	return ioctl(iommu->container_fd, cmd, &args) ? errno : 0;
}

int __iommu_map(struct iommu *iommu, const struct dma_region *region)
{
	return do_map(iommu, VFIO_IOMMU_MAP_DMA, region);
}

int __iommu_map_unpinned(struct iommu *iommu, const struct dma_region *region)
{
	return do_map(iommu, VFIO_IOMMU_MAP_DMA_UNPINNED, region);
}

int __iommu_unmap(struct iommu *iommu, const struct dma_region *region)
{
	struct vfio_iommu_type1_dma_unmap args = {
		.argsz = sizeof(args),
		.iova = region->iova,
		.size = region->size,
	};

	if (ioctl(iommu->container_fd, VFIO_IOMMU_UNMAP_DMA, &args))
		return errno;
	return args.size == region->size ? 0 : ENOENT;
}

int __iommu_register_bitmap(struct iommu *iommu, void *bitmap,
			    const struct dma_region *region, u64 limit)
{
	return __iommu_register_budget(iommu, bitmap, region, limit, 0);
}

int __iommu_register_budget(struct iommu *iommu, void *bitmap,
			    const struct dma_region *region, u64 limit,
			    u64 budget)
{
	struct vfio_iommu_type1_pin_bitmap args = {
		.argsz = sizeof(args),
		.flags = VFIO_PIN_BITMAP_FLAG_REGISTER,
		.vaddr = (u64)bitmap,
		.iova = region->iova,
		.npages = region->size / 4096,
		.limit = limit,
		.budget = budget,
	};

	return ioctl(iommu->container_fd, VFIO_IOMMU_PIN_BITMAP, &args) ?
		errno : 0;
}

int __iommu_pin_bitmap(struct iommu *iommu, u32 flag)
{
	struct vfio_iommu_type1_pin_bitmap args = {
		.argsz = sizeof(args),
		.flags = flag,
	};

	return ioctl(iommu->container_fd, VFIO_IOMMU_PIN_BITMAP, &args) ?
		errno : 0;
}

int __iommu_dirty_tracking(struct iommu *iommu, u32 flag)
{
	struct vfio_iommu_type1_dirty_bitmap args = {
		.argsz = sizeof(args),
		.flags = flag,
	};

	return ioctl(iommu->container_fd, VFIO_IOMMU_DIRTY_PAGES, &args) ?
		errno : 0;
}

static struct vfio_bitmap dirty_bitmap(const struct dma_region *region,
				       void *bitmap)
{
	return (struct vfio_bitmap) {
		.pgsize = 4096,
		.size = (region->size / 4096 + 63) / 64 * sizeof(u64),
		.data = bitmap,
	};
}

int __iommu_dirty_get(struct iommu *iommu, const struct dma_region *region,
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

	return ioctl(iommu->container_fd, VFIO_IOMMU_DIRTY_PAGES, &request) ?
		errno : 0;
}

int __iommu_unmap_dirty(struct iommu *iommu, const struct dma_region *region,
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

	return ioctl(iommu->container_fd, VFIO_IOMMU_UNMAP_DMA, &request) ?
		errno : 0;
}

bool iommu_get_cap(struct iommu *iommu, u16 id, void *cap, size_t size)
{
	u8 buf[4096] = {};
	struct vfio_iommu_type1_info *info = (void *)buf;
	struct vfio_info_cap_header *header;
	u32 offset;

	info->argsz = sizeof(buf);
	TEST_ASSERT(!ioctl(iommu->container_fd, VFIO_IOMMU_GET_INFO, info),
		    "VFIO_IOMMU_GET_INFO");
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

static FILE *open_page_table(const char *bdf)
{
	char path[128];

	snprintf(path, sizeof(path),
		 "/sys/kernel/debug/iommu/intel/%s/domain_translation_struct",
		 bdf);
	return fopen(path, "r");
}

bool iommu_shows_leaves(const char *bdf)
{
	FILE *file = open_page_table(bdf);

	if (file)
		fclose(file);
	return file;
}

/* A line has the page number and the entries from level 5 down to the leaf. */
void iommu_count_leaves(const char *bdf, iova_t iova, u64 size,
			struct iommu_leaves *leaves)
{
	FILE *file = open_page_table(bdf);
	u64 pfn, pde, pte;
	char line[256];

	TEST_ASSERT(file, "the page tables of %s are not shown", bdf);
	*leaves = (struct iommu_leaves){};
	while (fgets(line, sizeof(line), file)) {
		int n = sscanf(line, "%lx | %*x %*x %*x %lx %lx", &pfn, &pde, &pte);

		if (n < 1 || pfn * 4096 < iova || pfn * 4096 >= iova + size)
			continue;
		leaves->gigantic += n == 1;
		leaves->huge += n == 2;
		leaves->small += n == 3;
	}
	fclose(file);
}

u32 iommu_dma_avail(struct iommu *iommu)
{
	struct vfio_iommu_type1_info_dma_avail cap;

	TEST_ASSERT(iommu_get_cap(iommu, VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL,
				  &cap, sizeof(cap)),
		    "the container does not report how many mappings it takes");
	return cap.avail;
}
