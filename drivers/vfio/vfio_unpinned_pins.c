// SPDX-License-Identifier: GPL-2.0-only
/*
 * VFIO: late pins of unpinned DMA mappings
 *
 * The guest sets a bit in the pin bitmap for each page that a device may
 * access now. Nothing happens on the host until a bracket is about to take
 * such a page away: then the late pass takes a FOLL_PIN reference instead of
 * the leaf, and reclaim, migration and the like back off by their own checks
 * for pinned pages. The pin goes when the guest has cleared the bit:
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
 * and KVM has no SPTE: zap, flush and unpin. To keep an ungated leaf would free
 * a frame under it, to zap a gated one would break the guest's next touch.
 *
 * Two bounds. The limit is how many pages the guest may have marked. It counts
 * PINNED words, since that is what a guest can count, and is doubled, since a
 * pin outlives its mark: of 2 * limit pins of a guest within its limit, more
 * than half have no mark, and those are released before a mark is refused. The
 * budget is what pins may hold, in whole folios, since a pin on one page holds
 * all of its folio. It is for guests that spread their marks on purpose.
 *
 * A folio is counted while at least one of its pages is PINNED; neighbours are
 * found by their words, as pages of one folio lie side by side in the user's
 * address space. Where they do not, the folio counts more than once. Folios of
 * PUD_SIZE and more have a counter each.
 *
 * Locks: see vfio_unpinned_priv.h.
 */
#include <linux/list_lru.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/nodemask.h>
#include <linux/slab.h>
#include "vfio_unpinned_priv.h"
#include "vfio_unpinned_trace.h"

/* How many chunks the late pass looks at to release pins, before each new one. */
#define UNP_STEP_CHUNKS		64
/* How many times it does so for one page, where the budget is in the way. */
#define UNP_BUDGET_STEPS	8
/* In vfio_unpinned_mm.chunks: the chunk has PINNED words. */
#define UNP_MARK_PINS		XA_MARK_0

/* The counter of a folio that is too large to look for its pins; or NULL. */
static unsigned int *unp_folio_pins(struct vfio_unpinned_mm *unp,
				    struct folio *folio)
{
	unsigned long nr = folio_pfn(folio) >> (PUD_SHIFT - PAGE_SHIFT);

	lockdep_assert_held(&unp->lock);
	return folio_size(folio) < PUD_SIZE ? NULL : &unp->folio_pins[nr];
}

/* Memory may have been added since the counters were made. */
static bool unp_has_counter(struct vfio_unpinned_mm *unp, struct folio *folio)
{
	return folio_size(folio) < PUD_SIZE ||
	       folio_pfn(folio) >> (PUD_SHIFT - PAGE_SHIFT) <
	       unp->nr_folio_pins;
}

/**
 * vfio_unpinned_add_pins - Words of a chunk become PINNED, or cease to be
 * @unp: the address space
 * @chunk: the chunk
 * @page: what they are for, all of one folio
 * @nr: how many; negative if they cease to be
 *
 * Context: Any context, with @unp->lock held.
 */
void vfio_unpinned_add_pins(struct vfio_unpinned_mm *unp,
			    struct vfio_unpinned_chunk *chunk,
			    struct page *page, int nr)
{
	unsigned int *folio_pins = unp_folio_pins(unp, page_folio(page));
	bool had = chunk->pins;

	lockdep_assert_held(&unp->lock);
	chunk->pins += nr;
	unp->stats.late_pins += nr;
	if (folio_pins)
		*folio_pins += nr;
	if (had == !!chunk->pins)
		return;
	if (had) {
		xa_clear_mark(&unp->chunks, chunk->index, UNP_MARK_PINS);
		list_lru_del_obj(&vfio_unpinned_lru, &chunk->lru);
	} else {
		xa_set_mark(&unp->chunks, chunk->index, UNP_MARK_PINS);
		list_lru_add_obj(&vfio_unpinned_lru, &chunk->lru);
	}
}

/* Is a page of the folio PINNED in the chunk that @vaddr is in? */
static bool unp_pinned_in_chunk(struct vfio_unpinned_mm *unp,
				unsigned long vaddr, unsigned long last,
				unsigned long pfn)
{
	struct vfio_unpinned_chunk *chunk;

	lockdep_assert_held(&unp->lock);
	if (!vfio_unpinned_word(unp, vaddr, &chunk) || !chunk->pins)
		return false;
	last = min(last, vaddr | (UNP_CHUNK_SIZE - 1));
	for (; vaddr <= last; vaddr += PAGE_SIZE, pfn++) {
		if (vfio_unpinned_has_pfn(unp, vaddr, UNP_PINNED, pfn))
			return true;
	}
	return false;
}

/*
 * The same for the chunk that the page itself is in, between @start and @last. The
 * nearest pages come first: who pins or releases one after the other finds the one
 * before or behind it, and does not look at all of them each time.
 */
static bool unp_pinned_nearby(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			      unsigned long start, unsigned long last,
			      unsigned long pfn)
{
	unsigned long before = vaddr - max(start, unp_chunk_start(vaddr));
	unsigned long behind = min(last, vaddr | (UNP_CHUNK_SIZE - 1)) - vaddr;
	struct vfio_unpinned_chunk *chunk;
	unsigned long off;

	lockdep_assert_held(&unp->lock);
	vfio_unpinned_word(unp, vaddr, &chunk);
	if (!chunk->pins)
		return false;
	for (off = PAGE_SIZE; off <= max(before, behind); off += PAGE_SIZE) {
		unsigned long pages = PHYS_PFN(off);

		if ((off <= before &&
		     vfio_unpinned_has_pfn(unp, vaddr - off, UNP_PINNED,
					   pfn - pages)) ||
		    (off <= behind &&
		     vfio_unpinned_has_pfn(unp, vaddr + off, UNP_PINNED,
					   pfn + pages)))
			return true;
	}
	return false;
}

/*
 * What a pin on @page, at @vaddr and not PINNED itself, adds to what is held: 0 if
 * another page of the folio is PINNED. The folio is pinned, so it is stable. Looks
 * at two chunks, or what few more a folio below PUD_SIZE has.
 */
static unsigned long unp_pin_cost(struct vfio_unpinned_mm *unp,
				  unsigned long vaddr, struct page *page)
{
	struct folio *folio = page_folio(page);
	unsigned long start = vaddr - PFN_PHYS(folio_page_idx(folio, page));
	unsigned long last = start + folio_size(folio) - 1, at;
	unsigned int *folio_pins = unp_folio_pins(unp, folio);

	lockdep_assert_held(&unp->lock);
	if (folio_pins)
		return *folio_pins ? 0 : folio_nr_pages(folio);
	if (unp_pinned_nearby(unp, vaddr, start, last, page_to_pfn(page)))
		return 0;
	for (at = start; at <= last; at = unp_chunk_start(at) + UNP_CHUNK_SIZE) {
		if (unp_pinned_in_chunk(unp, at, last,
					folio_pfn(folio) + PHYS_PFN(at - start)))
			return 0;
	}
	return folio_nr_pages(folio);
}

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
	/* Large buffers: one look for all pages, where nothing is to be done. */
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
 * A mark that is set right now does no harm: without GATED its touch faults and
 * waits for the lock in the gate, with GATED the leaf stays.
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
 * vfio_unpinned_restart_release - Other marks count from here on
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
 * The late pass has been round. If that was at one go and there was nothing to
 * release, the guest is over its limit: do not look again for each of its pages.
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
 * Release the late pins of some chunks whose mark is clear, going round. Returns
 * false if it is of no use to ask again now.
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
 * From how many pins on there is a step before each new one. A round of steps is
 * over before the bound is reached: it has a step for each UNP_STEP_CHUNKS chunks
 * and for each UNP_CHUNK_WORDS pins. At its end, no more pins are left than the
 * guest has marks.
 */
static unsigned long unp_high_pins(const struct vfio_unpinned_bitmap *bm)
{
	unsigned long most = 2 * bm->limit, steps = most / 32 + 2;

	return most - min(most, steps);
}

static bool unp_over_budget(struct vfio_unpinned_mm *unp, unsigned long cost)
{
	return unp->bitmap->budget &&
	       unp->stats.held + cost > unp->bitmap->budget;
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
	if (unp->stats.late_pins >= unp_high_pins(bm))
		unp_release_step(unp);
	cost = unp_pin_cost(unp, vaddr, page);
	while (unp_over_budget(unp, cost) && steps-- && unp_release_step(unp))
		cost = unp_pin_cost(unp, vaddr, page);

	*reason = UNP_ZAP_UNMARKED;
	if (vfio_unpinned_break_pin || unp->stats.late_pins >= 2 * bm->limit)
		*reason = UNP_ZAP_LIMIT;
	else if (unp_over_budget(unp, cost))
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
	const struct vfio_unpinned_bitmap *bm = unp->bitmap;
	struct vfio_unpinned_stats *stats = &unp->stats;
	struct vfio_unpinned_chunk *chunk;
	unsigned long cost;

	lockdep_assert_held(&unp->lock);
	*reason = UNP_ZAP_NOT_PINNED;
	if (!unp_has_counter(unp, page_folio(page)))
		return false;
	cost = unp_make_room(unp, vaddr, page, reason);
	if (*reason != UNP_ZAP_UNMARKED) {
		trace_unpinned_limit(vaddr, cost, stats, bm);
		return false;
	}
	vfio_unpinned_word(unp, vaddr, &chunk);
	vfio_unpinned_add_pins(unp, chunk, page, 1);
	stats->pin_events++;
	stats->late_pins_peak = max(stats->late_pins_peak, stats->late_pins);
	stats->held += cost;
	stats->held_peak = max(stats->held_peak, stats->held);
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

/**
 * vfio_unpinned_drop_pin - Account the end of a late pin
 * @unp: the address space
 * @vaddr: user address of a PINNED page, which is not PINNED upon return
 *
 * The caller drops the reference later.
 *
 * Context: Any context, with @unp->lock held.
 */
void vfio_unpinned_drop_pin(struct vfio_unpinned_mm *unp, unsigned long vaddr)
{
	struct vfio_unpinned_chunk *chunk;
	unsigned long *word = vfio_unpinned_word(unp, vaddr, &chunk);
	struct page *page = unp_page(*word);

	lockdep_assert_held(&unp->lock);
	*word &= ~UNP_PINNED;
	vfio_unpinned_add_pins(unp, chunk, page, -1);
	unp->stats.held -= unp_pin_cost(unp, vaddr, page);
}

/**
 * vfio_unpinned_pins_init - Prepare what counts late pins
 * @unp: the address space, not yet subscribed
 *
 * Context: Process context, may sleep.
 * Return: 0 or -ENOMEM.
 */
int vfio_unpinned_pins_init(struct vfio_unpinned_mm *unp)
{
	int nid;

	for_each_online_node(nid)
		unp->nr_folio_pins = max(unp->nr_folio_pins,
					 DIV_ROUND_UP(node_end_pfn(nid),
						      PHYS_PFN(PUD_SIZE)));
	unp->folio_pins = kvcalloc(unp->nr_folio_pins,
				   sizeof(*unp->folio_pins),
				   GFP_KERNEL_ACCOUNT);
	if (!unp->folio_pins)
		return -ENOMEM;
	return 0;
}

/**
 * vfio_unpinned_pins_exit - Undo vfio_unpinned_pins_init()
 * @unp: the address space, without mappings and registration
 *
 * Context: Process context, may sleep.
 */
void vfio_unpinned_pins_exit(struct vfio_unpinned_mm *unp)
{
	kvfree(unp->folio_pins);
}
