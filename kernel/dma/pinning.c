// SPDX-License-Identifier: GPL-2.0
/*
 * Tell the host which pages devices may access.
 *
 * A host that swaps the memory of a virtual machine must not take a page away
 * while a passed-through device may access it, and most devices cannot wait for
 * a page to come back. So host and guest share a bitmap with one bit, the mark,
 * for each page. Before a device is given the address of a page, the direct
 * mapping
 *
 *  1. counts the mapping in a private counter of the page, because a bit cannot
 *     count and several mappings may share a page;
 *  2. marks the page;
 *  3. executes a full barrier, one for all pages of the mapping;
 *  4. touches the page: an atomic write that leaves its value as it is.
 *
 * After the touch the page is resident, and the mark keeps it so. This holds
 * because the host, when it is about to take a page, first removes what the
 * guest's CPUs can write through and only then reads the mark: either the host
 * sees the mark, or the touch faults and makes the host bring the page back.
 * Both steps are done for every mapping, even if the page is counted and marked
 * already: the CPU that did so may not have touched it yet.
 *
 * When the device has finished, the page is uncounted, and its mark is cleared
 * with the last count. A mark that is cleared late costs the host memory,
 * nothing else.
 *
 * All of this together is to pin a page. To mark it leaves the touch to the caller,
 * and to unpin it is the end of either. Hooks, counters and quota share these words.
 *
 * Life of a counter:
 *
 *	0			no mapping, and no mark
 *	1 ..			mappings; the first user marks the page
 *	DMA_PINNING_STUCK	saturated, inherited from a former kernel, or left
 *				BUSY: never changes again, marked for good
 *	DMA_PINNING_BUSY	the last user clears the mark; others wait
 *	DMA_PINNING_NOT_RAM	no memory: unused
 *
 * BUSY keeps "the count becomes 0" and "the mark is cleared" together.
 * Otherwise a new user could count and mark in between, and lose its mark. It is
 * held with interrupts off for two stores, so waiting for it is short and cannot
 * deadlock; only a CPU that was stopped for a crash may hold it forever, see
 * wait_while_busy().
 *
 * The host keeps marked pages up to a limit. A mapping that would exceed it is
 * refused, see pinning_quota.c. Counters come and go with the memory that they
 * are for, see pinning_counters.c.
 *
 * Everything here but creation is lockless, does not allocate and runs in any
 * context: counters and quota are atomic, counters live as long as their memory,
 * and the rest does not change while in use.
 */
#define pr_fmt(fmt) "dma-pinning: " fmt

#include <kunit/static_stub.h>
#include <kunit/visibility.h>
#include <linux/bitops.h>
#include <linux/cache.h>
#include <linux/delay.h>
#include <linux/dma-pinning.h>
#include <linux/export.h>
#include <linux/io.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/nmi.h>
#include <linux/pfn.h>
#include <linux/printk.h>
#include <linux/range.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <asm/dma-pinning.h>
#include "pinning.h"

/* How often to look at a counter that a stopped CPU may have left BUSY. */
#define BUSY_SPINS_IN_OOPS	100000

DEFINE_STATIC_KEY_FALSE(dma_pinning_key);
/* For inline functions of virtio. */
EXPORT_SYMBOL_GPL(dma_pinning_key);

/* Set once, before dma_pinning_key is enabled. */
static struct dma_pinning *dma_pinning __read_mostly;

static const char * const event_names[] = {
	[DMA_PINNING_SATURATED]		= "saturated",
	[DMA_PINNING_KEPT]		= "kept",
	[DMA_PINNING_UNBALANCED]	= "unbalanced",
	[DMA_PINNING_UNCOUNTED]		= "uncounted",
	[DMA_PINNING_INHERITED]		= "inherited",
	[DMA_PINNING_OUTSIDE]		= "outside",
	[DMA_PINNING_UNTOUCHABLE]	= "untouchable",
	[DMA_PINNING_UNCACHED]		= "uncached",
	[DMA_PINNING_OVER_LIMIT]	= "over_limit",
};

#ifdef CONFIG_DMA_PINNING_TEST

#undef MODULE_PARAM_PREFIX
#define MODULE_PARAM_PREFIX "dma_pinning."

static bool skip_mark;
module_param(skip_mark, bool, 0644);
MODULE_PARM_DESC(skip_mark, "Count and touch, but do not mark (breaks DMA)");

static bool skip_touch;
module_param(skip_touch, bool, 0644);
MODULE_PARM_DESC(skip_touch, "Count and mark, but do not touch (breaks DMA)");

static unsigned int pause_us;
module_param(pause_us, uint, 0644);
MODULE_PARM_DESC(pause_us, "Microseconds to wait between mark and touch");

static void pause_before_touch(void)
{
	unsigned int us = READ_ONCE(pause_us);

	if (us) {
		mdelay(us / USEC_PER_MSEC);
		udelay(us % USEC_PER_MSEC);
	}
}

#else /* !CONFIG_DMA_PINNING_TEST */

static const bool skip_mark;
static const bool skip_touch;
static inline void pause_before_touch(void) { }

#endif /* CONFIG_DMA_PINNING_TEST */

static void count_event(struct dma_pinning *dp, enum dma_pinning_event event)
{
	atomic_long_inc(&dp->events[event]);
}

/* What every mapping reads shares no cache line with what often changes. */
static_assert(offsetof(struct dma_pinning, quota.stock) / SMP_CACHE_BYTES <
	      offsetof(struct dma_pinning, quota.reserved) / SMP_CACHE_BYTES ||
	      !IS_ENABLED(CONFIG_SMP));
static_assert(offsetof(struct dma_pinning, quota.reserved) / SMP_CACHE_BYTES <
	      offsetof(struct dma_pinning, events) / SMP_CACHE_BYTES ||
	      !IS_ENABLED(CONFIG_SMP));

/*
 * Without a counter, a page must be known to be memory: a touch of MMIO would be
 * a write to a register.
 */
static bool known_as_memory(unsigned long pfn)
{
	struct page *page;

	if (!pfn_valid(pfn))
		return false;
	page = pfn_to_page(pfn);
	if (is_zone_device_page(page))
		return !is_pci_p2pdma_page(page);
	return !PageReserved(page);
}

static void set_mark(struct dma_pinning *dp, unsigned long pfn)
{
	/* Most marks are set already: keep their cache line shared. */
	if (!test_bit_le(pfn, dp->marks) && !skip_mark)
		set_bit_le(pfn, dp->marks);
}

static bool page_wanted(struct dma_pinning *dp, unsigned long pfn)
{
	guard(rcu)();
	return dma_pinning_counter(dp, pfn) || known_as_memory(pfn);
}

/* Is the page, with all of its mappings, write-back? */
static bool page_cached(struct dma_pinning *dp, unsigned long pfn)
{
	if (likely(!pfn_valid(pfn) || arch_dma_pinning_cached(pfn_to_page(pfn))))
		return true;
	count_event(dp, DMA_PINNING_UNCACHED);
	pr_err_ratelimited("page %#lx is not cached, mapping refused\n", pfn);
	return false;
}

VISIBLE_IF_KUNIT bool dma_pinning_touch(struct dma_pinning *dp,
					unsigned long pfn, void *addr)
{
	KUNIT_STATIC_STUB_REDIRECT(dma_pinning_touch, dp, pfn, addr);
	return arch_dma_pinning_touch(addr);
}

static bool touch_page(struct dma_pinning *dp, unsigned long pfn, void *addr)
{
	if (skip_touch || !page_wanted(dp, pfn))
		return true;
	if (unlikely(!page_cached(dp, pfn)))
		return false;
	if (likely(dma_pinning_touch(dp, pfn, addr)))
		return true;
	count_event(dp, DMA_PINNING_UNTOUCHABLE);
	pr_err_ratelimited("cannot write to page %#lx, mapping refused\n", pfn);
	return false;
}

/*
 * A CPU that was stopped by an NMI may have left BUSY behind. The others must
 * still get their last words out, so they give up and mark the page for good.
 * The end of their mapping then changes nothing: it must not uncount other users.
 */
static u16 wait_while_busy(struct dma_pinning *dp, u16 *count)
{
	unsigned int spins = 0;
	u16 old;

	while ((old = READ_ONCE(*count)) == DMA_PINNING_BUSY) {
		if (oops_in_progress && ++spins > BUSY_SPINS_IN_OOPS) {
			/* Nothing to order: the page is marked next. */
			if (try_cmpxchg_relaxed(count, &old, DMA_PINNING_STUCK))
				count_event(dp, DMA_PINNING_UNCOUNTED);
		} else {
			cpu_relax();
		}
	}
	return old;
}

/* Return: %false if the limit is reached */
static bool count_pin(struct dma_pinning *dp, unsigned long pfn, u16 *count)
{
	u16 old = READ_ONCE(*count);
	bool charged = false;

	do {
		if (unlikely(old == DMA_PINNING_BUSY))
			old = wait_while_busy(dp, count);
		if (unlikely(old >= DMA_PINNING_STUCK))
			break;
		if (!old && !charged) {
			charged = dma_pinning_quota_pin(&dp->quota);
			if (unlikely(!charged))
				return false;
		}
		/* Acquires what count_unpin_last() released. Litmus: count-acquire */
	} while (!try_cmpxchg(count, &old, old + 1));

	/* Another user was first and has counted the mark. */
	if (unlikely(charged && old))
		dma_pinning_quota_unpin(&dp->quota);

	if (unlikely(old + 1 == DMA_PINNING_STUCK)) {
		count_event(dp, DMA_PINNING_SATURATED);
		pr_warn_ratelimited("page %#lx has too many mappings, it stays marked\n",
				    pfn);
	}
	return true;
}

/*
 * Another CPU has given up waiting for us, and its device may use the page
 * already: bring mark and page back.
 */
static void restore_mark(struct dma_pinning *dp, unsigned long pfn)
{
	set_mark(dp, pfn);
	/* As in dma_pinning_pin_pages(). Litmus: mark-touch */
	smp_mb();
	touch_page(dp, pfn, phys_to_virt(PFN_PHYS(pfn)));
}

/* Return: %false if the counter is no longer 1 */
static bool count_unpin_last(struct dma_pinning *dp, unsigned long pfn,
			     u16 *count)
{
	u16 busy = DMA_PINNING_BUSY;
	unsigned long flags;
	bool last;

	/* An interrupt that maps the page on this CPU would wait forever. */
	local_irq_save(flags);
	/* Litmus: count-busy */
	last = cmpxchg(count, 1, DMA_PINNING_BUSY) == 1;
	if (last) {
		clear_bit_le(pfn, dp->marks);
		/*
		 * Pairs with the cmpxchg in count_pin(): clear before set.
		 * Litmus: count-release
		 */
		if (likely(try_cmpxchg_release(count, &busy, 0)))
			dma_pinning_quota_unpin(&dp->quota);
		else
			restore_mark(dp, pfn);
	}
	local_irq_restore(flags);

	return last;
}

static void count_unpin(struct dma_pinning *dp, unsigned long pfn, u16 *count)
{
	u16 old = READ_ONCE(*count);

	for (;;) {
		switch (old) {
		case 0:
		case DMA_PINNING_NOT_RAM:
		case DMA_PINNING_BUSY:
			count_event(dp, DMA_PINNING_UNBALANCED);
			pr_err_ratelimited("end of a mapping of page %#lx that was not counted\n",
					   pfn);
			return;
		case DMA_PINNING_STUCK:
			count_event(dp, DMA_PINNING_KEPT);
			return;
		case 1:
			if (count_unpin_last(dp, pfn, count))
				return;
			old = READ_ONCE(*count);
			break;
		default:
			/* Our mark before the last clear. Litmus: count-unpin */
			if (try_cmpxchg(count, &old, old - 1))
				return;
		}
	}
}

/* Return: %false if the limit is reached */
static bool mark_for_good(struct dma_pinning *dp, unsigned long pfn)
{
	if (test_bit_le(pfn, dp->marks) || skip_mark)
		return true;
	if (!dma_pinning_quota_pin(&dp->quota))
		return false;
	/* One mark counts once. The caller's barrier is before its touch. */
	if (test_and_set_bit_le(pfn, dp->marks))
		dma_pinning_quota_unpin(&dp->quota);
	else
		count_event(dp, DMA_PINNING_UNCOUNTED);
	return true;
}

/*
 * @all: mark the page even if it is not known to be memory.
 * Return: %false if the limit is reached
 */
static bool mark_page(struct dma_pinning *dp, unsigned long pfn, bool all)
{
	u16 *count;

	guard(rcu)();
	count = dma_pinning_counter(dp, pfn);
	if (likely(count)) {
		if (!count_pin(dp, pfn, count))
			return false;
		set_mark(dp, pfn);
		return true;
	}

	if (!all && !known_as_memory(pfn))
		return true;
	if (pfn >= dp->npages) {
		count_event(dp, DMA_PINNING_OUTSIDE);
		return true;
	}
	return mark_for_good(dp, pfn);
}

/*
 * The host may have to bring back each page of a large buffer, and in atomic
 * context we can't reschedule meanwhile. Tell the watchdogs that we aren't stuck.
 */
VISIBLE_IF_KUNIT void dma_pinning_alive(void)
{
	KUNIT_STATIC_STUB_REDIRECT(dma_pinning_alive);
	touch_nmi_watchdog();
}

static void after_page(unsigned long pfn)
{
	if (unlikely(!(pfn % DMA_PINNING_BATCH)))
		dma_pinning_alive();
}

static void unpin_range(struct dma_pinning *dp, unsigned long pfn,
			unsigned long end)
{
	u16 *count;

	for (; pfn < end; pfn++) {
		guard(rcu)();
		count = dma_pinning_counter(dp, pfn);
		if (likely(count))
			count_unpin(dp, pfn, count);
		after_page(pfn);
	}
}

/* Return: %false if the limit is reached; nothing is counted then */
static bool mark_range(struct dma_pinning *dp, phys_addr_t phys, size_t size,
		       bool all)
{
	unsigned long end = PFN_UP(phys + size);
	unsigned long pfn;

	for (pfn = PHYS_PFN(phys); pfn < end; pfn++) {
		if (unlikely(!mark_page(dp, pfn, all))) {
			count_event(dp, DMA_PINNING_OVER_LIMIT);
			pr_err_ratelimited("mapping refused: the host's limit of %lu marked pages is reached\n",
					   dp->quota.limit);
			unpin_range(dp, PHYS_PFN(phys), pfn);
			return false;
		}
		after_page(pfn);
	}
	return true;
}

/**
 * dma_pinning_pin_pages() - count, mark and touch the pages of a buffer
 * @dp: marks and counters
 * @phys: address of the buffer
 * @size: bytes
 *
 * Only bytes of the buffer are touched.
 *
 * Context: any.
 * Return: %false if the host's limit is reached or a page cannot be touched;
 * nothing is counted then.
 */
bool dma_pinning_pin_pages(struct dma_pinning *dp, phys_addr_t phys, size_t size)
{
	unsigned long end = PFN_UP(phys + size);
	phys_addr_t addr = phys;
	unsigned long pfn;

	if (unlikely(!mark_range(dp, phys, size, false)))
		return false;

	/*
	 * Pairs with the host's barrier between removing the guest's access to
	 * a page and reading its mark. Litmus: mark-touch
	 */
	smp_mb();
	pause_before_touch();

	for (pfn = PHYS_PFN(phys); pfn < end; pfn++) {
		if (unlikely(!touch_page(dp, pfn, phys_to_virt(addr)))) {
			dma_pinning_unpin_pages(dp, phys, size);
			return false;
		}
		addr = PFN_PHYS(pfn + 1);
		after_page(pfn);
	}
	return true;
}

/**
 * dma_pinning_unpin_pages() - uncount the pages of a buffer
 * @dp: marks and counters
 * @phys: as given to dma_pinning_pin_pages() or dma_pinning_mark_pages()
 * @size: as given with @phys
 *
 * Pages whose count becomes zero lose their mark. A page that was not counted
 * is reported and left as it is.
 *
 * Context: any.
 */
void dma_pinning_unpin_pages(struct dma_pinning *dp, phys_addr_t phys, size_t size)
{
	unpin_range(dp, PHYS_PFN(phys), PFN_UP(phys + size));
}

/**
 * dma_pinning_mark_pages() - count and mark the pages of a buffer without a touch
 * @dp: marks and counters
 * @phys: address of the buffer
 * @size: bytes
 *
 * The caller touches the pages afterwards, in whatever way they allow. Pages
 * without a counter, which the kernel may not know as memory, are marked for good.
 *
 * Context: any.
 * Return: %false if the host's limit is reached; nothing is counted then.
 */
bool dma_pinning_mark_pages(struct dma_pinning *dp, phys_addr_t phys, size_t size)
{
	if (!mark_range(dp, phys, size, true))
		return false;
	/* As in dma_pinning_pin_pages(). Litmus: mark-touch */
	smp_mb();
	pause_before_touch();
	return true;
}

/* The slow halves of the hooks, see include/linux/dma-pinning.h. */
bool __dma_pinning_pin(phys_addr_t phys, size_t size)
{
	return dma_pinning_pin_pages(dma_pinning, phys, size);
}

void __dma_pinning_unpin(phys_addr_t phys, size_t size)
{
	dma_pinning_unpin_pages(dma_pinning, phys, size);
}

bool __dma_pinning_mark(phys_addr_t phys, size_t size)
{
	return dma_pinning_mark_pages(dma_pinning, phys, size);
}

/**
 * dma_pinning_create() - make the counters for a bitmap of marks
 * @marks: bitmap shared with the host, mapped write-back and long-aligned; bit
 *	n is for the page at the physical address n * PAGE_SIZE
 * @npages: pages that the bitmap covers
 * @limit: pages that may be marked at a time, not 0
 *
 * Context: process, may sleep.
 * Return: the object, or NULL if there is not enough memory.
 */
struct dma_pinning *dma_pinning_create(void *marks, unsigned long npages,
				       unsigned long limit)
{
	struct dma_pinning *dp;

	dp = kzalloc_obj(*dp);
	if (!dp)
		return NULL;

	dp->marks = marks;
	dp->npages = npages;
	if (dma_pinning_quota_init(&dp->quota, limit))
		goto free;
	if (dma_pinning_counters_init(dp))
		goto exit_quota;
	return dp;

exit_quota:
	dma_pinning_quota_exit(&dp->quota);
free:
	kfree(dp);
	return NULL;
}

/**
 * dma_pinning_destroy() - free counters that were never enabled
 * @dp: made by dma_pinning_create(), may be NULL
 *
 * Context: process, may sleep.
 */
void dma_pinning_destroy(struct dma_pinning *dp)
{
	if (!dp)
		return;
	dma_pinning_counters_exit(dp);
	dma_pinning_quota_exit(&dp->quota);
	kfree(dp);
}

/**
 * dma_pinning_adopt() - keep the marks that a former kernel has left
 * @dp: made by dma_pinning_create(), not enabled yet
 *
 * Context: process, may sleep.
 * Return: how many there are. If they reach the limit, all mappings of other
 * pages will be refused.
 */
unsigned long dma_pinning_adopt(struct dma_pinning *dp)
{
	dma_pinning_counters_adopt(dp);
	return atomic_long_read(&dp->events[DMA_PINNING_INHERITED]);
}

/**
 * dma_pinning_enable() - count, mark and touch from now on
 * @dp: made by dma_pinning_create(), stays in use for good
 *
 * No device that is not exempt may have a mapping yet: its end would uncount
 * what was never counted.
 *
 * Context: process, may sleep.
 */
void dma_pinning_enable(struct dma_pinning *dp)
{
	KUNIT_STATIC_STUB_REDIRECT(dma_pinning_enable, dp);
	dma_pinning = dp;
	static_branch_enable(&dma_pinning_key);
}

/* Can devices get this ZONE_DEVICE memory mapped as memory, not as MMIO? */
static bool pgmap_counted(struct dev_pagemap *pgmap)
{
	return pgmap->type != MEMORY_DEVICE_PRIVATE &&
	       pgmap->type != MEMORY_DEVICE_PCI_P2PDMA;
}

/* The hooks of memremap_pages(), see include/linux/dma-pinning.h. */
int __dma_pinning_add_pgmap(struct dev_pagemap *pgmap, struct range *range)
{
	if (!pgmap_counted(pgmap))
		return 0;
	return dma_pinning_counters_add(dma_pinning, PHYS_PFN(range->start),
					PHYS_PFN(range_len(range)));
}

void __dma_pinning_remove_pgmap(struct dev_pagemap *pgmap, struct range *range)
{
	if (pgmap_counted(pgmap))
		dma_pinning_counters_remove(dma_pinning, PHYS_PFN(range->start),
					    PHYS_PFN(range_len(range)));
}

/**
 * dma_pinning_show() - print statistics, one "name: value" per line
 * @dp: marks and counters
 * @m: where to print to
 *
 * "limit" is in pages, like "mapped" and "marked"; "reserved" is how much of it
 * is in use, including what the CPUs have in stock. The other values are
 * explained at enum dma_pinning_event.
 *
 * Context: process, may sleep.
 */
void dma_pinning_show(struct dma_pinning *dp, struct seq_file *m)
{
	enum dma_pinning_event i;

	seq_printf(m, "limit: %lu\n", dp->quota.limit);
	seq_printf(m, "reserved: %ld\n", atomic_long_read(&dp->quota.reserved));
	seq_printf(m, "covered: %lu\n", dp->npages);
	seq_printf(m, "mapped: %lu\n", dma_pinning_counters_in_use(dp));
	seq_printf(m, "marked: %zu\n",
		   memweight(dp->marks, DIV_ROUND_UP(dp->npages, BITS_PER_BYTE)));
	for (i = 0; i < DMA_PINNING_NR_EVENTS; i++)
		seq_printf(m, "%s: %ld\n", event_names[i],
			   atomic_long_read(&dp->events[i]));
}
