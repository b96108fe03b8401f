/*
 * DMA pinning device
 *
 * Through this device, a guest tells which of its pages assigned PCI devices
 * may access now. docs/specs/dma-pinning.rst is the contract with the guest,
 * its names and numbers are in standard-headers/linux/dma-pinning.h.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_MISC_DMA_PINNING_H
#define HW_MISC_DMA_PINNING_H

#include "exec/memory.h"
#include "hw/acpi/bios-linker-loader.h"
#include "hw/qdev-core.h"
#include "qemu/notify.h"
#include "qom/object.h"
#include "standard-headers/linux/dma-pinning.h"

#define TYPE_DMA_PINNING "dma-pinning"
OBJECT_DECLARE_SIMPLE_TYPE(DMAPinningState, DMA_PINNING)

/* Size of the guest-physical page that the registers are in */
#define DMA_PINNING_PAGE_SIZE   0x1000

/* What this device offers to the guest */
#define DMA_PINNING_FEATURES    (DMA_PINNING_FEATURE_MARKS | \
                                 DMA_PINNING_FEATURE_QUERY)

/*
 * Guest-physical window that the machine keeps free for the device: the
 * register page, then the bitmap. It covers all guest memory below it.
 */
typedef struct DMAPinningWindow {
    bool enabled;
    hwaddr base;
    uint64_t npages;
} DMAPinningWindow;

struct DMAPinningState {
    DeviceState parent_obj;

    /* Properties */
    uint64_t limit;             /* bytes, 0 for the default */
    uint64_t budget;            /* bytes, 0 for none */

    /* Constant after realize */
    DMAPinningWindow window;
    uint64_t limit_pages;
    uint64_t budget_pages;
    MemoryRegion regs;
    MemoryRegion bitmap;

    /* Guest-visible state, protected by the BQL */
    uint32_t state;             /* DMA_PINNING_STATE_... */
    uint32_t error;             /* DMA_PINNING_CODE_... of the last request */
    uint64_t accepted;
    uint64_t generation;
    uint64_t result;
    int64_t last_ready_ms;      /* virtual clock, -1 for never */

    /* Statistics, protected by the BQL */
    uint64_t requests;
    uint64_t requests_refused;
    uint64_t ignored_accesses;

    /* Containers: marks become valid or invalid, data is a bool * */
    NotifierWithReturnList marks_notifiers;
    /* Devices: DMA becomes allowed or forbidden, data is a bool * */
    NotifierList dma_notifiers;
    /* Containers: can this memory device be mapped? data is a DeviceState * */
    NotifierWithReturnList memory_notifiers;
};

static inline uint64_t dma_pinning_bitmap_size(const DMAPinningWindow *w)
{
    return ROUND_UP(DIV_ROUND_UP(w->npages, 8), DMA_PINNING_PAGE_SIZE);
}

static inline uint64_t dma_pinning_window_size(const DMAPinningWindow *w)
{
    return DMA_PINNING_PAGE_SIZE + dma_pinning_bitmap_size(w);
}

static inline DMAPinningState *dma_pinning_find(void)
{
    Object *obj = object_resolve_path_type("", TYPE_DMA_PINNING, NULL);

    return obj ? DMA_PINNING(obj) : NULL;
}

/* Is @mr the bitmap of marks? Devices must never reach it. */
static inline bool dma_pinning_owns(const MemoryRegion *mr)
{
    return mr->owner && object_dynamic_cast(mr->owner, TYPE_DMA_PINNING);
}

void dma_pinning_build_acpi(DMAPinningState *s, GArray *table_data,
                            BIOSLinker *linker, const char *oem_id);
bool dma_pinning_check_memory(DeviceState *dev, Error **errp);

#endif
