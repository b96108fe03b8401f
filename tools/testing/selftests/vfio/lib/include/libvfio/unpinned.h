/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tests of VFIO_IOMMU_MAP_DMA_UNPINNED share: a rig of one device, one guest
 * and memory that both see at the same addresses, and checks of what the device can
 * reach.
 */
#ifndef SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_UNPINNED_H
#define SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_UNPINNED_H

#include <libvfio.h>
#include <libvfio/dma.h>
#include <libvfio/guest.h>
#include <libvfio/memory.h>
#include <libvfio/type1.h>
#include <libvfio/unpinned_stats.h>

#define RIG_PAGES	1024UL
#define RIG_SIZE	(RIG_PAGES * MEM_PAGE_SIZE)
#define RIG_IOVA	0x40000000UL
#define RIG_BITMAP_GPA	0x3f000000UL
#define RIG_EDU_IOVA	0x10000000UL

/* What is charged for a page, and for the tables of the rig's memory in a domain */
#define PAGE_KIB	(MEM_PAGE_SIZE / 1024)
#define TABLES_KIB	(RIG_SIZE / MEM_HUGE_SIZE * PAGE_KIB)

/* Emulation is slow, in particular of a VM in a VM. */
#define RIG_TIMEOUT_S	180

struct rig {
	struct mem mem;
	struct mem bitmap;
	struct dma_region region;	/* all of mem */
	struct guest *guest;
	struct iommu *iommu;
	struct vfio_pci_device *device;
	s64 pins;			/* vmstat_pins() before */
	s64 tables;			/* pages of all IOMMU page tables before */
	u64 locked;			/* VmLck before, in KiB */
};

/* What the first registers of QEMU's edu are for. */
#define EDU_REG_ID	0x00
#define EDU_ID		0x010000ed
#define EDU_REG_INVERT	0x04	/* reads as the complement of what was written */

/* Devices to test with, the second one NULL if there is none. */
extern const char *device_bdf[2];
/* From the last arguments or VFIO_SELFTESTS_BDF. Exits with KSFT_SKIP without any. */
void get_device_bdfs(int *argc, char *argv[]);

/*
 * Why a test can't run with device @n, or NULL: a line for SKIP(). Unless
 * @any_device it must be one for <libvfio/dma.h>.
 */
const char *device_missing(int n, bool any_device);
/* Why the kernel can't do it with the device in the rig, or NULL. */
const char *unpinned_missing(struct iommu *iommu);

/*
 * Make all of it; nothing is mapped but the driver's own page. Returns NULL, or
 * why it can't be done here: a line for SKIP().
 */
const char *rig_init(struct rig *rig, enum mem_kind kind);
/* Close all of it and verify that nothing of it is left in the kernel. */
void rig_cleanup(struct rig *rig);
void rig_map(struct rig *rig);
void rig_unmap(struct rig *rig);
/* Register the guest's bitmap for all of the memory; let its marks count. */
void rig_register(struct rig *rig, u64 limit);
void rig_register_budget(struct rig *rig, u64 limit, u64 budget);
void rig_enable_marks(struct rig *rig);
/* All of the above: the limit is as much as there is, and no budget. */
const char *rig_init_marks(struct rig *rig, enum mem_kind kind);

static inline void *rig_vaddr(struct rig *rig, u64 page)
{
	return rig->mem.vaddr + page * MEM_PAGE_SIZE;
}

static inline iova_t rig_iova(u64 page)
{
	return RIG_IOVA + page * MEM_PAGE_SIZE;
}

/* Guest: write a value that was not used before, and return it. */
u32 rig_guest_write(struct rig *rig, u64 page);
/* Guest: mark, then touch. */
void rig_pin(struct rig *rig, u64 page);
/* rig_pin(), and make the kernel hold it by a late pin. */
void rig_late_pin(struct rig *rig, u64 page);

/* Map the first page of the device's BAR 0 at @vaddr, instead of what is there. */
void rig_map_bar(struct vfio_pci_device *device, void *vaddr);

static inline bool rig_dma_works(struct rig *rig, u64 page)
{
	return dma_works(rig->device, rig_iova(page), rig_vaddr(rig, page));
}

static inline bool rig_dma_read_blocked(struct rig *rig, u64 page, u32 content)
{
	return dma_read_blocked(rig->device, rig_iova(page), content);
}

static inline bool rig_dma_write_blocked(struct rig *rig, u64 page)
{
	return dma_write_blocked(rig->device, rig_iova(page),
				 rig_vaddr(rig, page));
}

/* Dirty pages of the rig's memory. */
struct dirty {
	u64 bits[RIG_PAGES / 64];
};

/* Are these pages dirty, and no other? Says what is not so. */
bool dirty_is(const struct dirty *dirty, const u64 *pages, size_t count);
/* The pages that the kernel reports now for the rig's memory. */
struct dirty rig_dirty(struct rig *rig);

/* EXPECT_DIRTY(struct dirty, page numbers in any order) */
#define EXPECT_DIRTY(reported, ...)					\
do {									\
	const struct dirty __dirty = (reported);			\
	const u64 __pages[] = { __VA_ARGS__ };				\
									\
	EXPECT_TRUE(dirty_is(&__dirty, __pages,				\
			     sizeof(__pages) / sizeof(u64)));		\
} while (0)

#define EXPECT_RIG_DIRTY(rig, ...)	EXPECT_DIRTY(rig_dirty(rig), __VA_ARGS__)

/* Give each group a domain of its own or not; in a test configuration only. */
void separate_domains(bool on);

/* Wait until a thread sleeps and no signal wakes it. */
void wait_until_asleep(pid_t tid);

#endif /* SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_UNPINNED_H */
