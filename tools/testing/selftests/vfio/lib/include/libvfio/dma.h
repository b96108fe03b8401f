/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transfers between the process and an IOVA through the driver of a device, and what
 * they tell. The driver has to take copies of any size and to leave its region alone,
 * which is the process's end of each copy: that of QEMU's edu does.
 */
#ifndef SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_DMA_H
#define SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_DMA_H

#include <linux/types.h>
#include <stdbool.h>

#include <libvfio/vfio_pci_device.h>

#define DMA_MAX_SIZE	4096UL

/* Is the device at @bdf one of those? */
bool dma_can_drive(const char *bdf);

/* Map a page for the driver at @iova, pinned, and initialize the driver. */
void dma_init(struct vfio_pci_device *device, iova_t iova);
void dma_cleanup(struct vfio_pci_device *device);

/*
 * At most DMA_MAX_SIZE bytes. An access that the IOMMU blocks changes nothing: memory
 * stays as it is, and what dma_read() returns is not what is in memory. The device's
 * access has ended when the function returns.
 */
void dma_read(struct vfio_pci_device *device, iova_t iova, void *to, size_t size);
void dma_write(struct vfio_pci_device *device, iova_t iova, const void *from,
	       size_t size);

/* A value that no earlier call returned, and never 0. */
u32 unique_value(void);

/* Bytes go from memory to the device and from the device to memory. */
bool dma_works(struct vfio_pci_device *device, iova_t iova, void *vaddr);
/* The device does not get @content, which was at @iova. */
bool dma_read_blocked(struct vfio_pci_device *device, iova_t iova, u32 content);
/* What the device writes does not get to @vaddr. */
bool dma_write_blocked(struct vfio_pci_device *device, iova_t iova, void *vaddr);

#endif /* SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_DMA_H */
