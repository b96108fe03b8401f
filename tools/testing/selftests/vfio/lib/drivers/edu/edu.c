// SPDX-License-Identifier: GPL-2.0-only
/*
 * Driver for QEMU's "edu" device, whose registers are in QEMU's docs/specs/edu.rst.
 * The device has a buffer of one page and does one DMA at a time, from memory to the
 * buffer or from there to memory, each in 100 ms. A copy is two of them. The device
 * reports no errors: what it reads where the IOMMU does not let it are zeroes.
 *
 * Needs -device edu,dma_mask=0xffffffffffffffff.
 */
#include <unistd.h>

#include <linux/compiler.h>
#include <linux/pci_regs.h>
#include <linux/sizes.h>
#include <linux/types.h>

#include <libvfio.h>

#define EDU_VENDOR_ID		0x1234
#define EDU_DEVICE_ID		0x11e8

#define EDU_REG_IRQ_RAISE	0x60
#define EDU_REG_IRQ_ACK		0x64
#define EDU_REG_DMA_SOURCE	0x80
#define EDU_REG_DMA_TARGET	0x88
#define EDU_REG_DMA_COUNT	0x90
#define EDU_REG_DMA_COMMAND	0x98

#define EDU_DMA_START		0x01
#define EDU_DMA_TO_MEMORY	0x02

#define EDU_BUFFER		0x40000
#define EDU_BUFFER_SIZE		SZ_4K

#define EDU_MSI_VECTOR		0
#define EDU_IRQ			0x01

#define EDU_TIMEOUT_US		(30 * 1000 * 1000)
#define EDU_POLL_US		1000

static void edu_writel(struct vfio_pci_device *device, size_t reg, u32 value)
{
	WRITE_ONCE(*(u32 *)(device->bars[0].vaddr + reg), value);
}

static void edu_writeq(struct vfio_pci_device *device, size_t reg, u64 value)
{
	WRITE_ONCE(*(u64 *)(device->bars[0].vaddr + reg), value);
}

static u64 edu_readq(struct vfio_pci_device *device, size_t reg)
{
	return READ_ONCE(*(u64 *)(device->bars[0].vaddr + reg));
}

static int edu_probe(struct vfio_pci_device *device)
{
	return !vfio_pci_device_match(device, EDU_VENDOR_ID, EDU_DEVICE_ID);
}

/* Wait until no DMA is under way. */
static void edu_dma_wait(struct vfio_pci_device *device)
{
	int us;

	for (us = 0; us < EDU_TIMEOUT_US; us += EDU_POLL_US) {
		if (!(edu_readq(device, EDU_REG_DMA_COMMAND) & EDU_DMA_START))
			return;
		usleep(EDU_POLL_US);
	}
	VFIO_FAIL("%s: a DMA does not end\n", device->bdf);
}

static void edu_dma_start(struct vfio_pci_device *device, u64 source, u64 target,
			  u64 size, u64 direction)
{
	edu_writeq(device, EDU_REG_DMA_SOURCE, source);
	edu_writeq(device, EDU_REG_DMA_TARGET, target);
	edu_writeq(device, EDU_REG_DMA_COUNT, size);
	edu_writeq(device, EDU_REG_DMA_COMMAND, EDU_DMA_START | direction);
}

static void edu_init(struct vfio_pci_device *device)
{
	struct vfio_pci_driver *driver = &device->driver;

	vfio_pci_cmd_set(device, PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);
	/* The DMA of a process that was killed, during which it takes no command. */
	edu_dma_wait(device);
	vfio_pci_msi_enable(device, EDU_MSI_VECTOR, 1);
	driver->max_memcpy_size = EDU_BUFFER_SIZE;
	driver->max_memcpy_count = 1;
	driver->msi = EDU_MSI_VECTOR;
}

static void edu_remove(struct vfio_pci_device *device)
{
	edu_dma_wait(device);
	vfio_pci_msi_disable(device);
	vfio_pci_cmd_clear(device, PCI_COMMAND_MASTER);
}

/* The first half of the copy has ended when this returns. */
static void edu_memcpy_start(struct vfio_pci_device *device, iova_t src,
			     iova_t dst, u64 size, u64 count)
{
	edu_dma_start(device, src, EDU_BUFFER, size, 0);
	edu_dma_wait(device);
	edu_dma_start(device, EDU_BUFFER, dst, size, EDU_DMA_TO_MEMORY);
}

static int edu_memcpy_wait(struct vfio_pci_device *device)
{
	edu_dma_wait(device);
	return 0;
}

static void edu_send_msi(struct vfio_pci_device *device)
{
	edu_writel(device, EDU_REG_IRQ_RAISE, EDU_IRQ);
	edu_writel(device, EDU_REG_IRQ_ACK, EDU_IRQ);
}

const struct vfio_pci_driver_ops edu_ops = {
	.name = "edu",
	.probe = edu_probe,
	.init = edu_init,
	.remove = edu_remove,
	.memcpy_start = edu_memcpy_start,
	.memcpy_wait = edu_memcpy_wait,
	.send_msi = edu_send_msi,
};
