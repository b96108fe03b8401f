/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tell the host which pages devices may access: hooks of the direct mapping.
 * See kernel/dma/pinning.c for what they do.
 */
#ifndef _LINUX_DMA_PINNING_H
#define _LINUX_DMA_PINNING_H

#include <linux/device.h>
#include <linux/jump_label.h>
#include <linux/types.h>

struct dev_pagemap;
struct dma_pinning;
struct range;
struct seq_file;

#ifdef CONFIG_DMA_PINNING

DECLARE_STATIC_KEY_FALSE(dma_pinning_key);

bool __dma_pinning_pin(phys_addr_t phys, size_t size);
void __dma_pinning_unpin(phys_addr_t phys, size_t size);
bool __dma_pinning_mark(phys_addr_t phys, size_t size);
int __dma_pinning_add_pgmap(struct dev_pagemap *pgmap, struct range *range);
void __dma_pinning_remove_pgmap(struct dev_pagemap *pgmap, struct range *range);

struct dma_pinning *dma_pinning_create(void *marks, unsigned long npages,
				       unsigned long limit);
void dma_pinning_destroy(struct dma_pinning *dp);
unsigned long dma_pinning_adopt(struct dma_pinning *dp);
void dma_pinning_enable(struct dma_pinning *dp);
void dma_pinning_show(struct dma_pinning *dp, struct seq_file *m);

/**
 * dma_pinning_active() - do the pages that a device accesses need marks?
 * @dev: the device
 *
 * The answer does not change while a driver is bound to @dev, so that a mapping
 * and its end agree on whether its pages were counted.
 *
 * Context: any.
 * Return: %true if they do.
 */
static inline bool dma_pinning_active(struct device *dev)
{
	return static_branch_unlikely(&dma_pinning_key) &&
	       !dev_dma_pinning_exempt(dev);
}

/**
 * dma_pinning_add_pgmap() - ZONE_DEVICE memory is about to be added
 * @pgmap: describes it
 * @range: the part of it
 *
 * Makes counters for its pages. Without them, each page that a device gets would
 * stay marked for good.
 *
 * Context: process, may sleep.
 * Return: 0 or -ENOMEM.
 */
static inline int dma_pinning_add_pgmap(struct dev_pagemap *pgmap,
					struct range *range)
{
	if (!static_branch_unlikely(&dma_pinning_key))
		return 0;
	return __dma_pinning_add_pgmap(pgmap, range);
}

/**
 * dma_pinning_remove_pgmap() - ZONE_DEVICE memory has gone
 * @pgmap: as given to dma_pinning_add_pgmap()
 * @range: as given to dma_pinning_add_pgmap()
 *
 * Context: process, may sleep.
 */
static inline void dma_pinning_remove_pgmap(struct dev_pagemap *pgmap,
					    struct range *range)
{
	if (static_branch_unlikely(&dma_pinning_key))
		__dma_pinning_remove_pgmap(pgmap, range);
}

#else /* !CONFIG_DMA_PINNING */

static inline bool __dma_pinning_pin(phys_addr_t phys, size_t size)
{
	return true;
}

static inline void __dma_pinning_unpin(phys_addr_t phys, size_t size)
{
}

static inline bool __dma_pinning_mark(phys_addr_t phys, size_t size)
{
	return true;
}

static inline bool dma_pinning_active(struct device *dev)
{
	return false;
}

static inline int dma_pinning_add_pgmap(struct dev_pagemap *pgmap,
					struct range *range)
{
	return 0;
}

static inline void dma_pinning_remove_pgmap(struct dev_pagemap *pgmap,
					    struct range *range)
{
}

#endif /* CONFIG_DMA_PINNING */

/**
 * dma_pinning_pin() - start of a mapping: count, mark and touch its pages
 * @dev: device that gets access
 * @phys: address of the buffer, as @dev reaches it (of the bounce buffer if
 *	there is one)
 * @size: bytes
 *
 * Context: any. Does not allocate or sleep.
 * Return: %false if a page cannot be touched or the host allows no more marks;
 * the mapping must fail, and there is nothing to undo.
 */
static inline bool dma_pinning_pin(struct device *dev, phys_addr_t phys,
				   size_t size)
{
	return !dma_pinning_active(dev) || __dma_pinning_pin(phys, size);
}

/**
 * dma_pinning_unpin() - end of a mapping: uncount its pages
 * @dev: device that had access and has finished with it
 * @phys: as given to dma_pinning_pin()
 * @size: as given to dma_pinning_pin()
 *
 * Clears the mark of each page that no other mapping uses.
 *
 * Context: any, before the memory is given back.
 */
static inline void dma_pinning_unpin(struct device *dev, phys_addr_t phys,
				     size_t size)
{
	if (dma_pinning_active(dev))
		__dma_pinning_unpin(phys, size);
}

/**
 * dma_pinning_mark() - start of a mapping: count and mark its pages, no touch
 * @dev: device that gets access
 * @phys: address of the memory
 * @size: bytes
 *
 * For memory that the direct map may not have, or not as cacheable memory.
 * The caller's next write to it serves as the touch. dma_pinning_unpin() is the
 * end of the mapping.
 *
 * Context: any. Does not allocate or sleep.
 * Return: %false if the host allows no more marks; the mapping must fail, and
 * there is nothing to undo.
 */
static inline bool dma_pinning_mark(struct device *dev, phys_addr_t phys,
				    size_t size)
{
	return !dma_pinning_active(dev) || __dma_pinning_mark(phys, size);
}

#endif /* _LINUX_DMA_PINNING_H */
