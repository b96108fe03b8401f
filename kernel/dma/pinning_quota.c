// SPDX-License-Identifier: GPL-2.0
/*
 * How many pages may be marked at a time.
 *
 * The host keeps marked pages up to a limit. Beyond it, the host takes pages in
 * spite of their marks, and the device that uses them faults. So refuse mappings
 * that would exceed the limit, which a driver can deal with.
 *
 * A page is pinned here before its mark is set, and unpinned after its mark is
 * clear. At all times
 *
 *	marked pages <= reserved <= limit
 *
 * and reserved - marked is what the stocks of all CPUs have, plus the pages that
 * are between the two steps. Pinning a page takes one from the CPU's stock and
 * unpinning gives one to it, so that usually no cache line moves between CPUs. An
 * empty stock is filled from what is left below the limit, a full one returns
 * some. When little is left, CPUs take single pages, and when nothing is left,
 * single pages from the stocks of others, so that the limit can be used up
 * whichever CPU has unpinned last.
 *
 * A page that moves between a stock and the reserve is in neither for a moment. A
 * CPU that needs the very last page may miss it then, so it looks several times
 * before it refuses the mapping.
 *
 * There is no lock: stocks are changed by atomic operations, because any CPU takes
 * from them, and mappings are made in any context.
 */
#include <linux/cpumask.h>
#include <linux/irqflags.h>
#include <linux/minmax.h>
#include <linux/percpu.h>
#include <linux/processor.h>
#include "pinning.h"

/* The largest batch: stocks must not hold back much. */
#define BATCH_MAX	64
/* A batch is at most this part of a CPU's share of the limit. */
#define STOCK_PARTS	8
/* How often to look for a page before the limit counts as reached. */
#define TRIES		4

/**
 * dma_pinning_quota_init() - set the limit of marks
 * @quota: uninitialized
 * @limit: pages that may be marked at a time, not 0
 *
 * Context: process, may sleep.
 * Return: 0 or -ENOMEM.
 */
int dma_pinning_quota_init(struct dma_pinning_quota *quota, unsigned long limit)
{
	unsigned long share = limit / num_possible_cpus() / STOCK_PARTS;

	quota->limit = min(limit, LONG_MAX);
	quota->batch = clamp(share, 1, BATCH_MAX);
	quota->scarce = 2L * quota->batch * num_possible_cpus();
	atomic_long_set(&quota->reserved, 0);
	quota->stock = alloc_percpu(atomic_t);
	return quota->stock ? 0 : -ENOMEM;
}

/**
 * dma_pinning_quota_exit() - free what dma_pinning_quota_init() has made
 * @quota: out of use
 *
 * Context: process.
 */
void dma_pinning_quota_exit(struct dma_pinning_quota *quota)
{
	free_percpu(quota->stock);
}

/* Return: pages reserved now: a batch, or 1 when there are few left, or 0 */
static int reserve(struct dma_pinning_quota *quota)
{
	long old = atomic_long_read(&quota->reserved);
	long room;
	int n;

	do {
		room = (long)quota->limit - old;
		if (room <= 0)
			return 0;
		n = room > quota->scarce ? quota->batch : 1;
	} while (!atomic_long_try_cmpxchg_relaxed(&quota->reserved, &old, old + n));
	return n;
}

/* Take one page from another CPU's stock. */
static bool steal(struct dma_pinning_quota *quota)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		if (atomic_dec_if_positive(per_cpu_ptr(quota->stock, cpu)) >= 0)
			return true;
	}
	return false;
}

/* Interrupts are off, so that pages are out of reach of other CPUs only briefly. */
static bool pin_slowly(struct dma_pinning_quota *quota)
{
	unsigned long flags;
	bool taken = false;
	int tries, n;

	local_irq_save(flags);
	for (tries = 0; !taken && tries < TRIES; tries++) {
		n = reserve(quota);
		if (n > 1)
			atomic_add(n - 1, raw_cpu_ptr(quota->stock));
		taken = n || steal(quota);
		if (!taken)
			cpu_relax();
	}
	local_irq_restore(flags);
	return taken;
}

/**
 * dma_pinning_quota_pin() - a page is going to be marked
 * @quota: the quota
 *
 * Context: any.
 * Return: %false if the limit is reached.
 */
bool dma_pinning_quota_pin(struct dma_pinning_quota *quota)
{
	/* If we migrate, any CPU's stock is as good. */
	if (likely(atomic_dec_if_positive(raw_cpu_ptr(quota->stock)) >= 0))
		return true;
	return pin_slowly(quota);
}

static void return_batch(struct dma_pinning_quota *quota, atomic_t *stock)
{
	unsigned long flags;
	int old;

	local_irq_save(flags);
	old = atomic_read(stock);
	while (old >= quota->batch) {
		if (atomic_try_cmpxchg_relaxed(stock, &old, old - quota->batch)) {
			atomic_long_sub(quota->batch, &quota->reserved);
			break;
		}
	}
	local_irq_restore(flags);
}

/**
 * dma_pinning_quota_unpin() - a page's mark has been cleared
 * @quota: the quota that the page was pinned in
 *
 * Context: any.
 */
void dma_pinning_quota_unpin(struct dma_pinning_quota *quota)
{
	atomic_t *stock = raw_cpu_ptr(quota->stock);

	/* Fully ordered: the mark is clear before another page can be marked. */
	if (unlikely(atomic_inc_return(stock) > 2 * quota->batch))
		return_batch(quota, stock);
}

/**
 * dma_pinning_quota_adopt() - count marks that are there already
 * @quota: the quota
 * @n: pages, which are never unpinned; may exceed the limit, and then nothing
 *	else can be pinned
 *
 * Context: before the first dma_pinning_quota_pin().
 */
void dma_pinning_quota_adopt(struct dma_pinning_quota *quota, unsigned long n)
{
	atomic_long_add(n, &quota->reserved);
}

/**
 * dma_pinning_quota_used() - pages that are pinned
 * @quota: the quota
 *
 * Context: any.
 * Return: how many; exact while nobody pins or unpins.
 */
unsigned long dma_pinning_quota_used(struct dma_pinning_quota *quota)
{
	long used = atomic_long_read(&quota->reserved);
	int cpu;

	for_each_possible_cpu(cpu)
		used -= atomic_read(per_cpu_ptr(quota->stock, cpu));
	return max(used, 0L);
}
