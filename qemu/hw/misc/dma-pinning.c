/*
 * DMA pinning device
 *
 * The guest's end of unpinned VFIO mappings: a register page for the handshake
 * and a bitmap in host-provided memory, in which the guest marks the pages
 * that assigned devices may access. docs/specs/dma-pinning.rst is the contract
 * with the guest.
 *
 * The marks are used by VFIO containers with unpinned mappings, which are in
 * marks_notifiers. They are valid only in READY; in OFF and FROZEN the guest
 * counts as unaware, and the devices behind those containers, which are in
 * dma_notifiers, do no DMA. The state changes by a guest request, at the end of
 * a reset and when a snapshot is loaded, always under the BQL and in this
 * order:
 *
 *   to READY:    clear the bitmap (from OFF), enable marks, show the state,
 *                allow DMA
 *   from READY:  stop DMA, disable marks, clear the bitmap (to OFF), show the
 *                state
 *
 * so that bits which the guest did not set as marks are never used as such, and
 * no device runs while its buffers are not marked.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/bitops.h"
#include "qemu/error-report.h"
#include "qemu/host-utils.h"
#include "qemu/module.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "exec/address-spaces.h"
#include "hw/acpi/aml-build.h"
#include "hw/boards.h"
#include "hw/i386/pc.h"
#include "hw/misc/dma-pinning.h"
#include "hw/pci/pci.h"
#include "hw/pci/pci_bus.h"
#include "hw/qdev-properties.h"
#include "hw/resettable.h"
#include "migration/vmstate.h"
#include "system/reset.h"
#include "trace.h"

/*
 * Each change to READY makes the kernel walk all memory of the VM. OFF and
 * FROZEN leave READY, so limiting READY limits all changes.
 */
#define READY_INTERVAL_MS 100

/*
 * State changes
 */

static void dma_pinning_clear_bitmap(DMAPinningState *s)
{
    memset(memory_region_get_ram_ptr(&s->bitmap), 0,
           dma_pinning_bitmap_size(&s->window));
    memory_region_set_dirty(&s->bitmap, 0, dma_pinning_bitmap_size(&s->window));
}

static bool dma_pinning_set_marks(DMAPinningState *s, bool valid, Error **errp)
{
    return notifier_with_return_list_notify(&s->marks_notifiers, &valid,
                                            errp) == 0;
}

static void dma_pinning_disable_marks(DMAPinningState *s)
{
    Error *err = NULL;

    if (!dma_pinning_set_marks(s, false, &err)) {
        error_report_err(err);
    }
}

static void dma_pinning_allow_dma(DMAPinningState *s, bool allowed)
{
    notifier_list_notify(&s->dma_notifiers, &allowed);
}

static void dma_pinning_enter(DMAPinningState *s, uint32_t state)
{
    s->generation++;
    trace_dma_pinning_mode(s->state, state, s->generation);
    s->state = state;
}

static void dma_pinning_enter_off(DMAPinningState *s)
{
    dma_pinning_allow_dma(s, false);
    dma_pinning_disable_marks(s);
    dma_pinning_clear_bitmap(s);
    s->accepted = 0;
    dma_pinning_enter(s, DMA_PINNING_STATE_OFF);
}

/*
 * Requests: each returns a DMA_PINNING_CODE_... and may set *value
 */

static uint8_t dma_pinning_ready(DMAPinningState *s, uint32_t features,
                                 uint16_t *value)
{
    int64_t now = qemu_clock_get_ms(QEMU_CLOCK_VIRTUAL);
    int64_t next = s->last_ready_ms + READY_INTERVAL_MS;
    Error *err = NULL;

    if (features & ~DMA_PINNING_FEATURES ||
        !(features & DMA_PINNING_FEATURE_MARKS)) {
        return DMA_PINNING_CODE_ARGUMENT;
    }
    if (s->state == DMA_PINNING_STATE_READY) {
        return DMA_PINNING_CODE_STATE;
    }
    if (s->last_ready_ms >= 0 && now < next) {
        *value = next - now;
        return DMA_PINNING_CODE_BUSY;
    }

    s->last_ready_ms = now;
    if (s->state == DMA_PINNING_STATE_OFF) {
        dma_pinning_clear_bitmap(s);
    }
    if (!dma_pinning_set_marks(s, true, &err)) {
        error_report_err(err);
        dma_pinning_disable_marks(s);
        return DMA_PINNING_CODE_HOST;
    }
    s->accepted = features;
    dma_pinning_enter(s, DMA_PINNING_STATE_READY);
    dma_pinning_allow_dma(s, true);
    return DMA_PINNING_CODE_OK;
}

static uint8_t dma_pinning_off(DMAPinningState *s, uint32_t argument)
{
    if (argument) {
        return DMA_PINNING_CODE_ARGUMENT;
    }
    if (s->state != DMA_PINNING_STATE_OFF) {
        dma_pinning_enter_off(s);
    }
    return DMA_PINNING_CODE_OK;
}

static uint8_t dma_pinning_frozen(DMAPinningState *s, uint32_t argument)
{
    if (argument) {
        return DMA_PINNING_CODE_ARGUMENT;
    }
    if (s->state == DMA_PINNING_STATE_OFF) {
        return DMA_PINNING_CODE_STATE;
    }
    if (s->state == DMA_PINNING_STATE_READY) {
        dma_pinning_allow_dma(s, false);
        dma_pinning_disable_marks(s);
        dma_pinning_enter(s, DMA_PINNING_STATE_FROZEN);
    }
    return DMA_PINNING_CODE_OK;
}

/* Emulated, with all bridges above it: its DMA goes through QEMU's mapping */
static bool dma_pinning_exempt(uint32_t segment, uint8_t bus, uint8_t devfn)
{
    PCIBus *root = PC_MACHINE(qdev_get_machine())->pcibus;
    PCIDevice *dev;

    if (segment || !root) {
        return false;
    }
    dev = pci_find_device(root, bus, devfn);
    if (!dev) {
        return false;
    }
    for (; dev; dev = pci_get_bus(dev)->parent_dev) {
        if (object_dynamic_cast(OBJECT(dev), "vfio-pci")) {
            return false;
        }
    }
    return true;
}

static uint8_t dma_pinning_query(uint32_t argument, uint16_t *value)
{
    uint32_t segment = extract32(argument, DMA_PINNING_SHIFT_SEGMENT, 16);
    uint8_t bus = extract32(argument, DMA_PINNING_SHIFT_BUS, 8);
    uint8_t devfn = extract32(argument, 0, 8);

    if (dma_pinning_exempt(segment, bus, devfn)) {
        *value = DMA_PINNING_QUERY_EXEMPT;
    }
    return DMA_PINNING_CODE_OK;
}

static uint8_t dma_pinning_dispatch(DMAPinningState *s, uint64_t request,
                                    uint16_t *value)
{
    uint32_t argument = (request & DMA_PINNING_MASK_ARGUMENT) >>
                        DMA_PINNING_SHIFT_ARGUMENT;

    if (request & (DMA_PINNING_MASK_CODE | DMA_PINNING_MASK_VALUE)) {
        return DMA_PINNING_CODE_ARGUMENT;
    }
    switch ((request & DMA_PINNING_MASK_OPCODE) >> DMA_PINNING_SHIFT_OPCODE) {
    case DMA_PINNING_OP_READY:
        return dma_pinning_ready(s, argument, value);
    case DMA_PINNING_OP_OFF:
        return dma_pinning_off(s, argument);
    case DMA_PINNING_OP_FROZEN:
        return dma_pinning_frozen(s, argument);
    case DMA_PINNING_OP_QUERY:
        return dma_pinning_query(argument, value);
    default:
        return DMA_PINNING_CODE_OPCODE;
    }
}

static void dma_pinning_request(DMAPinningState *s, uint64_t request)
{
    const uint64_t echo = DMA_PINNING_MASK_OPCODE | DMA_PINNING_MASK_ARGUMENT;
    uint16_t value = 0;

    s->error = dma_pinning_dispatch(s, request, &value);
    s->requests++;
    s->requests_refused += s->error != DMA_PINNING_CODE_OK;

    s->result = (request & echo) |
                (uint64_t)s->error << DMA_PINNING_SHIFT_CODE |
                (uint64_t)value << DMA_PINNING_SHIFT_VALUE;
    trace_dma_pinning_request(request, s->error, value);
}

/*
 * Register page: one access of the register's width at its address. Anything
 * else reads as 0, changes nothing, and is counted.
 */

static void dma_pinning_ignore(DMAPinningState *s, const char *what,
                               hwaddr addr, unsigned size)
{
    s->ignored_accesses++;
    trace_dma_pinning_ignored(what, addr, size);
}

static bool dma_pinning_read32(DMAPinningState *s, hwaddr addr, uint64_t *val)
{
    switch (addr) {
    case DMA_PINNING_REG_MAGIC:
        *val = DMA_PINNING_MAGIC;
        return true;
    case DMA_PINNING_REG_VERSION:
        *val = DMA_PINNING_VERSION;
        return true;
    case DMA_PINNING_REG_SIZE:
        *val = DMA_PINNING_REGS_SIZE;
        return true;
    case DMA_PINNING_REG_GRANULE:
        *val = DMA_PINNING_GRANULE;
        return true;
    case DMA_PINNING_REG_STATE:
        *val = s->state;
        return true;
    case DMA_PINNING_REG_ERROR:
        *val = s->error;
        return true;
    default:
        return false;
    }
}

static bool dma_pinning_read64(DMAPinningState *s, hwaddr addr, uint64_t *val)
{
    switch (addr) {
    case DMA_PINNING_REG_OFFERED:
        *val = DMA_PINNING_FEATURES;
        return true;
    case DMA_PINNING_REG_ACCEPTED:
        *val = s->accepted;
        return true;
    case DMA_PINNING_REG_NPAGES:
        *val = s->window.npages;
        return true;
    case DMA_PINNING_REG_GENERATION:
        *val = s->generation;
        return true;
    case DMA_PINNING_REG_LIMIT:
        *val = s->limit_pages;
        return true;
    case DMA_PINNING_REG_RESULT:
        *val = s->result;
        return true;
    default:
        return false;
    }
}

static uint64_t dma_pinning_read(void *opaque, hwaddr addr, unsigned size)
{
    DMAPinningState *s = opaque;
    uint64_t val = 0;

    if (!(size == 4 && dma_pinning_read32(s, addr, &val)) &&
        !(size == 8 && dma_pinning_read64(s, addr, &val))) {
        dma_pinning_ignore(s, "read", addr, size);
    }
    return val;
}

static void dma_pinning_write(void *opaque, hwaddr addr, uint64_t val,
                              unsigned size)
{
    DMAPinningState *s = opaque;

    if (addr == DMA_PINNING_REG_REQUEST && size == 8) {
        dma_pinning_request(s, val);
    } else {
        dma_pinning_ignore(s, "write", addr, size);
    }
}

static const MemoryRegionOps dma_pinning_ops = {
    .read = dma_pinning_read,
    .write = dma_pinning_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = {
        .min_access_size = 1,
        .max_access_size = 8,
        .unaligned = true,
    },
    .impl = {
        .min_access_size = 1,
        .max_access_size = 8,
        .unaligned = true,
    },
};

/*
 * ACPI
 */

static Aml *dma_pinning_aml_memory(hwaddr base, uint64_t size,
                                   AmlCacheable cacheable)
{
    return aml_qword_memory(AML_POS_DECODE, AML_MIN_FIXED, AML_MAX_FIXED,
                            cacheable, AML_READ_WRITE, 0,
                            base, base + size - 1, 0, size);
}

/* An SSDT of its own is easy to find and to dump */
void dma_pinning_build_acpi(DMAPinningState *s, GArray *table_data,
                            BIOSLinker *linker, const char *oem_id)
{
    hwaddr base = s->window.base;
    AcpiTable table = { .sig = "SSDT", .rev = 1,
                        .oem_id = oem_id, .oem_table_id = "DMAPIN" };
    Aml *ssdt, *scope, *dev, *crs;

    acpi_table_begin(&table, table_data);
    ssdt = init_aml_allocator();

    scope = aml_scope("\\_SB");
    dev = aml_device("DPIN");
    aml_append(dev, aml_name_decl("_HID", aml_string("QEMU0D50")));
    aml_append(dev, aml_name_decl("_CID", aml_string(DMA_PINNING_ACPI_CID)));
    aml_append(dev, aml_name_decl("_UID", aml_int(0)));
    aml_append(dev, aml_name_decl("_STA", aml_int(0xf)));

    crs = aml_resource_template();
    aml_append(crs, dma_pinning_aml_memory(base, DMA_PINNING_PAGE_SIZE,
                                           AML_NON_CACHEABLE));
    aml_append(crs, dma_pinning_aml_memory(base + DMA_PINNING_PAGE_SIZE,
                                           dma_pinning_bitmap_size(&s->window),
                                           AML_CACHEABLE));
    aml_append(dev, aml_name_decl("_CRS", crs));
    aml_append(scope, dev);
    aml_append(ssdt, scope);

    g_array_append_vals(table_data, ssdt->buf->data, ssdt->buf->len);
    acpi_table_end(linker, &table);
    free_aml_allocator();
}

/*
 * Reset and migration
 */

/*
 * Not before the exit phase: in the hold phase an assigned device may still do
 * DMA. A wakeup from suspend to RAM keeps the guest's mappings and its marks.
 */
static void dma_pinning_reset_exit(Object *obj, ResetType type)
{
    DMAPinningState *s = DMA_PINNING(obj);

    if (type == RESET_TYPE_WAKEUP) {
        return;
    }
    dma_pinning_enter_off(s);
    s->error = DMA_PINNING_CODE_OK;
    s->result = 0;
    s->last_ready_ms = -1;
}

static int dma_pinning_post_load(void *opaque, int version_id)
{
    DMAPinningState *s = opaque;
    Error *err = NULL;

    if (s->state > DMA_PINNING_STATE_FROZEN) {
        error_report("%s: invalid state %" PRIu32, TYPE_DMA_PINNING, s->state);
        return -EINVAL;
    }
    if (!dma_pinning_set_marks(s, s->state == DMA_PINNING_STATE_READY, &err)) {
        error_report_err(err);
        return -EIO;
    }
    dma_pinning_allow_dma(s, s->state == DMA_PINNING_STATE_READY);
    return 0;
}

static const VMStateDescription vmstate_dma_pinning = {
    .name = TYPE_DMA_PINNING,
    .version_id = 1,
    .minimum_version_id = 1,
    .post_load = dma_pinning_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT64_EQUAL(window.base, DMAPinningState, NULL),
        VMSTATE_UINT64_EQUAL(window.npages, DMAPinningState, NULL),
        VMSTATE_UINT64_EQUAL(limit_pages, DMAPinningState, NULL),
        VMSTATE_UINT32(state, DMAPinningState),
        VMSTATE_UINT32(error, DMAPinningState),
        VMSTATE_UINT64(accepted, DMAPinningState),
        VMSTATE_UINT64(generation, DMAPinningState),
        VMSTATE_UINT64(result, DMAPinningState),
        VMSTATE_INT64(last_ready_ms, DMAPinningState),
        VMSTATE_END_OF_LIST()
    },
};

/*
 * Properties and life cycle
 */

/**
 * dma_pinning_check_memory: can this memory device be used?
 * @dev: a memory device that is about to be plugged, with its address set
 * @errp: tells why not
 *
 * Asks the containers that map guest RAM unpinned, while it can be refused.
 */
bool dma_pinning_check_memory(DeviceState *dev, Error **errp)
{
    DMAPinningState *s = dma_pinning_find();

    return !s || notifier_with_return_list_notify(&s->memory_notifiers, dev,
                                                  errp) == 0;
}

static char *dma_pinning_get_state(Object *obj, Error **errp)
{
    static const char *const names[] = {
        [DMA_PINNING_STATE_OFF] = "off",
        [DMA_PINNING_STATE_READY] = "ready",
        [DMA_PINNING_STATE_FROZEN] = "frozen",
    };

    return g_strdup(names[DMA_PINNING(obj)->state]);
}

static void dma_pinning_get_marked_pages(Object *obj, Visitor *v,
                                         const char *name, void *opaque,
                                         Error **errp)
{
    DMAPinningState *s = DMA_PINNING(obj);
    uint64_t i, marked = 0;
    const uint64_t *words;

    if (DEVICE(s)->realized) {
        words = memory_region_get_ram_ptr(&s->bitmap);
        for (i = 0; i < dma_pinning_bitmap_size(&s->window) / 8; i++) {
            marked += ctpop64(words[i]);
        }
    }
    visit_type_uint64(v, name, &marked, errp);
}

/*
 * Twice the limit counts as locked memory, so the default is a small part of
 * the RAM, but never too small for the queues of a few devices.
 */
static uint64_t dma_pinning_default_limit(void)
{
    uint64_t ram = current_machine->ram_size;

    return ROUND_UP(MIN(MAX(ram / 16, 64 * MiB), ram / 2), DMA_PINNING_GRANULE);
}

static bool dma_pinning_set_limit(DMAPinningState *s, Error **errp)
{
    uint64_t limit = s->limit ?: dma_pinning_default_limit();

    if (limit % DMA_PINNING_GRANULE || s->budget % DMA_PINNING_GRANULE) {
        error_setg(errp, "limit and budget must be multiples of %d bytes",
                   DMA_PINNING_GRANULE);
        return false;
    }
    s->limit_pages = limit / DMA_PINNING_GRANULE;
    if (s->limit_pages > s->window.npages) {
        error_setg(errp, "limit exceeds the memory that can be marked");
        return false;
    }
    s->budget_pages = s->budget / DMA_PINNING_GRANULE;
    if (s->budget_pages && s->budget_pages < 2 * s->limit_pages) {
        error_setg(errp, "budget must be 0 or at least twice the limit (%"
                   PRIu64 " bytes)", 2 * limit);
        return false;
    }
    return true;
}

static bool dma_pinning_find_window(DMAPinningState *s, Error **errp)
{
    ERRP_GUARD();
    Object *pc = object_dynamic_cast(qdev_get_machine(), TYPE_PC_MACHINE);

    /* NULL unless there is exactly one instance */
    if (!dma_pinning_find()) {
        error_setg(errp, "at most one %s device is permitted",
                   TYPE_DMA_PINNING);
        return false;
    }
    if (!pc || !PC_MACHINE(pc)->dma_pinning.enabled) {
        error_setg(errp, "the machine has reserved no addresses for %s",
                   TYPE_DMA_PINNING);
        error_append_hint(errp, "Use -machine q35,dma-pinning=on.\n");
        return false;
    }
    s->window = PC_MACHINE(pc)->dma_pinning;
    return true;
}

static void dma_pinning_realize(DeviceState *dev, Error **errp)
{
    DMAPinningState *s = DMA_PINNING(dev);
    MemoryRegion *sysmem = get_system_memory();

    if (!dma_pinning_find_window(s, errp) || !dma_pinning_set_limit(s, errp)) {
        return;
    }
    if (!memory_region_init_ram(&s->bitmap, OBJECT(s), "dma-pinning-bitmap",
                                dma_pinning_bitmap_size(&s->window), errp)) {
        return;
    }
    memory_region_init_io(&s->regs, OBJECT(s), &dma_pinning_ops, s,
                          "dma-pinning-regs", DMA_PINNING_PAGE_SIZE);
    memory_region_add_subregion(sysmem, s->window.base, &s->regs);
    memory_region_add_subregion(sysmem, s->window.base + DMA_PINNING_PAGE_SIZE,
                                &s->bitmap);
    s->last_ready_ms = -1;
    qemu_register_resettable(OBJECT(s));
}

static void dma_pinning_init(Object *obj)
{
    DMAPinningState *s = DMA_PINNING(obj);

    notifier_with_return_list_init(&s->marks_notifiers);
    notifier_list_init(&s->dma_notifiers);
    notifier_with_return_list_init(&s->memory_notifiers);

    object_property_add_uint64_ptr(obj, "npages", &s->window.npages,
                                   OBJ_PROP_FLAG_READ);
    object_property_add_uint64_ptr(obj, "limit-pages", &s->limit_pages,
                                   OBJ_PROP_FLAG_READ);
    object_property_add_uint64_ptr(obj, "budget-pages", &s->budget_pages,
                                   OBJ_PROP_FLAG_READ);
    object_property_add_uint64_ptr(obj, "generation", &s->generation,
                                   OBJ_PROP_FLAG_READ);
    object_property_add_uint64_ptr(obj, "requests", &s->requests,
                                   OBJ_PROP_FLAG_READ);
    object_property_add_uint64_ptr(obj, "requests-refused",
                                   &s->requests_refused, OBJ_PROP_FLAG_READ);
    object_property_add_uint64_ptr(obj, "ignored-accesses",
                                   &s->ignored_accesses, OBJ_PROP_FLAG_READ);
}

static const Property dma_pinning_properties[] = {
    DEFINE_PROP_SIZE("limit", DMAPinningState, limit, 0),
    DEFINE_PROP_SIZE("budget", DMAPinningState, budget, 0),
};

static void dma_pinning_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    ResettableClass *rc = RESETTABLE_CLASS(klass);

    dc->desc = "Marks of guest pages for DMA by assigned devices";
    dc->realize = dma_pinning_realize;
    dc->vmsd = &vmstate_dma_pinning;
    dc->hotpluggable = false;
    rc->phases.exit = dma_pinning_reset_exit;
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
    device_class_set_props(dc, dma_pinning_properties);

    object_class_property_set_description(klass, "limit",
        "bytes that the guest may have marked (default: 1/16 of the RAM, at "
        "least 64 MiB, at most half)");
    object_class_property_set_description(klass, "budget",
        "bytes that marks may hold against reclaim (default: 0, no bound but "
        "the limit)");
    object_class_property_add_str(klass, "state", dma_pinning_get_state, NULL);
    object_class_property_add(klass, "marked-pages", "uint64",
                              dma_pinning_get_marked_pages, NULL, NULL, NULL);
}

static const TypeInfo dma_pinning_info = {
    .name = TYPE_DMA_PINNING,
    .parent = TYPE_DEVICE,
    .instance_size = sizeof(DMAPinningState),
    .instance_init = dma_pinning_init,
    .class_init = dma_pinning_class_init,
};

static void dma_pinning_register_types(void)
{
    type_register_static(&dma_pinning_info);
}

type_init(dma_pinning_register_types)
