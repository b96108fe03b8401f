/* SPDX-License-Identifier: GPL-2.0-only */
/* A PCI device that is bound to vfio-pci, opened through its group. */
#ifndef SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_VFIO_PCI_DEVICE_H
#define SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_VFIO_PCI_DEVICE_H

#include <linux/pci_regs.h>

#include <libvfio/iommu.h>

struct vfio_pci_device {
	const char *bdf;
	struct iommu *iommu;
	int group_fd;
	int fd;
};

/* Open the group of a device, whose bus is "pci" or another one of sysfs. */
int vfio_group_open(const char *bus, const char *name);
void vfio_group_attach(int group_fd, struct iommu *iommu);

/* Attach the group to @iommu and open the device. */
struct vfio_pci_device *vfio_pci_device_init(const char *bdf,
					     struct iommu *iommu);
void vfio_pci_device_cleanup(struct vfio_pci_device *device);

u16 vfio_pci_config_readw(struct vfio_pci_device *device, size_t offset);
void vfio_pci_config_writew(struct vfio_pci_device *device, size_t offset,
			    u16 value);

/* Map @size bytes of a BAR, at @addr instead of what is there if not NULL. */
void *vfio_pci_bar_map(struct vfio_pci_device *device, unsigned int bar,
		       void *addr, size_t size);

#endif /* SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_VFIO_PCI_DEVICE_H */
