// SPDX-License-Identifier: GPL-2.0-only
/*
 * VFIO: late pins of unpinned DMA mappings come and go
 *
 * Nothing happens on the host when the guest marks a page, until a bracket is about
 * to take the page away. Then the late pass takes a FOLL_PIN reference instead of the
 * leaf, and reclaim, migration and the like back off by their own checks for pinned
 * pages. The pin is released after the guest has cleared the mark:
 *
 *   - in the next bracket over the page;
 *   - by the worker, once a second while pins are held, and soon when there are
 *     more than the guest may have marks;
 *   - by the shrinker, under pressure;
 *   - by the late pass, where a bound is in the way of a new pin.
 *
 * All but the first follow the gated rule. GATED: the gate has validated the
 * frame and no bracket has passed since, so the page table of the user still
 * holds it, KVM may map it, and the next bracket will see it: unpin and keep
 * the leaf. Not GATED: a bracket has passed, the page table may have moved on
 * and KVM has no SPTE: zap, flush and unpin. Keeping an ungated leaf would free
 * a frame under it, zapping a gated one would break the guest's next touch.
 *
 * A new pin must fit in the limit and in the budget, see vfio_unpinned_pins.c. If it
 * does not, pins without a mark are released first, some at a time.
 *
 * Locks: see vfio_unpinned_priv.h.
 */
#include <linux/mm.h>
#include "vfio_unpinned_priv.h"
#include "vfio_unpinned_trace.h"

/* How many steps of release there are for one page that is over the budget. */
#define UNP_BUDGET_STEPS	8

/* The gated rule, for a PINNED page whose mark is clear. Litmus: release-mark */
static void unp_release_page(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			     unsigned long *word)
{
	struct page *page = unp_page(*word);

	lockdep_assert_held(&unp->lock);
	unp->stats.released++;
	if (!(*word & UNP_GATED)) {
		vfio_unpinned_zap(unp, vaddr, UNP_ZAP_RELEASE);
		return;
	}
	folio_mark_dirty(page_folio(page));
	vfio_unpinned_drop_pin(unp, vaddr);
	trace_unpinned_release(vaddr, *word);
	unpin_user_page(page);
}

/**
 * vfio_unpinned_release_chunk - Release the late pins of a chunk without a mark
 * @unp: the address space
 * @chunk: the chunk
 *
 * All is flushed upon return.
 *
 * Context: Any context, with @unp->lock held.
 * Return: how many were released.
 */
unsigned long vfio_unpinned_release_chunk(struct vfio_unpinned_mm *unp,
					  struct vfio_unpinned_chunk *chunk)
{
	unsigned long vaddr = chunk->index << UNP_CHUNK_SHIFT, i, released = 0;
	unsigned long *word = chunk->huge ? &chunk->huge : chunk->leaf;

	lockdep_assert_held(&unp->lock);
	/* Fast path: every page is still marked, nothing to release. */
	if (!chunk->pins || vfio_unpinned_chunk_marked(unp, vaddr))
		return 0;
	for (i = 0; i < UNP_CHUNK_WORDS && chunk->pins;
	     i++, word++, vaddr += PAGE_SIZE) {
		bool huge = *word & UNP_HUGE;

		if ((*word & UNP_PINNED) &&
		    !vfio_unpinned_marked(unp, vaddr, unp_size(*word))) {
			unp_release_page(unp, vaddr, word);
			released++;
		}
		if (huge)
			break;
	}
	vfio_unpinned_commit(unp);
	return released;
}

/**
 * vfio_unpinned_release_unmarked - Release the late pins whose mark is clear
 * @unp: the address space
 *
 * Marks that are set meanwhile are safe: without GATED the touch faults and waits for
 * the lock in the gate, with GATED the leaf stays.
 *
 * Context: Process context, may sleep.
 */
void vfio_unpinned_release_unmarked(struct vfio_unpinned_mm *unp)
{
	struct vfio_unpinned_chunk *chunk;
	unsigned long index = 0;

	spin_lock(&unp->lock);
	while ((chunk = xa_find(&unp->chunks, &index, ULONG_MAX,
				UNP_MARK_PINS))) {
		unp->stats.worker_scans++;
		vfio_unpinned_release_chunk(unp, chunk);
		index++;
		/* Brackets and the gate wait for no more than a chunk. */
		spin_unlock(&unp->lock);
		cond_resched();
		spin_lock(&unp->lock);
	}
	spin_unlock(&unp->lock);
}

/**
 * vfio_unpinned_restart_release - Begin a new round, since other marks count now
 * @unp: the address space
 *
 * Context: Any context, with @unp->lock held.
 */
void vfio_unpinned_restart_release(struct vfio_unpinned_mm *unp)
{
	lockdep_assert_held(&unp->lock);
	unp->release_index = 0;
	unp->release_found = false;
	unp->release_began = jiffies;
	unp->release_rest = jiffies;
}

/*
 * The late pass has been through all chunks with pins. If that took less than a second
 * and there was nothing to release, the guest is over its limit: don't search again
 * for each of its pages.
 */
static void unp_end_round(struct vfio_unpinned_mm *unp)
{
	bool rest = !unp->release_found &&
		    time_before(jiffies, unp->release_began + HZ);

	lockdep_assert_held(&unp->lock);
	vfio_unpinned_restart_release(unp);
	if (rest)
		unp->release_rest = jiffies + HZ;
}

/*
 * Release the unmarked late pins of the next few chunks, round robin. Returns false if
 * it is pointless to ask again for now.
 */
static bool unp_release_step(struct vfio_unpinned_mm *unp)
{
	struct vfio_unpinned_chunk *chunk;
	unsigned int n, words = 0;

	lockdep_assert_held(&unp->lock);
	if (!unp->bitmap->marks_enabled || vfio_unpinned_break_release ||
	    time_before(jiffies, unp->release_rest))
		return false;
	for (n = 0; n < UNP_STEP_CHUNKS && words < UNP_CHUNK_WORDS; n++) {
		chunk = xa_find(&unp->chunks, &unp->release_index, ULONG_MAX,
				UNP_MARK_PINS);
		if (!chunk) {
			unp_end_round(unp);
			return true;
		}
		words += chunk->pins;
		unp->release_found |= vfio_unpinned_release_chunk(unp, chunk);
		unp->release_index++;
	}
	return true;
}

/*
 * Make room for a late pin on @page. Returns what it adds to what is held; *@reason
 * is why there is no room, if it is not UNP_ZAP_UNMARKED.
 */
static unsigned long unp_make_room(struct vfio_unpinned_mm *unp,
				   unsigned long vaddr, struct page *page,
				   enum vfio_unpinned_zap_reason *reason)
{
	const struct vfio_unpinned_bitmap *bm = unp->bitmap;
	unsigned int steps = UNP_BUDGET_STEPS;
	unsigned long cost;

	lockdep_assert_held(&unp->lock);
	if (unp->stats.late_pins >= vfio_unpinned_high_pins(bm))
		unp_release_step(unp);
	cost = vfio_unpinned_pin_cost(unp, vaddr, page);
	while (vfio_unpinned_over_budget(unp, cost) && steps-- && unp_release_step(unp))
		cost = vfio_unpinned_pin_cost(unp, vaddr, page);

	*reason = UNP_ZAP_UNMARKED;
	if (vfio_unpinned_break_pin || unp->stats.late_pins >= 2 * bm->limit)
		*reason = UNP_ZAP_LIMIT;
	else if (vfio_unpinned_over_budget(unp, cost))
		*reason = UNP_ZAP_BUDGET;
	return cost;
}

/**
 * vfio_unpinned_account_pin - Account a pin, unless a bound is in the way
 * @unp: the address space, with a bitmap
 * @vaddr: user address of the page, which is not PINNED yet
 * @page: where the pin was just taken
 * @reason: receives why not
 *
 * Releases late pins without a mark first, where that helps.
 *
 * Context: Any context, with @unp->lock held.
 * Return: false if the caller has to drop the pin.
 */
bool vfio_unpinned_account_pin(struct vfio_unpinned_mm *unp,
			       unsigned long vaddr, struct page *page,
			       enum vfio_unpinned_zap_reason *reason)
{
	unsigned long cost;

	lockdep_assert_held(&unp->lock);
	*reason = UNP_ZAP_NOT_PINNED;
	if (!vfio_unpinned_can_count(unp, page_folio(page)))
		return false;
	cost = unp_make_room(unp, vaddr, page, reason);
	if (*reason != UNP_ZAP_UNMARKED) {
		trace_unpinned_limit(vaddr, cost, &unp->stats, unp->bitmap);
		return false;
	}
	vfio_unpinned_count_pin(unp, vaddr, page, cost);
	return true;
}

/**
 * vfio_unpinned_late_pin - Hold a marked page instead of zapping its leaf
 * @unp: the address space
 * @vaddr: user address of a page that has a leaf and no pin
 * @reason: receives why the leaf has to go, and it is counted
 *
 * Litmus: pin-bracket
 *
 * Context: Late pass, with @unp->lock held.
 * Return: false if the limit or the budget is reached or the page can't be pinned.
 */
bool vfio_unpinned_late_pin(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			    enum vfio_unpinned_zap_reason *reason)
{
	unsigned long *word = vfio_unpinned_word(unp, vaddr, NULL);
	struct page *page = unp_page(*word);

	lockdep_assert_held(&unp->lock);
	*reason = UNP_ZAP_NOT_PINNED;
	if (folio_pin_mapped(unp->mn.mm, page)) {
		if (vfio_unpinned_account_pin(unp, vaddr, page, reason)) {
			*word |= UNP_PINNED;
			trace_unpinned_late_pin(vaddr, *word);
			return true;
		}
		unpin_user_page(page);
	}
	if (*reason == UNP_ZAP_LIMIT)
		unp->stats.over_limit_zaps++;
	else if (*reason == UNP_ZAP_BUDGET)
		unp->stats.over_budget_zaps++;
	else
		unp->stats.failed_pin_zaps++;
	return false;
}
