/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * VFIO: unpinned DMA mappings, private definitions
 *
 * vfio_unpinned.h is what drivers of containers use, and the only part that knows of
 * containers. Documentation/driver-api/vfio-unpinned.rst has the invariants (I1 to I6).
 *
 * The files, bottom up. Each one calls only those before it; what is in braces does not
 * call each other:
 *
 *   word       words: find one, visit all of a range, commit changes of leaves
 *   { mark     which pages are marked
 *     pins     what late pins cost: their number, and what they hold
 *     dirty    what devices may have written
 *     event    tells the user of blocked DMA, and of marked pages that lost their leaf }
 *   leaf       sets, zaps, merges and splits leaves, with their words
 *   release    takes late pins within their bounds, and releases them
 *   worker     releases pins and populates marked pages in the background; shrinker
 *   notifier   gate, late pass and the other mmu notifiers
 *   debugfs    shows the counters
 *   mm         the object of an address space: its life; the module
 *   { map      a mapping and its domains
 *     bitmap   registration of the pin bitmap }
 *
 * Calls the other way round go through a pointer: notifiers, the worker, the shrinker,
 * the function of a walk, and how a container charges. Trace points and the switches of
 * the tests are in mm, for all.
 *
 * Locks, in their order:
 *
 *   (locks of the container)
 *   vfio_unpinned_mms_lock  list of all vfio_unpinned_mm and their users; never
 *                held over anything that one process can delay for others
 *   update_lock  per vfio_unpinned_mm, what is mapped and registered: one
 *                change at a time. Held over allocations, and by the process
 *                itself over mmap_lock. Never taken in a notifier.
 *   populate_lock  per vfio_unpinned_mm: one thread at a time populates
 *                marked pages. Only tried, never waited for.
 *   (mmap_lock, reverse map locks, page table locks, KVM's mmu_lock)
 *   lock         per vfio_unpinned_mm, spinlock: the words, the leaves and all
 *                else that the notifiers use. Held while leaves are written
 *                and flushed, so that whoever holds it sees leaves, words and
 *                IOTLB agree. Not taken from interrupts.
 *   (lock of the shrinker's list, locks of the IOMMU driver)
 *   vfio_unpinned_event.lock  per container, raw spinlock: blocked requests
 *
 * The page behind a leaf is valid while the lock is held: whoever frees it
 * must have passed the late pass for its address, which takes the lock.
 */
#ifndef VFIO_UNPINNED_PRIV_H
#define VFIO_UNPINNED_PRIV_H

#include <linux/interval_tree.h>
#include <linux/iommu.h>
#include <linux/ktime.h>
#include <linux/list_lru.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>
#include "vfio_unpinned.h"

struct dentry;
struct shrinker;

/*
 * One word per user page says what the leaves of the page are, in every domain
 * of every mapping that covers the page. The words are in chunks of one page.
 * A hugetlb page is as large as a chunk (PMD_SIZE) or a multiple of it. Where
 * KVM maps a chunk of it in one piece, so does the page table of the user, which
 * then changes in brackets over all of it: so the chunk has one word.
 *
 *	0			no leaf
 *	POPULATE		no leaf, and the host is about to set one; the
 *				gate takes it back
 *	PRESENT			leaf, the page is held by the user's page table
 *	PRESENT | GATED		... and KVM may have a writable SPTE for it
 *	PRESENT | PINNED	leaf, the page is held by a late pin; no bracket
 *				has passed the gate since, there is no SPTE
 *	PRESENT | PINNED | GATED  ... and KVM may have a writable SPTE for it
 *
 * HUGE is set besides in the word of a chunk that a hugetlb page is mapped in.
 */
#define UNP_PRESENT	BIT(0)
#define UNP_GATED	BIT(1)	/* the gate has validated it since the last bracket */
#define UNP_PINNED	BIT(2)	/* a late pin is held */
#define UNP_POPULATE	BIT(3)	/* the gate has not been here since it was set */
#define UNP_HUGE	BIT(4)	/* the word is for all pages of its chunk */

#define UNP_CHUNK_SHIFT	(PAGE_SHIFT + PAGE_SHIFT - 3)
#define UNP_CHUNK_SIZE	BIT(UNP_CHUNK_SHIFT)
#define UNP_CHUNK_WORDS	BIT(UNP_CHUNK_SHIFT - PAGE_SHIFT)

/* What a leaf permits: writable translations are mirrored, nothing else. */
#define UNP_PROT		(IOMMU_READ | IOMMU_WRITE | IOMMU_CACHE)
/* How many words a walk looks at before it drops the lock. */
#define UNP_BATCH_WORDS		4096
/* How many leaves, of all mappings and domains, are written before that. */
#define UNP_BATCH_LEAVES	(4 * UNP_BATCH_WORDS)
/* How many leaves for all of a gigantic page are written in one go. */
#define UNP_MAX_GIGANTIC	4
/* How many mappings, of all containers, may cover the same page. */
#define UNP_MAX_ALIASES		16
/* How many late pins wait for one flush. */
#define UNP_UNPIN_BATCH		UNP_CHUNK_WORDS
/* How many chunks are looked at to release pins, before each new one. */
#define UNP_STEP_CHUNKS		64
/* In vfio_unpinned_mm.chunks: the chunk has PINNED words. */
#define UNP_MARK_PINS		XA_MARK_0

/**
 * struct vfio_unpinned_chunk - The words of UNP_CHUNK_WORDS user pages
 * @leaf: the words; protected by vfio_unpinned_mm.lock
 * @huge: the word for all of them, or 0; if it is not 0, it is PRESENT and no
 *	other one is; same lock
 * @populate: one of them may have POPULATE; same lock
 * @leaves: how many words are PRESENT; same lock
 * @pins: how many of them are PINNED; same lock
 * @users: mappings that cover a part of it; vfio_unpinned_mm.update_lock
 * @lru: for the shrinker, while there are @pins; changed under the same lock
 * @unp: the address space; immutable
 * @index: in vfio_unpinned_mm.chunks; immutable
 * @rcu: frees it
 */
struct vfio_unpinned_chunk {
	unsigned long *leaf;
	unsigned long huge;
	bool populate;
	unsigned int leaves;
	unsigned int pins;
	unsigned int users;
	struct list_head lru;
	struct vfio_unpinned_mm *unp;
	unsigned long index;
	struct rcu_head rcu;
};

/**
 * struct vfio_unpinned_domain - An IOMMU domain that has mappings
 * @domain: the domain; immutable
 * @link: in vfio_unpinned_mm.domains; changed under both locks
 * @flush_link: in vfio_unpinned_mm.flush_list while @gather is not empty
 * @gather: what to flush; vfio_unpinned_mm.lock
 * @users: mappings that are in it; vfio_unpinned_mm.update_lock
 */
struct vfio_unpinned_domain {
	struct iommu_domain *domain;
	struct list_head link;
	struct list_head flush_link;
	struct iommu_iotlb_gather gather;
	unsigned int users;
};

/**
 * struct vfio_unpinned_attach - A mapping is in a domain
 * @to: the domain; immutable
 * @link: in vfio_unpinned_map.attaches; vfio_unpinned_mm.lock
 * @dying: the leaves go, set no new ones; vfio_unpinned_mm.lock
 */
struct vfio_unpinned_attach {
	struct vfio_unpinned_domain *to;
	struct list_head link;
	bool dying;
};

/**
 * struct vfio_unpinned_map - One unpinned mapping of a container
 * @node: user addresses, in vfio_unpinned_mm.maps while published
 * @unp: the address space; immutable
 * @event: of the container, or NULL; immutable
 * @iova: first IOVA; immutable
 * @charge: charges, for the container; immutable
 * @charged: pages that are charged, and once more for each of @attaches; immutable
 * @attaches: list of struct vfio_unpinned_attach; vfio_unpinned_mm.lock
 * @dirty: pages that had a leaf since the last query, or NULL if nobody tracks
 *	that; changed under both locks, the bits under vfio_unpinned_mm.lock
 * @published: @node is in the tree; vfio_unpinned_mm.lock
 * @dying: the leaves go, set no new ones; vfio_unpinned_mm.lock
 */
struct vfio_unpinned_map {
	struct interval_tree_node node;
	struct vfio_unpinned_mm *unp;
	struct vfio_unpinned_event *event;
	dma_addr_t iova;
	vfio_unpinned_charge_fn charge;
	unsigned long charged;
	struct list_head attaches;
	unsigned long *dirty;
	bool published;
	bool dying;
};

/**
 * struct vfio_unpinned_bitmap - The registered pin bitmap
 * @bits: kernel mapping, little endian; written by the guest at any time
 * @pages: the user's pages behind @bits, pinned
 * @nr_pages: how many
 * @vaddr: where the user has it
 * @first: page number in IOVA space of bit 0
 * @npages: bits
 * @limit: how many pages the guest may have marked at a time
 * @budget: how many pages late pins may hold, in whole folios; 0: no bound
 * @charge: charges, for the container that came first
 * @charged: pages that are charged
 * @users: containers that registered it; vfio_unpinned_mm.update_lock
 * @marks_enabled: the guest maintains the marks; vfio_unpinned_mm.lock
 *
 * All else is immutable while registered.
 */
struct vfio_unpinned_bitmap {
	const __le64 *bits;
	struct page **pages;
	unsigned long nr_pages;
	unsigned long vaddr;
	unsigned long first;
	unsigned long npages;
	unsigned long limit;
	unsigned long budget;
	vfio_unpinned_charge_fn charge;
	unsigned long charged;
	unsigned int users;
	bool marks_enabled;
};

/* One counter per power of 2 of nanoseconds; the last one is for all above. */
#define UNP_TIME_BUCKETS	36

/**
 * struct vfio_unpinned_times - How long late passes take
 * @on: measure; written by the user of debugfs, read without a lock
 * @late_pass: passes by the number of bits of their nanoseconds, as fls64()
 *	counts them; vfio_unpinned_mm.lock
 * @late_pass_max: the longest one; same lock
 * @hold_max: the longest time for which a walk held the lock; same lock
 *
 * In nanoseconds. Passes that may sleep include the time for which they did.
 */
struct vfio_unpinned_times {
	bool on;
	u64 late_pass[UNP_TIME_BUCKETS];
	u64 late_pass_max;
	u64 hold_max;
};

/**
 * struct vfio_unpinned_mm - Everything unpinned of one user address space
 * @mn: the subscription
 * @link: in the list of all; vfio_unpinned_mms_lock
 * @users: mappings and bitmap registrations; vfio_unpinned_mms_lock
 * @update_lock: serializes changes of what is mapped and registered
 * @lock: protects all leaves and their words, see above
 * @chunks: by user address >> UNP_CHUNK_SHIFT; changed under both locks
 * @maps: published mappings by user address; changed under both locks
 * @domains: those that have mappings; changed under both locks
 * @bitmap: the registered bitmap or NULL; changed under both locks
 * @flush_list: domains with something to flush; empty when @lock is free
 * @unpin: pages whose late pin is dropped after the flush; @lock
 * @nr_unpin: how many; 0 when @lock is free
 * @written: pages whose leaves were written since @lock was taken; @lock
 * @dead: the address space is gone, no leaf is set anymore; @lock
 * @folio_pins: PINNED words of each folio of PUD_SIZE, by its address; @lock
 * @nr_folio_pins: how many there are; immutable
 * @release_index: chunk where the late pass goes on to release pins; @lock
 * @release_found: it has released some since the first chunk; @lock
 * @release_began: when it was there, in jiffies; @lock
 * @release_rest: until when it does not look, in jiffies; @lock
 * @want_populate: marked pages without a leaf may exist; @lock
 * @populate_lock: one thread at a time populates marked pages; never waited for
 * @populate_from: user address where the worker begins; @populate_lock
 * @populate_delay: how long it waits after it has found pages that are unavailable
 *	now, in jiffies; @populate_lock
 * @stats: counters; @lock
 * @times: of late passes, if they are measured
 * @work: releases late pins and populates marked pages
 * @work_queued: it is going to run, once more if it runs; @lock
 * @work_running: it runs; @lock
 * @work_when: at that time, in jiffies; @lock
 * @work_rest: not before that, in jiffies; @lock
 * @debugfs: directory of the counters
 */
struct vfio_unpinned_mm {
	struct mmu_notifier mn;
	struct list_head link;
	unsigned int users;
	struct mutex update_lock;	/* what is mapped and registered */
	spinlock_t lock;		/* words, leaves, counters */
	struct xarray chunks;
	struct rb_root_cached maps;
	struct list_head domains;
	struct vfio_unpinned_bitmap *bitmap;
	struct list_head flush_list;
	struct page *unpin[UNP_UNPIN_BATCH];
	unsigned int nr_unpin;
	unsigned long written;
	unsigned int *folio_pins;
	unsigned long nr_folio_pins;
	unsigned long release_index;
	unsigned long release_began;
	unsigned long release_rest;
	bool release_found;
	bool dead;
	bool want_populate;
	struct mutex populate_lock;	/* one thread at a time populates */
	unsigned long populate_from;
	unsigned long populate_delay;
	struct vfio_unpinned_stats stats;
	struct vfio_unpinned_times times;
	struct delayed_work work;
	unsigned long work_when;
	unsigned long work_rest;
	bool work_queued;
	bool work_running;
	struct dentry *debugfs;
};

/* Why a leaf goes, for the tracepoint */
enum vfio_unpinned_zap_reason {
	UNP_ZAP_UNMARKED,
	UNP_ZAP_LIMIT,
	UNP_ZAP_FORCED,
	UNP_ZAP_ORPHAN,
	UNP_ZAP_RELEASE,
	UNP_ZAP_UNMAP,
	UNP_ZAP_BUDGET,
	UNP_ZAP_NOT_PINNED,
};

static inline unsigned long unp_pfn(unsigned long word)
{
	return word >> PAGE_SHIFT;
}

static inline struct page *unp_page(unsigned long word)
{
	return pfn_to_page(unp_pfn(word));
}

/* Bytes of user memory that the word is for */
static inline unsigned long unp_size(unsigned long word)
{
	return word & UNP_HUGE ? UNP_CHUNK_SIZE : PAGE_SIZE;
}

static inline unsigned long unp_chunk_start(unsigned long vaddr)
{
	return vaddr & ~(UNP_CHUNK_SIZE - 1);
}

/* The word of a page in a chunk that has one for each */
static inline unsigned long *
unp_small_word(struct vfio_unpinned_chunk *chunk, unsigned long vaddr)
{
	return &chunk->leaf[PHYS_PFN(vaddr) % UNP_CHUNK_WORDS];
}

/* When something begins, or 0 if times are not measured */
static inline u64 unp_begin(struct vfio_unpinned_mm *unp)
{
	return READ_ONCE(unp->times.on) ? ktime_get_ns() : 0;
}

/*
 * The published mappings that cover a part of [@start, @last], one after the
 * other, then NULL; with either of the two locks held.
 */
static inline struct vfio_unpinned_map *
unp_map_first(struct vfio_unpinned_mm *unp, unsigned long start,
	      unsigned long last)
{
	return rb_entry_safe(interval_tree_iter_first(&unp->maps, start, last),
			     struct vfio_unpinned_map, node);
}

static inline struct vfio_unpinned_map *
unp_map_next(struct vfio_unpinned_map *map, unsigned long start,
	     unsigned long last)
{
	return rb_entry_safe(interval_tree_iter_next(&map->node, start, last),
			     struct vfio_unpinned_map, node);
}

typedef void (*vfio_unpinned_leaf_fn)(struct vfio_unpinned_mm *unp,
				      unsigned long vaddr, unsigned long *word,
				      void *arg);
/* What a walk calls for each chunk with leaves, for [vaddr, last] of it */
typedef void (*vfio_unpinned_chunk_fn)(struct vfio_unpinned_mm *unp,
				       struct vfio_unpinned_chunk *chunk,
				       unsigned long vaddr, unsigned long last,
				       void *arg);

/* vfio_unpinned_word.c */
extern struct list_lru vfio_unpinned_lru;
unsigned long *vfio_unpinned_word(struct vfio_unpinned_mm *unp,
				  unsigned long vaddr,
				  struct vfio_unpinned_chunk **chunk);
bool vfio_unpinned_peek_pinned(struct vfio_unpinned_mm *unp,
			       unsigned long vaddr);
bool vfio_unpinned_has_pfn(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			   unsigned long state, unsigned long pfn);
bool vfio_unpinned_covered(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			   unsigned long size);
void vfio_unpinned_commit(struct vfio_unpinned_mm *unp);
void vfio_unpinned_unpin(struct vfio_unpinned_mm *unp, struct page *page);
void vfio_unpinned_yield(struct vfio_unpinned_mm *unp, bool may_sleep);
void vfio_unpinned_walk_chunks(struct vfio_unpinned_mm *unp,
			       unsigned long start, unsigned long last,
			       bool may_sleep, vfio_unpinned_chunk_fn fn,
			       void *arg);
void vfio_unpinned_walk(struct vfio_unpinned_mm *unp, unsigned long start,
			unsigned long last, bool may_sleep,
			vfio_unpinned_leaf_fn fn, void *arg);
struct vfio_unpinned_chunk *
vfio_unpinned_chunk_alloc(struct vfio_unpinned_mm *unp, unsigned long index);
void vfio_unpinned_chunk_free(struct vfio_unpinned_chunk *chunk);
int vfio_unpinned_chunks_init(struct shrinker *shrinker);
void vfio_unpinned_chunks_exit(void);

/* vfio_unpinned_mark.c */
bool vfio_unpinned_marked(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			  unsigned long size);
bool vfio_unpinned_chunk_marked(struct vfio_unpinned_mm *unp,
				unsigned long vaddr);
unsigned long vfio_unpinned_count_marked(struct vfio_unpinned_mm *unp,
					 unsigned long vaddr,
					 unsigned long size);
unsigned long vfio_unpinned_next_mark(const struct vfio_unpinned_map *map,
				      unsigned long vaddr, unsigned long last);

/* vfio_unpinned_pins.c */
int vfio_unpinned_pins_init(struct vfio_unpinned_mm *unp);
void vfio_unpinned_pins_exit(struct vfio_unpinned_mm *unp);
bool vfio_unpinned_can_count(struct vfio_unpinned_mm *unp, struct folio *folio);
void vfio_unpinned_add_pins(struct vfio_unpinned_mm *unp,
			    struct vfio_unpinned_chunk *chunk,
			    struct page *page, int nr);
unsigned long vfio_unpinned_pin_cost(struct vfio_unpinned_mm *unp,
				     unsigned long vaddr, struct page *page);
unsigned long vfio_unpinned_high_pins(const struct vfio_unpinned_bitmap *bm);
bool vfio_unpinned_over_budget(struct vfio_unpinned_mm *unp,
			       unsigned long cost);
void vfio_unpinned_count_pin(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			     struct page *page, unsigned long cost);
void vfio_unpinned_drop_pin(struct vfio_unpinned_mm *unp, unsigned long vaddr);

/* vfio_unpinned_dirty.c */
void vfio_unpinned_dirty_add(struct vfio_unpinned_map *map,
			     unsigned long vaddr, unsigned long size);
void vfio_unpinned_dirty_add_leaves(struct vfio_unpinned_map *map);

/* vfio_unpinned_event.c */
void vfio_unpinned_event_lost(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			      unsigned long size);
u64 vfio_unpinned_faults_of(struct iommu_domain *domain);

/* vfio_unpinned_leaf.c */
bool vfio_unpinned_poisoned(struct page *page);
bool vfio_unpinned_page_eligible(unsigned long pfn);
int vfio_unpinned_check_vma(struct vm_area_struct *vma);
unsigned long vfio_unpinned_set(struct vfio_unpinned_mm *unp,
				unsigned long vaddr, unsigned long size,
				unsigned long pfn, unsigned long flags);
void vfio_unpinned_zap(struct vfio_unpinned_mm *unp, unsigned long vaddr,
		       enum vfio_unpinned_zap_reason reason);
void vfio_unpinned_zap_range(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			     unsigned long size,
			     enum vfio_unpinned_zap_reason reason);
void vfio_unpinned_remap(struct vfio_unpinned_mm *unp,
			 struct vfio_unpinned_domain *d, unsigned long iova,
			 unsigned long pfn, size_t count, int prot);
void vfio_unpinned_zap_others(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			      unsigned long pfn);
struct page *vfio_unpinned_split_word(struct vfio_unpinned_mm *unp,
				      unsigned long vaddr);

/* vfio_unpinned_release.c */
unsigned long vfio_unpinned_release_chunk(struct vfio_unpinned_mm *unp,
					  struct vfio_unpinned_chunk *chunk);
void vfio_unpinned_release_unmarked(struct vfio_unpinned_mm *unp);
void vfio_unpinned_restart_release(struct vfio_unpinned_mm *unp);
bool vfio_unpinned_account_pin(struct vfio_unpinned_mm *unp,
			       unsigned long vaddr, struct page *page,
			       enum vfio_unpinned_zap_reason *reason);
bool vfio_unpinned_late_pin(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			    enum vfio_unpinned_zap_reason *reason);

/* vfio_unpinned_worker.c */
void vfio_unpinned_schedule(struct vfio_unpinned_mm *unp, unsigned long delay);
void vfio_unpinned_expect_release(struct vfio_unpinned_mm *unp);
void vfio_unpinned_want_populate(struct vfio_unpinned_mm *unp);
void vfio_unpinned_populate(struct vfio_unpinned_map *map);
void vfio_unpinned_worker_init(struct vfio_unpinned_mm *unp);
void vfio_unpinned_worker_exit(struct vfio_unpinned_mm *unp);
int vfio_unpinned_worker_init_module(void);
void vfio_unpinned_worker_exit_module(void);

/* vfio_unpinned_notifier.c */
extern const struct mmu_notifier_ops vfio_unpinned_mn_ops;

/* vfio_unpinned_debugfs.c */
#ifdef CONFIG_VFIO_DEBUGFS
void vfio_unpinned_debugfs_init(struct vfio_unpinned_mm *unp);
void vfio_unpinned_debugfs_exit(struct vfio_unpinned_mm *unp);
#else
static inline void vfio_unpinned_debugfs_init(struct vfio_unpinned_mm *unp)
{
}

static inline void vfio_unpinned_debugfs_exit(struct vfio_unpinned_mm *unp)
{
}
#endif

/* vfio_unpinned_mm.c */
struct vfio_unpinned_mm *vfio_unpinned_mm_get(void);
void vfio_unpinned_mm_put(struct vfio_unpinned_mm *unp);

/*
 * Switches that break one protection each, so that a test can show that it
 * would notice. They exist in a test configuration only.
 */
#ifdef CONFIG_VFIO_UNPINNED_TEST
extern bool vfio_unpinned_break_flush;
extern bool vfio_unpinned_break_late;
extern bool vfio_unpinned_break_pin;
extern bool vfio_unpinned_break_dirty;
extern bool vfio_unpinned_break_lock;
extern bool vfio_unpinned_break_release;
extern bool vfio_unpinned_break_writeback;
extern unsigned int vfio_unpinned_pause_ms;
#else
#define vfio_unpinned_break_flush	false
#define vfio_unpinned_break_late	false
#define vfio_unpinned_break_pin		false
#define vfio_unpinned_break_dirty	false
#define vfio_unpinned_break_lock	false
#define vfio_unpinned_break_release	false
#define vfio_unpinned_break_writeback	false
#define vfio_unpinned_pause_ms		0
#endif

#endif /* VFIO_UNPINNED_PRIV_H */
