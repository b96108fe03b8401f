/*
 * vfio-pci devices that do DMA to unpinned guest RAM
 *
 * Such a device must not run while the guest does not mark its buffers: a write
 * that the IOMMU blocks is dropped, and the device, which is not told, reports
 * success. So until the guest is READY, the Bus Master Enable bit of the
 * function is 0 in the hardware and in what the guest sees, whatever the guest
 * writes, and it becomes 0 again when the guest leaves READY. Back in READY,
 * the guest's driver sets it, as after a reset. To an unaware guest, the device
 * does not answer.
 *
 * The same bit ends a storm of blocked DMA with on-dma-fault=stop: it is
 * cleared in the hardware, but not in the guest's view, until the VM continues.
 *
 * The guest's view of the bit is emulated; bridges above the function are not
 * affected. Everything here is called under the BQL.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-events-vfio.h"
#include "qemu/error-report.h"
#include "qemu/range.h"
#include "hw/boards.h"
#include "hw/misc/dma-pinning.h"
#include "hw/pci/pci.h"
#include "pci.h"
#include "system/runstate.h"
#include "trace.h"
#include "unpinned.h"

static uint8_t vfio_unpinned_pci_base_class(const VFIOPCIDevice *vdev)
{
    return vdev->pdev.config[PCI_CLASS_DEVICE + 1];
}

/* Integrated graphics have memory of their own that no CPU touches. */
static bool vfio_unpinned_pci_is_igd(VFIOPCIDevice *vdev)
{
    return vfio_pci_is(vdev, PCI_VENDOR_ID_INTEL, PCI_ANY_ID) &&
           vfio_unpinned_pci_base_class(vdev) == PCI_BASE_CLASS_DISPLAY &&
           !strcmp(vdev->vbasedev.name, "0000:00:02.0");
}

/*
 * Firmware looks for something to boot on each disk and waits several seconds
 * for one that does not answer. With strict=on, SeaBIOS only looks at disks
 * with a bootindex; OVMF does so if any device has a bootindex.
 */
static bool vfio_unpinned_pci_firmware_waits(const VFIOPCIDevice *vdev)
{
    const BootConfiguration *boot = &current_machine->boot_config;

    return vfio_unpinned_pci_base_class(vdev) == PCI_BASE_CLASS_STORAGE &&
           !(boot->has_strict && boot->strict);
}

/* Write the bit again, for @withheld and @stopped to take effect. */
static void vfio_unpinned_pci_update(VFIOPCIDevice *vdev, uint16_t clear)
{
    uint32_t command = vfio_pci_read_config(&vdev->pdev, PCI_COMMAND, 2);

    if (command != (uint32_t)-1) {
        vfio_pci_write_config(&vdev->pdev, PCI_COMMAND, command & ~clear, 2);
    }
}

static void vfio_unpinned_pci_withhold(VFIOPCIDevice *vdev, bool withhold)
{
    VFIOUnpinnedPCI *u = &vdev->unpinned;

    u->reported = false;
    u->fault_reported = false;
    if (u->withheld == withhold) {
        return;
    }
    trace_vfio_unpinned_dma(vdev->vbasedev.name, !withhold);
    u->withheld = withhold;
    if (withhold) {
        vfio_unpinned_pci_update(vdev, PCI_COMMAND_MASTER);
    }
}

static void vfio_unpinned_pci_notify_dma(Notifier *n, void *data)
{
    VFIOPCIDevice *vdev = container_of(n, VFIOPCIDevice, unpinned.dma_notifier);

    vfio_unpinned_pci_withhold(vdev, !*(bool *)data);
}

/* Disable DMA in the hardware, or restore what the guest sees. */
static void vfio_unpinned_pci_stop(VFIOPCIDevice *vdev, bool stop)
{
    if (vdev->unpinned.stopped != stop) {
        vdev->unpinned.stopped = stop;
        vfio_unpinned_pci_update(vdev, 0);
    }
}

static void vfio_unpinned_pci_run_state(void *opaque, bool running,
                                        RunState state)
{
    if (running) {
        vfio_unpinned_pci_stop(opaque, false);
    }
}

/* Names have the form SSSS:BB:DD.F. */
static bool vfio_unpinned_pci_is_source(const VFIOPCIDevice *vdev,
                                        const VFIOUnpinnedFault *fault)
{
    unsigned int segment, bus, slot, function;

    return fault->has_address &&
           sscanf(vdev->vbasedev.name, "%x:%x:%x.%x", &segment, &bus, &slot,
                  &function) == 4 &&
           segment == fault->segment &&
           PCI_BUILD_BDF(bus, PCI_DEVFN(slot, function)) == fault->source;
}

static void vfio_unpinned_pci_report(VFIOPCIDevice *vdev,
                                     const VFIOUnpinnedFault *fault)
{
    VfioDmaFaultAction action = vdev->unpinned.on_dma_fault;
    g_autofree char *path = object_get_canonical_path(OBJECT(vdev));

    qapi_event_send_vfio_dma_fault(DEVICE(vdev)->id, path, fault->has_address,
                                   fault->address, fault->has_address,
                                   fault->write, fault->count,
                                   fault->lost_pages, action);
    if (action != VFIO_DMA_FAULT_ACTION_STOP &&
        vdev->unpinned.fault_reported) {
        return;
    }
    vdev->unpinned.fault_reported = true;
    if (fault->has_address) {
        error_report("%s: DMA %s 0x%" HWADDR_PRIx " was blocked, %" PRIu64
                     " requests so far: the guest may have lost data%s",
                     vdev->vbasedev.name, fault->write ? "to" : "from",
                     fault->address, fault->count,
                     action == VFIO_DMA_FAULT_ACTION_STOP ? ", stopping it" :
                                                            "");
    } else {
        error_report("%s: the host could not keep all pages that the guest has "
                     "marked for DMA, %" PRIu64 " so far%s",
                     vdev->vbasedev.name, fault->lost_pages,
                     action == VFIO_DMA_FAULT_ACTION_STOP ? ": stopping it" :
                                                            "");
    }
}

static void vfio_unpinned_pci_notify_fault(Notifier *n, void *data)
{
    VFIOPCIDevice *vdev = container_of(n, VFIOPCIDevice,
                                       unpinned.fault_notifier);
    VFIOUnpinnedFault *fault = data;

    if (!fault->everyone && !vfio_unpinned_pci_is_source(vdev, fault)) {
        return;
    }
    fault->claimed = true;
    trace_vfio_unpinned_fault(vdev->vbasedev.name, fault->address,
                              fault->count, fault->lost_pages);
    if (vdev->unpinned.on_dma_fault != VFIO_DMA_FAULT_ACTION_STOP) {
        vfio_unpinned_pci_report(vdev, fault);
        return;
    }
    vfio_unpinned_pci_stop(vdev, true);
    if (!runstate_is_running()) {
        vfio_unpinned_pci_report(vdev, fault);
        return;
    }
    /* The event comes before that of the stop, as for disks. */
    qemu_system_vmstop_request_prepare();
    vfio_unpinned_pci_report(vdev, fault);
    qemu_system_vmstop_request(RUN_STATE_IO_ERROR);
}

/**
 * vfio_unpinned_pci_check: check what is known only when it is attached
 * @vdev: any vfio-pci device, attached, with its configuration space read
 * @errp: tells why it cannot be used, with a hint
 *
 * The device does no DMA from here on until the guest is READY.
 */
bool vfio_unpinned_pci_check(VFIOPCIDevice *vdev, Error **errp)
{
    ERRP_GUARD();

    if (!vdev->vbasedev.unpinned) {
        return true;
    }
    if (vfio_unpinned_pci_is_igd(vdev)) {
        error_setg(errp, "x-unpinned=on does not work with integrated "
                   "graphics");
        error_append_hint(errp, "They use stolen memory, which the guest can't "
                          "mark.\n");
        return false;
    }
    if (vfio_unpinned_pci_firmware_waits(vdev)) {
        error_setg(errp, "x-unpinned=on requires -boot strict=on for a disk");
        error_append_hint(errp, "Firmware would wait for it. Give bootindex to "
                          "the device to boot from.\n");
        return false;
    }
    if (!vfio_unpinned_reports_faults(vdev->vbasedev.bcontainer)) {
        if (vdev->unpinned.on_dma_fault == VFIO_DMA_FAULT_ACTION_STOP) {
            error_setg(errp, "the host does not report blocked DMA, which "
                       "on-dma-fault=stop needs");
            error_append_hint(errp, "Use a newer kernel, or "
                              "on-dma-fault=report and watch the host's "
                              "log.\n");
            return false;
        }
        warn_report("%s: the host does not report blocked DMA",
                    vdev->vbasedev.name);
    }
    vdev->emulated_config_bits[PCI_COMMAND] |= PCI_COMMAND_MASTER;
    vdev->pdev.config[PCI_COMMAND] &= ~PCI_COMMAND_MASTER;
    vdev->unpinned.withheld = true;
    return true;
}

/**
 * vfio_unpinned_pci_init: let a device follow the guest's state
 * @vdev: any vfio-pci device, realized
 */
void vfio_unpinned_pci_init(VFIOPCIDevice *vdev)
{
    VFIOUnpinnedPCI *u = &vdev->unpinned;
    DMAPinningState *pinning;

    if (!vdev->vbasedev.unpinned) {
        return;
    }
    pinning = dma_pinning_find();
    vfio_unpinned_pci_update(vdev, PCI_COMMAND_MASTER);
    vfio_unpinned_pci_withhold(vdev, pinning->state != DMA_PINNING_STATE_READY);
    u->dma_notifier.notify = vfio_unpinned_pci_notify_dma;
    notifier_list_add(&pinning->dma_notifiers, &u->dma_notifier);
    u->fault_notifier.notify = vfio_unpinned_pci_notify_fault;
    vfio_unpinned_add_fault_notifier(vdev->vbasedev.bcontainer,
                                     &u->fault_notifier);
    u->run_state =
        qemu_add_vm_change_state_handler(vfio_unpinned_pci_run_state, vdev);
}

/**
 * vfio_unpinned_pci_exit: undo vfio_unpinned_pci_init()
 * @vdev: any vfio-pci device
 */
void vfio_unpinned_pci_exit(VFIOPCIDevice *vdev)
{
    if (vdev->unpinned.dma_notifier.notify) {
        qemu_del_vm_change_state_handler(vdev->unpinned.run_state);
        notifier_remove(&vdev->unpinned.fault_notifier);
        notifier_remove(&vdev->unpinned.dma_notifier);
    }
}

/* @val without Bus Master Enable. */
static uint32_t vfio_unpinned_pci_clear(uint32_t addr, uint32_t val, int len)
{
    if (!range_covers_byte(addr, len, PCI_COMMAND)) {
        return val;
    }
    return val & ~(PCI_COMMAND_MASTER << (PCI_COMMAND - addr) * 8);
}

/**
 * vfio_unpinned_pci_write: filter the guest's writes to configuration space
 * @vdev: any vfio-pci device
 * @addr: where
 * @val: what the guest wants to write
 * @len: bytes
 *
 * Returns @val, without Bus Master Enable if that is withheld.
 */
uint32_t vfio_unpinned_pci_write(VFIOPCIDevice *vdev, uint32_t addr,
                                 uint32_t val, int len)
{
    VFIOUnpinnedPCI *u = &vdev->unpinned;
    uint32_t allowed;

    if (!u->withheld) {
        return val;
    }
    allowed = vfio_unpinned_pci_clear(addr, val, len);
    if (allowed != val && !u->reported) {
        u->reported = true;
        warn_report("the guest has not accepted dma-pinning: bus mastering of "
                    "%s stays off", vdev->vbasedev.name);
    }
    return allowed;
}

/**
 * vfio_unpinned_pci_hardware: filter what is written to the hardware
 * @vdev: any vfio-pci device
 * @addr: where
 * @val: what vfio_unpinned_pci_write() has returned
 * @len: bytes
 *
 * Returns @val, without Bus Master Enable while the device is stopped.
 */
uint32_t vfio_unpinned_pci_hardware(VFIOPCIDevice *vdev, uint32_t addr,
                                    uint32_t val, int len)
{
    if (!vdev->unpinned.stopped) {
        return val;
    }
    return vfio_unpinned_pci_clear(addr, val, len);
}

static int vfio_unpinned_pci_get_action(Object *obj, Error **errp)
{
    return VFIO_PCI(obj)->unpinned.on_dma_fault;
}

static void vfio_unpinned_pci_set_action(Object *obj, int action, Error **errp)
{
    if (DEVICE(obj)->realized) {
        error_setg(errp, "on-dma-fault cannot be changed after the device is "
                   "realized");
        return;
    }
    VFIO_PCI(obj)->unpinned.on_dma_fault = action;
}

static bool vfio_unpinned_pci_get_allowed(Object *obj, Error **errp)
{
    return !VFIO_PCI(obj)->unpinned.withheld;
}

void vfio_unpinned_pci_class_init(ObjectClass *klass)
{
    object_class_property_add_enum(klass, "on-dma-fault", "VfioDmaFaultAction",
                                   &VfioDmaFaultAction_lookup,
                                   vfio_unpinned_pci_get_action,
                                   vfio_unpinned_pci_set_action);
    object_class_property_set_description(klass, /* 10.0 */
                                          "on-dma-fault",
                                          "With x-unpinned=on, what to do when "
                                          "DMA was blocked (stop/report)");
    object_class_property_add_bool(klass, "dma-allowed",
                                   vfio_unpinned_pci_get_allowed, NULL);
    object_class_property_set_description(klass, /* 10.0 */
                                          "dma-allowed",
                                          "Whether the guest can enable bus "
                                          "mastering now");
}
