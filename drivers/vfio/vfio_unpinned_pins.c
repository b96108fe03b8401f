// SPDX-License-Identifier: GPL-2.0-only
/*
 * VFIO: what late pins of unpinned DMA mappings cost
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
 * Nothing here takes a reference or drops one, it is accounting.
 *
 * Locks: see vfio_unpinned_priv.h.
 */
#include <linux/list_lru.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/nodemask.h>
#include "vfio_unpinned_priv.h"

/* The counter of a folio that is too large to be searched for pins, or NULL */
static unsigned int *unp_folio_pins(struct vfio_unpinned_mm *unp,
				    struct folio *folio)
{
	unsigned long nr = folio_pfn(folio) >> (PUD_SHIFT - PAGE_SHIFT);

	lockdep_assert_held(&unp->lock);
	return folio_size(folio) < PUD_SIZE ? NULL : &unp->folio_pins[nr];
}

/**
 * vfio_unpinned_can_count - Can pins on this folio be counted?
 * @unp: the address space
 * @folio: the folio
 *
 * Context: Any context.
 * Return: false for memory that was added after the counters were made.
 */
bool vfio_unpinned_can_count(struct vfio_unpinned_mm *unp, struct folio *folio)
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
 * nearest pages come first: pages that are pinned or released in order find their
 * neighbour at once, and don't search the whole folio each time.
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

/**
 * vfio_unpinned_pin_cost - What does a pin on a page add to what is held?
 * @unp: the address space
 * @vaddr: user address of the page, which is not PINNED itself
 * @page: the page; its folio is pinned, so it is stable
 *
 * Looks at two chunks, or what few more a folio below PUD_SIZE has.
 *
 * Context: Any context, with @unp->lock held.
 * Return: The number of pages; 0 if another page of the folio is PINNED.
 */
unsigned long vfio_unpinned_pin_cost(struct vfio_unpinned_mm *unp,
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

/**
 * vfio_unpinned_high_pins - How many pins can be held before a new one releases others?
 * @bm: the bitmap
 *
 * From then on each new pin releases unmarked ones first, in steps. A round of steps
 * ends before the bound is reached: it has one step for each UNP_STEP_CHUNKS chunks,
 * and one for each UNP_CHUNK_WORDS pins. At its end, no more pins are left than the
 * guest has marks.
 *
 * Context: Any context.
 * Return: The number.
 */
unsigned long vfio_unpinned_high_pins(const struct vfio_unpinned_bitmap *bm)
{
	unsigned long most = 2 * bm->limit, steps = most / 32 + 2;

	return most - min(most, steps);
}

/**
 * vfio_unpinned_over_budget - Would more pages be over the budget?
 * @unp: the address space, with a bitmap
 * @cost: how many are to be held besides
 *
 * Context: Any context, with @unp->lock held.
 * Return: true if they would.
 */
bool vfio_unpinned_over_budget(struct vfio_unpinned_mm *unp, unsigned long cost)
{
	lockdep_assert_held(&unp->lock);
	return unp->bitmap->budget &&
	       unp->stats.held + cost > unp->bitmap->budget;
}

/**
 * vfio_unpinned_count_pin - Account a new late pin
 * @unp: the address space
 * @vaddr: user address of the page, which is about to become PINNED
 * @page: the page
 * @cost: what vfio_unpinned_pin_cost() says
 *
 * Context: Any context, with @unp->lock held.
 */
void vfio_unpinned_count_pin(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			     struct page *page, unsigned long cost)
{
	struct vfio_unpinned_stats *stats = &unp->stats;
	struct vfio_unpinned_chunk *chunk;

	lockdep_assert_held(&unp->lock);
	vfio_unpinned_word(unp, vaddr, &chunk);
	vfio_unpinned_add_pins(unp, chunk, page, 1);
	stats->pin_events++;
	stats->late_pins_peak = max(stats->late_pins_peak, stats->late_pins);
	stats->held += cost;
	stats->held_peak = max(stats->held_peak, stats->held);
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
	unp->stats.held -= vfio_unpinned_pin_cost(unp, vaddr, page);
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
