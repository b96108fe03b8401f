/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What kernel/dma/pinning.c shares with its unit tests.
 */
#ifndef _KERNEL_DMA_PINNING_H
#define _KERNEL_DMA_PINNING_H

#include <linux/atomic.h>
#include <linux/types.h>

/* Values of a page's counter; below DMA_PINNING_STUCK it counts mappings. */
#define DMA_PINNING_STUCK	((u16)0xfffd)
#define DMA_PINNING_NOT_RAM	((u16)0xfffe)
#define DMA_PINNING_BUSY	((u16)0xffff)

/**
 * enum dma_pinning_event - things that should be rare, and are counted
 * @DMA_PINNING_SATURATED: pages whose counter has saturated
 * @DMA_PINNING_KEPT: ends of a mapping that left a saturated counter alone
 * @DMA_PINNING_UNBALANCED: ends of a mapping that was not counted; they
 *	changed nothing
 * @DMA_PINNING_UNCOUNTED: pages marked for good, since they have no counter
 *	or it was not to be had
 * @DMA_PINNING_OUTSIDE: pages beyond what the service covers, left unmarked
 * @DMA_PINNING_UNTOUCHABLE: mappings refused because a touch failed
 * @DMA_PINNING_NR_EVENTS: number of events
 */
enum dma_pinning_event {
	DMA_PINNING_SATURATED,
	DMA_PINNING_KEPT,
	DMA_PINNING_UNBALANCED,
	DMA_PINNING_UNCOUNTED,
	DMA_PINNING_OUTSIDE,
	DMA_PINNING_UNTOUCHABLE,
	DMA_PINNING_NR_EVENTS
};

/**
 * struct dma_pinning - marks of a host's service and our counters behind them
 * @marks: little-endian bitmap shared with the host, bit n for page n
 * @counts: private, counts[n] is the number of mappings of page n
 * @npages: pages with a mark
 * @ncounts: pages with a counter, not more than @npages
 * @events: see enum dma_pinning_event
 *
 * The pointers and sizes never change. Bits and counters change by atomic
 * operations only.
 */
struct dma_pinning {
	void		*marks;
	u16		*counts;
	unsigned long	npages;
	unsigned long	ncounts;
	atomic_long_t	events[DMA_PINNING_NR_EVENTS];
};

bool dma_pinning_get(struct dma_pinning *dp, phys_addr_t phys, size_t size);
void dma_pinning_put(struct dma_pinning *dp, phys_addr_t phys, size_t size);
void dma_pinning_keep(struct dma_pinning *dp, phys_addr_t phys, size_t size);

#if IS_ENABLED(CONFIG_KUNIT)
bool dma_pinning_touch(struct dma_pinning *dp, unsigned long pfn, void *addr);
#endif

#endif /* _KERNEL_DMA_PINNING_H */
