/*
 * VFIO containers that map guest RAM unpinned
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_UNPINNED_H
#define HW_VFIO_UNPINNED_H

#include "hw/vfio/vfio-common.h"
#include "qapi/qapi-types-vfio.h"
#include "qemu/notify.h"
#include "system/runstate.h"

typedef struct VFIOPCIDevice VFIOPCIDevice;

/* Of a vfio-pci device with x-unpinned=on */
typedef struct VFIOUnpinnedPCI {
    VfioDmaFaultAction on_dma_fault;
    bool withheld;              /* Bus Master Enable, from hardware and guest */
    bool reported;              /* that the guest tried to set it meanwhile */
    bool stopped;               /* withheld from the hardware, until cont */
    bool fault_reported;
    Notifier dma_notifier;
    Notifier fault_notifier;
    VMChangeStateEntry *run_state;
} VFIOUnpinnedPCI;

/*
 * DMA that was blocked, or is going to be. The notifiers of all devices of the
 * container see it, and the device that it belongs to claims it. If none does,
 * all see it once more, for everyone.
 */
typedef struct VFIOUnpinnedFault {
    bool has_address;           /* of the last request, with what follows */
    bool write;
    hwaddr address;
    uint32_t segment;
    uint32_t source;            /* requester ID */
    uint64_t count;             /* blocked requests so far */
    uint64_t lost_pages;        /* marked pages that lost their leaf so far */
    bool everyone;
    bool claimed;
} VFIOUnpinnedFault;

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
bool vfio_unpinned_reports_faults(const VFIOContainerBase *bcontainer);
void vfio_unpinned_add_fault_notifier(const VFIOContainerBase *bcontainer,
                                      Notifier *notifier);

/* unpinned-pci.c */
bool vfio_unpinned_pci_check(VFIOPCIDevice *vdev, Error **errp);
void vfio_unpinned_pci_init(VFIOPCIDevice *vdev);
void vfio_unpinned_pci_exit(VFIOPCIDevice *vdev);
void vfio_unpinned_pci_class_init(ObjectClass *klass);
uint32_t vfio_unpinned_pci_write(VFIOPCIDevice *vdev, uint32_t addr,
                                 uint32_t val, int len);
uint32_t vfio_unpinned_pci_hardware(VFIOPCIDevice *vdev, uint32_t addr,
                                    uint32_t val, int len);

#endif
