// SPDX-License-Identifier: GPL-2.0-only
#include <string.h>
#include <sys/mman.h>

#include <linux/compiler.h>
#include <linux/limits.h>

#include <libvfio.h>
#include <libvfio/dma.h>

#define EDU_VENDOR_ID	0x1234
#define EDU_DEVICE_ID	0x11e8

static unsigned long sysfs_id(const char *bdf, const char *name)
{
	char path[PATH_MAX], line[32] = "";
	FILE *file;

	snprintf_assert(path, PATH_MAX, "/sys/bus/pci/devices/%s/%s", bdf, name);
	file = fopen(path, "r");
	if (!file)
		return 0;
	if (!fgets(line, sizeof(line), file))
		line[0] = 0;
	fclose(file);
	return strtoul(line, NULL, 16);
}

bool dma_can_drive(const char *bdf)
{
	return sysfs_id(bdf, "vendor") == EDU_VENDOR_ID &&
	       sysfs_id(bdf, "device") == EDU_DEVICE_ID;
}

void dma_init(struct vfio_pci_device *device, iova_t iova)
{
	struct dma_region *region = &device->driver.region;

	region->iova = iova;
	region->size = DMA_MAX_SIZE;
	region->vaddr = mmap(NULL, region->size, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	VFIO_ASSERT_NE(region->vaddr, MAP_FAILED);
	iommu_map(device->iommu, region);
	vfio_pci_driver_init(device);
}

void dma_cleanup(struct vfio_pci_device *device)
{
	struct dma_region *region = &device->driver.region;

	vfio_pci_driver_remove(device);
	iommu_unmap(device->iommu, region);
	VFIO_ASSERT_EQ(munmap(region->vaddr, region->size), 0);
}

/* Whether it was done is for the caller to find out, by what is in memory. */
static void copy(struct vfio_pci_device *device, iova_t from, iova_t to,
		 size_t size)
{
	VFIO_ASSERT_LE(size, DMA_MAX_SIZE);
	vfio_pci_driver_memcpy(device, from, to, size);
}

void dma_read(struct vfio_pci_device *device, iova_t iova, void *to, size_t size)
{
	struct dma_region *region = &device->driver.region;

	/* What is there now may be what the caller hopes to see. */
	memset(region->vaddr, 0xa5, size);
	copy(device, iova, region->iova, size);
	memcpy(to, region->vaddr, size);
}

void dma_write(struct vfio_pci_device *device, iova_t iova, const void *from,
	       size_t size)
{
	struct dma_region *region = &device->driver.region;

	memcpy(region->vaddr, from, size);
	copy(device, region->iova, iova, size);
}

u32 unique_value(void)
{
	static u32 last = 0x5eed0000;

	return ++last;
}

static u32 dma_read32(struct vfio_pci_device *device, iova_t iova)
{
	u32 value;

	dma_read(device, iova, &value, sizeof(value));
	return value;
}

static void dma_write32(struct vfio_pci_device *device, iova_t iova, u32 value)
{
	dma_write(device, iova, &value, sizeof(value));
}

bool dma_works(struct vfio_pci_device *device, iova_t iova, void *vaddr)
{
	u32 out = unique_value(), in = unique_value();

	dma_write32(device, iova, in);
	if (READ_ONCE(*(u32 *)vaddr) != in)
		return false;
	WRITE_ONCE(*(u32 *)vaddr, out);
	return dma_read32(device, iova) == out;
}

bool dma_read_blocked(struct vfio_pci_device *device, iova_t iova, u32 content)
{
	return dma_read32(device, iova) != content;
}

bool dma_write_blocked(struct vfio_pci_device *device, iova_t iova, void *vaddr)
{
	u32 value = unique_value();

	dma_write32(device, iova, value);
	return READ_ONCE(*(u32 *)vaddr) != value;
}
