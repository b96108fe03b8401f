// SPDX-License-Identifier: GPL-2.0
/*
 * Counters of mappings, one for each page of memory.
 *
 * Memory comes and goes: DIMMs and virtio-mem at run time, persistent memory and
 * other ZONE_DEVICE memory with its driver. So counters are made in sections,
 * which are found through a table with a pointer for each section that the bitmap
 * covers. In a section, pages that are not memory have the value
 * DMA_PINNING_NOT_RAM.
 *
 * Counters exist before the first page of new memory can be given to a device:
 * the notifier for memory that goes online makes them, and memremap_pages() asks
 * for them. If there is not enough memory for them, the new memory is refused.
 *
 * Counters go with their memory, except those that are not 0 because a driver did
 * not unmap. The device may still use the address, so these counters, their marks
 * and their section stay.
 *
 * Locks: resize_lock serializes additions and removals; only its holder writes to
 * the table. Readers are in RCU read-side critical sections. A counter changes
 * from or to DMA_PINNING_NOT_RAM only while its page is not mapped and cannot be.
 */
#define pr_fmt(fmt) "dma-pinning: " fmt

#include <linux/bitops.h>
#include <linux/dma-pinning.h>
#include <linux/ioport.h>
#include <linux/lockdep.h>
#include <linux/memblock.h> /* for max_pfn */
#include <linux/memory.h>
#include <linux/minmax.h>
#include <linux/printk.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/string.h>
#include "pinning.h"

static u16 *section_of(struct dma_pinning *dp, unsigned long nr)
{
	return rcu_dereference_protected(dp->sections[nr],
					 lockdep_is_held(&dp->resize_lock));
}

static u16 *make_section(struct dma_pinning *dp, unsigned long nr)
{
	u16 *counts;

	lockdep_assert_held(&dp->resize_lock);

	counts = section_of(dp, nr);
	if (counts)
		return counts;
	counts = kvmalloc_array(DMA_PINNING_SECTION_PAGES, sizeof(*counts),
				GFP_KERNEL);
	if (!counts)
		return NULL;
	memset16(counts, DMA_PINNING_NOT_RAM, DMA_PINNING_SECTION_PAGES);
	rcu_assign_pointer(dp->sections[nr], counts);
	return counts;
}

static void free_unused_section(struct dma_pinning *dp, unsigned long nr)
{
	u16 *counts = section_of(dp, nr);
	unsigned long i;

	lockdep_assert_held(&dp->resize_lock);

	if (!counts)
		return;
	for (i = 0; i < DMA_PINNING_SECTION_PAGES; i++)
		if (READ_ONCE(counts[i]) != DMA_PINNING_NOT_RAM)
			return;
	RCU_INIT_POINTER(dp->sections[nr], NULL);
	kvfree_rcu_mightsleep(counts);
}

/* A page that is marked already keeps its mark, which the quota has counted. */
static void start_counting(struct dma_pinning *dp, u16 *counts, unsigned long pfn)
{
	u16 *count = &counts[pfn % DMA_PINNING_SECTION_PAGES];

	if (READ_ONCE(*count) == DMA_PINNING_NOT_RAM)
		WRITE_ONCE(*count, test_bit_le(pfn, dp->marks) ?
				   DMA_PINNING_STUCK : 0);
}

/* Return: %false if the page is still counted */
static bool stop_counting(u16 *counts, unsigned long pfn)
{
	u16 *count = &counts[pfn % DMA_PINNING_SECTION_PAGES];
	u16 old = 0;

	/* Nobody else writes it unless it is still counted. */
	return try_cmpxchg_relaxed(count, &old, DMA_PINNING_NOT_RAM) ||
	       old == DMA_PINNING_NOT_RAM;
}

static unsigned long remove_from(struct dma_pinning *dp, unsigned long pfn,
				 unsigned long end)
{
	u16 *counts = section_of(dp, pfn >> DMA_PINNING_SECTION_SHIFT);
	unsigned long left = 0;

	lockdep_assert_held(&dp->resize_lock);

	if (!counts)
		return 0;
	for (; pfn < end; pfn++)
		left += !stop_counting(counts, pfn);
	return left;
}

/* The part of [pfn, end) that is in the same section as @pfn ends here. */
static unsigned long section_end(unsigned long pfn, unsigned long end)
{
	return min(end, ALIGN(pfn + 1, DMA_PINNING_SECTION_PAGES));
}

static void remove_range(struct dma_pinning *dp, unsigned long pfn,
			 unsigned long end)
{
	unsigned long next, left = 0;

	lockdep_assert_held(&dp->resize_lock);

	for (; pfn < end; pfn = next) {
		next = section_end(pfn, end);
		left += remove_from(dp, pfn, next);
		free_unused_section(dp, pfn >> DMA_PINNING_SECTION_SHIFT);
		cond_resched();
	}
	if (left)
		pr_warn("%lu pages have gone while mapped for devices, they stay marked\n",
			left);
}

/**
 * dma_pinning_counters_add() - make counters for memory
 * @dp: marks and counters
 * @pfn: first page
 * @nr_pages: pages, some of which may have counters already; those beyond the
 *	coverage of the bitmap get none
 *
 * Context: process, may sleep.
 * Return: 0, or -ENOMEM with none of the pages added.
 */
int dma_pinning_counters_add(struct dma_pinning *dp, unsigned long pfn,
			     unsigned long nr_pages)
{
	unsigned long end = min(pfn + nr_pages, dp->npages);
	unsigned long first = pfn, next;
	u16 *counts;

	guard(mutex)(&dp->resize_lock);

	for (; pfn < end; pfn = next) {
		counts = make_section(dp, pfn >> DMA_PINNING_SECTION_SHIFT);
		if (!counts) {
			remove_range(dp, first, pfn);
			return -ENOMEM;
		}
		next = section_end(pfn, end);
		for (; pfn < next; pfn++)
			start_counting(dp, counts, pfn);
		cond_resched();
	}
	return 0;
}

/**
 * dma_pinning_counters_remove() - free the counters of memory that has gone
 * @dp: marks and counters
 * @pfn: first page
 * @nr_pages: pages, none of which can be mapped any more
 *
 * Counters that are not 0 stay.
 *
 * Context: process, may sleep.
 */
void dma_pinning_counters_remove(struct dma_pinning *dp, unsigned long pfn,
				 unsigned long nr_pages)
{
	guard(mutex)(&dp->resize_lock);
	remove_range(dp, pfn, min(pfn + nr_pages, dp->npages));
}

static int memory_notify_counters(struct notifier_block *nb, unsigned long action,
				  void *arg)
{
	struct dma_pinning *dp = container_of(nb, struct dma_pinning, memory_nb);
	struct memory_notify *mem = arg;
	int ret = 0;

	switch (action) {
	case MEM_GOING_ONLINE:
		ret = dma_pinning_counters_add(dp, mem->start_pfn, mem->nr_pages);
		break;
	case MEM_CANCEL_ONLINE:
	case MEM_OFFLINE:
		dma_pinning_counters_remove(dp, mem->start_pfn, mem->nr_pages);
		break;
	}
	return notifier_from_errno(ret);
}

/* Return: > 0 if there is not enough memory, which ends the walk */
static int add_system_ram(unsigned long pfn, unsigned long nr_pages, void *dp)
{
	return !!dma_pinning_counters_add(dp, pfn, nr_pages);
}

static int add_all_memory(struct dma_pinning *dp)
{
	int ret = walk_system_ram_range(0, dp->npages, dp, add_system_ram);

	/* UML does not list its memory, but has no other pages. */
	if (ret < 0)
		ret = dma_pinning_counters_add(dp, 0, max_pfn);
	return ret ? -ENOMEM : 0;
}

/**
 * dma_pinning_counters_init() - make the counters of all memory
 * @dp: with marks and npages set
 *
 * From then on they follow the memory that comes and goes.
 *
 * Context: process, may sleep.
 * Return: 0, or -ENOMEM with nothing left to be freed.
 */
int dma_pinning_counters_init(struct dma_pinning *dp)
{
	mutex_init(&dp->resize_lock);
	dp->nr_sections = DIV_ROUND_UP(dp->npages, DMA_PINNING_SECTION_PAGES);
	dp->sections = kvcalloc(dp->nr_sections, sizeof(*dp->sections),
				GFP_KERNEL | __GFP_NOWARN);
	if (!dp->sections)
		return -ENOMEM;

	/* Register first, so that no memory is missed in between. */
	dp->memory_nb.notifier_call = memory_notify_counters;
	if (register_memory_notifier(&dp->memory_nb) || add_all_memory(dp)) {
		dma_pinning_counters_exit(dp);
		return -ENOMEM;
	}
	return 0;
}

/**
 * dma_pinning_counters_exit() - free counters that were never enabled
 * @dp: after dma_pinning_counters_init()
 *
 * Context: process, may sleep.
 */
void dma_pinning_counters_exit(struct dma_pinning *dp)
{
	unsigned long nr;

	unregister_memory_notifier(&dp->memory_nb);
	for (nr = 0; nr < dp->nr_sections; nr++)
		kvfree(rcu_dereference_protected(dp->sections[nr], true));
	kvfree(dp->sections);
}

static void adopt_section(struct dma_pinning *dp, unsigned long nr)
{
	unsigned long pfn = nr << DMA_PINNING_SECTION_SHIFT;
	unsigned long end = section_end(pfn, dp->npages);
	u16 *counts = section_of(dp, nr);

	lockdep_assert_held(&dp->resize_lock);

	for (; pfn < end; pfn++) {
		if (!test_bit_le(pfn, dp->marks))
			continue;
		dma_pinning_quota_adopt(&dp->quota, 1);
		atomic_long_inc(&dp->events[DMA_PINNING_INHERITED]);
		if (counts && counts[pfn % DMA_PINNING_SECTION_PAGES] !=
			      DMA_PINNING_NOT_RAM)
			counts[pfn % DMA_PINNING_SECTION_PAGES] = DMA_PINNING_STUCK;
	}
}

/**
 * dma_pinning_counters_adopt() - take over the marks of a former kernel
 * @dp: with new counters, before the first mapping
 *
 * Devices that nobody has reset since may still use the marked pages, so these
 * stay marked for good. They count against the limit like all others.
 *
 * Context: process, may sleep.
 */
void dma_pinning_counters_adopt(struct dma_pinning *dp)
{
	unsigned long nr;

	guard(mutex)(&dp->resize_lock);
	for (nr = 0; nr < dp->nr_sections; nr++) {
		adopt_section(dp, nr);
		cond_resched();
	}
}

/**
 * dma_pinning_counters_in_use() - pages that are mapped now
 * @dp: marks and counters
 *
 * Context: process, may sleep.
 * Return: how many, more or less: they change meanwhile.
 */
unsigned long dma_pinning_counters_in_use(struct dma_pinning *dp)
{
	unsigned long nr, i, mapped = 0;
	u16 *counts, count;

	for (nr = 0; nr < dp->nr_sections; nr++) {
		cond_resched();
		guard(rcu)();
		counts = rcu_dereference(dp->sections[nr]);
		for (i = 0; counts && i < DMA_PINNING_SECTION_PAGES; i++) {
			count = READ_ONCE(counts[i]);
			mapped += count && count != DMA_PINNING_NOT_RAM;
		}
	}
	return mapped;
}
