/* SPDX-License-Identifier: GPL-2.0-only */
/* Leaves that a device has in the page table of its IOMMU, as debugfs shows them. */
#ifndef SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_IOMMU_LEAVES_H
#define SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_IOMMU_LEAVES_H

#include <stdbool.h>

#include <libvfio/iommu.h>

struct iommu_leaves {
	u64 small;		/* 4 KiB */
	u64 huge;		/* 2 MiB */
	u64 gigantic;		/* 1 GiB */
};

/* Does the IOMMU driver show its page tables? */
bool iommu_shows_leaves(const char *bdf);
/* Those that begin in the range. */
void iommu_count_leaves(const char *bdf, iova_t iova, u64 size,
			struct iommu_leaves *leaves);

#endif /* SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_IOMMU_LEAVES_H */
