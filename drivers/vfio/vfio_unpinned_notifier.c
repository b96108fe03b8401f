// SPDX-License-Identifier: GPL-2.0-only
/*
 * VFIO: notifiers of unpinned DMA mappings
 *
 * The words and leaves of an address space follow the events of its page table:
 *
 *   gate       KVM is about to install an SPTE (change_pte): set the leaf.
 *   late pass  The page is about to be taken away, and KVM has zapped its SPTEs
 *              (invalidate_range_start_late): zap the leaf, or hold the page with a
 *              late pin if the guest has marked it.
 *   young      A late-pinned page can't be reclaimed, so it is young.
 *   release    The address space is gone: zap everything.
 *
 * A page that the guest can write is thus one that its devices can access, and a page
 * that was marked and then written stays both until the mark is cleared. An aborted
 * bracket needs no undo: KVM has dropped its SPTE too, and the guest comes back
 * through the gate.
 *
 * Locks: see vfio_unpinned_priv.h. Notifiers take lock only, and those for young pages
 * none: the aging of pages doesn't wait for a late pass. They run with KVM's mmu_lock
 * (the gate), or with mmap_lock, locks of the reverse map or locks of page tables held.
 */
#include <linux/delay.h>
#include <linux/ktime.h>
#include <linux/mmu_notifier.h>
#include <linux/sched/coredump.h>
#include "vfio_unpinned_priv.h"
#include "vfio_unpinned_trace.h"

/*
 * KVM maps one page of a chunk that has one word. Without PINNED, no bracket has
 * passed since the gate but VFIO's own: the page table still holds all of it, and
 * the word may say GATED. With PINNED, that is true of the one page only.
 */
static bool unp_must_split(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			   unsigned long word)
{
	lockdep_assert_held(&unp->lock);
	return (word & UNP_HUGE) && (word & UNP_PINNED) &&
	       !(word & UNP_GATED) &&
	       vfio_unpinned_covered(unp, vaddr, PAGE_SIZE);
}

/* Does a page of a chunk keep its leaf when the chunk's word is split? */
static bool unp_split_keeps(struct vfio_unpinned_mm *unp, unsigned long at,
			    unsigned long gated)
{
	lockdep_assert_held(&unp->lock);
	return vfio_unpinned_covered(unp, at, PAGE_SIZE) &&
	       (at == gated || vfio_unpinned_marked(unp, at, PAGE_SIZE));
}

/* A page that keeps it gets a late pin, unless KVM is about to map it. */
static void unp_split_pin(struct vfio_unpinned_mm *unp, unsigned long at,
			  unsigned long gated)
{
	enum vfio_unpinned_zap_reason reason;

	lockdep_assert_held(&unp->lock);
	if (at == gated)
		return;
	if (vfio_unpinned_late_pin(unp, at, &reason)) {
		vfio_unpinned_expect_release(unp);
		return;
	}
	vfio_unpinned_want_populate(unp);
	vfio_unpinned_event_lost(unp, at, PAGE_SIZE);
	vfio_unpinned_zap(unp, at, reason);
}

/*
 * KVM is about to map the page at @gated alone, in a chunk that has one word, PINNED
 * and not GATED. A bracket has passed, so KVM has an SPTE for none of the pages, and
 * their marks decide, as when a pin is released: a marked page keeps its leaf, with a
 * pin of its own. The gated one is held by the page table. The others, and what lies
 * outside of all mappings, have no leaf afterwards. Litmus: release-mark
 */
static void unp_split_chunk(struct vfio_unpinned_mm *unp, unsigned long gated)
{
	unsigned long start = unp_chunk_start(gated), run, at;
	struct page *page;

	lockdep_assert_held(&unp->lock);
	page = vfio_unpinned_split_word(unp, gated);
	for (run = at = start; at < start + UNP_CHUNK_SIZE; at += PAGE_SIZE) {
		if (!unp_split_keeps(unp, at, gated))
			continue;
		vfio_unpinned_zap_range(unp, run, at - run, UNP_ZAP_RELEASE);
		unp_split_pin(unp, at, gated);
		run = at + PAGE_SIZE;
	}
	vfio_unpinned_zap_range(unp, run, at - run, UNP_ZAP_RELEASE);
	vfio_unpinned_unpin(unp, page);
}

/* One page at the gate. KVM maps no more of it, so neither do we. */
static void unp_gate_page(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			  unsigned long pfn, bool writable)
{
	struct vfio_unpinned_chunk *chunk;
	unsigned long *word = vfio_unpinned_word(unp, vaddr, &chunk);
	bool same, ok;

	lockdep_assert_held(&unp->lock);
	if (!word)
		return;

	*word &= ~UNP_POPULATE;
	ok = vfio_unpinned_page_eligible(pfn);
	same = vfio_unpinned_has_pfn(unp, vaddr, UNP_PRESENT, pfn);
	if (ok && same && writable && unp_must_split(unp, vaddr, *word)) {
		unp_split_chunk(unp, vaddr);
		word = vfio_unpinned_word(unp, vaddr, NULL);
		same = *word & UNP_PRESENT;
	}
	if (ok && same) {
		if (writable)
			*word |= UNP_GATED;
		return;
	}
	/*
	 * The guest reads other memory here now than its devices write: let
	 * the devices fault instead.
	 */
	if ((*word & UNP_PRESENT) && (chunk->huge || !ok || !writable)) {
		unp->stats.orphan_zaps++;
		vfio_unpinned_zap(unp, vaddr, UNP_ZAP_ORPHAN);
	}
	if (ok && writable) {
		unp->stats.populates += vfio_unpinned_set(unp, vaddr, PAGE_SIZE,
							  pfn, UNP_GATED);
	} else if (writable) {
		unp->stats.refused_pages++;
		trace_unpinned_refuse(vaddr, pfn);
	}
}

/* Make a thread that is about to populate a page of the chunk start over. */
static void unp_end_populate(struct vfio_unpinned_mm *unp,
			     struct vfio_unpinned_chunk *chunk)
{
	unsigned long i;

	lockdep_assert_held(&unp->lock);
	for (i = 0; chunk->populate && i < UNP_CHUNK_WORDS; i++)
		chunk->leaf[i] &= ~UNP_POPULATE;
	chunk->populate = false;
}

/*
 * A chunk of a hugetlb page at the gate; @vaddr and @pfn are where the chunk
 * starts. Returns whether its leaves have to be set.
 */
static bool unp_gate_chunk(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			   unsigned long pfn, bool writable)
{
	struct vfio_unpinned_chunk *chunk;

	lockdep_assert_held(&unp->lock);
	if (!vfio_unpinned_word(unp, vaddr, &chunk))
		return false;
	unp_end_populate(unp, chunk);
	vfio_unpinned_zap_others(unp, vaddr, pfn);
	if (writable && chunk->huge)
		chunk->huge |= UNP_GATED;
	return writable && !chunk->huge;
}

/*
 * Can each mapping of the hugetlb page at @vaddr have one leaf for all of it, in
 * each domain? Setting such a leaf takes as long as setting those of its parts.
 */
static bool unp_single_leaf_possible(struct vfio_unpinned_mm *unp,
				     unsigned long vaddr, unsigned long size)
{
	unsigned long last = vaddr + size - 1, leaves = 0;
	struct vfio_unpinned_map *map;

	lockdep_assert_held(&unp->lock);
	for (map = unp_map_first(unp, vaddr, last); map;
	     map = unp_map_next(map, vaddr, last)) {
		struct vfio_unpinned_attach *a;

		if (map->node.start > vaddr || map->node.last < last ||
		    !IS_ALIGNED(map->iova + vaddr - map->node.start, size))
			return false;
		list_for_each_entry(a, &map->attaches, link) {
			if (!(a->to->domain->pgsize_bitmap & size) ||
			    ++leaves > UNP_MAX_GIGANTIC)
				return false;
		}
	}
	return true;
}

/*
 * How much of a hugetlb page can be done in one go, if KVM maps what is from
 * @vaddr up to @end: all of it where it can have one leaf, else a chunk, or 0 if
 * it is less or not hugetlb. KVM maps no more than the page table of the user
 * does in one entry, so brackets that change that entry are over all of it.
 */
static unsigned long unp_hugetlb_size(struct vfio_unpinned_mm *unp,
				      unsigned long vaddr, unsigned long end,
				      unsigned long pfn)
{
	struct folio *folio;
	unsigned long size;

	lockdep_assert_held(&unp->lock);
	if (!IS_ALIGNED(vaddr | PFN_PHYS(pfn), UNP_CHUNK_SIZE) ||
	    end - vaddr < UNP_CHUNK_SIZE || !vfio_unpinned_page_eligible(pfn))
		return 0;
	folio = page_folio(pfn_to_page(pfn));
	if (!folio_test_hugetlb(folio))
		return 0;
	size = folio_size(folio);
	if (IS_ALIGNED(vaddr | PFN_PHYS(pfn), size) && end - vaddr >= size &&
	    unp_single_leaf_possible(unp, vaddr, size))
		return size;
	return UNP_CHUNK_SIZE;
}

/* As much of [@vaddr, @end) as can be done in one go. Returns how much that is. */
static unsigned long unp_gate(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			      unsigned long end, unsigned long pfn,
			      bool writable)
{
	unsigned long size = unp_hugetlb_size(unp, vaddr, end, pfn), off;
	bool set = false;

	lockdep_assert_held(&unp->lock);
	if (!size) {
		unp_gate_page(unp, vaddr, pfn, writable);
		return PAGE_SIZE;
	}
	for (off = 0; off < size; off += UNP_CHUNK_SIZE)
		set |= unp_gate_chunk(unp, vaddr + off, pfn + PHYS_PFN(off),
				      writable);
	if (set)
		unp->stats.populates += vfio_unpinned_set(unp, vaddr, size, pfn,
						UNP_GATED | UNP_HUGE);
	return size;
}

/*
 * The gate. KVM holds mmu_lock and has found no bracket in progress over the
 * range, and a bracket that begins now has to wait for mmu_lock in KVM's
 * invalidate_range_start() before its late pass gets here.
 * Litmus: gate-late-pass, gate-device
 */
static void unp_change_pte(struct mmu_notifier *mn, struct mm_struct *mm,
			   unsigned long address, unsigned long pfn,
			   unsigned long nr_pages, bool writable)
{
	struct vfio_unpinned_mm *unp =
		container_of(mn, struct vfio_unpinned_mm, mn);
	unsigned long end = address + nr_pages * PAGE_SIZE;
	unsigned long size, done = 0;

	spin_lock(&unp->lock);
	unp->written = 0;
	for (; address < end && !unp->dead; address += size) {
		size = unp_gate(unp, address, end, pfn, writable);
		pfn += PHYS_PFN(size);
		done += size;
		if (done < UNP_BATCH_WORDS * PAGE_SIZE &&
		    unp->written < UNP_BATCH_LEAVES)
			continue;
		/* No bracket can pass meanwhile: it waits for KVM's mmu_lock. */
		done = 0;
		vfio_unpinned_yield(unp, false);
	}
	vfio_unpinned_commit(unp);
	spin_unlock(&unp->lock);
}

/* May a marked page stay in the late pass? @force says that no mark counts. */
static bool unp_keep_marked(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			    unsigned long word, bool force,
			    enum vfio_unpinned_zap_reason *reason)
{
	lockdep_assert_held(&unp->lock);
	unp->stats.marks_found++;
	if (force || vfio_unpinned_poisoned(unp_page(word))) {
		unp->stats.forced_zaps++;
		if (!force)
			vfio_unpinned_event_lost(unp, vaddr, unp_size(word));
		*reason = UNP_ZAP_FORCED;
		return false;
	}
	if (word & UNP_PINNED)
		return true;
	if (vfio_unpinned_late_pin(unp, vaddr, reason)) {
		vfio_unpinned_expect_release(unp);
		return true;
	}
	vfio_unpinned_want_populate(unp);
	vfio_unpinned_event_lost(unp, vaddr, unp_size(word));
	return false;
}

/* A bracket in the late pass; @force says that no mark counts. */
struct unp_bracket {
	unsigned long start;
	unsigned long last;
	bool force;
};

/*
 * A bracket over a part of a hugetlb page changes nothing in the page table of
 * the user, and KVM may have SPTEs of the rest.
 */
static bool unp_in_part(const struct unp_bracket *bracket, unsigned long vaddr,
			unsigned long word)
{
	return vaddr < bracket->start - offset_in_page(bracket->start) ||
	       vaddr + unp_size(word) - 1 > (bracket->last | ~PAGE_MASK);
}

/* The word of a hugetlb page's chunk in the late pass */
static void unp_late_huge(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			  unsigned long *word,
			  const struct unp_bracket *bracket)
{
	enum vfio_unpinned_zap_reason reason = UNP_ZAP_UNMARKED;

	lockdep_assert_held(&unp->lock);
	if (unp_in_part(bracket, vaddr, *word))
		return;
	if (vfio_unpinned_marked(unp, vaddr, UNP_CHUNK_SIZE) &&
	    unp_keep_marked(unp, vaddr, *word, bracket->force, &reason))
		*word &= ~UNP_GATED;
	else
		vfio_unpinned_zap(unp, vaddr, reason);
}

/* A part of a chunk in which some pages are marked: zap the runs between them. */
static void unp_late_pages(struct vfio_unpinned_mm *unp,
			   struct vfio_unpinned_chunk *chunk,
			   unsigned long vaddr, unsigned long last)
{
	unsigned long run = vaddr, *word;
	enum vfio_unpinned_zap_reason reason;

	lockdep_assert_held(&unp->lock);
	word = &chunk->leaf[PHYS_PFN(vaddr) % UNP_CHUNK_WORDS];
	for (; chunk->leaves && vaddr < last; vaddr += PAGE_SIZE, word++) {
		if (!(*word & UNP_PRESENT) ||
		    !vfio_unpinned_marked(unp, vaddr, PAGE_SIZE))
			continue;
		vfio_unpinned_zap_range(unp, run, vaddr - run, UNP_ZAP_UNMARKED);
		run = vaddr + PAGE_SIZE;
		if (unp_keep_marked(unp, vaddr, *word, false, &reason))
			*word &= ~UNP_GATED;
		else
			vfio_unpinned_zap(unp, vaddr, reason);
	}
	vfio_unpinned_zap_range(unp, run, last - run + 1, UNP_ZAP_UNMARKED);
}

/* A part of a chunk in the late pass; @arg: the struct unp_bracket. */
static void unp_late_chunk(struct vfio_unpinned_mm *unp,
			   struct vfio_unpinned_chunk *chunk,
			   unsigned long vaddr, unsigned long last, void *arg)
{
	const struct unp_bracket *bracket = arg;
	unsigned long size = last - vaddr + 1;

	lockdep_assert_held(&unp->lock);
	if (chunk->huge) {
		unp_late_huge(unp, unp_chunk_start(vaddr), &chunk->huge,
			      bracket);
	} else if (bracket->force) {
		unsigned long marked = vfio_unpinned_count_marked(unp, vaddr,
								  size);

		unp->stats.marks_found += marked;
		unp->stats.forced_zaps += marked;
		vfio_unpinned_zap_range(unp, vaddr, size, UNP_ZAP_FORCED);
	} else if (!vfio_unpinned_marked(unp, vaddr, size)) {
		vfio_unpinned_zap_range(unp, vaddr, size, UNP_ZAP_UNMARKED);
	} else {
		unp_late_pages(unp, chunk, vaddr, last);
	}
}

/* A late pass that began at @began is over. */
static void unp_count_late_pass(struct vfio_unpinned_mm *unp, u64 began)
{
	struct vfio_unpinned_times *times = &unp->times;
	u64 ns;

	if (!began)
		return;
	ns = ktime_get_ns() - began;
	spin_lock(&unp->lock);
	times->late_pass[min_t(int, fls64(ns), UNP_TIME_BUCKETS - 1)]++;
	times->late_pass_max = max(times->late_pass_max, ns);
	spin_unlock(&unp->lock);
}

/* A part of a chunk in a bracket that VFIO has issued; @arg: as above. */
static void unp_ungate_chunk(struct vfio_unpinned_mm *unp,
			     struct vfio_unpinned_chunk *chunk,
			     unsigned long vaddr, unsigned long last, void *arg)
{
	unsigned long *word = &chunk->leaf[PHYS_PFN(vaddr) % UNP_CHUNK_WORDS];

	lockdep_assert_held(&unp->lock);
	if (chunk->huge) {
		if (!unp_in_part(arg, unp_chunk_start(vaddr), chunk->huge))
			chunk->huge &= ~UNP_GATED;
		return;
	}
	for (; vaddr <= last; vaddr += PAGE_SIZE, word++)
		*word &= ~UNP_GATED;
}

static void unp_late_pass(struct vfio_unpinned_mm *unp,
			  const struct mmu_notifier_range *range)
{
	bool own = range->owner == unp;
	struct unp_bracket bracket = {
		.start = range->start,
		.last = range->end - 1,
		.force = mm_flags_test(MMF_UNSTABLE, unp->mn.mm),
	};
	u64 began = unp_begin(unp);

	if (range->start >= range->end)
		return;
	/*
	 * Order KVM's zap and flush before the reading of the marks. Pairs with
	 * the barrier of the guest between mark and touch: either the mark is
	 * seen here, or the touch faults and comes back through the gate.
	 * Litmus: zap-test, touch-flush
	 */
	smp_mb();
	vfio_unpinned_walk_chunks(unp, bracket.start, bracket.last,
				  mmu_notifier_range_blockable(range),
				  own ? unp_ungate_chunk : unp_late_chunk,
				  &bracket);
	unp_count_late_pass(unp, began);
}

/* A test makes the guest mark and touch here. */
static void unp_rendezvous(const struct mmu_notifier_range *range)
{
	if (vfio_unpinned_pause_ms && mmu_notifier_range_blockable(range))
		msleep(vfio_unpinned_pause_ms);
}

static void unp_invalidate_start_late(struct mmu_notifier *mn,
				      const struct mmu_notifier_range *range)
{
	struct vfio_unpinned_mm *unp =
		container_of(mn, struct vfio_unpinned_mm, mn);

	if (vfio_unpinned_break_late)
		return;
	unp_rendezvous(range);
	unp_late_pass(unp, range);
}

#ifdef CONFIG_VFIO_UNPINNED_TEST
/* VFIO comes before KVM in the list: show what goes wrong without a late pass. */
static int unp_invalidate_start_broken(struct mmu_notifier *mn,
				       const struct mmu_notifier_range *range)
{
	struct vfio_unpinned_mm *unp =
		container_of(mn, struct vfio_unpinned_mm, mn);

	if (vfio_unpinned_break_late) {
		unp_late_pass(unp, range);
		unp_rendezvous(range);
	}
	return 0;
}
#endif

/* The address space goes: no mark counts, and no leaf is set from here on. */
static void unp_release(struct mmu_notifier *mn, struct mm_struct *mm)
{
	struct vfio_unpinned_mm *unp =
		container_of(mn, struct vfio_unpinned_mm, mn);
	struct unp_bracket all = { .last = ULONG_MAX, .force = true };

	spin_lock(&unp->lock);
	unp->dead = true;
	spin_unlock(&unp->lock);
	vfio_unpinned_walk_chunks(unp, all.start, all.last, true,
				  unp_late_chunk, &all);
}

/* Reclaim can't take a late-pinned page, so spare it the attempt. */
static bool unp_test_young(struct mmu_notifier *mn, struct mm_struct *mm,
			   unsigned long address)
{
	struct vfio_unpinned_mm *unp =
		container_of(mn, struct vfio_unpinned_mm, mn);

	return vfio_unpinned_peek_pinned(unp, address);
}

static bool unp_clear_young(struct mmu_notifier *mn, struct mm_struct *mm,
			    unsigned long start, unsigned long end)
{
	struct vfio_unpinned_mm *unp =
		container_of(mn, struct vfio_unpinned_mm, mn);

	for (; start < end; start += PAGE_SIZE) {
		if (vfio_unpinned_peek_pinned(unp, start))
			return true;
	}
	return false;
}

/* What a vfio_unpinned_mm does with the events of its address space */
const struct mmu_notifier_ops vfio_unpinned_mn_ops = {
	.release			= unp_release,
	.change_pte			= unp_change_pte,
	.clear_flush_young		= unp_clear_young,
	.clear_young			= unp_clear_young,
	.test_young			= unp_test_young,
	.invalidate_range_start_late	= unp_invalidate_start_late,
#ifdef CONFIG_VFIO_UNPINNED_TEST
	.invalidate_range_start		= unp_invalidate_start_broken,
#endif
};
