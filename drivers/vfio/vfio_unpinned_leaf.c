// SPDX-License-Identifier: GPL-2.0-only
/*
 * VFIO: leaves of unpinned DMA mappings
 *
 * Sets and clears the leaves of a user page, in all domains of all mappings that
 * cover it, together with its word. One rule holds whenever the lock is dropped: the
 * leaves are what the words say, and what was cleared or replaced is flushed.
 *
 * Which memory may have leaves is decided here, too: by VMA, to refuse early what
 * never gets any, and by page.
 *
 * Leaves are of 4 KiB, or for a chunk with HUGE as large as the domain and the
 * alignment of each mapping allow.
 *
 * Locks: see vfio_unpinned_priv.h.
 */
#include <linux/hugetlb.h>
#include <linux/iommu.h>
#include <linux/mm.h>
#include <linux/shmem_fs.h>
#include "vfio_unpinned_priv.h"
#include "vfio_unpinned_trace.h"

/**
 * vfio_unpinned_poisoned - Does this page have a memory error?
 * @page: the page, referenced by the caller
 *
 * Context: Any context.
 * Return: true if it does, or if another page of its hugetlb page does.
 */
bool vfio_unpinned_poisoned(struct page *page)
{
	struct folio *folio = page_folio(page);

	if (folio_test_hugetlb(folio))
		return folio_test_hwpoison(folio);
	return PageHWPoison(page);
}

/**
 * vfio_unpinned_page_eligible - May this page frame have a leaf?
 * @pfn: the page frame number
 *
 * What a VMA is changes under a mapping, so each page is judged. A page whose
 * content belongs to a file system must not be written behind its back.
 *
 * Context: Any context; the page stays referenced by the caller.
 * Return: true for anonymous, shmem and hugetlb memory that is not poisoned.
 */
bool vfio_unpinned_page_eligible(unsigned long pfn)
{
	struct folio *folio;
	struct page *page;

	if (!pfn_valid(pfn))
		return false;
	page = pfn_to_page(pfn);
	if (PageReserved(page) || is_zone_device_page(page) ||
	    vfio_unpinned_poisoned(page))
		return false;
	folio = page_folio(page);
	if (folio_test_hugetlb(folio))
		return folio_size(folio) >= UNP_CHUNK_SIZE;
	return folio_test_anon(folio) || folio_test_swapbacked(folio);
}

/**
 * vfio_unpinned_check_vma - Is this memory that can have leaves?
 * @vma: the memory
 *
 * Context: Process context, with the mmap_lock held.
 * Return: 0 or -EOPNOTSUPP.
 */
int vfio_unpinned_check_vma(struct vm_area_struct *vma)
{
	if (vma_test_any(vma, VMA_PFNMAP_BIT, VMA_IO_BIT, VMA_MIXEDMAP_BIT))
		return -EOPNOTSUPP;
	if (!vma_test(vma, VMA_WRITE_BIT))
		return -EOPNOTSUPP;
	if (is_vm_hugetlb_page(vma))
		return 0;
	if (!vma_is_anonymous(vma) &&
	    !(vma->vm_file && shmem_mapping(vma->vm_file->f_mapping)))
		return -EOPNOTSUPP;
	return 0;
}

/* Sizes of leaves: those of the page table entries that map hugetlb pages */
static unsigned long unp_leaf_sizes(struct iommu_domain *domain)
{
	return domain->pgsize_bitmap & (PAGE_SIZE | PMD_SIZE | PUD_SIZE);
}

/* How large can the next leaf of a range be? */
static size_t unp_leaf_size(struct iommu_domain *domain, unsigned long iova,
			    phys_addr_t paddr, size_t size)
{
	unsigned long sizes = unp_leaf_sizes(domain);

	sizes &= GENMASK(__fls(size), 0);
	sizes &= GENMASK(__ffs(iova | paddr | BIT(BITS_PER_LONG - 1)), 0);
	return BIT(__fls(sizes | PAGE_SIZE));
}

/* How many leaves of @pgsize fit before a larger one may? */
static size_t unp_leaf_count(struct iommu_domain *domain, unsigned long iova,
			     size_t size, size_t pgsize)
{
	unsigned long larger = unp_leaf_sizes(domain) & ~(2 * pgsize - 1);

	if (larger)
		size = min(size, ALIGN(iova + 1, BIT(__ffs(larger))) - iova);
	return size / pgsize;
}

/**
 * vfio_unpinned_remap - Set, replace or clear leaves in one domain
 * @unp: the address space
 * @d: the domain
 * @iova: of the first page
 * @pfn: what the first leaf shall point at
 * @count: how many pages
 * @prot: what the leaves permit, 0 clears
 *
 * Leaves are as large as the domain, alignment and @count allow. What has to be
 * flushed is gathered.
 *
 * Context: Any context, with @unp->lock held. The caller commits.
 */
void vfio_unpinned_remap(struct vfio_unpinned_mm *unp,
			 struct vfio_unpinned_domain *d, unsigned long iova,
			 unsigned long pfn, size_t count, int prot)
{
	size_t size = count << PAGE_SHIFT, pgsize = PAGE_SIZE;
	phys_addr_t paddr = PFN_PHYS(pfn);

	lockdep_assert_held(&unp->lock);
	unp->written += count;
	for (; size; size -= pgsize * count) {
		if (prot) {
			pgsize = unp_leaf_size(d->domain, iova, paddr, size);
			count = unp_leaf_count(d->domain, iova, size, pgsize);
		}
		WARN_ON_ONCE(iommu_remap_pte(d->domain, iova, paddr, pgsize,
					     count, prot, &d->gather));
		iova += pgsize * count;
		paddr += pgsize * count;
	}
	if (d->gather.end && list_empty(&d->flush_link))
		list_add(&d->flush_link, &unp->flush_list);
}

/*
 * Leaves of [@from, @last] go or change: devices may have written there. With
 * @chunk, which has a word for each page, some have no leaf.
 */
static void unp_add_dirty(struct vfio_unpinned_map *map,
			  struct vfio_unpinned_chunk *chunk,
			  unsigned long from, unsigned long last)
{
	unsigned long at;

	lockdep_assert_held(&map->unp->lock);
	if (!chunk) {
		vfio_unpinned_dirty_add(map, from, last - from + 1);
		return;
	}
	for (at = from; map->dirty && at <= last; at += PAGE_SIZE) {
		if (*unp_small_word(chunk, at) & UNP_PRESENT)
			vfio_unpinned_dirty_add(map, at, PAGE_SIZE);
	}
}

/*
 * Write the leaves of user memory in all domains of all mappings that cover a
 * part of it: @prot 0 clears. For @chunk see unp_add_dirty().
 */
static void unp_write_leaves(struct vfio_unpinned_mm *unp,
			     struct vfio_unpinned_chunk *chunk,
			     unsigned long vaddr, unsigned long size,
			     unsigned long pfn, int prot)
{
	unsigned long last = vaddr + size - 1;
	struct vfio_unpinned_map *map;

	lockdep_assert_held(&unp->lock);
	for (map = unp_map_first(unp, vaddr, last); map;
	     map = unp_map_next(map, vaddr, last)) {
		unsigned long from = max(vaddr, map->node.start);
		unsigned long end = min(last, map->node.last);
		struct vfio_unpinned_attach *a;

		unp_add_dirty(map, chunk, from, end);
		list_for_each_entry(a, &map->attaches, link) {
			bool dying = map->dying || a->dying;

			/* A dying one must not keep the old frame either. */
			vfio_unpinned_remap(unp, a->to,
					    map->iova + from - map->node.start,
					    pfn + PHYS_PFN(from - vaddr),
					    PHYS_PFN(end - from) + 1,
					    dying ? 0 : prot);
		}
	}
}

/*
 * The device may write the page until the flush. If it can't have, since the page was
 * not marked while it had its leaf, the folio is dirty already: KVM has set its SPTE
 * dirty when it made it writable (make_spte()), and has marked the folio dirty when
 * it dropped the SPTE. Second-stage D bits count only while dirty tracking is
 * on, and its reader takes them away; in first-stage leaves, D is set from the
 * start.
 */
static void unp_mark_dirty(struct folio *folio)
{
	if (!vfio_unpinned_break_writeback)
		folio_mark_dirty(folio);
}

/*
 * A page loses its leaf, and its late pin. The caller has marked its folio dirty: the
 * device may have written it, up to the flush.
 */
static void unp_put_old(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			unsigned long word)
{
	lockdep_assert_held(&unp->lock);
	if (!(word & UNP_PINNED))
		return;
	vfio_unpinned_unpin(unp, unp_page(word));
	vfio_unpinned_drop_pin(unp, vaddr);
}

/**
 * vfio_unpinned_zap_others - Zap the leaves of a chunk that point at other memory
 * @unp: the address space
 * @vaddr: user address where the chunk starts
 * @pfn: page frame that is there now, of a hugetlb page
 *
 * Those are late-pinned pages that were at these addresses before.
 *
 * Context: Any context, with @unp->lock held.
 */
void vfio_unpinned_zap_others(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			      unsigned long pfn)
{
	struct vfio_unpinned_chunk *chunk;
	unsigned long i;

	lockdep_assert_held(&unp->lock);
	if (!vfio_unpinned_word(unp, vaddr, &chunk) ||
	    (chunk->huge && unp_pfn(chunk->huge) == pfn))
		return;
	for (i = 0; i < UNP_CHUNK_WORDS && chunk->leaves; i++) {
		unsigned long at = vaddr + i * PAGE_SIZE;

		if (!(*vfio_unpinned_word(unp, at, NULL) & UNP_PRESENT) ||
		    vfio_unpinned_has_pfn(unp, at, UNP_PRESENT, pfn + i))
			continue;
		unp->stats.orphan_zaps++;
		vfio_unpinned_zap(unp, at, UNP_ZAP_ORPHAN);
	}
	vfio_unpinned_commit(unp);
}

/*
 * The words of a chunk become one. Returns UNP_PINNED if there was a late pin;
 * one of them is kept.
 */
static unsigned long unp_merge_words(struct vfio_unpinned_mm *unp,
				     struct vfio_unpinned_chunk *chunk)
{
	unsigned long i, pinned = 0;

	lockdep_assert_held(&unp->lock);
	for (i = 0; i < UNP_CHUNK_WORDS && chunk->leaves; i++) {
		unsigned long word = chunk->leaf[i];

		chunk->leaf[i] = 0;
		if (!(word & UNP_PRESENT))
			continue;
		chunk->leaves--;
		unp->stats.leaves--;
		if (!(word & UNP_PINNED))
			continue;
		if (pinned) {
			vfio_unpinned_add_pins(unp, chunk, unp_page(word), -1);
			unpin_user_page(unp_page(word));
		}
		pinned = UNP_PINNED;
	}
	return pinned;
}

/* The leaves are set, or replaced: say so in the word. */
static void unp_set_word(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			 unsigned long new)
{
	struct vfio_unpinned_chunk *chunk;
	unsigned long *word = vfio_unpinned_word(unp, vaddr, &chunk), old;

	lockdep_assert_held(&unp->lock);
	if ((new & UNP_HUGE) && !chunk->huge) {
		new |= unp_merge_words(unp, chunk);
		word = &chunk->huge;
	}
	old = *word;
	if ((old & UNP_PRESENT) && unp_pfn(old) == unp_pfn(new)) {
		*word |= new;
		return;
	}
	if (old & UNP_PRESENT) {
		/* A frame that is not pinned can't change without a bracket. */
		WARN_ON_ONCE(!(old & UNP_PINNED));
		unp->stats.orphan_zaps++;
		trace_unpinned_zap(vaddr, old, 1, UNP_ZAP_ORPHAN);
		unp_mark_dirty(page_folio(unp_page(old)));
		unp_put_old(unp, vaddr, old);
	} else {
		chunk->leaves++;
		unp->stats.leaves++;
	}
	*word = new;
	trace_unpinned_populate(vaddr, new);
}

/**
 * vfio_unpinned_set - Set leaves, or replace them
 * @unp: the address space
 * @vaddr: user address
 * @size: bytes: of one page, or with UNP_HUGE, of a number of chunks
 * @pfn: what the first leaf shall point at
 * @flags: UNP_GATED or UNP_PINNED, the latter comes with the pin and for one
 *	page only; and UNP_HUGE for a hugetlb page
 *
 * A page must not be in a chunk with HUGE, and a chunk not have words of other
 * memory.
 *
 * Context: Any context, with @unp->lock held. The caller commits.
 * Return: The number of words that are set; 0, and no leaf is, if no mapping
 *	covers the memory.
 */
unsigned long vfio_unpinned_set(struct vfio_unpinned_mm *unp,
				unsigned long vaddr, unsigned long size,
				unsigned long pfn, unsigned long flags)
{
	unsigned long step = unp_size(flags), off, set = 0;

	lockdep_assert_held(&unp->lock);
	unp_write_leaves(unp, NULL, vaddr, size, pfn, UNP_PROT);
	for (off = 0; off < size; off += step) {
		if (!vfio_unpinned_covered(unp, vaddr + off, step))
			continue;
		unp_set_word(unp, vaddr + off,
			     (PFN_PHYS(pfn) + off) | flags | UNP_PRESENT);
		set++;
	}
	return set;
}

/**
 * vfio_unpinned_zap - Clear the leaves of a page
 * @unp: the address space
 * @vaddr: user address of a page that has leaves; if it is in a hugetlb page,
 *	those of the whole chunk go
 * @reason: for the tracepoint
 *
 * Context: Any context, with @unp->lock held. The caller commits.
 */
void vfio_unpinned_zap(struct vfio_unpinned_mm *unp, unsigned long vaddr,
		       enum vfio_unpinned_zap_reason reason)
{
	struct vfio_unpinned_chunk *chunk;
	unsigned long *word, old;

	lockdep_assert_held(&unp->lock);
	word = vfio_unpinned_word(unp, vaddr, &chunk);
	if (WARN_ON_ONCE(!word || !(*word & UNP_PRESENT)))
		return;

	old = *word;
	vaddr &= ~(unp_size(old) - 1);
	unp_write_leaves(unp, NULL, vaddr, unp_size(old), 0, 0);
	chunk->leaves--;
	unp->stats.leaves--;
	unp->stats.zaps++;
	trace_unpinned_zap(vaddr, old, 1, reason);
	unp_mark_dirty(page_folio(unp_page(old)));
	unp_put_old(unp, vaddr, old);
	*word = 0;
}

/**
 * vfio_unpinned_zap_range - Clear the leaves of pages of one chunk
 * @unp: the address space
 * @vaddr: user address of the first page, in a chunk with a word for each page
 * @size: bytes, up to the end of the chunk; there may be pages without a leaf
 * @reason: for the tracepoint
 *
 * Takes one call per mapping and domain, and one per folio, since brackets that may
 * not sleep can cover a whole address space.
 *
 * Context: Any context, with @unp->lock held. The caller commits.
 */
void vfio_unpinned_zap_range(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			     unsigned long size,
			     enum vfio_unpinned_zap_reason reason)
{
	unsigned long at, first = 0, word = 0, pages = 0;
	struct vfio_unpinned_chunk *chunk;
	struct folio *folio = NULL;

	lockdep_assert_held(&unp->lock);
	if (!vfio_unpinned_word(unp, vaddr, &chunk) || !chunk->leaves || !size)
		return;
	unp_write_leaves(unp, chunk, vaddr, size, 0, 0);
	for (at = vaddr; at < vaddr + size; at += PAGE_SIZE) {
		unsigned long old = *unp_small_word(chunk, at);

		if (!(old & UNP_PRESENT))
			continue;
		if (page_folio(unp_page(old)) != folio) {
			folio = page_folio(unp_page(old));
			unp_mark_dirty(folio);
		}
		unp_put_old(unp, at, old);
		*unp_small_word(chunk, at) = 0;
		if (!pages++) {
			first = at;
			word = old;
		}
	}
	chunk->leaves -= pages;
	unp->stats.leaves -= pages;
	unp->stats.zaps += pages;
	if (pages)
		trace_unpinned_zap(first, word, pages, reason);
}

/**
 * vfio_unpinned_split_word - Give each page of a chunk a word of its own
 * @unp: the address space
 * @vaddr: user address in a chunk with a word that is PINNED and not GATED
 *
 * Each word is PRESENT upon return, those of pages outside of all mappings too, and
 * nothing but the reference of the chunk's late pin holds the pages: the caller
 * decides which ones stay, and how they are held.
 *
 * Context: The gate, with @unp->lock held.
 * Return: The page whose reference the caller drops, after the flush.
 */
struct page *vfio_unpinned_split_word(struct vfio_unpinned_mm *unp,
				      unsigned long vaddr)
{
	unsigned long start = unp_chunk_start(vaddr), word, off;
	struct vfio_unpinned_chunk *chunk;

	lockdep_assert_held(&unp->lock);
	word = *vfio_unpinned_word(unp, vaddr, &chunk) & PAGE_MASK;
	vfio_unpinned_drop_pin(unp, start);
	chunk->huge = 0;
	for (off = 0; off < UNP_CHUNK_SIZE; off += PAGE_SIZE)
		*unp_small_word(chunk, off) = (word + off) | UNP_PRESENT;
	chunk->leaves = UNP_CHUNK_WORDS;
	unp->stats.leaves += UNP_CHUNK_WORDS - 1;
	return unp_page(word);
}
