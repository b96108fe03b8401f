/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tests of VFIO_IOMMU_MAP_DMA_UNPINNED share: a rig of one device,
 * one guest and memory that both see at the same addresses, checks of what the
 * device can reach, and the kernel's counters.
 */
#ifndef SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_UNPINNED_H
#define SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_UNPINNED_H

#include <libvfio/edu.h>
#include <libvfio/guest.h>
#include <libvfio/iommu.h>
#include <libvfio/memory.h>
#include <libvfio/vfio_pci_device.h>

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
	struct edu edu;
	s64 pins;			/* vmstat_pins() before */
	s64 tables;			/* pages of all IOMMU page tables before */
	u64 locked;			/* VmLck before, in KiB */
};

/* Devices to test with, or NULL: from the command line or the environment. */
extern const char *device_bdf[2];
void get_device_bdfs(int *argc, char *argv[]);

/*
 * Why a test can't run with device @n, or NULL: a line for SKIP(). Unless
 * @any_device it must be one that the library can make do DMA.
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

/* Bytes go from memory to the device and from the device to memory. */
bool dma_works(struct edu *edu, iova_t iova, void *vaddr);
/* The device does not get @content, which was at @iova. */
bool dma_read_blocked(struct edu *edu, iova_t iova, u32 content);
/* What the device writes does not get to @vaddr. */
bool dma_write_blocked(struct edu *edu, iova_t iova, void *vaddr);

static inline bool rig_dma_works(struct rig *rig, u64 page)
{
	return dma_works(&rig->edu, rig_iova(page), rig_vaddr(rig, page));
}

static inline bool rig_dma_read_blocked(struct rig *rig, u64 page, u32 content)
{
	return dma_read_blocked(&rig->edu, rig_iova(page), content);
}

static inline bool rig_dma_write_blocked(struct rig *rig, u64 page)
{
	return dma_write_blocked(&rig->edu, rig_iova(page),
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

/* A value that no earlier call returned, and never 0. */
u32 unique_value(void);

/*
 * Counters of the calling process in debugfs, by name; mounts debugfs. The
 * value is the sum over what the process has, -1 if it has nothing.
 */
bool stats_available(void);
s64 stat_of(pid_t pid, const char *name);
/* Wait, for a limited time, for a value. Returns the last one seen. */
s64 stat_wait(const char *name, s64 value);
s64 stat_wait_of(pid_t pid, const char *name, s64 value);

static inline s64 stat_get(const char *name)
{
	return stat_of(getpid(), name);
}

/*
 * Times of late passes: switch the measurement, which starts from 0, get a value
 * by name, and add up the lines of the histogram that are for less than @below ns.
 */
void late_pass_measure(bool on);
/* Returns 0 or an errno. */
int __late_pass_measure(const char *value);
s64 late_pass_get_of(pid_t pid, const char *name);
s64 late_pass_get(const char *name);
s64 late_pass_sum(u64 below);

/* Reasons for SKIP() */
#define NO_STATS	"no vfio directory in debugfs"

/* For a test in which the counter is one of several checks. */
#define EXPECT_STAT(name, value)					\
do {									\
	if (stats_available())						\
		EXPECT_EQ(stat_get(name), value);			\
} while (0)

#endif /* SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_UNPINNED_H */
