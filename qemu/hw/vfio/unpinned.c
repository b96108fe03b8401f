/*
 * VFIO containers that map guest RAM unpinned
 *
 * The kernel keeps the IOMMU in step with the process' page tables instead of
 * pinning all of the guest's memory. The guest marks the pages that are under
 * DMA in the bitmap of the dma-pinning device, which is registered with each
 * such container.
 *
 * A container is pinned or unpinned for its whole life; unpinned ones have
 * VFIOContainerBase's @unpinned set. Setup comes before the first mapping,
 * teardown after the last. Everything here is called under the BQL.
 *
 * Only RAM that belongs to the machine or to a memory device is mapped
 * unpinned: the guest's kernel knows it as RAM and marks it. If a mapping fails
 * after realize, DMA of the devices to that memory is blocked, and the VM goes
 * on.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/ioctl.h>
#include <linux/vfio.h>

#include "qapi/error.h"
#include "qemu/error-report.h"
#include "exec/address-spaces.h"
#include "hw/boards.h"
#include "hw/mem/memory-device.h"
#include "hw/mem/nvdimm.h"
#include "hw/misc/dma-pinning.h"
#include "hw/virtio/virtio-mem.h"
#include "migration/blocker.h"
#include "system/hostmem.h"
#include "system/kvm.h"
#include "system/numa.h"
#include "system/system.h"
#include "trace.h"
#include "unpinned.h"

struct VFIOUnpinned {
    VFIOContainer *container;
    DMAPinningState *pinning;           /* not hotpluggable, outlives this */
    NotifierWithReturn marks_notifier;
    NotifierWithReturn memory_notifier;
    Notifier machine_done;
    Error *migration_blocker;
    EventNotifier event;                /* from the kernel, if reports_faults */
    bool reports_faults;
    uint64_t dma_faults;                /* handled so far */
    uint64_t lost_pages;                /* handled so far */
    NotifierList fault_notifiers;
};

static unsigned int vfio_unpinned_containers;

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
        arg.budget = u->pinning->budget_pages;
    }
    ret = RETRY_ON_EINTR(ioctl(u->container->fd, VFIO_IOMMU_PIN_BITMAP, &arg));
    ret = ret ? -errno : 0;
    trace_vfio_unpinned_bitmap(u->container->fd, flag, ret);
    return ret;
}

static bool vfio_unpinned_get_stats(const VFIOUnpinned *u,
                                    struct vfio_iommu_type1_unpinned_stats *s)
{
    *s = (struct vfio_iommu_type1_unpinned_stats) { .argsz = sizeof(*s) };
    if (ioctl(u->container->fd, VFIO_IOMMU_UNPINNED_STATS, s)) {
        warn_report_once("vfio: cannot read the counters of the host: %s",
                         strerror(errno));
        return false;
    }
    return true;
}

static uint64_t
vfio_unpinned_lost_pages(const struct vfio_iommu_type1_unpinned_stats *s)
{
    return s->over_limit_zaps + s->over_budget_zaps + s->failed_pin_zaps +
           s->forced_zaps;
}

/*
 * Has anything happened that is not handled yet? Lost pages count in READY
 * only, since before that the guest has marked none.
 */
static bool vfio_unpinned_news(VFIOUnpinned *u, VFIOUnpinnedFault *fault)
{
    struct vfio_iommu_type1_unpinned_stats stats;
    bool news;

    if (!vfio_unpinned_get_stats(u, &stats)) {
        return true;
    }
    fault->count = stats.dma_faults;
    fault->lost_pages = vfio_unpinned_lost_pages(&stats);
    if (stats.dma_faults != u->dma_faults &&
        stats.flags & VFIO_UNPINNED_STATS_FLAG_FAULT) {
        fault->has_address = true;
        fault->address = stats.fault_iova;
        fault->write = stats.flags & VFIO_UNPINNED_STATS_FLAG_FAULT_WRITE;
        fault->segment = stats.fault_segment;
        fault->source = stats.fault_source;
    }
    news = stats.dma_faults != u->dma_faults ||
           (fault->lost_pages != u->lost_pages &&
            u->pinning->state == DMA_PINNING_STATE_READY);
    u->dma_faults = stats.dma_faults;
    u->lost_pages = fault->lost_pages;
    return news;
}

static void vfio_unpinned_forget_news(VFIOUnpinned *u)
{
    VFIOUnpinnedFault ignored = { };

    if (u->reports_faults) {
        vfio_unpinned_news(u, &ignored);
    }
}

static void vfio_unpinned_event(EventNotifier *event)
{
    VFIOUnpinned *u = container_of(event, VFIOUnpinned, event);
    VFIOUnpinnedFault fault = { };

    if (!event_notifier_test_and_clear(event) ||
        !vfio_unpinned_news(u, &fault)) {
        return;
    }
    notifier_list_notify(&u->fault_notifiers, &fault);
    if (!fault.claimed) {
        fault.everyone = true;
        notifier_list_notify(&u->fault_notifiers, &fault);
    }
}

static int vfio_unpinned_set_eventfd(VFIOUnpinned *u, int fd)
{
    struct vfio_iommu_type1_unpinned_eventfd arg = {
        .argsz = sizeof(arg),
        .fd = fd,
    };

    return ioctl(u->container->fd, VFIO_IOMMU_UNPINNED_EVENTFD, &arg) ? -errno
                                                                      : 0;
}

/* A failure is no error here: devices decide whether they can do without. */
static void vfio_unpinned_listen(VFIOUnpinned *u)
{
    notifier_list_init(&u->fault_notifiers);
    if (event_notifier_init(&u->event, 0)) {
        return;
    }
    if (vfio_unpinned_set_eventfd(u, event_notifier_get_fd(&u->event))) {
        event_notifier_cleanup(&u->event);
        return;
    }
    event_notifier_set_handler(&u->event, vfio_unpinned_event);
    u->reports_faults = true;
    vfio_unpinned_forget_news(u);
}

static void vfio_unpinned_unlisten(VFIOUnpinned *u)
{
    if (u->reports_faults) {
        vfio_unpinned_set_eventfd(u, -1);
        event_notifier_set_handler(&u->event, NULL);
        event_notifier_cleanup(&u->event);
    }
}

/**
 * vfio_unpinned_reports_faults: does the host report blocked DMA?
 * @bcontainer: an unpinned container
 */
bool vfio_unpinned_reports_faults(const VFIOContainerBase *bcontainer)
{
    return bcontainer->unpinned->reports_faults;
}

/**
 * vfio_unpinned_add_fault_notifier: notify a device of blocked DMA
 * @bcontainer: its container, unpinned
 * @notifier: its data is a VFIOUnpinnedFault
 */
void vfio_unpinned_add_fault_notifier(const VFIOContainerBase *bcontainer,
                                      Notifier *notifier)
{
    notifier_list_add(&bcontainer->unpinned->fault_notifiers, notifier);
}

/*
 * A failure to disable the marks is not returned, since that would keep other
 * containers from disabling theirs. No device does DMA at that time.
 */
static int vfio_unpinned_notify_marks(NotifierWithReturn *n, void *data,
                                      Error **errp)
{
    VFIOUnpinned *u = container_of(n, VFIOUnpinned, marks_notifier);
    bool valid = *(bool *)data;
    int ret;

    ret = vfio_unpinned_bitmap_ioctl(u, valid ?
                                     VFIO_PIN_BITMAP_FLAG_ENABLE_MARKS :
                                     VFIO_PIN_BITMAP_FLAG_DISABLE_MARKS);
    if (ret && valid) {
        error_setg_errno(errp, -ret, "vfio: cannot use the guest's marks");
        return ret;
    }
    if (ret) {
        error_report("vfio: cannot stop using the guest's marks: %s",
                     strerror(-ret));
    }
    if (valid) {
        /* Pages that were lost before were not marked. */
        vfio_unpinned_forget_news(u);
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
            error_append_hint(errp, "Twice the limit of the dma-pinning device "
                              "(%" PRIu64 " pages) counts as locked memory: "
                              "lower it or raise RLIMIT_MEMLOCK.\n",
                              u->pinning->limit_pages);
        }
        return false;
    }
    if (u->pinning->state == DMA_PINNING_STATE_READY) {
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
 * vfio_unpinned_setup() checks what depends on the kernel.
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
    } else if (machine_require_guest_memfd(current_machine)) {
        error_setg(errp, "x-unpinned=on is not supported with guest_memfd");
        error_append_hint(errp, "Private memory of a confidential guest is not "
                          "in QEMU's address space.\n");
    } else if (should_mlock(mlock_state)) {
        error_setg(errp, "x-unpinned=on does not work with -overcommit "
                   "mem-lock=%s",
                   is_mlock_on_fault(mlock_state) ? "on-fault" : "on");
        error_append_hint(errp, "Locked memory stays in RAM: use "
                          "x-unpinned=off, or mem-lock=off.\n");
    }
    return !*errp;
}

/**
 * vfio_unpinned_warn_pinned: something pins all guest RAM
 *
 * Warns if there is an unpinned container, since it saves nothing then.
 */
void vfio_unpinned_warn_pinned(void)
{
    if (vfio_unpinned_containers) {
        warn_report_once("vfio: x-unpinned=on saves no memory: another device "
                         "(x-unpinned=off, vhost-vdpa, nvme, ...) pins all "
                         "guest RAM");
    }
}

/* Whoever pins all RAM has disabled discarding of it. */
static void vfio_unpinned_machine_done(Notifier *n, void *data)
{
    if (ram_block_discard_is_disabled()) {
        vfio_unpinned_warn_pinned();
    }
}

/* Is it the memory of a DIMM or virtio-mem device with this backend? */
static int vfio_unpinned_match_device(Object *obj, void *backend)
{
    if (object_dynamic_cast(obj, TYPE_NVDIMM) ||
        (!object_dynamic_cast(obj, TYPE_PC_DIMM) &&
         !object_dynamic_cast(obj, TYPE_VIRTIO_MEM))) {
        return 0;
    }
    return object_property_get_link(obj, "memdev", NULL) == backend;
}

static bool vfio_unpinned_machine_uses(const HostMemoryBackend *backend)
{
    const MachineState *ms = current_machine;
    int i;

    for (i = 0; ms->numa_state && i < ms->numa_state->num_nodes; i++) {
        if (ms->numa_state->nodes[i].node_memdev == backend) {
            return true;
        }
    }
    return ms->memdev == backend;
}

/* Shared memory in a BAR, say, has a backend, too, but is no RAM. */
static bool vfio_unpinned_is_ram(const MemoryRegion *mr)
{
    Object *backend;

    backend = object_dynamic_cast(mr->owner, TYPE_MEMORY_BACKEND);
    return backend &&
           (vfio_unpinned_machine_uses(MEMORY_BACKEND(backend)) ||
            object_child_foreach_recursive(qdev_get_machine(),
                                           vfio_unpinned_match_device,
                                           backend));
}

static void vfio_unpinned_error_hint(int err, Error **errp)
{
    if (err == EOPNOTSUPP) {
        error_append_hint(errp, "x-unpinned=on needs guest RAM of anonymous, "
                          "memfd or hugetlb memory.\n");
    } else if (err == ENOMEM) {
        error_append_hint(errp, "x-unpinned=on charges 16 bytes per 4 KiB page "
                          "to RLIMIT_MEMLOCK.\n");
    }
}

/*
 * Only the kernel knows what it can map, so try it at the address that the
 * memory is going to have. No vCPU can access it yet, and so no device can.
 * Parts of virtio-mem are mapped when the guest plugs them, so try its first
 * page only.
 */
static int vfio_unpinned_notify_memory(NotifierWithReturn *n, void *data,
                                       Error **errp)
{
    ERRP_GUARD();
    VFIOUnpinned *u = container_of(n, VFIOUnpinned, memory_notifier);
    MemoryDeviceState *md = MEMORY_DEVICE(data);
    struct vfio_iommu_type1_dma_unmap unmap = { .argsz = sizeof(unmap) };
    bool whole = object_dynamic_cast(data, TYPE_PC_DIMM);
    MemoryRegion *mr;
    Object *backend;
    void *host;
    int ret;

    backend = object_property_get_link(data, "memdev", NULL);
    if (!backend || object_dynamic_cast(data, TYPE_NVDIMM)) {
        return 0;
    }
    mr = host_memory_backend_get_memory(MEMORY_BACKEND(backend));
    host = memory_region_get_ram_ptr(mr);
    unmap.iova = MEMORY_DEVICE_GET_CLASS(md)->get_addr(md);
    unmap.size = whole ? memory_region_size(mr) :
                         qemu_ram_pagesize(mr->ram_block);
    ret = vfio_unpinned_dma_map(u->container, unmap.iova, unmap.size, host);
    if (ret) {
        error_setg_errno(errp, -ret, "memory backend %s cannot be mapped for "
                         "devices with x-unpinned=on",
                         object_get_canonical_path_component(backend));
        vfio_unpinned_error_hint(-ret, errp);
        return ret;
    }
    ioctl(u->container->fd, VFIO_IOMMU_UNMAP_DMA, &unmap);
    return 0;
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

    u->container = container;
    u->pinning = dma_pinning_find();
    u->marks_notifier.notify = vfio_unpinned_notify_marks;
    u->memory_notifier.notify = vfio_unpinned_notify_memory;
    u->machine_done.notify = vfio_unpinned_machine_done;
    error_setg(&u->migration_blocker,
               "x-unpinned=on: migration is not supported with unpinned mappings");
    if (migrate_add_blocker(&u->migration_blocker, errp) < 0) {
        return false;
    }
    if (!vfio_unpinned_register(u, errp)) {
        migrate_del_blocker(&u->migration_blocker);
        return false;
    }
    notifier_with_return_list_add(&u->pinning->marks_notifiers,
                                  &u->marks_notifier);
    notifier_with_return_list_add(&u->pinning->memory_notifiers,
                                  &u->memory_notifier);
    vfio_unpinned_listen(u);
    vfio_unpinned_containers++;
    qemu_add_machine_init_done_notifier(&u->machine_done);
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
    vfio_unpinned_unlisten(u);
    qemu_remove_machine_init_done_notifier(&u->machine_done);
    vfio_unpinned_containers--;
    notifier_with_return_remove(&u->memory_notifier);
    notifier_with_return_remove(&u->marks_notifier);
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
 * Only RAM that the guest can mark is mapped unpinned. BARs can't be, nor can
 * nvdimm and virtio-pmem, whose memory may be a file; read-only sections need
 * translations that no guest access makes, and to the guest, the few RAM pages
 * of firmware and emulated devices are not RAM.
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
    return mr && !memory_region_is_ram_device(mr) && vfio_unpinned_is_ram(mr);
}

/**
 * vfio_unpinned_dma_map: map guest RAM unpinned
 *
 * A call that a signal interrupts has changed nothing and is repeated.
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

    ret = RETRY_ON_EINTR(ioctl(container->fd, VFIO_IOMMU_MAP_DMA_UNPINNED,
                               &map));
    ret = ret ? -errno : 0;
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
    if (bcontainer->unpinned) {
        vfio_unpinned_error_hint(err, errp);
    }
}

/**
 * vfio_unpinned_map_failed: handle a mapping that has failed at run time
 * @bcontainer: any container, initialized
 * @err: reported and freed, if this returns true
 *
 * Returns false for a container that pins RAM.
 */
bool vfio_unpinned_map_failed(const VFIOContainerBase *bcontainer, Error *err)
{
    if (!bcontainer->unpinned) {
        return false;
    }
    error_prepend(&err, "DMA of devices with x-unpinned=on is blocked there: ");
    error_report_err(err);
    return true;
}
