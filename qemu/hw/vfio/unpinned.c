/*
 * VFIO containers that map guest RAM unpinned
 *
 * The kernel keeps the IOMMU in step with the process' page tables instead of
 * pinning all of the guest's memory. The guest marks the pages that are under
 * DMA in the bitmap of the dma-pinning device, which is registered with each
 * such container.
 *
 * A container is pinned or unpinned for its whole life, VFIOContainerBase's
 * @unpinned tells which. Setup comes before the first mapping, teardown after
 * the last. Everything here is called under the BQL.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/ioctl.h>
#include <linux/vfio.h>

#include "qapi/error.h"
#include "qemu/error-report.h"
#include "exec/address-spaces.h"
#include "hw/misc/dma-pinning.h"
#include "migration/blocker.h"
#include "system/hostmem.h"
#include "system/kvm.h"
#include "trace.h"
#include "unpinned.h"

struct VFIOUnpinned {
    int fd;                             /* of the container, borrowed */
    DMAPinningState *pinning;           /* not hotpluggable, outlives this */
    NotifierWithReturn trust_notifier;
    Error *migration_blocker;
};

static int vfio_unpinned_bitmap_ioctl(VFIOUnpinned *u, uint32_t flag)
{
    struct vfio_iommu_type1_pin_bitmap arg = {
        .argsz = sizeof(arg),
        .flags = flag,
    };
    int ret;

    if (flag == VFIO_PIN_BITMAP_FLAG_REGISTER) {
        arg.vaddr = (uintptr_t)memory_region_get_ram_ptr(&u->pinning->bitmap);
        arg.npages = u->pinning->window.npages;
        arg.limit = u->pinning->limit_pages;
    }
    ret = ioctl(u->fd, VFIO_IOMMU_PIN_BITMAP, &arg) ? -errno : 0;
    trace_vfio_unpinned_bitmap(u->fd, flag, ret);
    return ret;
}

/*
 * All containers must distrust, so a failure to do so is not returned: it only
 * makes DMA of an unaware guest fail.
 */
static int vfio_unpinned_notify_trust(NotifierWithReturn *n, void *data,
                                      Error **errp)
{
    VFIOUnpinned *u = container_of(n, VFIOUnpinned, trust_notifier);
    bool trust = *(bool *)data;
    int ret;

    ret = vfio_unpinned_bitmap_ioctl(u, trust ?
                                     VFIO_PIN_BITMAP_FLAG_ENABLE_MARKS :
                                     VFIO_PIN_BITMAP_FLAG_DISABLE_MARKS);
    if (ret && trust) {
        error_setg_errno(errp, -ret, "vfio: cannot use the guest's marks");
        return ret;
    }
    if (ret) {
        error_report("vfio: cannot stop using the guest's marks: %s",
                     strerror(-ret));
    }
    return 0;
}

static bool vfio_unpinned_register(VFIOUnpinned *u, Error **errp)
{
    ERRP_GUARD();
    int ret;

    ret = vfio_unpinned_bitmap_ioctl(u, VFIO_PIN_BITMAP_FLAG_REGISTER);
    if (ret) {
        error_setg_errno(errp, -ret, "cannot register the pin bitmap");
        if (ret == -ENOMEM) {
            error_append_hint(errp, "The limit of the dma-pinning device "
                              "(%" PRIu64 " pages) counts as locked memory: "
                              "lower it or raise RLIMIT_MEMLOCK.\n",
                              u->pinning->limit_pages);
        }
        return false;
    }
    if (u->pinning->mode == DMA_PINNING_READY) {
        ret = vfio_unpinned_bitmap_ioctl(u, VFIO_PIN_BITMAP_FLAG_ENABLE_MARKS);
        if (ret) {
            error_setg_errno(errp, -ret, "cannot use the guest's marks");
            vfio_unpinned_bitmap_ioctl(u, VFIO_PIN_BITMAP_FLAG_UNREGISTER);
            return false;
        }
    }
    return true;
}

/**
 * vfio_unpinned_check_device: can this device be used with unpinned RAM?
 * @vbasedev: the device, not attached yet
 * @as: the address space that it does DMA to
 * @errp: tells why not, with a hint
 *
 * What depends on the kernel is checked by vfio_unpinned_setup().
 */
bool vfio_unpinned_check_device(VFIODevice *vbasedev, AddressSpace *as,
                                Error **errp)
{
    ERRP_GUARD();

    if (vbasedev->iommufd) {
        error_setg(errp, "x-unpinned=on is not supported with iommufd");
        error_append_hint(errp, "Remove the iommufd property.\n");
    } else if (vbasedev->mdev) {
        error_setg(errp, "x-unpinned=on is not supported for mediated devices");
        error_append_hint(errp, "Their drivers pin guest pages one by one, use "
                          "x-unpinned=off.\n");
    } else if (!kvm_enabled()) {
        error_setg(errp, "x-unpinned=on requires KVM");
        error_append_hint(errp, "The kernel learns from KVM which pages the "
                          "guest uses: add -accel kvm.\n");
    } else if (as != &address_space_memory) {
        error_setg(errp, "x-unpinned=on is not supported behind a vIOMMU");
        error_append_hint(errp, "Remove the vIOMMU, or let the device's bus "
                          "bypass it.\n");
    } else if (!dma_pinning_find()) {
        error_setg(errp, "x-unpinned=on requires a dma-pinning device");
        error_append_hint(errp, "Add -machine q35,dma-pinning=on and, before "
                          "this device, -device dma-pinning.\n");
    }
    return !*errp;
}

/**
 * vfio_unpinned_setup: make a container an unpinned one
 * @container: a container with a group and an IOMMU set, without mappings
 * @errp: tells why it failed, with a hint
 */
bool vfio_unpinned_setup(VFIOContainer *container, Error **errp)
{
    ERRP_GUARD();
    g_autofree VFIOUnpinned *u = g_new0(VFIOUnpinned, 1);

    if (container->iommu_type != VFIO_TYPE1v2_IOMMU ||
        ioctl(container->fd, VFIO_CHECK_EXTENSION,
              VFIO_TYPE1_UNPINNED_IOMMU) <= 0) {
        error_setg(errp, "x-unpinned=on is not supported by the host");
        error_append_hint(errp, "It needs a kernel with unpinned VFIO mappings "
                          "and an IOMMU that can do them, and no device with "
                          "ATS enabled.\n");
        return false;
    }

    u->fd = container->fd;
    u->pinning = dma_pinning_find();
    u->trust_notifier.notify = vfio_unpinned_notify_trust;
    error_setg(&u->migration_blocker,
               "x-unpinned=on: migration is not supported with unpinned mappings");
    if (migrate_add_blocker(&u->migration_blocker, errp) < 0) {
        return false;
    }
    if (!vfio_unpinned_register(u, errp)) {
        migrate_del_blocker(&u->migration_blocker);
        return false;
    }
    notifier_with_return_list_add(&u->pinning->trust_notifiers,
                                  &u->trust_notifier);
    container->bcontainer.unpinned = g_steal_pointer(&u);
    return true;
}

/**
 * vfio_unpinned_teardown: undo vfio_unpinned_setup(), if it was done
 * @container: a container without mappings
 */
void vfio_unpinned_teardown(VFIOContainer *container)
{
    VFIOUnpinned *u = container->bcontainer.unpinned;
    int ret;

    if (!u) {
        return;
    }
    notifier_with_return_remove(&u->trust_notifier);
    ret = vfio_unpinned_bitmap_ioctl(u, VFIO_PIN_BITMAP_FLAG_UNREGISTER);
    if (ret) {
        error_report("vfio: cannot unregister the pin bitmap: %s",
                     strerror(-ret));
    }
    migrate_del_blocker(&u->migration_blocker);
    container->bcontainer.unpinned = NULL;
    g_free(u);
}

/**
 * vfio_unpinned_wanted: is this section to be mapped unpinned?
 *
 * Only guest RAM that the guest can mark is: BARs of assigned devices can't be,
 * read-only sections need translations that no guest access makes, and the few
 * RAM pages of firmware and emulated devices are no RAM to the guest.
 */
bool vfio_unpinned_wanted(const VFIOContainer *container, hwaddr iova,
                          ram_addr_t size, void *vaddr, bool readonly)
{
    VFIOUnpinned *u = container->bcontainer.unpinned;
    ram_addr_t offset;
    MemoryRegion *mr;

    if (!u || readonly ||
        iova + size > u->pinning->window.npages * DMA_PINNING_GRANULE) {
        return false;
    }
    mr = memory_region_from_host(vaddr, &offset);
    return mr && !memory_region_is_ram_device(mr) &&
           object_dynamic_cast(mr->owner, TYPE_MEMORY_BACKEND);
}

/**
 * vfio_unpinned_dma_map: map guest RAM unpinned
 *
 * Returns 0 or a negative errno.
 */
int vfio_unpinned_dma_map(const VFIOContainer *container, hwaddr iova,
                          ram_addr_t size, void *vaddr)
{
    struct vfio_iommu_type1_dma_map map = {
        .argsz = sizeof(map),
        .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
        .vaddr = (uintptr_t)vaddr,
        .iova = iova,
        .size = size,
    };
    int ret;

    ret = ioctl(container->fd, VFIO_IOMMU_MAP_DMA_UNPINNED, &map) ? -errno : 0;
    trace_vfio_unpinned_dma_map(container->fd, iova, size, vaddr, ret);
    return ret;
}

/**
 * vfio_unpinned_map_hint: add a hint to the error of a failed mapping
 * @bcontainer: any container
 * @err: positive errno of the mapping
 * @errp: a local error that is set
 */
void vfio_unpinned_map_hint(const VFIOContainerBase *bcontainer, int err,
                            Error **errp)
{
    if (!bcontainer->unpinned) {
        return;
    }
    if (err == EOPNOTSUPP) {
        error_append_hint(errp, "x-unpinned=on needs guest RAM of anonymous, "
                          "memfd or hugetlb memory.\n");
    } else if (err == ENOMEM) {
        error_append_hint(errp, "x-unpinned=on charges 16 bytes per 4 KiB page "
                          "to RLIMIT_MEMLOCK.\n");
    }
}
