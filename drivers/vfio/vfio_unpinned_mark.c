// SPDX-License-Identifier: GPL-2.0-only
/*
 * VFIO: marks of unpinned DMA mappings
 *
 * The guest sets a bit in the pin bitmap for each page that a device may access
 * now, and clears it afterwards. It writes the bitmap at any time and tells nobody,
 * so a reader loads each word once and gets what was true a moment ago.
 *
 *   no bitmap   no page counts as marked
 *   registered  every page counts as marked: the guest may not know of marks
 *   enabled     the bits count
 *
 * Marks are by IOVA. A page is marked if it is at one of the IOVAs where the address
 * space has it mapped.
 *
 * Locks: see vfio_unpinned_priv.h. The bitmap does not go while lock is held.
 */
#include <linux/mm.h>
#include "vfio_unpinned_priv.h"

/*
 * The first bit from @nr on that is set, or clear if @invert has all bits set; @end
 * if there is none before it.
 */
static unsigned long unp_next_bit(const struct vfio_unpinned_bitmap *bm,
				  unsigned long nr, unsigned long end,
				  u64 invert)
{
	u64 word;

	while (nr < end) {
		/* The guest may change it between two readings. */
		word = le64_to_cpu(READ_ONCE(bm->bits[nr / 64])) ^ invert;
		word >>= nr % 64;
		if (word)
			return min(nr + __ffs64(word), end);
		nr = (nr | 63) + 1;
	}
	return end;
}

/* Is one of the pages of the range marked? */
static bool unp_bits(const struct vfio_unpinned_bitmap *bm, dma_addr_t iova,
		     unsigned long size)
{
	unsigned long nr = iova >> PAGE_SHIFT, end = nr + (size >> PAGE_SHIFT);

	if (end <= bm->first)
		return false;
	nr = max(nr, bm->first) - bm->first;
	end = min(end - bm->first, bm->npages);
	return unp_next_bit(bm, nr, end, 0) < end;
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
	return unp_next_bit(bm, nr, end, U64_MAX) == end;
}

/**
 * vfio_unpinned_marked - May a device access this memory now?
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
	for (nr = unp_next_bit(bm, nr, end, 0); nr < end;
	     nr = unp_next_bit(bm, nr + 1, end, 0)) {
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

/**
 * vfio_unpinned_chunk_marked - Are all pages of a chunk marked?
 * @unp: the address space
 * @vaddr: user address where the chunk starts
 *
 * Context: Any context, with @unp->lock held.
 * Return: true if they are, in one mapping of all of it; for large buffers.
 */
bool vfio_unpinned_chunk_marked(struct vfio_unpinned_mm *unp,
				unsigned long vaddr)
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

/**
 * vfio_unpinned_next_mark - Find a marked page of a mapping
 * @map: a published mapping
 * @vaddr: user address where to begin
 * @last: last user address
 *
 * Context: Any context, with @map->unp->lock held and marks enabled.
 * Return: User address of the first one, or ULONG_MAX.
 */
unsigned long vfio_unpinned_next_mark(const struct vfio_unpinned_map *map,
				      unsigned long vaddr, unsigned long last)
{
	const struct vfio_unpinned_bitmap *bm = map->unp->bitmap;
	unsigned long start = map->iova >> PAGE_SHIFT, nr, end;

	lockdep_assert_held(&map->unp->lock);
	vaddr = max(vaddr, map->node.start);
	last = min(last, map->node.last);
	if (vaddr > last)
		return ULONG_MAX;
	nr = start + PHYS_PFN(vaddr - map->node.start);
	end = start + PHYS_PFN(last - map->node.start) + 1;
	if (end <= bm->first)
		return ULONG_MAX;
	nr = max(nr, bm->first) - bm->first;
	end = min(end - bm->first, bm->npages);
	nr = unp_next_bit(bm, nr, end, 0);
	if (nr >= end)
		return ULONG_MAX;
	return map->node.start + ((nr + bm->first - start) << PAGE_SHIFT);
}
