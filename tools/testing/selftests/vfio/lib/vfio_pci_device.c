// SPDX-License-Identifier: GPL-2.0-only
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <libvfio/vfio_pci_device.h>

int vfio_group_open(const char *bus, const char *name)
{
	char link[PATH_MAX], target[PATH_MAX] = "";
	int fd;

	snprintf(link, sizeof(link), "/sys/bus/%s/devices/%s/iommu_group", bus,
		 name);
	TEST_ASSERT(readlink(link, target, sizeof(target) - 1) > 0,
		    "%s has no IOMMU group", name);
	snprintf(link, sizeof(link), "/dev/vfio/%s", basename(target));
	fd = open(link, O_RDWR);
	TEST_ASSERT(fd >= 0, "open %s", link);
	return fd;
}

void vfio_group_attach(int group_fd, struct iommu *iommu)
{
	struct vfio_group_status status = { .argsz = sizeof(status) };

	TEST_ASSERT(!ioctl(group_fd, VFIO_GROUP_GET_STATUS, &status),
		    "VFIO_GROUP_GET_STATUS");
	TEST_ASSERT(status.flags & VFIO_GROUP_FLAGS_VIABLE,
		    "the group is not bound to VFIO drivers throughout");
	TEST_ASSERT(!ioctl(group_fd, VFIO_GROUP_SET_CONTAINER,
			   &iommu->container_fd), "VFIO_GROUP_SET_CONTAINER");
	if (iommu->is_set)
		return;
	TEST_ASSERT(!ioctl(iommu->container_fd, VFIO_SET_IOMMU, iommu->type),
		    "VFIO_SET_IOMMU");
	iommu->is_set = true;
}

struct vfio_pci_device *vfio_pci_device_init(const char *bdf,
					     struct iommu *iommu)
{
	struct vfio_pci_device *device = calloc(1, sizeof(*device));

	TEST_ASSERT(device, "out of memory");
	device->bdf = bdf;
	device->iommu = iommu;
	device->group_fd = vfio_group_open("pci", bdf);
	vfio_group_attach(device->group_fd, iommu);
	device->fd = ioctl(device->group_fd, VFIO_GROUP_GET_DEVICE_FD, bdf);
	TEST_ASSERT(device->fd >= 0, "VFIO_GROUP_GET_DEVICE_FD %s", bdf);
	return device;
}

void vfio_pci_device_cleanup(struct vfio_pci_device *device)
{
	close(device->fd);
	close(device->group_fd);
	free(device);
}

static struct vfio_region_info region_info(struct vfio_pci_device *device,
					   unsigned int index)
{
	struct vfio_region_info info = {
		.argsz = sizeof(info),
		.index = index,
	};

	TEST_ASSERT(!ioctl(device->fd, VFIO_DEVICE_GET_REGION_INFO, &info),
		    "VFIO_DEVICE_GET_REGION_INFO %u", index);
	return info;
}

u16 vfio_pci_config_readw(struct vfio_pci_device *device, size_t offset)
{
	struct vfio_region_info info;
	u16 value;

	info = region_info(device, VFIO_PCI_CONFIG_REGION_INDEX);
	TEST_ASSERT(pread(device->fd, &value, sizeof(value),
			  info.offset + offset) == sizeof(value),
		    "read of configuration space at 0x%zx", offset);
	return value;
}

void vfio_pci_config_writew(struct vfio_pci_device *device, size_t offset,
			    u16 value)
{
	struct vfio_region_info info;

	info = region_info(device, VFIO_PCI_CONFIG_REGION_INDEX);
	TEST_ASSERT(pwrite(device->fd, &value, sizeof(value),
			   info.offset + offset) == sizeof(value),
		    "write of configuration space at 0x%zx", offset);
}

void *vfio_pci_bar_map(struct vfio_pci_device *device, unsigned int bar,
		       void *addr, size_t size)
{
	struct vfio_region_info info = region_info(device, bar);
	void *map;

	TEST_ASSERT(info.flags & VFIO_REGION_INFO_FLAG_MMAP && info.size >= size,
		    "BAR %u of %s can't be mapped", bar, device->bdf);
	map = mmap(addr, size, PROT_READ | PROT_WRITE,
		   MAP_SHARED | (addr ? MAP_FIXED : 0), device->fd,
		   info.offset);
	TEST_ASSERT(map != MAP_FAILED, "mmap of BAR %u", bar);
	return map;
}
