/*
 * VFIO containers that map guest RAM unpinned
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_UNPINNED_H
#define HW_VFIO_UNPINNED_H

#include "hw/vfio/vfio-common.h"
#include "qemu/notify.h"

typedef struct VFIOPCIDevice VFIOPCIDevice;

/* Of a vfio-pci device with x-unpinned=on */
typedef struct VFIOUnpinnedPCI {
    bool withheld;              /* Bus Master Enable, from hardware and guest */
    bool reported;              /* the guest's attempt to set it meanwhile */
    Notifier dma_notifier;
} VFIOUnpinnedPCI;

bool vfio_unpinned_check_device(VFIODevice *vbasedev, AddressSpace *as,
                                Error **errp);
bool vfio_unpinned_setup(VFIOContainer *container, Error **errp);
void vfio_unpinned_teardown(VFIOContainer *container);
bool vfio_unpinned_wanted(const VFIOContainer *container, hwaddr iova,
                          ram_addr_t size, void *vaddr, bool readonly);
int vfio_unpinned_dma_map(const VFIOContainer *container, hwaddr iova,
                          ram_addr_t size, void *vaddr);
void vfio_unpinned_map_hint(const VFIOContainerBase *bcontainer, int err,
                            Error **errp);
bool vfio_unpinned_map_failed(const VFIOContainerBase *bcontainer, Error *err);
void vfio_unpinned_warn_pinned(void);

/* unpinned-pci.c */
bool vfio_unpinned_pci_check(VFIOPCIDevice *vdev, Error **errp);
void vfio_unpinned_pci_init(VFIOPCIDevice *vdev);
void vfio_unpinned_pci_exit(VFIOPCIDevice *vdev);
void vfio_unpinned_pci_class_init(ObjectClass *klass);
uint32_t vfio_unpinned_pci_write(VFIOPCIDevice *vdev, uint32_t addr,
                                 uint32_t val, int len);

#endif
