/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_IOMMU_REMAP_DEBUG_H
#define _LINUX_IOMMU_REMAP_DEBUG_H

#include <linux/types.h>

struct page;

#ifdef CONFIG_IOMMU_REMAP_DEBUG
extern struct page_ext_operations iommu_remap_debug_ops;

void __iommu_remap_debug_free(struct page *page, unsigned int order);

/* Called for every page that goes back to the page allocator or to hugetlb. */
static inline void iommu_remap_debug_free(struct page *page, unsigned int order)
{
	__iommu_remap_debug_free(page, order);
}
#else
static inline void iommu_remap_debug_free(struct page *page, unsigned int order)
{
}
#endif

#endif /* _LINUX_IOMMU_REMAP_DEBUG_H */
