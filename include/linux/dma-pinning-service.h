/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the PCI bus, kexec and hibernation ask of the driver of the host's DMA
 * pinning service, drivers/virt/dma_pinning.c.
 */
#ifndef _LINUX_DMA_PINNING_SERVICE_H
#define _LINUX_DMA_PINNING_SERVICE_H

#include <linux/types.h>

struct pci_dev;

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
