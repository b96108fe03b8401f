/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * User-space driver for QEMU's "edu" device: one DMA at a time between a
 * buffer inside of the device and an IOVA. The buffer can be reached by DMA
 * only, so the driver keeps one page mapped (pinned) to move its content.
 *
 * Needs -device edu,dma_mask=0xffffffffffffffff.
 */
#ifndef SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_EDU_H
#define SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_EDU_H

#include <libvfio/vfio_pci_device.h>

#define EDU_BUFFER_SIZE	4096

/* What a 32-bit register at offset 0 and the one at 4 are for. */
#define EDU_REG_ID	0x00
#define EDU_ID		0x010000ed
#define EDU_REG_INVERT	0x04	/* reads as the complement of what was written */

struct edu {
	struct vfio_pci_device *device;
	void *regs;
	struct dma_region page;
};

/* Is a device with these PCI IDs one? */
bool edu_match(u16 vendor, u16 device);
/* Map the driver's page at @iova and let the device be bus master. */
void edu_init(struct edu *edu, struct vfio_pci_device *device, iova_t iova);
/* Before the device is closed, which stays open while a BAR is mapped. */
void edu_cleanup(struct edu *edu);

/*
 * Copy @size bytes, up to EDU_BUFFER_SIZE, through the device. An access that
 * the IOMMU blocks changes nothing: memory stays as it is, and what edu_read()
 * returns is not what is in memory.
 *
 * Guarantee: the device's access has ended when the function returns.
 */
void edu_read(struct edu *edu, iova_t iova, void *to, size_t size);
void edu_write(struct edu *edu, iova_t iova, const void *from, size_t size);
/*
 * edu_write() to one place, then edu_read() from another one, in less time: each
 * DMA takes 100 ms. What is written must not be what the reader hopes to see.
 */
void edu_exchange(struct edu *edu, iova_t to, const void *written, iova_t from,
		  void *got, size_t size);

#endif /* SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_EDU_H */
