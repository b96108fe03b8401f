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
 * Both steps are done for every mapping, also when the page was counted and
 * marked already: the CPU that did it may not have touched the page yet.
 *
 * When the device has finished, the page is uncounted, and its mark is cleared
 * with the last count. A mark that is cleared late costs the host memory,
 * nothing else.
 *
 * Life of a counter:
 *
 *	0			no mapping, and no mark
 *	1 ..			mappings; marked once the first user has got there
 *	DMA_PINNING_STUCK	saturated: never changes again, marked for good
 *	DMA_PINNING_BUSY	the last user clears the mark; others wait
 *	DMA_PINNING_NOT_RAM	no memory when the counters were made: unused
 *
 * BUSY keeps "the count becomes 0" and "the mark is cleared" together.
 * Otherwise a new user could count and mark in between, and lose its mark. It is
 * held with interrupts off for two stores, so waiting for it is short and cannot
 * deadlock; only a CPU that was stopped for a crash may hold it for ever, see
 * count_get().
 *
 * Everything here but creation is lockless, does not allocate and runs in any
 * context: the counters are atomic, and the rest does not change while in use.
 */
#define pr_fmt(fmt) "dma-pinning: " fmt

#include <kunit/static_stub.h>
#include <kunit/visibility.h>
#include <linux/bitops.h>
#include <linux/cache.h>
#include <linux/delay.h>
#include <linux/dma-pinning.h>
#include <linux/ioport.h>
#include <linux/memblock.h> /* for max_pfn */
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/pfn.h>
#include <linux/printk.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/vmalloc.h>
#include <asm/dma-pinning.h>
#include "pinning.h"

/* How often to look at a counter that a stopped CPU may have left BUSY. */
#define BUSY_SPINS_IN_OOPS	100000

DEFINE_STATIC_KEY_FALSE(dma_pinning_key);

/* Set once, before dma_pinning_key is enabled. */
static struct dma_pinning *dma_pinning __read_mostly;

static const char * const event_names[] = {
	[DMA_PINNING_SATURATED]		= "saturated",
	[DMA_PINNING_KEPT]		= "kept",
	[DMA_PINNING_UNBALANCED]	= "unbalanced",
	[DMA_PINNING_UNCOUNTED]		= "uncounted",
	[DMA_PINNING_OUTSIDE]		= "outside",
	[DMA_PINNING_UNTOUCHABLE]	= "untouchable",
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

/*
 * Does a page want a mark and a touch? If it has a counter, that goes to @count,
 * else NULL. Without one it must be known to be memory: a touch of MMIO would
 * be a write to a register.
 */
static bool page_wanted(struct dma_pinning *dp, unsigned long pfn, u16 **count)
{
	struct page *page;

	if (likely(pfn < dp->ncounts &&
		   READ_ONCE(dp->counts[pfn]) != DMA_PINNING_NOT_RAM)) {
		*count = &dp->counts[pfn];
		return true;
	}

	*count = NULL;
	if (!pfn_valid(pfn))
		return false;
	page = pfn_to_page(pfn);
	if (is_zone_device_page(page))
		return !is_pci_p2pdma_page(page);
	return !PageReserved(page);
}

/*
 * A CPU that was stopped by an NMI may have left BUSY behind. The others must
 * get through their last words even so, with a mark that stays.
 */
static void count_get(struct dma_pinning *dp, unsigned long pfn, u16 *count)
{
	unsigned int spins = 0;
	u16 old = READ_ONCE(*count);

	do {
		while (unlikely(old == DMA_PINNING_BUSY)) {
			if (oops_in_progress && ++spins > BUSY_SPINS_IN_OOPS) {
				count_event(dp, DMA_PINNING_UNCOUNTED);
				return;
			}
			cpu_relax();
			old = READ_ONCE(*count);
		}
		if (unlikely(old == DMA_PINNING_STUCK))
			return;
		/* Acquires what count_put_last() released. Litmus: count-acquire */
	} while (!try_cmpxchg(count, &old, old + 1));

	if (unlikely(old + 1 == DMA_PINNING_STUCK)) {
		count_event(dp, DMA_PINNING_SATURATED);
		pr_warn_ratelimited("page %#lx has too many mappings, it stays marked\n",
				    pfn);
	}
}

/* Return: %false if the counter is not 1 any more */
static bool count_put_last(struct dma_pinning *dp, unsigned long pfn, u16 *count)
{
	unsigned long flags;
	bool last;

	/* A mapping made by an interrupt here would wait for us. */
	local_irq_save(flags);
	/* Litmus: count-busy */
	last = cmpxchg(count, 1, DMA_PINNING_BUSY) == 1;
	if (last) {
		clear_bit_le(pfn, dp->marks);
		/*
		 * Pairs with the cmpxchg in count_get(): clear before set.
		 * Litmus: count-release
		 */
		smp_store_release(count, 0);
	}
	local_irq_restore(flags);

	return last;
}

static void count_put(struct dma_pinning *dp, unsigned long pfn, u16 *count)
{
	u16 old = READ_ONCE(*count);

	for (;;) {
		switch (old) {
		case 0:
		case DMA_PINNING_BUSY:
			count_event(dp, DMA_PINNING_UNBALANCED);
			pr_err_ratelimited("end of a mapping of page %#lx that was not counted\n",
					   pfn);
			return;
		case DMA_PINNING_STUCK:
			count_event(dp, DMA_PINNING_KEPT);
			return;
		case 1:
			if (count_put_last(dp, pfn, count))
				return;
			old = READ_ONCE(*count);
			break;
		default:
			/* Our mark before the last clear. Litmus: count-put */
			if (try_cmpxchg(count, &old, old - 1))
				return;
		}
	}
}

static void set_mark(struct dma_pinning *dp, unsigned long pfn)
{
	/* Most marks are set already: keep their cache line shared. */
	if (!test_bit_le(pfn, dp->marks) && !skip_mark)
		set_bit_le(pfn, dp->marks);
}

static void mark_page(struct dma_pinning *dp, unsigned long pfn)
{
	u16 *count;

	if (!page_wanted(dp, pfn, &count))
		return;
	if (unlikely(pfn >= dp->npages)) {
		count_event(dp, DMA_PINNING_OUTSIDE);
		return;
	}

	if (likely(count))
		count_get(dp, pfn, count);
	else
		count_event(dp, DMA_PINNING_UNCOUNTED);
	set_mark(dp, pfn);
}

VISIBLE_IF_KUNIT bool dma_pinning_touch(struct dma_pinning *dp,
					unsigned long pfn, void *addr)
{
	u16 *count;

	KUNIT_STATIC_STUB_REDIRECT(dma_pinning_touch, dp, pfn, addr);

	if (skip_touch || !page_wanted(dp, pfn, &count))
		return true;
	return arch_dma_pinning_touch(addr);
}

/**
 * dma_pinning_get() - count, mark and touch the pages of a buffer
 * @dp: marks and counters
 * @phys: address of the buffer
 * @size: bytes
 *
 * Only bytes of the buffer are touched.
 *
 * Context: any.
 * Return: %false if a page cannot be touched; nothing is counted then.
 */
bool dma_pinning_get(struct dma_pinning *dp, phys_addr_t phys, size_t size)
{
	unsigned long end = PFN_UP(phys + size);
	phys_addr_t addr = phys;
	unsigned long pfn;

	for (pfn = PHYS_PFN(phys); pfn < end; pfn++)
		mark_page(dp, pfn);

	/*
	 * Pairs with the host's barrier between the removal of the guest's
	 * access to a page and the look at its mark. Litmus: mark-touch
	 */
	smp_mb();
	pause_before_touch();

	for (pfn = PHYS_PFN(phys); pfn < end; pfn++) {
		if (unlikely(!dma_pinning_touch(dp, pfn, phys_to_virt(addr)))) {
			count_event(dp, DMA_PINNING_UNTOUCHABLE);
			pr_err_ratelimited("cannot write to page %#lx, mapping refused\n",
					   pfn);
			dma_pinning_put(dp, phys, size);
			return false;
		}
		addr = PFN_PHYS(pfn + 1);
	}
	return true;
}

/**
 * dma_pinning_put() - uncount the pages of a buffer
 * @dp: marks and counters
 * @phys: as given to dma_pinning_get()
 * @size: as given to dma_pinning_get()
 *
 * Pages whose count becomes zero lose their mark. A page that was not counted
 * is reported and left as it is.
 *
 * Context: any.
 */
void dma_pinning_put(struct dma_pinning *dp, phys_addr_t phys, size_t size)
{
	unsigned long end = PFN_UP(phys + size);
	unsigned long pfn;
	u16 *count;

	for (pfn = PHYS_PFN(phys); pfn < end; pfn++) {
		if (page_wanted(dp, pfn, &count) && count)
			count_put(dp, pfn, count);
	}
}

/**
 * dma_pinning_keep() - mark the pages of a buffer for good
 * @dp: marks and counters
 * @phys: address of the buffer
 * @size: bytes
 *
 * The caller touches the pages afterwards, in whatever way they allow.
 *
 * Context: any.
 */
void dma_pinning_keep(struct dma_pinning *dp, phys_addr_t phys, size_t size)
{
	unsigned long end = PFN_UP(phys + size);
	unsigned long pfn;

	for (pfn = PHYS_PFN(phys); pfn < end; pfn++) {
		if (pfn >= dp->npages) {
			count_event(dp, DMA_PINNING_OUTSIDE);
			continue;
		}
		count_event(dp, DMA_PINNING_UNCOUNTED);
		set_mark(dp, pfn);
	}
	/* As in dma_pinning_get(). Litmus: mark-touch */
	smp_mb();
	pause_before_touch();
}

/* The slow halves of the hooks, see include/linux/dma-pinning.h. */
bool __dma_pinning_pin(phys_addr_t phys, size_t size)
{
	return dma_pinning_get(dma_pinning, phys, size);
}

void __dma_pinning_unpin(phys_addr_t phys, size_t size)
{
	dma_pinning_put(dma_pinning, phys, size);
}

void __dma_pinning_mark(phys_addr_t phys, size_t size)
{
	dma_pinning_keep(dma_pinning, phys, size);
}

static int use_counters(unsigned long pfn, unsigned long nr_pages, void *arg)
{
	struct dma_pinning *dp = arg;

	memset(dp->counts + pfn, 0, nr_pages * sizeof(*dp->counts));
	return 0;
}

/*
 * Memory that comes later has no counter: either it lies above today's, or it
 * is found to be NOT_RAM.
 */
static void init_counters(struct dma_pinning *dp)
{
	unsigned long pfn;

	for (pfn = 0; pfn < dp->ncounts; pfn++)
		dp->counts[pfn] = DMA_PINNING_NOT_RAM;

	/* UML does not list its memory, but has nothing else either. */
	if (walk_system_ram_range(0, dp->ncounts, dp, use_counters) < 0)
		use_counters(0, dp->ncounts, dp);
}

/**
 * dma_pinning_create() - make the counters for a bitmap of marks
 * @marks: bitmap shared with the host, mapped write-back and long-aligned; bit
 *	n is for the page at the physical address n * PAGE_SIZE
 * @npages: pages that the bitmap covers
 *
 * Context: process, may sleep.
 * Return: the object, or NULL if there is not enough memory.
 */
struct dma_pinning *dma_pinning_create(void *marks, unsigned long npages)
{
	struct dma_pinning *dp;

	dp = kzalloc(sizeof(*dp), GFP_KERNEL);
	if (!dp)
		return NULL;

	dp->marks = marks;
	dp->npages = npages;
	dp->ncounts = min(npages, max_pfn);
	dp->counts = vmalloc_array(dp->ncounts, sizeof(*dp->counts));
	if (!dp->counts) {
		kfree(dp);
		return NULL;
	}
	init_counters(dp);
	return dp;
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
	vfree(dp->counts);
	kfree(dp);
}

/**
 * dma_pinning_enable() - count, mark and touch from now on
 * @dp: made by dma_pinning_create(), stays in use for good
 *
 * No device that is not exempt may have a mapping, since its end would be
 * uncounted.
 *
 * Context: process, may sleep.
 */
void dma_pinning_enable(struct dma_pinning *dp)
{
	dma_pinning = dp;
	static_branch_enable(&dma_pinning_key);
}

static unsigned long count_mapped(struct dma_pinning *dp)
{
	unsigned long pfn, mapped = 0;

	for (pfn = 0; pfn < dp->ncounts; pfn++) {
		u16 count = READ_ONCE(dp->counts[pfn]);

		mapped += count && count != DMA_PINNING_NOT_RAM;
		if (!(pfn % SZ_64K))
			cond_resched();
	}
	return mapped;
}

/**
 * dma_pinning_show() - print statistics, one "name: value" per line
 * @dp: marks and counters
 * @m: where to print to
 *
 * "mapped" and "marked" are pages. The other values are explained at enum
 * dma_pinning_event.
 *
 * Context: process, may sleep.
 */
void dma_pinning_show(struct dma_pinning *dp, struct seq_file *m)
{
	enum dma_pinning_event i;

	seq_printf(m, "covered: %lu\n", dp->npages);
	seq_printf(m, "mapped: %lu\n", count_mapped(dp));
	seq_printf(m, "marked: %zu\n",
		   memweight(dp->marks, DIV_ROUND_UP(dp->npages, BITS_PER_BYTE)));
	for (i = 0; i < DMA_PINNING_NR_EVENTS; i++)
		seq_printf(m, "%s: %ld\n", event_names[i],
			   atomic_long_read(&dp->events[i]));
}
