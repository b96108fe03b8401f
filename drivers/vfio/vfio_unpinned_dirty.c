// SPDX-License-Identifier: GPL-2.0-only
/*
 * VFIO: dirty tracking of unpinned DMA mappings
 *
 * What a device can write, it may have written. While tracking is on, a mapping
 * has a bitmap, one bit per page, of what had a leaf in it since the last query
 * and may have none anymore:
 *
 *   start  no bit is set
 *   zap    whoever writes a leaf of the mapping sets the page's bit, under the
 *          lock under which the leaf goes
 *   query  the bits of all leaves that are there are set; then all bits are
 *          reported and cleared
 *
 * so that a page is reported by the first query after its leaf went, and by
 * each query while it has one. A query drops the lock now and then. A page
 * that gets a leaf behind its back has the leaf, or its bit, at the next query.
 *
 * Locks, see vfio_unpinned_priv.h: update_lock makes queries, and domains
 * and mappings that go, wait for each other; the bits are protected by lock.
 */
#include <linux/bitmap.h>
#include <linux/slab.h>
#include "vfio_unpinned_priv.h"

static unsigned long unp_map_pages(const struct vfio_unpinned_map *map)
{
	return (map->node.last - map->node.start + 1) >> PAGE_SHIFT;
}

/* Set the bits of a part of the mapping, if a device can get there. */
static void unp_dirty_set(struct vfio_unpinned_map *map, unsigned long vaddr,
			  unsigned long size)
{
	unsigned long first = max(vaddr, map->node.start);
	unsigned long last = min(vaddr + size - 1, map->node.last);

	lockdep_assert_held(&map->unp->lock);
	if (!map->dirty || list_empty(&map->attaches))
		return;
	bitmap_set(map->dirty, (first - map->node.start) >> PAGE_SHIFT,
		   (last - first + 1) >> PAGE_SHIFT);
}

/**
 * vfio_unpinned_dirty_add - Leaves of a mapping are written
 * @map: the mapping
 * @vaddr: user address of the first page
 * @size: bytes; what is outside of the mapping does not count
 *
 * Context: Any context, with @map->unp->lock held until the leaves are written.
 */
void vfio_unpinned_dirty_add(struct vfio_unpinned_map *map,
			     unsigned long vaddr, unsigned long size)
{
	lockdep_assert_held(&map->unp->lock);
	if (!vfio_unpinned_break_dirty)
		unp_dirty_set(map, vaddr, size);
}

static void unp_dirty_leaf(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			   unsigned long *word, void *arg)
{
	lockdep_assert_held(&unp->lock);
	unp_dirty_set(arg, vaddr, unp_size(*word));
}

/**
 * vfio_unpinned_dirty_add_leaves - All leaves of a mapping are about to go
 * @map: the mapping, in a domain that gets no new leaves
 *
 * Context: Process context with @map->unp->update_lock held until they are
 *	gone, may sleep.
 */
void vfio_unpinned_dirty_add_leaves(struct vfio_unpinned_map *map)
{
	lockdep_assert_held(&map->unp->update_lock);
	if (map->dirty)
		vfio_unpinned_walk(map->unp, map->node.start, map->node.last,
				   true, unp_dirty_leaf, map);
}

/* Move the bits of the mapping to @bitmap. */
static void unp_dirty_move(struct vfio_unpinned_map *map, unsigned long *bitmap)
{
	unsigned long i = 0, end = 0, longs = BITS_TO_LONGS(unp_map_pages(map));

	while (i < longs) {
		end = min(end + UNP_BATCH_WORDS, longs);
		spin_lock(&map->unp->lock);
		for (; i < end; i++) {
			bitmap[i] |= map->dirty[i];
			map->dirty[i] = 0;
		}
		spin_unlock(&map->unp->lock);
		cond_resched();
	}
}

/**
 * vfio_unpinned_dirty_get - Report what a device may have written
 * @map: the mapping
 * @bitmap: where bits are set, the first one for the mapping's first page
 *
 * That is what had a leaf at any time since the last call or, before that, since
 * vfio_unpinned_dirty_start(); nothing if tracking is off.
 *
 * Context: Process context, may sleep.
 */
void vfio_unpinned_dirty_get(struct vfio_unpinned_map *map,
			     unsigned long *bitmap)
{
	guard(mutex)(&map->unp->update_lock);
	if (!map->dirty)
		return;
	vfio_unpinned_dirty_add_leaves(map);
	unp_dirty_move(map, bitmap);
}
EXPORT_SYMBOL_GPL(vfio_unpinned_dirty_get);

static void unp_dirty_replace(struct vfio_unpinned_map *map,
			      unsigned long *bitmap)
{
	unsigned long *old;

	guard(mutex)(&map->unp->update_lock);
	spin_lock(&map->unp->lock);
	old = map->dirty;
	map->dirty = bitmap;
	spin_unlock(&map->unp->lock);
	kvfree(old);
}

/**
 * vfio_unpinned_dirty_start - Start to track what a device may write
 * @map: the mapping, published or not; tracking is off
 *
 * Context: Process context, may sleep.
 * Return: 0, -ENOMEM, or -EINVAL if the mapping has too many pages.
 */
int vfio_unpinned_dirty_start(struct vfio_unpinned_map *map)
{
	unsigned long *bitmap;

	if (unp_map_pages(map) > INT_MAX)
		return -EINVAL;
	bitmap = kvcalloc(BITS_TO_LONGS(unp_map_pages(map)), sizeof(*bitmap),
			  GFP_KERNEL_ACCOUNT);
	if (!bitmap)
		return -ENOMEM;
	unp_dirty_replace(map, bitmap);
	return 0;
}
EXPORT_SYMBOL_GPL(vfio_unpinned_dirty_start);

/**
 * vfio_unpinned_dirty_stop - Stop to track what a device may write
 * @map: the mapping; tracking is on or off
 *
 * Context: Process context, may sleep.
 */
void vfio_unpinned_dirty_stop(struct vfio_unpinned_map *map)
{
	unp_dirty_replace(map, NULL);
}
EXPORT_SYMBOL_GPL(vfio_unpinned_dirty_stop);
