// SPDX-License-Identifier: GPL-2.0-only
/*
 * VFIO: pin bitmap of unpinned DMA mappings
 *
 * The guest sets a bit for each page that a device may access now, and clears it
 * afterwards. It writes the bitmap at any time and tells nobody, so whoever asks
 * for marks reads each word once and gets what was true a moment ago.
 *
 *   none        no page counts as marked
 *   registered  every page counts as marked: the guest may not know of marks
 *   enabled     the bits count
 *
 * The bitmap's memory is pinned and mapped in the kernel, since brackets of any
 * process read it.
 *
 * Locks: see vfio_iommu_type1_unpinned.c.
 */
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vfio.h>
#include <linux/vmalloc.h>
#include "vfio_unpinned.h"

#define UNP_BITMAP_MAX_PAGES	((u64)INT_MAX)

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
	vfio_unpinned_restart_release(unp);
	vfio_unpinned_schedule(unp, 0);
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
		vfio_unpinned_release_unmarked(unp);
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
