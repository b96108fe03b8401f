/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The device of CONFIG_TEST_VFIO_PIN: it has no IOMMU, and pins, reads and writes
 * memory by IOVA, as mediated devices do.
 *
 * Functions with two underscores return 0 or -errno, the others assert that
 * they succeed.
 */
#ifndef SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_VFIO_PIN_DEVICE_H
#define SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_VFIO_PIN_DEVICE_H

#include <libvfio/iommu.h>

struct vfio_pin_device {
	int group_fd;
	int fd;			/* 0 if it is not open */
};

/* Why there is no such device, or NULL: a line for SKIP(). */
const char *vfio_pin_device_missing(void);
/* Attach the group to @iommu and open the device. */
void vfio_pin_device_init(struct vfio_pin_device *device, struct iommu *iommu);
/* Close it, if it is open; it unpins all. */
void vfio_pin_device_cleanup(struct vfio_pin_device *device);

/* Pin the page at @iova; @frame, if not NULL, receives its frame number. */
int __vfio_pin_page(struct vfio_pin_device *device, iova_t iova, u64 *frame);
int __vfio_unpin_page(struct vfio_pin_device *device, iova_t iova);

/* By CPU, as emulated devices do DMA. At most a page. */
int __vfio_pin_read(struct vfio_pin_device *device, iova_t iova, void *buf,
		    size_t size);
int __vfio_pin_write(struct vfio_pin_device *device, iova_t iova,
		     const void *buf, size_t size);

/* How many unmappings it was told of. */
int vfio_pin_unmaps(struct vfio_pin_device *device);
/* Shall it wait when it is told of one, before it unpins? */
void vfio_pin_hold(struct vfio_pin_device *device, bool hold);

static inline u64 vfio_pin_page(struct vfio_pin_device *device, iova_t iova)
{
	u64 frame;

	VFIO_ASSERT_EQ(__vfio_pin_page(device, iova, &frame), 0);
	return frame;
}

static inline void vfio_unpin_page(struct vfio_pin_device *device, iova_t iova)
{
	VFIO_ASSERT_EQ(__vfio_unpin_page(device, iova), 0);
}

#endif /* SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_VFIO_PIN_DEVICE_H */
