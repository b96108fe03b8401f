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
 *   - by the worker, once a second while pins are held;
 *   - by the shrinker, under pressure.
 *
 * The latter two follow the gated rule. GATED: the gate has validated the
 * frame and no bracket has passed since, so the page table of the user still
 * holds it, KVM may map it, and the next bracket will see it: unpin and keep
 * the leaf. Not GATED: a bracket has passed, the page table may have moved on
 * and KVM has no SPTE: zap, flush and unpin. To keep an ungated leaf would free
 * a frame under it, to zap a gated one would break the guest's next touch.
 *
 * The limit counts whole folios, since a pin on one page holds all of it. A
 * folio is counted while at least one of its pages is PINNED; neighbours are
 * found by their words, as pages of one folio lie side by side in the user's
 * address space. Where they do not, the folio counts more than once.
 *
 * Locks: see vfio_iommu_type1_unpinned.c.
 */
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/shrinker.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vfio.h>
#include <linux/vmalloc.h>
#include "vfio_unpinned.h"
#include "vfio_unpinned_trace.h"

/* How often late pins are looked at while some are held. */
#define UNP_WORK_INTERVAL	HZ
/* What a fault may charge: the page and the tables that lead to it. */
#define UNP_FAULT_PAGES		4

#define UNP_BITMAP_MAX_PAGES	((u64)INT_MAX)

/* Is one of the pages of the range marked? */
static bool unp_bits(const struct vfio_unpinned_bitmap *bm, dma_addr_t iova,
		     unsigned long size)
{
	unsigned long nr = iova >> PAGE_SHIFT, end = nr + (size >> PAGE_SHIFT);

	if (end <= bm->first)
		return false;
	nr = max(nr, bm->first) - bm->first;
	end = min(end - bm->first, bm->npages);
	return find_next_bit_le(bm->bits, end, nr) < end;
}

/* Is each page of the range marked? */
static bool unp_all_bits(const struct vfio_unpinned_bitmap *bm, dma_addr_t iova,
			 unsigned long size)
{
	unsigned long nr = iova >> PAGE_SHIFT, end = nr + (size >> PAGE_SHIFT);

	if (nr < bm->first || end - bm->first > bm->npages)
		return false;
	nr -= bm->first;
	end -= bm->first;
	return find_next_zero_bit_le(bm->bits, end, nr) == end;
}

/**
 * vfio_unpinned_marked - Does a device access this memory now?
 * @unp: the address space
 * @vaddr: user address, with or without a leaf
 * @size: bytes, of one page or of a chunk
 *
 * Until the guest maintains its marks, every page counts as marked.
 *
 * Context: Any context, with @unp->lock held.
 * Return: true if a page is marked at one of the IOVAs where it is mapped.
 */
bool vfio_unpinned_marked(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			  unsigned long size)
{
	const struct vfio_unpinned_bitmap *bm = unp->bitmap;
	unsigned long last = vaddr + size - 1;
	struct vfio_unpinned_map *map;

	lockdep_assert_held(&unp->lock);
	if (!bm)
		return false;
	if (!bm->marks_enabled)
		return true;
	for (map = unp_map_first(unp, vaddr, last); map;
	     map = unp_map_next(map, vaddr, last)) {
		unsigned long from = max(vaddr, map->node.start);

		if (unp_bits(bm, map->iova + from - map->node.start,
			     min(last, map->node.last) - from + 1))
			return true;
	}
	return false;
}

/* Words of [@from, @last], in one chunk, that are PRESENT and marked at @iova */
static unsigned long unp_count_bits(struct vfio_unpinned_mm *unp,
				    unsigned long from, unsigned long last,
				    dma_addr_t iova)
{
	const struct vfio_unpinned_bitmap *bm = unp->bitmap;
	unsigned long start = iova >> PAGE_SHIFT, nr, end, count = 0;

	lockdep_assert_held(&unp->lock);
	end = start + PHYS_PFN(last - from) + 1;
	if (end <= bm->first)
		return 0;
	end = min(end - bm->first, bm->npages);
	nr = max(start, bm->first) - bm->first;
	for (nr = find_next_bit_le(bm->bits, end, nr); nr < end;
	     nr = find_next_bit_le(bm->bits, end, nr + 1)) {
		unsigned long at = from + PFN_PHYS(nr + bm->first - start);

		count += !!(*vfio_unpinned_word(unp, at, NULL) & UNP_PRESENT);
	}
	return count;
}

/**
 * vfio_unpinned_count_marked - How many leaves do marked pages of a chunk have?
 * @unp: the address space
 * @vaddr: user address of the first page
 * @size: bytes, up to the end of the chunk
 *
 * A page that is marked at several IOVAs counts once for each.
 *
 * Context: Any context, with @unp->lock held.
 * Return: The number.
 */
unsigned long vfio_unpinned_count_marked(struct vfio_unpinned_mm *unp,
					 unsigned long vaddr,
					 unsigned long size)
{
	unsigned long last = vaddr + size - 1, at, count = 0;
	struct vfio_unpinned_map *map;

	lockdep_assert_held(&unp->lock);
	if (!unp->bitmap)
		return 0;
	for (at = vaddr; !unp->bitmap->marks_enabled && at < last;
	     at += PAGE_SIZE)
		count += !!(*vfio_unpinned_word(unp, at, NULL) & UNP_PRESENT);
	if (!unp->bitmap->marks_enabled)
		return count;
	for (map = unp_map_first(unp, vaddr, last); map;
	     map = unp_map_next(map, vaddr, last)) {
		unsigned long from = max(vaddr, map->node.start);

		count += unp_count_bits(unp, from, min(last, map->node.last),
					map->iova + from - map->node.start);
	}
	return count;
}

/* Is each page of the chunk at @vaddr marked, in one mapping of all of it? */
static bool unp_chunk_marked(struct vfio_unpinned_mm *unp, unsigned long vaddr)
{
	const struct vfio_unpinned_bitmap *bm = unp->bitmap;
	unsigned long last = vaddr + UNP_CHUNK_SIZE - 1;
	struct vfio_unpinned_map *map;

	lockdep_assert_held(&unp->lock);
	if (!bm || !bm->marks_enabled)
		return bm;
	for (map = unp_map_first(unp, vaddr, last); map;
	     map = unp_map_next(map, vaddr, last)) {
		if (map->node.start <= vaddr && map->node.last >= last &&
		    unp_all_bits(bm, map->iova + vaddr - map->node.start,
				 UNP_CHUNK_SIZE))
			return true;
	}
	return false;
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
 * What a pin on @page, at @vaddr and not PINNED itself, adds to the count: 0 if
 * another page of the folio is PINNED. The folio is pinned, so it is stable.
 */
static unsigned long unp_pin_cost(struct vfio_unpinned_mm *unp,
				  unsigned long vaddr, struct page *page)
{
	struct folio *folio = page_folio(page);
	unsigned long start = vaddr - PFN_PHYS(folio_page_idx(folio, page));
	unsigned long last = start + folio_size(folio) - 1, at;

	lockdep_assert_held(&unp->lock);
	if (unp_pinned_nearby(unp, vaddr, start, last, page_to_pfn(page)))
		return 0;
	for (at = start; at <= last; at = unp_chunk_start(at) + UNP_CHUNK_SIZE) {
		if (unp_pinned_in_chunk(unp, at, last,
					folio_pfn(folio) + PHYS_PFN(at - start)))
			return 0;
	}
	return folio_nr_pages(folio);
}

/* Account a pin that was just taken on @page, unless the limit is in the way. */
static bool unp_account_pin(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			    struct page *page)
{
	unsigned long cost = unp_pin_cost(unp, vaddr, page);
	struct vfio_unpinned_chunk *chunk;

	lockdep_assert_held(&unp->lock);
	if (vfio_unpinned_break_pin ||
	    unp->stats.late_pins + cost > unp->bitmap->limit) {
		trace_unpinned_limit(vaddr, cost, unp->stats.late_pins,
				     unp->bitmap->limit);
		return false;
	}
	/* While there are pins the worker comes back by itself. */
	if (!unp->stats.late_pins)
		queue_delayed_work(system_unbound_wq, &unp->work,
				   UNP_WORK_INTERVAL);
	vfio_unpinned_word(unp, vaddr, &chunk);
	chunk->pins++;
	unp->stats.pin_events++;
	unp->stats.late_pins += cost;
	unp->stats.late_pins_peak = max(unp->stats.late_pins_peak,
					unp->stats.late_pins);
	return true;
}

/**
 * vfio_unpinned_late_pin - Hold a marked page instead of zapping its leaf
 * @unp: the address space
 * @vaddr: user address of a page that has a leaf and no pin
 *
 * Litmus: pin-bracket
 *
 * Context: Late pass, with @unp->lock held.
 * Return: false if the limit is reached or the page can't be pinned.
 */
bool vfio_unpinned_late_pin(struct vfio_unpinned_mm *unp, unsigned long vaddr)
{
	unsigned long *word = vfio_unpinned_word(unp, vaddr, NULL);
	struct page *page = unp_page(*word);

	lockdep_assert_held(&unp->lock);
	if (!folio_pin_mapped(unp->mn.mm, page))
		return false;
	if (!unp_account_pin(unp, vaddr, page)) {
		unpin_user_page(page);
		return false;
	}
	*word |= UNP_PINNED;
	trace_unpinned_late_pin(vaddr, *word);
	return true;
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

	lockdep_assert_held(&unp->lock);
	*word &= ~UNP_PINNED;
	chunk->pins--;
	unp->stats.late_pins -= unp_pin_cost(unp, vaddr, unp_page(*word));
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

/* Release the late pins of a chunk whose mark is clear. Returns how many. */
static unsigned long unp_release_chunk(struct vfio_unpinned_mm *unp,
				       unsigned long index,
				       struct vfio_unpinned_chunk *chunk)
{
	unsigned long base = index << UNP_CHUNK_SHIFT, i, released = 0;

	lockdep_assert_held(&unp->lock);
	/* Large buffers: one look for all pages, where nothing is to be done. */
	if (!chunk->pins || unp_chunk_marked(unp, base))
		return 0;
	for (i = 0; i < UNP_CHUNK_WORDS && chunk->pins; i++) {
		unsigned long vaddr = base + (i << PAGE_SHIFT);
		unsigned long *word = vfio_unpinned_word(unp, vaddr, NULL);

		if ((*word & UNP_PINNED) &&
		    !vfio_unpinned_marked(unp, vaddr, unp_size(*word))) {
			unp_release_page(unp, vaddr, word);
			released++;
		}
		if (chunk->huge)
			break;
	}
	vfio_unpinned_commit(unp);
	return released;
}

/*
 * Release the late pins whose mark is clear, from chunk *@index on, until
 * *@scan pins were looked at. Updates both and returns how many were released.
 * A mark that is set right now does no harm: without GATED its touch faults
 * and waits for the lock in the gate, with GATED the leaf stays.
 */
static unsigned long unp_release_unmarked(struct vfio_unpinned_mm *unp,
					  unsigned long *index,
					  unsigned long *scan)
{
	struct vfio_unpinned_chunk *chunk;
	unsigned long released = 0;

	spin_lock(&unp->lock);
	while (*scan) {
		chunk = xa_find(&unp->chunks, index, ULONG_MAX, XA_PRESENT);
		if (!chunk)
			break;
		*scan -= min_t(unsigned long, *scan, chunk->pins);
		released += unp_release_chunk(unp, *index, chunk);
		++*index;
		/* Brackets and the gate wait for no more than a chunk. */
		spin_unlock(&unp->lock);
		cond_resched();
		spin_lock(&unp->lock);
	}
	spin_unlock(&unp->lock);
	return released;
}

static unsigned long unp_release_all_unmarked(struct vfio_unpinned_mm *unp)
{
	unsigned long index = 0, scan = ULONG_MAX;

	return unp_release_unmarked(unp, &index, &scan);
}

static unsigned long unp_shrink_count(struct shrinker *shrinker,
				      struct shrink_control *sc)
{
	struct vfio_unpinned_mm *unp = shrinker->private_data;

	/* About as many: they change under the lock meanwhile. */
	return data_race(READ_ONCE(unp->stats.late_pins)) ?: SHRINK_EMPTY;
}

/* Goes round over all chunks, a part in each call. */
static unsigned long unp_shrink_scan(struct shrinker *shrinker,
				     struct shrink_control *sc)
{
	struct vfio_unpinned_mm *unp = shrinker->private_data;
	unsigned long index = READ_ONCE(unp->shrink_index);
	unsigned long scan = sc->nr_to_scan, released;

	released = unp_release_unmarked(unp, &index, &scan);
	/* Calls may overlap: then one part is looked at twice. */
	WRITE_ONCE(unp->shrink_index, scan ? 0 : index);
	sc->nr_scanned = sc->nr_to_scan - scan;
	return released ?: SHRINK_STOP;
}

/* Has a marked page no leaf, and may it get one? */
static bool unp_wants_leaf(struct vfio_unpinned_mm *unp, unsigned long vaddr)
{
	unsigned long *word = vfio_unpinned_word(unp, vaddr, NULL);

	lockdep_assert_held(&unp->lock);
	return word && !(*word & UNP_PRESENT) && !unp->dead && unp->bitmap &&
	       unp->bitmap->marks_enabled &&
	       vfio_unpinned_marked(unp, vaddr, PAGE_SIZE);
}

/*
 * Give a page that was just pinned for writing a leaf, as PINNED and not GATED.
 * No check against brackets is needed. When the page was pinned the page table
 * held it, so that KVM had no SPTE for another frame, and if one has come since,
 * read-only perhaps, the gate has taken POPULATE back. One that comes later finds
 * the leaf at the gate, and replaces or zaps it.
 */
static bool unp_adopt_page(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			   struct page *page)
{
	bool adopted = false, full = false;
	unsigned long *word;

	spin_lock(&unp->lock);
	word = vfio_unpinned_word(unp, vaddr, NULL);
	if (!unp_wants_leaf(unp, vaddr)) {
		/* The gate was faster, or the mark is clear. */
	} else if (!(*word & UNP_POPULATE)) {
		vfio_unpinned_want_populate(unp);
	} else if (vfio_unpinned_page_ok(page_to_pfn(page))) {
		adopted = unp_account_pin(unp, vaddr, page);
		full = !adopted;
	}
	if (adopted) {
		vfio_unpinned_set(unp, vaddr, PAGE_SIZE, page_to_pfn(page),
				  UNP_PINNED);
		unp->stats.worker_populates++;
		vfio_unpinned_commit(unp);
	}
	spin_unlock(&unp->lock);
	if (!adopted)
		unpin_user_page(page);
	return !full;
}

/*
 * Is a memory cgroup of the process at its limit? The worker waits then, until
 * reclaim has made room for somebody else: it must not be who makes the OOM
 * killer run, for a page that nobody may ever use.
 */
static bool unp_cgroup_full(struct mm_struct *mm)
{
	bool full = false;
#ifdef CONFIG_MEMCG
	struct mem_cgroup *own = get_mem_cgroup_from_mm(mm);
	struct mem_cgroup *memcg;

	for (memcg = own; memcg && !full; memcg = parent_mem_cgroup(memcg))
		full = page_counter_read(&memcg->memory) + UNP_FAULT_PAGES >
		       READ_ONCE(memcg->memory.max);
	mem_cgroup_put(own);
#endif
	return full;
}

/* Returns false if the limit is reached or there is no memory. */
static bool unp_populate_page(struct vfio_unpinned_mm *unp, unsigned long vaddr)
{
	struct vfio_unpinned_chunk *chunk;
	struct page *page;
	bool wanted, full;
	long ret;

	spin_lock(&unp->lock);
	wanted = unp_wants_leaf(unp, vaddr);
	full = wanted && unp->stats.late_pins >= unp->bitmap->limit;
	if (wanted && !full) {
		*vfio_unpinned_word(unp, vaddr, &chunk) |= UNP_POPULATE;
		chunk->populate = true;
	}
	spin_unlock(&unp->lock);
	if (!wanted || full)
		return !full;
	if (unp->mn.mm != current->mm && unp_cgroup_full(unp->mn.mm))
		return false;

	mmap_read_lock(unp->mn.mm);
	ret = pin_user_pages_remote(unp->mn.mm, vaddr, 1, FOLL_WRITE, &page,
				    NULL);
	mmap_read_unlock(unp->mn.mm);
	/* Nothing mapped there: the device faults. No memory: try again later. */
	if (ret != 1)
		return ret != -ENOMEM;
	return unp_adopt_page(unp, vaddr, page);
}

/* A process that was killed must not wait for the worker to get its memory in. */
static bool unp_abandoned(struct mm_struct *mm)
{
	return mm != current->mm && atomic_read(&mm->mm_users) == 1;
}

/**
 * vfio_unpinned_populate - Populate the marked pages of a mapping
 * @map: a published mapping
 *
 * For buffers that no CPU touches again. Up to the limit; the rest is left to
 * the worker, which comes back.
 *
 * Context: Process context with @map->unp->update_lock held and an mm_users
 *	reference, may sleep.
 */
void vfio_unpinned_populate(struct vfio_unpinned_map *map)
{
	struct vfio_unpinned_mm *unp = map->unp;
	struct vfio_unpinned_bitmap *bm = unp->bitmap;
	unsigned long start = map->iova >> PAGE_SHIFT;
	unsigned long nr, end;

	lockdep_assert_held(&unp->update_lock);
	if (!bm || !bm->marks_enabled)
		return;
	end = start + ((map->node.last - map->node.start) >> PAGE_SHIFT) + 1;
	if (end <= bm->first)
		return;
	nr = max(start, bm->first) - bm->first;
	end = min(end - bm->first, bm->npages);
	for (nr = find_next_bit_le(bm->bits, end, nr); nr < end;
	     nr = find_next_bit_le(bm->bits, end, nr + 1)) {
		unsigned long off = (nr + bm->first - start) << PAGE_SHIFT;

		if (unp_abandoned(unp->mn.mm) || fatal_signal_pending(current))
			return;
		if (!unp_populate_page(unp, map->node.start + off)) {
			spin_lock(&unp->lock);
			vfio_unpinned_want_populate(unp);
			spin_unlock(&unp->lock);
			return;
		}
		cond_resched();
	}
}

/**
 * vfio_unpinned_want_populate - Marked pages without a leaf may exist
 * @unp: the address space
 *
 * Context: Any context, with @unp->lock held.
 */
void vfio_unpinned_want_populate(struct vfio_unpinned_mm *unp)
{
	lockdep_assert_held(&unp->lock);
	unp->want_populate = true;
	queue_delayed_work(system_unbound_wq, &unp->work, UNP_WORK_INTERVAL);
}

static void unp_populate_all(struct vfio_unpinned_mm *unp)
{
	struct vfio_unpinned_map *map;
	bool wanted;

	/* @maps does not change under update_lock. */
	guard(mutex)(&unp->update_lock);
	spin_lock(&unp->lock);
	wanted = unp->want_populate;
	unp->want_populate = false;
	spin_unlock(&unp->lock);
	if (!wanted || !mmget_not_zero(unp->mn.mm))
		return;
	for (map = unp_map_first(unp, 0, ULONG_MAX); map;
	     map = unp_map_next(map, 0, ULONG_MAX))
		vfio_unpinned_populate(map);
	/* The last reference must not tear the mm down under our lock. */
	mmput_async(unp->mn.mm);
}

static void unp_work(struct work_struct *work)
{
	struct vfio_unpinned_mm *unp =
		container_of(work, struct vfio_unpinned_mm, work.work);

	unp_release_all_unmarked(unp);
	unp_populate_all(unp);

	spin_lock(&unp->lock);
	if (unp->stats.late_pins)
		queue_delayed_work(system_unbound_wq, &unp->work,
				   UNP_WORK_INTERVAL);
	spin_unlock(&unp->lock);
}

/**
 * vfio_unpinned_pins_init - Prepare what releases late pins
 * @unp: the address space, not yet subscribed
 *
 * Context: Process context, may sleep.
 * Return: 0 or -ENOMEM.
 */
int vfio_unpinned_pins_init(struct vfio_unpinned_mm *unp)
{
	INIT_DELAYED_WORK(&unp->work, unp_work);
	unp->shrinker = shrinker_alloc(0, "vfio-unpinned");
	if (!unp->shrinker)
		return -ENOMEM;
	unp->shrinker->count_objects = unp_shrink_count;
	unp->shrinker->scan_objects = unp_shrink_scan;
	unp->shrinker->private_data = unp;
	shrinker_register(unp->shrinker);
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
	shrinker_free(unp->shrinker);
	cancel_delayed_work_sync(&unp->work);
}

static void unp_free_bitmap(struct vfio_unpinned_bitmap *bm)
{
	if (bm->bits)
		vunmap(bm->bits);
	unpin_user_pages(bm->pages, bm->nr_pages);
	kvfree(bm->pages);
	kfree(bm);
}

/* Memory that a bitmap takes, in pages. */
static unsigned long unp_bitmap_size(const struct vfio_unpinned_bitmap *bm)
{
	return DIV_ROUND_UP(DIV_ROUND_UP(bm->npages, BITS_PER_BYTE), PAGE_SIZE);
}

/* Pin and map the user's bitmap: it is read in brackets, of any process. */
static int unp_map_bitmap(struct vfio_unpinned_bitmap *bm)
{
	unsigned long nr = unp_bitmap_size(bm);
	int ret;

	bm->pages = kvcalloc(nr, sizeof(*bm->pages), GFP_KERNEL_ACCOUNT);
	if (!bm->pages)
		return -ENOMEM;
	while (bm->nr_pages < nr) {
		ret = pin_user_pages_fast(bm->vaddr + bm->nr_pages * PAGE_SIZE,
					  nr - bm->nr_pages,
					  FOLL_WRITE | FOLL_LONGTERM,
					  bm->pages + bm->nr_pages);
		if (ret <= 0)
			return ret == -ENOMEM ? -ENOMEM : -EFAULT;
		bm->nr_pages += ret;
	}
	bm->bits = vmap(bm->pages, nr, VM_MAP, PAGE_KERNEL);
	return bm->bits ? 0 : -ENOMEM;
}

static struct vfio_unpinned_bitmap *
unp_create_bitmap(const struct vfio_iommu_type1_pin_bitmap *arg)
{
	struct vfio_unpinned_bitmap *bm;
	int ret;

	bm = kzalloc(sizeof(*bm), GFP_KERNEL_ACCOUNT);
	if (!bm)
		return ERR_PTR(-ENOMEM);
	bm->vaddr = arg->vaddr;
	bm->first = arg->iova >> PAGE_SHIFT;
	bm->npages = arg->npages;
	bm->limit = arg->limit;
	bm->budget = arg->budget;

	/* The late pass can't charge, so all that it may take is charged. */
	bm->charged = 2 * bm->limit + unp_bitmap_size(bm);
	ret = account_locked_vm(current->mm, bm->charged, true);
	if (ret)
		goto err_free;
	ret = unp_map_bitmap(bm);
	if (ret)
		goto err_uncharge;
	return bm;

err_uncharge:
	account_locked_vm(current->mm, bm->charged, false);
err_free:
	unp_free_bitmap(bm);
	return ERR_PTR(ret);
}

static bool unp_same_bitmap(const struct vfio_unpinned_bitmap *bm,
			    const struct vfio_iommu_type1_pin_bitmap *arg)
{
	return bm->vaddr == arg->vaddr && bm->npages == arg->npages &&
	       bm->first == arg->iova >> PAGE_SHIFT &&
	       bm->limit == arg->limit && bm->budget == arg->budget;
}

static int unp_register(struct vfio_unpinned_mm *unp,
			const struct vfio_iommu_type1_pin_bitmap *arg)
{
	struct vfio_unpinned_bitmap *bm;

	guard(mutex)(&unp->update_lock);
	if (unp->bitmap) {
		if (!unp_same_bitmap(unp->bitmap, arg))
			return -EEXIST;
		unp->bitmap->users++;
		return 0;
	}
	bm = unp_create_bitmap(arg);
	if (IS_ERR(bm))
		return PTR_ERR(bm);
	bm->users = 1;
	spin_lock(&unp->lock);
	unp->bitmap = bm;
	spin_unlock(&unp->lock);
	return 0;
}

static void unp_enable_marks(struct vfio_unpinned_mm *unp, bool enable)
{
	spin_lock(&unp->lock);
	unp->bitmap->marks_enabled = enable;
	unp->want_populate = enable;
	mod_delayed_work(system_unbound_wq, &unp->work, 0);
	spin_unlock(&unp->lock);
}

static int unp_check_register(const struct vfio_iommu_type1_pin_bitmap *arg)
{
	u64 last, bytes = DIV_ROUND_UP_ULL(arg->npages, BITS_PER_BYTE);

	if (!arg->npages || arg->npages > UNP_BITMAP_MAX_PAGES)
		return -EINVAL;
	if (!arg->limit || arg->limit > arg->npages)
		return -EINVAL;
	if (arg->budget && arg->budget < 2 * arg->limit)
		return -EINVAL;
	if (!PAGE_ALIGNED(arg->vaddr) || !PAGE_ALIGNED(arg->iova))
		return -EINVAL;
	if (check_add_overflow(arg->vaddr, bytes - 1, &last) ||
	    last > ULONG_MAX ||
	    check_add_overflow(arg->iova, (arg->npages << PAGE_SHIFT) - 1,
			       &last))
		return -EINVAL;
	return 0;
}

/**
 * vfio_unpinned_bitmap_unregister - End a container's registration
 * @registered: the container's slot; NULL in it if there is none
 *
 * The last one of the address space ends all late pins.
 *
 * Context: Process context, may sleep; calls for a slot are serialized.
 */
void vfio_unpinned_bitmap_unregister(struct vfio_unpinned_mm **registered)
{
	struct vfio_unpinned_mm *unp = *registered;
	struct vfio_unpinned_bitmap *bm;

	if (!unp)
		return;
	*registered = NULL;

	mutex_lock(&unp->update_lock);
	bm = unp->bitmap;
	if (!--bm->users) {
		/* All readers hold the lock. Litmus: bitmap-unregister */
		spin_lock(&unp->lock);
		unp->bitmap = NULL;
		spin_unlock(&unp->lock);
		unp_release_all_unmarked(unp);
		vfio_unpinned_uncharge(unp, bm->charged);
		unp_free_bitmap(bm);
	}
	mutex_unlock(&unp->update_lock);
	vfio_unpinned_mm_put(unp);
}
EXPORT_SYMBOL_GPL(vfio_unpinned_bitmap_unregister);

static int unp_ioctl_register(struct vfio_unpinned_mm **registered,
			      const struct vfio_iommu_type1_pin_bitmap *arg)
{
	struct vfio_unpinned_mm *unp;
	int ret;

	ret = unp_check_register(arg);
	if (ret)
		return ret;
	if (*registered)
		return -EEXIST;
	unp = vfio_unpinned_mm_get();
	if (IS_ERR(unp))
		return PTR_ERR(unp);
	ret = unp_register(unp, arg);
	if (ret)
		vfio_unpinned_mm_put(unp);
	else
		*registered = unp;
	return ret;
}

/**
 * vfio_unpinned_bitmap_ioctl - Handle VFIO_IOMMU_PIN_BITMAP
 * @registered: the container's slot: the address space whose bitmap it has
 *	registered, or NULL
 * @uarg: the user's struct vfio_iommu_type1_pin_bitmap
 *
 * Context: Process context of the user, may sleep; calls for a slot are
 *	serialized.
 * Return: 0 or an errno as documented with the ioctl.
 */
int vfio_unpinned_bitmap_ioctl(struct vfio_unpinned_mm **registered,
			       void __user *uarg)
{
	struct vfio_iommu_type1_pin_bitmap arg;
	size_t minsz = offsetofend(struct vfio_iommu_type1_pin_bitmap, budget);

	if (copy_from_user(&arg, uarg, minsz))
		return -EFAULT;
	if (arg.argsz < minsz)
		return -EINVAL;
	if (arg.flags == VFIO_PIN_BITMAP_FLAG_REGISTER)
		return unp_ioctl_register(registered, &arg);

	if (arg.vaddr || arg.iova || arg.npages || arg.limit || arg.budget)
		return -EINVAL;
	switch (arg.flags) {
	case VFIO_PIN_BITMAP_FLAG_UNREGISTER:
	case VFIO_PIN_BITMAP_FLAG_ENABLE_MARKS:
	case VFIO_PIN_BITMAP_FLAG_DISABLE_MARKS:
		break;
	default:
		return -EINVAL;
	}
	if (!*registered)
		return -ENOENT;
	if (arg.flags == VFIO_PIN_BITMAP_FLAG_UNREGISTER)
		vfio_unpinned_bitmap_unregister(registered);
	else
		unp_enable_marks(*registered,
				 arg.flags == VFIO_PIN_BITMAP_FLAG_ENABLE_MARKS);
	return 0;
}
EXPORT_SYMBOL_GPL(vfio_unpinned_bitmap_ioctl);
