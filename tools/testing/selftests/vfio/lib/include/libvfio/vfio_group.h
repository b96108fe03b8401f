/* SPDX-License-Identifier: GPL-2.0-only */
/* IOMMU groups, of devices that need not be PCI devices, and containers. */
#ifndef SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_VFIO_GROUP_H
#define SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_VFIO_GROUP_H

#include <libvfio/iommu.h>

/* Open the group of a device, whose bus is "pci" or another one of sysfs. */
int vfio_group_open(const char *bus, const char *name);
/* Put the group into the container: 0 or -errno. */
int vfio_group_set_container(int group_fd, struct iommu *iommu);
void vfio_group_unset_container(int group_fd);
/* The same, and the container has an IOMMU afterwards. Asserts that it succeeds. */
void vfio_group_attach(int group_fd, struct iommu *iommu);

#endif /* SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_VFIO_GROUP_H */
