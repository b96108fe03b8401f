// SPDX-License-Identifier: GPL-2.0-only
/*
 * VFIO: life of an unpinned DMA mapping
 *
 *	create --> add_domain ... --> publish --> (close -->) destroy
 *
 * A mapping gets its memory (chunks of words, page tables in each domain)
 * before it is published, and keeps all of it until it is destroyed, since the
 * notifiers can't allocate. Domains can come and go while it is published: one
 * that comes gets copies of the leaves, one that goes is "dying" until its last
 * leaf is cleared and flushed. Brackets see a dying one all the time, so that
 * no frame is freed under a leaf of it.
 *
 * Locks: see vfio_unpinned_priv.h.
 */
#include <linux/hugetlb.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include "vfio_unpinned_priv.h"

/* Drop the chunks of [start, last] that this was the last mapping of. */
static void unp_put_chunks(struct vfio_unpinned_mm *unp, unsigned long start,
			   unsigned long last)
{
	unsigned long index = start >> UNP_CHUNK_SHIFT;
	struct vfio_unpinned_chunk *chunk;

	lockdep_assert_held(&unp->update_lock);
	xa_for_each_range(&unp->chunks, index, chunk, index,
			  last >> UNP_CHUNK_SHIFT) {
		if (--chunk->users)
			continue;
		spin_lock(&unp->lock);
		WARN_ON_ONCE(chunk->leaves || chunk->pins);
		xa_erase(&unp->chunks, index);
		spin_unlock(&unp->lock);
		vfio_unpinned_chunk_free(chunk);
		cond_resched();
	}
}

static int unp_get_chunk(struct vfio_unpinned_mm *unp, unsigned long index)
{
	struct vfio_unpinned_chunk *chunk = xa_load(&unp->chunks, index);
	int ret;

	lockdep_assert_held(&unp->update_lock);
	if (chunk) {
		chunk->users++;
		return 0;
	}
	chunk = vfio_unpinned_chunk_alloc(unp, index);
	if (!chunk)
		return -ENOMEM;
	chunk->users = 1;
	ret = xa_err(xa_store(&unp->chunks, index, chunk, GFP_KERNEL_ACCOUNT));
	if (ret)
		vfio_unpinned_chunk_free(chunk);
	return ret;
}

static int unp_get_chunks(struct vfio_unpinned_mm *unp, unsigned long start,
			  unsigned long last)
{
	unsigned long index;
	int ret;

	lockdep_assert_held(&unp->update_lock);
	for (index = start >> UNP_CHUNK_SHIFT; index <= last >> UNP_CHUNK_SHIFT;
	     index++) {
		ret = fatal_signal_pending(current) ? -EINTR :
						      unp_get_chunk(unp, index);
		if (ret) {
			if (index > start >> UNP_CHUNK_SHIFT)
				unp_put_chunks(unp, start,
					       (index << UNP_CHUNK_SHIFT) - 1);
			return ret;
		}
		cond_resched();
	}
	return 0;
}

static int unp_charge(struct vfio_unpinned_map *map, unsigned long pages)
{
	return map->charge(map->unp->mn.mm, pages);
}

static void unp_uncharge(struct vfio_unpinned_map *map, unsigned long pages)
{
	map->charge(map->unp->mn.mm, -(long)pages);
}

/*
 * Refuse early what would never get a leaf. This is for the user and protects nothing:
 * what is mapped there later is judged at the gate.
 */
static int unp_check_range(struct mm_struct *mm, unsigned long start,
			   unsigned long end, bool *hugetlb)
{
	VMA_ITERATOR(vmi, mm, start);
	struct vm_area_struct *vma;
	int ret = 0;

	mmap_read_lock(mm);
	for_each_vma_range(vmi, vma, end) {
		if (vma->vm_start > start)
			break;
		ret = vfio_unpinned_check_vma(vma);
		if (ret)
			goto out;
		*hugetlb |= is_vm_hugetlb_page(vma);
		start = vma->vm_end;
	}
	if (start < end)
		ret = -EFAULT;
out:
	mmap_read_unlock(mm);
	return ret;
}

/* With shared page tables, each bracket would cover 1 GiB. */
static int unp_unshare_range(struct mm_struct *mm, unsigned long start,
			     unsigned long end)
{
	VMA_ITERATOR(vmi, mm, start);
	struct vm_area_struct *vma;

	if (mmap_write_lock_killable(mm))
		return -EINTR;
	for_each_vma_range(vmi, vma, end) {
		if (is_vm_hugetlb_page(vma))
			hugetlb_disable_pmd_share(vma);
	}
	mmap_write_unlock(mm);
	return 0;
}

/**
 * vfio_unpinned_map_create - Prepare an unpinned mapping
 * @iova: first IOVA, page aligned
 * @vaddr: first address in the current address space, page aligned
 * @size: bytes, page aligned; neither range wraps
 * @event: of the container, or NULL
 * @charge: charges, for the container
 *
 * The mapping has no domain and is not published.
 *
 * Context: Process context of the user, may sleep.
 * Return: The mapping or ERR_PTR(): -EFAULT if there is a hole in the user
 *	range, -EOPNOTSUPP for memory of another kind, -ENOMEM, and what
 *	vfio_unpinned_mm_get() returns.
 */
struct vfio_unpinned_map *
vfio_unpinned_map_create(dma_addr_t iova, unsigned long vaddr, size_t size,
			 struct vfio_unpinned_event *event,
			 vfio_unpinned_charge_fn charge)
{
	struct vfio_unpinned_map *map;
	bool hugetlb = false;
	int ret;

	/* Also refuses what ends at the top, where the end is 0. */
	if (!access_ok((void __user *)vaddr, size))
		return ERR_PTR(-EFAULT);
	ret = unp_check_range(current->mm, vaddr, vaddr + size, &hugetlb);
	if (!ret && hugetlb)
		ret = unp_unshare_range(current->mm, vaddr, vaddr + size);
	if (ret)
		return ERR_PTR(ret);

	map = kzalloc_obj(*map, GFP_KERNEL_ACCOUNT);
	if (!map)
		return ERR_PTR(-ENOMEM);
	map->event = event;
	map->charge = charge;
	map->iova = iova;
	map->node.start = vaddr;
	map->node.last = vaddr + size - 1;
	INIT_LIST_HEAD(&map->attaches);
	/* A page of words for each chunk; domains add a page of table each. */
	map->charged = (map->node.last >> UNP_CHUNK_SHIFT) -
		       (vaddr >> UNP_CHUNK_SHIFT) + 1;

	map->unp = vfio_unpinned_mm_get();
	if (IS_ERR(map->unp)) {
		ret = PTR_ERR(map->unp);
		goto err_free;
	}
	ret = unp_charge(map, map->charged);
	if (ret)
		goto err_put;
	mutex_lock(&map->unp->update_lock);
	ret = unp_get_chunks(map->unp, vaddr, map->node.last);
	mutex_unlock(&map->unp->update_lock);
	if (ret)
		goto err_uncharge;
	return map;

err_uncharge:
	unp_uncharge(map, map->charged);
err_put:
	vfio_unpinned_mm_put(map->unp);
err_free:
	kfree(map);
	return ERR_PTR(ret);
}
EXPORT_SYMBOL_GPL(vfio_unpinned_map_create);

/**
 * vfio_unpinned_map_mm - The address space of a mapping
 * @map: the mapping
 *
 * Context: Any context.
 * Return: The object, which stays as long as the mapping does.
 */
struct vfio_unpinned_mm *
vfio_unpinned_map_mm(const struct vfio_unpinned_map *map)
{
	return map->unp;
}
EXPORT_SYMBOL_GPL(vfio_unpinned_map_mm);

/* Copy a leaf that exists already to the mapping @arg, in all of its domains. */
static void unp_copy_leaf(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			  unsigned long *word, void *arg)
{
	struct vfio_unpinned_map *map = arg;
	unsigned long from = max(vaddr, map->node.start);
	unsigned long last = min(vaddr + unp_size(*word) - 1, map->node.last);
	struct vfio_unpinned_attach *a;

	lockdep_assert_held(&unp->lock);
	list_for_each_entry(a, &map->attaches, link)
		vfio_unpinned_remap(unp, a->to,
				    map->iova + from - map->node.start,
				    unp_pfn(*word) + PHYS_PFN(from - vaddr),
				    PHYS_PFN(last - from) + 1, UNP_PROT);
}

static void unp_copy_leaves(struct vfio_unpinned_map *map)
{
	vfio_unpinned_walk(map->unp, map->node.start, map->node.last, true,
			   unp_copy_leaf, map);
}

/*
 * Each leaf of a page is written under one hold of the lock, so their number
 * is bounded. Only at the start of a mapping can the number grow.
 */
static bool unp_too_many_aliases(struct vfio_unpinned_mm *unp,
				 unsigned long start, unsigned long last)
{
	struct vfio_unpinned_map *map, *alias;

	lockdep_assert_held(&unp->update_lock);
	for (map = unp_map_first(unp, start, last); map;
	     map = unp_map_next(map, start, last)) {
		unsigned long at = max(map->node.start, start);
		unsigned int count = 0;

		for (alias = unp_map_first(unp, at, at); alias;
		     alias = unp_map_next(alias, at, at)) {
			if (++count == UNP_MAX_ALIASES)
				return true;
		}
	}
	return false;
}

/**
 * vfio_unpinned_map_publish - Let leaves appear in a mapping
 * @map: the mapping with its domains
 *
 * From here on the gate and the late pass know of it. KVM may have SPTEs for
 * the range that never passed the gate, so it is made to drop them. Marked
 * pages are populated.
 *
 * Context: Process context of the user, may sleep.
 * Return: 0, or -ENOSPC if too many mappings cover the same memory.
 */
int vfio_unpinned_map_publish(struct vfio_unpinned_map *map)
{
	struct vfio_unpinned_mm *unp = map->unp;

	mutex_lock(&unp->update_lock);
	if (unp_too_many_aliases(unp, map->node.start, map->node.last)) {
		mutex_unlock(&unp->update_lock);
		return -ENOSPC;
	}
	spin_lock(&unp->lock);
	interval_tree_insert(&map->node, &unp->maps);
	map->published = true;
	spin_unlock(&unp->lock);

	/* Another mapping may cover the same memory. Litmus: publish-gate */
	unp_copy_leaves(map);
	mmu_notifier_zap_secondary(unp->mn.mm, map->node.start,
				   map->node.last + 1, unp);
	mutex_unlock(&unp->update_lock);
	vfio_unpinned_populate(map);
	return 0;
}
EXPORT_SYMBOL_GPL(vfio_unpinned_map_publish);

static struct vfio_unpinned_domain *
unp_get_domain(struct vfio_unpinned_mm *unp, struct iommu_domain *domain)
{
	struct vfio_unpinned_domain *d;

	lockdep_assert_held(&unp->update_lock);
	list_for_each_entry(d, &unp->domains, link) {
		if (d->domain == domain) {
			d->users++;
			return d;
		}
	}
	d = kzalloc_obj(*d, GFP_KERNEL_ACCOUNT);
	if (!d)
		return NULL;
	d->domain = domain;
	d->users = 1;
	INIT_LIST_HEAD(&d->flush_link);
	iommu_iotlb_gather_init(&d->gather);
	spin_lock(&unp->lock);
	list_add(&d->link, &unp->domains);
	spin_unlock(&unp->lock);
	return d;
}

static void unp_put_domain(struct vfio_unpinned_mm *unp,
			   struct vfio_unpinned_domain *d)
{
	lockdep_assert_held(&unp->update_lock);
	if (--d->users)
		return;
	spin_lock(&unp->lock);
	list_del(&d->link);
	spin_unlock(&unp->lock);
	kfree(d);
}

/**
 * vfio_unpinned_add_domain - Add an IOMMU domain to a mapping
 * @map: the mapping, published or not
 * @domain: the domain; nothing is mapped in it at the mapping's IOVA
 *
 * If the mapping is published, the domain gets a copy of all leaves.
 *
 * Context: Process context, may sleep.
 * Return: 0, -EOPNOTSUPP if the domain can't remap, -ENOMEM, -ESRCH if the
 *	process of the mapping is gone.
 */
int vfio_unpinned_add_domain(struct vfio_unpinned_map *map,
			     struct iommu_domain *domain)
{
	size_t size = map->node.last - map->node.start + 1;
	struct vfio_unpinned_mm *unp = map->unp;
	struct vfio_unpinned_attach *a;
	int ret;

	a = kzalloc_obj(*a, GFP_KERNEL_ACCOUNT);
	if (!a)
		return -ENOMEM;
	ret = unp_charge(map, map->charged);
	if (ret)
		goto err_free;
	ret = iommu_remap_prepare(domain, map->iova, size, GFP_KERNEL_ACCOUNT);
	if (ret)
		goto err_uncharge;

	mutex_lock(&unp->update_lock);
	a->to = unp_get_domain(unp, domain);
	if (!a->to) {
		ret = -ENOMEM;
		goto err_unlock;
	}
	spin_lock(&unp->lock);
	list_add_tail(&a->link, &map->attaches);
	spin_unlock(&unp->lock);
	if (map->published)
		unp_copy_leaves(map);
	mutex_unlock(&unp->update_lock);
	return 0;

err_unlock:
	mutex_unlock(&unp->update_lock);
	iommu_remap_release(domain, map->iova, size);
err_uncharge:
	unp_uncharge(map, map->charged);
err_free:
	kfree(a);
	return ret;
}
EXPORT_SYMBOL_GPL(vfio_unpinned_add_domain);

/*
 * Clear all leaves of a dying attachment and flush them, then forget it. Until
 * then brackets see it, so no frame is freed under a leaf.
 */
static void unp_detach(struct vfio_unpinned_map *map,
		       struct vfio_unpinned_attach *a)
{
	unsigned long size = map->node.last - map->node.start + 1;
	struct vfio_unpinned_mm *unp = map->unp;
	unsigned long off = 0, len;

	lockdep_assert_held(&unp->update_lock);
	spin_lock(&unp->lock);
	a->dying = true;
	spin_unlock(&unp->lock);
	vfio_unpinned_dirty_add_leaves(map);

	spin_lock(&unp->lock);
	for (; off < size; off += len) {
		len = min(size - off, UNP_CHUNK_SIZE);
		vfio_unpinned_remap(unp, a->to, map->iova + off, 0,
				    len >> PAGE_SHIFT, 0);
		vfio_unpinned_commit(unp);
		spin_unlock(&unp->lock);
		cond_resched();
		spin_lock(&unp->lock);
	}
	list_del(&a->link);
	spin_unlock(&unp->lock);
	iommu_remap_release(a->to->domain, map->iova, size);
	unp_put_domain(unp, a->to);
	kfree(a);
}

/**
 * vfio_unpinned_del_domain - Remove an IOMMU domain from a mapping
 * @map: the mapping
 * @domain: the domain; may be unknown to the mapping
 *
 * Upon return no leaf of the mapping is left in the domain.
 *
 * Context: Process context, may sleep.
 */
void vfio_unpinned_del_domain(struct vfio_unpinned_map *map,
			      struct iommu_domain *domain)
{
	struct vfio_unpinned_attach *a;
	bool found = false;

	mutex_lock(&map->unp->update_lock);
	list_for_each_entry(a, &map->attaches, link) {
		if (a->to->domain == domain) {
			unp_detach(map, a);
			found = true;
			break;
		}
	}
	mutex_unlock(&map->unp->update_lock);
	if (found)
		unp_uncharge(map, map->charged);
}
EXPORT_SYMBOL_GPL(vfio_unpinned_del_domain);

/* A page whose last mapping is dying loses its word and its late pin. */
static void unp_unmap_page(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			   unsigned long *word, void *unused)
{
	lockdep_assert_held(&unp->lock);
	if (!vfio_unpinned_covered(unp, vaddr, unp_size(*word)))
		vfio_unpinned_zap(unp, vaddr, UNP_ZAP_UNMAP);
}

/**
 * vfio_unpinned_map_close - Clear all leaves of a mapping for good
 * @map: the mapping, published or not
 *
 * Upon return no leaf of it is left and all is flushed. All that can be done with
 * it then is to ask what devices may have written, and to destroy it.
 *
 * Context: Process context, may sleep. Can't fail, allocates nothing.
 */
void vfio_unpinned_map_close(struct vfio_unpinned_map *map)
{
	struct vfio_unpinned_mm *unp = map->unp;
	struct vfio_unpinned_attach *a, *next;
	unsigned long tables = 0;

	mutex_lock(&unp->update_lock);
	spin_lock(&unp->lock);
	map->dying = true;
	spin_unlock(&unp->lock);

	if (map->published)
		vfio_unpinned_walk(unp, map->node.start, map->node.last, true,
				   unp_unmap_page, NULL);
	list_for_each_entry_safe(a, next, &map->attaches, link) {
		unp_detach(map, a);
		tables += map->charged;
	}
	spin_lock(&unp->lock);
	if (map->published)
		interval_tree_remove(&map->node, &unp->maps);
	map->published = false;
	spin_unlock(&unp->lock);
	mutex_unlock(&unp->update_lock);
	if (tables)
		unp_uncharge(map, tables);
}
EXPORT_SYMBOL_GPL(vfio_unpinned_map_close);

/**
 * vfio_unpinned_map_destroy - Undo a mapping
 * @map: the mapping, published or not, closed or not; freed
 *
 * Upon return no leaf of it is left, all is flushed and given back.
 *
 * Context: Process context, may sleep. Can't fail, allocates nothing.
 */
void vfio_unpinned_map_destroy(struct vfio_unpinned_map *map)
{
	struct vfio_unpinned_mm *unp = map->unp;

	vfio_unpinned_map_close(map);
	vfio_unpinned_dirty_stop(map);
	mutex_lock(&unp->update_lock);
	unp_put_chunks(unp, map->node.start, map->node.last);
	mutex_unlock(&unp->update_lock);

	unp_uncharge(map, map->charged);
	vfio_unpinned_mm_put(unp);
	kfree(map);
}
EXPORT_SYMBOL_GPL(vfio_unpinned_map_destroy);
