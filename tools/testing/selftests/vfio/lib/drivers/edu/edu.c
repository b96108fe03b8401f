// SPDX-License-Identifier: GPL-2.0-only
/* The register layout is in QEMU's docs/specs/edu.rst. */
#include <linux/compiler.h>
#include <sys/mman.h>
#include <unistd.h>

#include <libvfio/edu.h>

#define EDU_VENDOR_ID		0x1234
#define EDU_DEVICE_ID		0x11e8

#define EDU_REG_DMA_SOURCE	0x80
#define EDU_REG_DMA_TARGET	0x88
#define EDU_REG_DMA_COUNT	0x90
#define EDU_REG_DMA_COMMAND	0x98
#define EDU_DMA_START		0x01
#define EDU_DMA_TO_MEMORY	0x02

#define EDU_BUFFER		0x40000

#define EDU_TIMEOUT_US		(30 * 1000 * 1000)
#define EDU_POLL_US		1000

static void writeq(struct edu *edu, size_t reg, u64 value)
{
	WRITE_ONCE(*(u64 *)(edu->regs + reg), value);
}

static u64 readq(struct edu *edu, size_t reg)
{
	return READ_ONCE(*(u64 *)(edu->regs + reg));
}

bool edu_match(u16 vendor, u16 device)
{
	return vendor == EDU_VENDOR_ID && device == EDU_DEVICE_ID;
}

/* Until no DMA is under way. */
static void edu_wait(struct edu *edu)
{
	int us;

	for (us = 0; us < EDU_TIMEOUT_US; us += EDU_POLL_US) {
		if (!(readq(edu, EDU_REG_DMA_COMMAND) & EDU_DMA_START))
			return;
		usleep(EDU_POLL_US);
	}
	TEST_FAIL("%s: a DMA does not end", edu->device->bdf);
}

void edu_init(struct edu *edu, struct vfio_pci_device *device, iova_t iova)
{
	u16 command = vfio_pci_config_readw(device, PCI_COMMAND);

	edu->device = device;
	edu->page.iova = iova;
	edu->page.size = EDU_BUFFER_SIZE;
	edu->page.vaddr = mmap(NULL, EDU_BUFFER_SIZE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	TEST_ASSERT(edu->page.vaddr != MAP_FAILED, "mmap");
	iommu_map(device->iommu, &edu->page);
	edu->regs = vfio_pci_bar_map(device, 0, NULL, EDU_BUFFER_SIZE);
	vfio_pci_config_writew(device, PCI_COMMAND,
			       command | PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);
	/* Of a process that was killed, and no command is taken meanwhile. */
	edu_wait(edu);
}

void edu_cleanup(struct edu *edu)
{
	munmap(edu->regs, EDU_BUFFER_SIZE);
	iommu_unmap(edu->device->iommu, &edu->page);
	munmap(edu->page.vaddr, EDU_BUFFER_SIZE);
}

/* One DMA, from start to end. */
static void edu_dma(struct edu *edu, u64 source, u64 target, size_t size,
		    u64 direction)
{
	writeq(edu, EDU_REG_DMA_SOURCE, source);
	writeq(edu, EDU_REG_DMA_TARGET, target);
	writeq(edu, EDU_REG_DMA_COUNT, size);
	writeq(edu, EDU_REG_DMA_COMMAND, EDU_DMA_START | direction);
	edu_wait(edu);
}

static void edu_load(struct edu *edu, iova_t iova, size_t size)
{
	edu_dma(edu, iova, EDU_BUFFER, size, 0);
}

static void edu_store(struct edu *edu, iova_t iova, size_t size)
{
	edu_dma(edu, EDU_BUFFER, iova, size, EDU_DMA_TO_MEMORY);
}

static void edu_fetch(struct edu *edu, iova_t iova, void *to, size_t size)
{
	edu_load(edu, iova, size);
	edu_store(edu, edu->page.iova, size);
	memcpy(to, edu->page.vaddr, size);
}

void edu_read(struct edu *edu, iova_t iova, void *to, size_t size)
{
	/* What is in the buffer now may be what the caller hopes to see. */
	memset(edu->page.vaddr, 0xa5, size);
	edu_load(edu, edu->page.iova, size);
	edu_fetch(edu, iova, to, size);
}

void edu_write(struct edu *edu, iova_t iova, const void *from, size_t size)
{
	memcpy(edu->page.vaddr, from, size);
	edu_load(edu, edu->page.iova, size);
	edu_store(edu, iova, size);
}

void edu_exchange(struct edu *edu, iova_t to, const void *written, iova_t from,
		  void *got, size_t size)
{
	edu_write(edu, to, written, size);
	edu_fetch(edu, from, got, size);
}
