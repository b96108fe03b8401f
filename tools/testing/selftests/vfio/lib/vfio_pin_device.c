// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <lib/test_vfio_pin_uapi.h>
#include <linux/vfio.h>

#include <libvfio/vfio_group.h>
#include <libvfio/vfio_pin_device.h>

#define NAME	"test_vfio_pin"

const char *vfio_pin_device_missing(void)
{
	return access("/sys/bus/platform/devices/" NAME "/iommu_group", F_OK) ?
		"no device of CONFIG_TEST_VFIO_PIN" : NULL;
}

void vfio_pin_device_init(struct vfio_pin_device *device, struct iommu *iommu)
{
	device->group_fd = vfio_group_open("platform", NAME);
	vfio_group_attach(device->group_fd, iommu);
	device->fd = ioctl(device->group_fd, VFIO_GROUP_GET_DEVICE_FD, NAME);
	VFIO_ASSERT_GE(device->fd, 0, "VFIO_GROUP_GET_DEVICE_FD " NAME);
}

void vfio_pin_device_cleanup(struct vfio_pin_device *device)
{
	if (!device->fd)
		return;
	close(device->fd);
	close(device->group_fd);
	memset(device, 0, sizeof(*device));
}

int __vfio_pin_page(struct vfio_pin_device *device, iova_t iova, u64 *frame)
{
	struct test_vfio_pin pin = { .iova = iova };

	if (ioctl(device->fd, TEST_VFIO_PIN, &pin))
		return -errno;
	if (frame)
		*frame = pin.pfn;
	return 0;
}

int __vfio_unpin_page(struct vfio_pin_device *device, iova_t iova)
{
	struct test_vfio_pin pin = { .iova = iova };

	return ioctl(device->fd, TEST_VFIO_UNPIN, &pin) ? -errno : 0;
}

static int rw_result(ssize_t done, size_t size)
{
	if (done < 0)
		return -errno;
	VFIO_ASSERT_EQ((size_t)done, size, "%zd of %zu bytes", done, size);
	return 0;
}

int __vfio_pin_read(struct vfio_pin_device *device, iova_t iova, void *buf,
		    size_t size)
{
	return rw_result(pread(device->fd, buf, size, iova), size);
}

int __vfio_pin_write(struct vfio_pin_device *device, iova_t iova,
		     const void *buf, size_t size)
{
	return rw_result(pwrite(device->fd, buf, size, iova), size);
}

int vfio_pin_unmaps(struct vfio_pin_device *device)
{
	int unmaps = ioctl(device->fd, TEST_VFIO_UNMAPS);

	VFIO_ASSERT_GE(unmaps, 0, "TEST_VFIO_UNMAPS");
	return unmaps;
}

void vfio_pin_hold(struct vfio_pin_device *device, bool hold)
{
	VFIO_ASSERT_TRUE(!ioctl(device->fd, TEST_VFIO_HOLD, (unsigned long)hold),
			 "TEST_VFIO_HOLD");
}
