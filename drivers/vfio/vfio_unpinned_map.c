// SPDX-License-Identifier: GPL-2.0-only
/*
 * VFIO: life of an unpinned DMA mapping
 *
 *	create --> add_domain ... --> publish --> destroy
 *
 * A mapping gets its memory (chunks of words, page tables in each domain)
 * before it is published, and keeps all of it until it is destroyed, since the
 * notifiers can't allocate. Domains can come and go while it is published: one
 * that comes gets copies of the leaves, one that goes is "dying" until its last
 * leaf is cleared and flushed. Brackets see a dying one all the time, so that
 * no frame is freed under a leaf of it.
 *
 * Locks: see vfio_iommu_type1_unpinned.c.
 */
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include "vfio_unpinned.h"

static void unp_free_chunk(struct vfio_unpinned_chunk *chunk)
{
	free_page((unsigned long)chunk->leaf);
	kfree(chunk);
}

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
		unp_free_chunk(chunk);
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
	chunk = kzalloc(sizeof(*chunk), GFP_KERNEL_ACCOUNT);
	if (!chunk)
		return -ENOMEM;
	chunk->users = 1;
	chunk->leaf = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	ret = chunk->leaf ? xa_err(xa_store(&unp->chunks, index, chunk,
					    GFP_KERNEL_ACCOUNT)) : -ENOMEM;
	if (ret)
		unp_free_chunk(chunk);
	return ret;
}

static int unp_get_chunks(struct vfio_unpinned_mm *unp, unsigned long start,
			  unsigned long last)
{
	unsigned long index;
	int ret;

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

static int unp_check_vma(struct vm_area_struct *vma)
{
	if (vma->vm_flags & (VM_PFNMAP | VM_IO | VM_MIXEDMAP | VM_HUGETLB))
		return -EOPNOTSUPP;
	if (!(vma->vm_flags & VM_WRITE))
		return -EOPNOTSUPP;
	if (!vma_is_anonymous(vma) &&
	    !(vma->vm_file && shmem_mapping(vma->vm_file->f_mapping)))
		return -EOPNOTSUPP;
	return 0;
}

/*
 * Tell the user early of what would never get a leaf. It protects nothing:
 * what is there later is judged at the gate.
 */
static int unp_check_range(struct mm_struct *mm, unsigned long start,
			   unsigned long end)
{
	VMA_ITERATOR(vmi, mm, start);
	struct vm_area_struct *vma;
	int ret = 0;

	mmap_read_lock(mm);
	for_each_vma_range(vmi, vma, end) {
		if (vma->vm_start > start)
			break;
		ret = unp_check_vma(vma);
		if (ret)
			goto out;
		start = vma->vm_end;
	}
	if (start < end)
		ret = -EFAULT;
out:
	mmap_read_unlock(mm);
	return ret;
}

/**
 * vfio_unpinned_map_create - Prepare an unpinned mapping
 * @iova: first IOVA, page aligned
 * @vaddr: first address in the current address space, page aligned
 * @size: bytes, page aligned; neither range wraps
 *
 * The mapping has no domain and is not published.
 *
 * Context: Process context of the user, may sleep.
 * Return: The mapping or ERR_PTR(): -EFAULT if there is a hole in the user
 *	range, -EOPNOTSUPP for memory of another kind, -ENOMEM, -EINTR.
 */
struct vfio_unpinned_map *vfio_unpinned_map_create(dma_addr_t iova,
						   unsigned long vaddr,
						   size_t size)
{
	struct vfio_unpinned_map *map;
	int ret;

	ret = unp_check_range(current->mm, vaddr, vaddr + size);
	if (ret)
		return ERR_PTR(ret);

	map = kzalloc(sizeof(*map), GFP_KERNEL_ACCOUNT);
	if (!map)
		return ERR_PTR(-ENOMEM);
	map->iova = iova;
	map->node.start = vaddr;
	map->node.last = vaddr + size - 1;
	INIT_LIST_HEAD(&map->domains);
	/* A table page and a page of words for each chunk */
	map->charged = 2 * ((map->node.last >> UNP_CHUNK_SHIFT) -
			    (vaddr >> UNP_CHUNK_SHIFT) + 1);

	map->unp = vfio_unpinned_mm_get();
	if (IS_ERR(map->unp)) {
		ret = PTR_ERR(map->unp);
		goto err_free;
	}
	ret = account_locked_vm(current->mm, map->charged, true);
	if (ret)
		goto err_put;
	mutex_lock(&map->unp->update_lock);
	ret = unp_get_chunks(map->unp, vaddr, map->node.last);
	mutex_unlock(&map->unp->update_lock);
	if (ret)
		goto err_uncharge;
	return map;

err_uncharge:
	vfio_unpinned_uncharge(map->unp, map->charged);
err_put:
	vfio_unpinned_mm_put(map->unp);
err_free:
	kfree(map);
	return ERR_PTR(ret);
}
EXPORT_SYMBOL_GPL(vfio_unpinned_map_create);

static void unp_copy_leaf(struct vfio_unpinned_domain *d, unsigned long iova,
			  unsigned long word)
{
	phys_addr_t paddr = PFN_PHYS(unp_pfn(word));

	WARN_ON_ONCE(iommu_remap_pte(d->domain, iova, paddr, PAGE_SIZE, 1,
				     UNP_PROT, &d->gather, NULL));
}

/* Give @only, or all domains of @map if NULL, the leaves that exist already. */
static void unp_copy_leaves(struct vfio_unpinned_map *map,
			    struct vfio_unpinned_domain *only)
{
	struct vfio_unpinned_mm *unp = map->unp;
	unsigned long size = map->node.last - map->node.start + 1;
	unsigned long off, vaddr, *word;
	struct vfio_unpinned_domain *d;

	spin_lock(&unp->lock);
	for (off = 0; off < size; off += PAGE_SIZE) {
		vaddr = map->node.start + off;
		word = vfio_unpinned_word(unp, vaddr, NULL);
		list_for_each_entry(d, &map->domains, link) {
			if ((*word & UNP_PRESENT) && (!only || d == only))
				unp_copy_leaf(d, map->iova + off, *word);
		}
		if (!((vaddr + PAGE_SIZE) % UNP_CHUNK_SIZE)) {
			vfio_unpinned_commit(unp);
			spin_unlock(&unp->lock);
			cond_resched();
			spin_lock(&unp->lock);
		}
	}
	vfio_unpinned_commit(unp);
	spin_unlock(&unp->lock);
}

/*
 * Each leaf of a page is written under one hold of the lock, so their number
 * is bounded. Only at the start of a mapping can the number grow.
 */
static bool unp_too_many_aliases(struct vfio_unpinned_mm *unp,
				 unsigned long start, unsigned long last)
{
	struct interval_tree_node *node, *alias;

	lockdep_assert_held(&unp->update_lock);
	for (node = interval_tree_iter_first(&unp->maps, start, last); node;
	     node = interval_tree_iter_next(node, start, last)) {
		unsigned long at = max(node->start, start);
		unsigned int count = 0;

		for (alias = interval_tree_iter_first(&unp->maps, at, at); alias;
		     alias = interval_tree_iter_next(alias, at, at)) {
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

	guard(mutex)(&unp->update_lock);
	if (unp_too_many_aliases(unp, map->node.start, map->node.last))
		return -ENOSPC;

	spin_lock(&unp->lock);
	interval_tree_insert(&map->node, &unp->maps);
	map->published = true;
	spin_unlock(&unp->lock);

	/* Another mapping may cover the same memory. */
	unp_copy_leaves(map, NULL);
	mmu_notifier_zap_secondary(unp->mn.mm, map->node.start,
				   map->node.last + 1, unp);
	vfio_unpinned_populate(map);
	return 0;
}
EXPORT_SYMBOL_GPL(vfio_unpinned_map_publish);

/**
 * vfio_unpinned_add_domain - Add an IOMMU domain to a mapping
 * @map: the mapping, published or not
 * @domain: the domain; nothing is mapped in it at the mapping's IOVA
 *
 * If the mapping is published, the domain gets a copy of all leaves.
 *
 * Context: Process context, may sleep.
 * Return: 0, -EOPNOTSUPP if the domain can't remap, -ENOMEM.
 */
int vfio_unpinned_add_domain(struct vfio_unpinned_map *map,
			     struct iommu_domain *domain)
{
	struct vfio_unpinned_mm *unp = map->unp;
	struct vfio_unpinned_domain *d;
	int ret;

	d = kzalloc(sizeof(*d), GFP_KERNEL_ACCOUNT);
	if (!d)
		return -ENOMEM;
	d->domain = domain;
	INIT_LIST_HEAD(&d->flush_link);
	iommu_iotlb_gather_init(&d->gather);

	ret = iommu_remap_prepare(domain, map->iova,
				  map->node.last - map->node.start + 1,
				  GFP_KERNEL_ACCOUNT);
	if (ret) {
		kfree(d);
		return ret;
	}

	mutex_lock(&unp->update_lock);
	spin_lock(&unp->lock);
	list_add_tail(&d->link, &map->domains);
	spin_unlock(&unp->lock);
	if (map->published)
		unp_copy_leaves(map, d);
	mutex_unlock(&unp->update_lock);
	return 0;
}
EXPORT_SYMBOL_GPL(vfio_unpinned_add_domain);

/*
 * Clear all leaves of a dying domain and flush them, then forget it. Until
 * then brackets see it, so no frame is freed under a leaf.
 */
static void unp_remove_domain(struct vfio_unpinned_map *map,
			      struct vfio_unpinned_domain *d)
{
	unsigned long size = map->node.last - map->node.start + 1;
	struct vfio_unpinned_mm *unp = map->unp;
	unsigned long off = 0, len;

	lockdep_assert_held(&unp->update_lock);
	spin_lock(&unp->lock);
	d->dying = true;
	for (; off < size; off += len) {
		len = min(size - off, UNP_CHUNK_SIZE);
		WARN_ON_ONCE(iommu_remap_pte(d->domain, map->iova + off, 0,
					     PAGE_SIZE, len >> PAGE_SHIFT, 0,
					     &d->gather, NULL));
		if (d->gather.end) {
			iommu_iotlb_sync(d->domain, &d->gather);
			unp->stats.flushes++;
		}
		spin_unlock(&unp->lock);
		cond_resched();
		spin_lock(&unp->lock);
	}
	list_del(&d->link);
	spin_unlock(&unp->lock);
	iommu_remap_release(d->domain, map->iova, size);
	kfree(d);
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
	struct vfio_unpinned_domain *d;

	guard(mutex)(&map->unp->update_lock);
	list_for_each_entry(d, &map->domains, link) {
		if (d->domain == domain) {
			unp_remove_domain(map, d);
			return;
		}
	}
}
EXPORT_SYMBOL_GPL(vfio_unpinned_del_domain);

/* A page whose last mapping is dying loses its word and its late pin. */
static void unp_unmap_page(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			   unsigned long *word, bool unused)
{
	struct interval_tree_node *node;

	lockdep_assert_held(&unp->lock);
	for (node = interval_tree_iter_first(&unp->maps, vaddr, vaddr); node;
	     node = interval_tree_iter_next(node, vaddr, vaddr)) {
		if (!container_of(node, struct vfio_unpinned_map, node)->dying)
			return;
	}
	vfio_unpinned_zap(unp, vaddr, UNP_ZAP_UNMAP);
}

/**
 * vfio_unpinned_map_destroy - Undo a mapping
 * @map: the mapping, published or not; freed
 *
 * Upon return no leaf of it is left, all is flushed and given back.
 *
 * Context: Process context, may sleep. Can't fail, allocates nothing.
 */
void vfio_unpinned_map_destroy(struct vfio_unpinned_map *map)
{
	struct vfio_unpinned_mm *unp = map->unp;
	struct vfio_unpinned_domain *d, *next;

	mutex_lock(&unp->update_lock);
	spin_lock(&unp->lock);
	map->dying = true;
	spin_unlock(&unp->lock);

	if (map->published)
		vfio_unpinned_walk(unp, map->node.start, map->node.last, true,
				   unp_unmap_page, false);
	list_for_each_entry_safe(d, next, &map->domains, link)
		unp_remove_domain(map, d);

	spin_lock(&unp->lock);
	if (map->published)
		interval_tree_remove(&map->node, &unp->maps);
	spin_unlock(&unp->lock);
	unp_put_chunks(unp, map->node.start, map->node.last);
	mutex_unlock(&unp->update_lock);

	vfio_unpinned_uncharge(unp, map->charged);
	vfio_unpinned_mm_put(unp);
	kfree(map);
}
EXPORT_SYMBOL_GPL(vfio_unpinned_map_destroy);
