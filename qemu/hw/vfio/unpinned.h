/*
 * VFIO containers that map guest RAM unpinned
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_UNPINNED_H
#define HW_VFIO_UNPINNED_H

#include "hw/vfio/vfio-common.h"

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

#endif
