// SPDX-License-Identifier: GPL-2.0-only
/*
 * VFIO: words of unpinned DMA mappings
 *
 * One word per user page says what the leaves of the page are, see
 * vfio_unpinned_priv.h for its states. Words come in chunks, which are allocated with
 * the first mapping that covers a part of them, and freed with the last one. This is
 * how a word is found, how all words of a range are visited, and how a change is
 * committed: flush what was cleared or replaced, then drop the pins that waited for
 * the flush. Only then may the lock be dropped.
 *
 * Nothing here decides what a word should say.
 *
 * Locks: see vfio_unpinned_priv.h. The words are protected by lock; chunks come
 * and go with both update_lock and lock held, and are freed by RCU.
 */
#include <kunit/static_stub.h>
#include <linux/iommu.h>
#include <linux/list_lru.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include "vfio_unpinned_priv.h"

/* Chunks with PINNED words of all address spaces, by the cgroup of their owner. */
struct list_lru vfio_unpinned_lru;
static struct kmem_cache *unp_chunk_cache;

/**
 * vfio_unpinned_word - Find the word of a user page
 * @unp: the address space
 * @vaddr: user address of the page
 * @chunk: receives the chunk that the word is in; may be NULL
 *
 * Context: Any context, with @unp->lock held.
 * Return: The word, which is that of the whole chunk if a hugetlb page has
 *	leaves there, or NULL if no mapping is near @vaddr.
 */
unsigned long *vfio_unpinned_word(struct vfio_unpinned_mm *unp,
				  unsigned long vaddr,
				  struct vfio_unpinned_chunk **chunk)
{
	struct vfio_unpinned_chunk *c;

	lockdep_assert_held(&unp->lock);
	c = xa_load(&unp->chunks, vaddr >> UNP_CHUNK_SHIFT);
	if (!c)
		return NULL;
	if (chunk)
		*chunk = c;
	if (c->huge)
		return &c->huge;
	return unp_small_word(c, vaddr);
}

/**
 * vfio_unpinned_peek_pinned - Is a page late-pinned, more or less?
 * @unp: the address space
 * @vaddr: user address of the page
 *
 * For the aging of pages: an answer that is not true anymore costs reclaim an
 * attempt in vain, or leaves the page another round.
 *
 * Context: Any context. Takes no lock; chunks are freed after an RCU grace period.
 * Return: true if its word is, or was a moment ago, PINNED.
 */
bool vfio_unpinned_peek_pinned(struct vfio_unpinned_mm *unp,
			       unsigned long vaddr)
{
	struct vfio_unpinned_chunk *c;
	unsigned long word;

	guard(rcu)();
	c = xa_load(&unp->chunks, vaddr >> UNP_CHUNK_SHIFT);
	if (!c)
		return false;
	/* The words change under a lock that is not taken; any value will do. */
	word = data_race(READ_ONCE(c->huge));
	if (!word)
		/* The same */
		word = data_race(READ_ONCE(*unp_small_word(c, vaddr)));
	return word & UNP_PINNED;
}

/**
 * vfio_unpinned_has_pfn - Is the word of a page like this?
 * @unp: the address space
 * @vaddr: user address of the page
 * @state: UNP_PRESENT or UNP_PINNED
 * @pfn: page frame that its leaves point at
 *
 * Context: Any context, with @unp->lock held.
 * Return: true if it has that state and that page frame.
 */
bool vfio_unpinned_has_pfn(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			   unsigned long state, unsigned long pfn)
{
	unsigned long *word = vfio_unpinned_word(unp, vaddr, NULL);
	unsigned long off = vaddr - unp_chunk_start(vaddr);

	lockdep_assert_held(&unp->lock);
	if (!word || !(*word & state))
		return false;
	if (*word & UNP_HUGE)
		pfn -= PHYS_PFN(off);
	return unp_pfn(*word) == pfn;
}

/**
 * vfio_unpinned_covered - Does a mapping cover a part of this memory?
 * @unp: the address space
 * @vaddr: user address
 * @size: bytes
 *
 * Context: Any context, with @unp->lock held.
 * Return: true if one does that is not dying.
 */
bool vfio_unpinned_covered(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			   unsigned long size)
{
	unsigned long last = vaddr + size - 1;
	struct vfio_unpinned_map *map;

	lockdep_assert_held(&unp->lock);
	for (map = unp_map_first(unp, vaddr, last); map;
	     map = unp_map_next(map, vaddr, last)) {
		if (!map->dying)
			return true;
	}
	return false;
}

/**
 * vfio_unpinned_commit - Flush, then drop the late pins that waited for it
 * @unp: the address space
 *
 * Must be called after leaves were cleared or replaced, before the lock is dropped:
 * the next holder of the lock relies on them being gone.
 * Litmus: flush-free
 *
 * Context: Any context, with @unp->lock held.
 */
void vfio_unpinned_commit(struct vfio_unpinned_mm *unp)
{
	struct vfio_unpinned_domain *d, *next;

	lockdep_assert_held(&unp->lock);
	list_for_each_entry_safe(d, next, &unp->flush_list, flush_link) {
		list_del_init(&d->flush_link);
		if (vfio_unpinned_break_flush) {
			iommu_iotlb_gather_init(&d->gather);
			continue;
		}
		iommu_iotlb_sync(d->domain, &d->gather);
		unp->stats.flushes++;
	}
	while (unp->nr_unpin)
		unpin_user_page(unp->unpin[--unp->nr_unpin]);
}

/**
 * vfio_unpinned_unpin - Drop the reference of a late pin after the flush
 * @unp: the address space
 * @page: the page
 *
 * Context: Any context, with @unp->lock held. The caller commits.
 */
void vfio_unpinned_unpin(struct vfio_unpinned_mm *unp, struct page *page)
{
	lockdep_assert_held(&unp->lock);
	if (unp->nr_unpin == UNP_UNPIN_BATCH)
		vfio_unpinned_commit(unp);
	unp->unpin[unp->nr_unpin++] = page;
}

/**
 * vfio_unpinned_yield - Let others have the lock for a moment
 * @unp: the address space
 * @may_sleep: reschedule as well
 *
 * All is flushed before. A function of its own for the tests to see it.
 *
 * Context: Any context, with @unp->lock held.
 */
void vfio_unpinned_yield(struct vfio_unpinned_mm *unp, bool may_sleep)
	__must_hold(&unp->lock)
{
	KUNIT_STATIC_STUB_REDIRECT(vfio_unpinned_yield, unp, may_sleep);
	lockdep_assert_held(&unp->lock);
	vfio_unpinned_commit(unp);
	unp->written = 0;
	spin_unlock(&unp->lock);
	if (may_sleep)
		cond_resched();
	spin_lock(&unp->lock);
}

/* Account a hold of the lock since @began, which is about to end. */
static void unp_count_hold(struct vfio_unpinned_mm *unp, u64 began)
{
	lockdep_assert_held(&unp->lock);
	if (began)
		unp->times.hold_max = max(unp->times.hold_max,
					  ktime_get_ns() - began);
}

/**
 * vfio_unpinned_walk_chunks - Call a function for each chunk with leaves
 * @unp: the address space
 * @start: first user address
 * @last: last user address
 * @may_sleep: reschedule between batches
 * @fn: called with the lock held, for the part of a chunk that is in the range; may
 *	zap the leaves
 * @arg: passed to @fn
 *
 * Flushes and drops the lock for a moment every UNP_BATCH_WORDS words that it has
 * looked at, or UNP_BATCH_LEAVES leaves that were written for them, whichever comes
 * first. All is flushed upon return.
 *
 * Context: Any context; takes and drops @unp->lock.
 */
void vfio_unpinned_walk_chunks(struct vfio_unpinned_mm *unp,
			       unsigned long start, unsigned long last,
			       bool may_sleep, vfio_unpinned_chunk_fn fn,
			       void *arg)
{
	unsigned long index = start >> UNP_CHUNK_SHIFT;
	struct vfio_unpinned_chunk *chunk;
	unsigned long seen = 0;
	u64 began;

	start &= PAGE_MASK;
	last |= ~PAGE_MASK;
	spin_lock(&unp->lock);
	unp->written = 0;
	began = unp_begin(unp);
	xa_for_each_range(&unp->chunks, index, chunk, index,
			  last >> UNP_CHUNK_SHIFT) {
		unsigned long base = index << UNP_CHUNK_SHIFT;

		seen += chunk->leaves ? UNP_CHUNK_WORDS : 1;
		if (chunk->leaves)
			fn(unp, chunk, max(base, start),
			   min(base + UNP_CHUNK_SIZE - 1, last), arg);
		if (seen < UNP_BATCH_WORDS && unp->written < UNP_BATCH_LEAVES)
			continue;
		seen = 0;
		vfio_unpinned_commit(unp);
		unp_count_hold(unp, began);
		vfio_unpinned_yield(unp, may_sleep);
		began = unp_begin(unp);
	}
	vfio_unpinned_commit(unp);
	unp_count_hold(unp, began);
	spin_unlock(&unp->lock);
}

/* What vfio_unpinned_walk() calls for each leaf */
struct unp_leaf_walk {
	vfio_unpinned_leaf_fn fn;
	void *arg;
};

/* The leaves of a part of a chunk; @arg: the struct unp_leaf_walk. */
static void unp_walk_leaves(struct vfio_unpinned_mm *unp,
			    struct vfio_unpinned_chunk *chunk,
			    unsigned long vaddr, unsigned long last, void *arg)
{
	unsigned long *word = &chunk->leaf[PHYS_PFN(vaddr) % UNP_CHUNK_WORDS];
	const struct unp_leaf_walk *walk = arg;

	lockdep_assert_held(&unp->lock);
	if (chunk->huge) {
		walk->fn(unp, unp_chunk_start(vaddr), &chunk->huge, walk->arg);
		return;
	}
	for (; chunk->leaves && vaddr <= last; vaddr += PAGE_SIZE, word++) {
		if (*word & UNP_PRESENT)
			walk->fn(unp, vaddr, word, walk->arg);
	}
}

/**
 * vfio_unpinned_walk - Call a function for each present word of a range
 * @unp: the address space
 * @start: first user address
 * @last: last user address
 * @may_sleep: reschedule between batches
 * @fn: called with the lock held; may zap the leaves
 * @arg: passed to @fn
 *
 * The word of a chunk may be for more than the range.
 *
 * Flushes and drops the lock for a moment every UNP_BATCH_WORDS words. All is
 * flushed upon return.
 *
 * Context: Any context; takes and drops @unp->lock.
 */
void vfio_unpinned_walk(struct vfio_unpinned_mm *unp, unsigned long start,
			unsigned long last, bool may_sleep,
			vfio_unpinned_leaf_fn fn, void *arg)
{
	struct unp_leaf_walk walk = { .fn = fn, .arg = arg };

	vfio_unpinned_walk_chunks(unp, start, last, may_sleep,
				  unp_walk_leaves, &walk);
}

/**
 * vfio_unpinned_chunk_alloc - Make the words of a chunk, all 0
 * @unp: the address space
 * @index: of the chunk in @unp->chunks
 *
 * Charged to the memory cgroup of the caller, by whose reclaim the shrinker finds
 * the late pins of the chunk.
 *
 * Context: Process context, may sleep.
 * Return: The chunk, or NULL if there is no memory.
 */
struct vfio_unpinned_chunk *
vfio_unpinned_chunk_alloc(struct vfio_unpinned_mm *unp, unsigned long index)
{
	struct vfio_unpinned_chunk *chunk;

	chunk = kmem_cache_alloc_lru(unp_chunk_cache, &vfio_unpinned_lru,
				     GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!chunk)
		return NULL;
	chunk->leaf = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (!chunk->leaf) {
		kmem_cache_free(unp_chunk_cache, chunk);
		return NULL;
	}
	INIT_LIST_HEAD(&chunk->lru);
	chunk->unp = unp;
	chunk->index = index;
	return chunk;
}

static void unp_chunk_free_rcu(struct rcu_head *rcu)
{
	struct vfio_unpinned_chunk *chunk =
		container_of(rcu, struct vfio_unpinned_chunk, rcu);

	free_page((unsigned long)chunk->leaf);
	kmem_cache_free(unp_chunk_cache, chunk);
}

/**
 * vfio_unpinned_chunk_free - Free a chunk
 * @chunk: the chunk, without PINNED words, which nobody can find anymore; who has
 *	found it before by vfio_unpinned_peek_pinned() may still look at it
 *
 * Context: Process context.
 */
void vfio_unpinned_chunk_free(struct vfio_unpinned_chunk *chunk)
{
	call_rcu(&chunk->rcu, unp_chunk_free_rcu);
}

/**
 * vfio_unpinned_chunks_init - Prepare what the chunks of all address spaces share
 * @shrinker: the shrinker that uses vfio_unpinned_lru, not yet registered
 *
 * Context: Process context, may sleep.
 * Return: 0 or -ENOMEM.
 */
int __init vfio_unpinned_chunks_init(struct shrinker *shrinker)
{
	unp_chunk_cache = KMEM_CACHE(vfio_unpinned_chunk, SLAB_ACCOUNT);
	if (!unp_chunk_cache)
		return -ENOMEM;
	if (list_lru_init_memcg(&vfio_unpinned_lru, shrinker)) {
		kmem_cache_destroy(unp_chunk_cache);
		return -ENOMEM;
	}
	return 0;
}

/**
 * vfio_unpinned_chunks_exit - Undo vfio_unpinned_chunks_init()
 *
 * Context: Process context, may sleep; no address space is left.
 */
void vfio_unpinned_chunks_exit(void)
{
	/* For unp_chunk_free_rcu() */
	rcu_barrier();
	list_lru_destroy(&vfio_unpinned_lru);
	kmem_cache_destroy(unp_chunk_cache);
}
