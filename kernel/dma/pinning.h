/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files that mark pages for DMA (kernel/dma/pinning*.c) share with each
 * other and with their unit tests.
 */
#ifndef _KERNEL_DMA_PINNING_H
#define _KERNEL_DMA_PINNING_H

#include <linux/atomic.h>
#include <linux/bits.h>
#include <linux/cache.h>
#include <linux/mutex.h>
#include <linux/notifier.h>
#include <linux/rcupdate.h>
#include <linux/types.h>

/* Values of a page's counter; below DMA_PINNING_STUCK it counts mappings. */
#define DMA_PINNING_STUCK	((u16)0xfffd)
#define DMA_PINNING_NOT_RAM	((u16)0xfffe)
#define DMA_PINNING_BUSY	((u16)0xffff)

/* Counters are made and freed for this many pages at once. */
#define DMA_PINNING_SECTION_SHIFT	15
#define DMA_PINNING_SECTION_PAGES	BIT(DMA_PINNING_SECTION_SHIFT)

/* Long buffers touch the watchdogs each time this many pages are done. */
#define DMA_PINNING_BATCH	1024

/**
 * enum dma_pinning_event - rare events, which are counted
 * @DMA_PINNING_SATURATED: pages whose counter has saturated
 * @DMA_PINNING_KEPT: ends of a mapping that left a saturated counter alone
 * @DMA_PINNING_UNBALANCED: ends of a mapping that was not counted; they
 *	changed nothing
 * @DMA_PINNING_UNCOUNTED: pages marked for good, because they have no counter
 *	or it was left BUSY
 * @DMA_PINNING_INHERITED: marks of a former kernel, kept for good
 * @DMA_PINNING_OUTSIDE: pages beyond what the service covers, left unmarked
 * @DMA_PINNING_UNTOUCHABLE: mappings refused because a touch failed
 * @DMA_PINNING_UNCACHED: mappings refused because a page is not write-back
 * @DMA_PINNING_OVER_LIMIT: mappings refused because of the host's limit
 * @DMA_PINNING_NR_EVENTS: number of events
 */
enum dma_pinning_event {
	DMA_PINNING_SATURATED,
	DMA_PINNING_KEPT,
	DMA_PINNING_UNBALANCED,
	DMA_PINNING_UNCOUNTED,
	DMA_PINNING_INHERITED,
	DMA_PINNING_OUTSIDE,
	DMA_PINNING_UNTOUCHABLE,
	DMA_PINNING_UNCACHED,
	DMA_PINNING_OVER_LIMIT,
	DMA_PINNING_NR_EVENTS
};

/**
 * struct dma_pinning_quota - how many pages may be marked at a time
 * @limit: pages, set by the host
 * @batch: pages that a CPU takes from or returns to @reserved at once
 * @scarce: room below @limit at which CPUs take single pages
 * @stock: per CPU, pages that are reserved and not marked
 * @reserved: pages that are marked or in a stock
 */
struct dma_pinning_quota {
	unsigned long		limit;
	int			batch;
	long			scarce;
	atomic_t __percpu	*stock;
	atomic_long_t		reserved ____cacheline_aligned_in_smp;
};

/**
 * struct dma_pinning - marks of a host's service and our counters behind them
 * @marks: little-endian bitmap shared with the host, bit n for page n
 * @npages: pages with a mark
 * @nr_sections: elements of @sections
 * @sections: private, counters of DMA_PINNING_SECTION_PAGES pages each, or NULL
 *	where there is no memory
 * @quota: how many marks the host allows
 * @events: see enum dma_pinning_event
 * @resize_lock: held to add or remove counters
 * @memory_nb: announces memory that comes or goes
 *
 * The pointers and sizes in the first part never change; every mapping reads
 * them, so nothing that is written often shares their cache lines. Bits and
 * counters change by atomic operations only.
 */
struct dma_pinning {
	void			*marks;
	unsigned long		npages;
	unsigned long		nr_sections;
	u16 __rcu		**sections;
	struct dma_pinning_quota quota;

	atomic_long_t		events[DMA_PINNING_NR_EVENTS] ____cacheline_aligned_in_smp;
	struct mutex		resize_lock;	/* see pinning_counters.c */
	struct notifier_block	memory_nb;
};

bool dma_pinning_pin_pages(struct dma_pinning *dp, phys_addr_t phys, size_t size);
void dma_pinning_unpin_pages(struct dma_pinning *dp, phys_addr_t phys, size_t size);
bool dma_pinning_mark_pages(struct dma_pinning *dp, phys_addr_t phys, size_t size);

/* pinning_counters.c */
int dma_pinning_counters_init(struct dma_pinning *dp);
void dma_pinning_counters_exit(struct dma_pinning *dp);
int dma_pinning_counters_add(struct dma_pinning *dp, unsigned long pfn,
			     unsigned long nr_pages);
void dma_pinning_counters_remove(struct dma_pinning *dp, unsigned long pfn,
				 unsigned long nr_pages);
void dma_pinning_counters_adopt(struct dma_pinning *dp);
unsigned long dma_pinning_counters_in_use(struct dma_pinning *dp);

/**
 * dma_pinning_counter() - the counter of a page
 * @dp: marks and counters
 * @pfn: any number
 *
 * Context: an RCU read-side critical section; the counter exists until it ends.
 * Return: the counter, or NULL if the page has none.
 */
static inline u16 *dma_pinning_counter(struct dma_pinning *dp, unsigned long pfn)
{
	unsigned long nr = pfn >> DMA_PINNING_SECTION_SHIFT;
	u16 *count;

	if (unlikely(pfn >= dp->npages))
		return NULL;
	count = rcu_dereference(dp->sections[nr]);
	if (unlikely(!count))
		return NULL;
	count += pfn % DMA_PINNING_SECTION_PAGES;
	return READ_ONCE(*count) == DMA_PINNING_NOT_RAM ? NULL : count;
}

/* pinning_quota.c */
int dma_pinning_quota_init(struct dma_pinning_quota *quota, unsigned long limit);
void dma_pinning_quota_exit(struct dma_pinning_quota *quota);
bool dma_pinning_quota_pin(struct dma_pinning_quota *quota);
void dma_pinning_quota_unpin(struct dma_pinning_quota *quota);
void dma_pinning_quota_adopt(struct dma_pinning_quota *quota, unsigned long n);
unsigned long dma_pinning_quota_used(struct dma_pinning_quota *quota);

#if IS_ENABLED(CONFIG_KUNIT)
bool dma_pinning_touch(struct dma_pinning *dp, unsigned long pfn, void *addr);
void dma_pinning_alive(void);
#endif

#endif /* _KERNEL_DMA_PINNING_H */
