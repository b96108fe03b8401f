/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The service by which a host learns which pages devices may access: its
 * registers, and what the PCI bus asks of its driver.
 *
 * The service has a page of little-endian registers and a bitmap in memory of
 * its own. Registers are read and written with their own size.
 */
#ifndef _LINUX_DMA_PINNING_SERVICE_H
#define _LINUX_DMA_PINNING_SERVICE_H

#include <linux/bits.h>

struct pci_dev;

#define DMA_PINNING_REG_MAGIC		0x00	/* u32 */
#define DMA_PINNING_REG_VERSION		0x04	/* u32 */
#define DMA_PINNING_REG_SIZE		0x08	/* u32, bytes of registers */
#define DMA_PINNING_REG_GRANULE		0x0c	/* u32, bytes of memory per bit */
#define DMA_PINNING_REG_OFFERED		0x10	/* u64, features */
#define DMA_PINNING_REG_ACCEPTED	0x18	/* u64, features */
#define DMA_PINNING_REG_NPAGES		0x20	/* u64, bits in the bitmap */
#define DMA_PINNING_REG_STATE		0x28	/* u32 */
#define DMA_PINNING_REG_ERROR		0x2c	/* u32, last result code */
#define DMA_PINNING_REG_GENERATION	0x30	/* u64, changes of the state */
#define DMA_PINNING_REG_LIMIT		0x38	/* u64, pages that may be marked */
#define DMA_PINNING_REG_REQUEST		0x40	/* u64, write only */
#define DMA_PINNING_REG_RESULT		0x48	/* u64 */
#define DMA_PINNING_REG_END		0x50

#define DMA_PINNING_MAGIC		0x4e495044	/* "DPIN" */

#define DMA_PINNING_FEATURE_MARKS	BIT_ULL(0)
#define DMA_PINNING_FEATURE_QUERY	BIT_ULL(1)

/* Passed-through devices can do DMA in READY only. OFF clears the bitmap. */
#define DMA_PINNING_STATE_OFF		0
#define DMA_PINNING_STATE_READY		1
#define DMA_PINNING_STATE_FROZEN	2

/* A request is one 64-bit write; the result repeats opcode and argument. */
#define DMA_PINNING_MASK_OPCODE		GENMASK_ULL(7, 0)
#define DMA_PINNING_MASK_CODE		GENMASK_ULL(15, 8)
#define DMA_PINNING_MASK_ARGUMENT	GENMASK_ULL(47, 16)
#define DMA_PINNING_MASK_VALUE		GENMASK_ULL(63, 48)

#define DMA_PINNING_OP_READY		1	/* argument: accepted features */
#define DMA_PINNING_OP_OFF		2
#define DMA_PINNING_OP_FROZEN		3
#define DMA_PINNING_OP_QUERY		4	/* argument: segment, bus, devfn */

#define DMA_PINNING_CODE_OK		0
#define DMA_PINNING_CODE_UNKNOWN	1
#define DMA_PINNING_CODE_ARGUMENT	2
#define DMA_PINNING_CODE_STATE		3
#define DMA_PINNING_CODE_BUSY		4
#define DMA_PINNING_CODE_HOST		5

#ifdef CONFIG_DMA_PINNING
int dma_pinning_pci_configure(struct pci_dev *pdev);
bool dma_pinning_service_active(void);
void dma_pinning_crash(void);
#else
static inline int dma_pinning_pci_configure(struct pci_dev *pdev)
{
	return 0;
}

static inline bool dma_pinning_service_active(void)
{
	return false;
}

static inline void dma_pinning_crash(void)
{
}
#endif

#endif /* _LINUX_DMA_PINNING_SERVICE_H */
