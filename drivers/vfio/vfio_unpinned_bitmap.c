// SPDX-License-Identifier: GPL-2.0-only
/*
 * VFIO: pin bitmap of unpinned DMA mappings
 *
 *   none --> registered <--> enabled
 *
 * and back to none from both; vfio_unpinned_mark.c has what that means for the marks.
 * All containers of an address space share one bitmap, and the last one to
 * unregister it ends all late pins.
 *
 * The bitmap's memory is pinned and mapped in the kernel, since brackets of any
 * process read it.
 *
 * Locks: see vfio_unpinned_priv.h.
 */
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include "vfio_unpinned_priv.h"

#define UNP_BITMAP_MAX_PAGES	((u64)INT_MAX)

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
unp_create_bitmap(const struct vfio_unpinned_bitmap_args *arg,
		  vfio_unpinned_charge_fn charge)
{
	struct vfio_unpinned_bitmap *bm;
	int ret;

	bm = kzalloc_obj(*bm, GFP_KERNEL_ACCOUNT);
	if (!bm)
		return ERR_PTR(-ENOMEM);
	bm->vaddr = arg->vaddr;
	bm->first = arg->iova >> PAGE_SHIFT;
	bm->npages = arg->npages;
	bm->limit = arg->limit;
	bm->budget = arg->budget;
	bm->charge = charge;

	/* The late pass can't charge, so all that it may take is charged. */
	bm->charged = 2 * bm->limit + unp_bitmap_size(bm);
	ret = charge(current->mm, bm->charged);
	if (ret)
		goto err_free;
	ret = unp_map_bitmap(bm);
	if (ret)
		goto err_uncharge;
	return bm;

err_uncharge:
	charge(current->mm, -(long)bm->charged);
err_free:
	unp_free_bitmap(bm);
	return ERR_PTR(ret);
}

static bool unp_same_bitmap(const struct vfio_unpinned_bitmap *bm,
			    const struct vfio_unpinned_bitmap_args *arg)
{
	return bm->vaddr == arg->vaddr && bm->npages == arg->npages &&
	       bm->first == arg->iova >> PAGE_SHIFT &&
	       bm->limit == arg->limit && bm->budget == arg->budget;
}

static int unp_register(struct vfio_unpinned_mm *unp,
			const struct vfio_unpinned_bitmap_args *arg,
			vfio_unpinned_charge_fn charge)
{
	struct vfio_unpinned_bitmap *bm;

	guard(mutex)(&unp->update_lock);
	if (unp->bitmap) {
		if (!unp_same_bitmap(unp->bitmap, arg))
			return -EEXIST;
		unp->bitmap->users++;
		return 0;
	}
	bm = unp_create_bitmap(arg, charge);
	if (IS_ERR(bm))
		return PTR_ERR(bm);
	bm->users = 1;
	spin_lock(&unp->lock);
	unp->bitmap = bm;
	spin_unlock(&unp->lock);
	return 0;
}

static int unp_check_register(const struct vfio_unpinned_bitmap_args *arg)
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
 * vfio_unpinned_bitmap_register - Start using a pin bitmap
 * @registered: the container's slot: the address space whose bitmap it has
 *	registered, or NULL
 * @arg: the bitmap, in the current address space
 * @charge: charges, for the container
 *
 * Marks do not count yet. A container that registers what another one of the address
 * space has registered shares it.
 *
 * Context: Process context of the user, may sleep; calls for a slot are serialized.
 * Return: 0, -EINVAL, -EEXIST if the container or the address space has another
 *	bitmap, -EFAULT if it is not mapped throughout, -ENOMEM, and what
 *	vfio_unpinned_mm_get() returns.
 */
int vfio_unpinned_bitmap_register(struct vfio_unpinned_mm **registered,
				  const struct vfio_unpinned_bitmap_args *arg,
				  vfio_unpinned_charge_fn charge)
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
	ret = unp_register(unp, arg, charge);
	if (ret)
		vfio_unpinned_mm_put(unp);
	else
		*registered = unp;
	return ret;
}
EXPORT_SYMBOL_GPL(vfio_unpinned_bitmap_register);

/**
 * vfio_unpinned_enable_marks - The guest maintains its marks, or ceases to
 * @unp: the address space whose bitmap the container has registered
 * @enable: it does
 *
 * Marked pages without a leaf are populated by the worker.
 *
 * Context: Process context.
 */
void vfio_unpinned_enable_marks(struct vfio_unpinned_mm *unp, bool enable)
{
	spin_lock(&unp->lock);
	unp->bitmap->marks_enabled = enable;
	unp->want_populate = enable;
	vfio_unpinned_restart_release(unp);
	vfio_unpinned_schedule(unp, 0);
	spin_unlock(&unp->lock);
}
EXPORT_SYMBOL_GPL(vfio_unpinned_enable_marks);

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
		bm->charge(unp->mn.mm, -(long)bm->charged);
		unp_free_bitmap(bm);
	}
	mutex_unlock(&unp->update_lock);
	vfio_unpinned_mm_put(unp);
}
EXPORT_SYMBOL_GPL(vfio_unpinned_bitmap_unregister);
