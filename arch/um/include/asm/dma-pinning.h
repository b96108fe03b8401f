/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __ASM_UM_DMA_PINNING_H
#define __ASM_UM_DMA_PINNING_H

#include <linux/atomic.h>
#include <linux/compiler.h>
#include <linux/types.h>

struct page;

/*
 * UML is for the unit tests: it has no devices that a host passes through, and
 * no pages that the touch could fault on. Litmus: mark-touch
 */
static inline bool arch_dma_pinning_touch(void *addr)
{
	u8 val = READ_ONCE(*(u8 *)addr);

	cmpxchg((u8 *)addr, val, val);
	return true;
}

static inline bool arch_dma_pinning_cached(struct page *page)
{
	return true;
}

/* Nothing tells UML the cache mode of device memory. */
static inline bool arch_dma_pinning_write_back(void *addr)
{
	return false;
}

#endif /* __ASM_UM_DMA_PINNING_H */
