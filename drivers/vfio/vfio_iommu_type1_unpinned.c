// SPDX-License-Identifier: GPL-2.0-only
/*
 * VFIO: DMA mappings of memory that is not pinned
 *
 * A vfio_unpinned_mm belongs to one user address space, whatever number of
 * containers it has. It keeps one word per user page (vfio_unpinned_priv.h has the
 * states), and the leaves for that page in all IOMMU domains follow the word:
 *
 *   gate      KVM is about to install an SPTE (change_pte): set the leaf.
 *   late pass somebody is about to take the page away, and KVM has zapped its
 *             SPTEs (invalidate_range_start_late): zap the leaf, or hold the
 *             page with a late pin if the guest has marked it.
 *   release   the guest has cleared the mark of a pinned page, see
 *             vfio_unpinned_pins.c
 *   unmap     see vfio_unpinned_map.c
 *
 * so that a page that the guest can write is one that its devices can access,
 * and a page that was marked and then written stays both until the mark goes.
 * A bracket that was aborted needs no care: KVM has dropped its SPTE too, and
 * the guest comes back through the gate.
 *
 * Locks, in their order:
 *
 *   (vfio_iommu.lock)
 *   vfio_unpinned_mms_lock  list of all vfio_unpinned_mm and their users; held
 *                over nothing for which one process can make another wait
 *   update_lock  per vfio_unpinned_mm, what is mapped and registered: one
 *                change at a time. Held over allocations, and by the process
 *                itself over mmap_lock. Never taken in a notifier.
 *   populate_lock  per vfio_unpinned_mm: one at a time gets marked pages in.
 *                Nobody waits for it.
 *   (mmap_lock, reverse map locks, page table locks, KVM's mmu_lock)
 *   lock         per vfio_unpinned_mm, spinlock: the words, the leaves and all
 *                else that the notifiers use. Held while leaves are written
 *                and flushed, so that whoever holds it sees leaves, words and
 *                IOTLB agree. Not taken from interrupts.
 *   (locks of the IOMMU driver)
 *
 * The page behind a leaf is valid while the lock is held: whoever frees it
 * must have passed the late pass for its address, which takes the lock.
 */
#include <linux/module.h>
#include <linux/delay.h>
#include <linux/ktime.h>
#include <linux/sched/coredump.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include "vfio_unpinned_priv.h"

#define CREATE_TRACE_POINTS
#include "vfio_unpinned_trace.h"

static DEFINE_MUTEX(vfio_unpinned_mms_lock);
static LIST_HEAD(vfio_unpinned_mms);

#ifdef CONFIG_VFIO_IOMMU_TYPE1_UNPINNED_TEST
bool vfio_unpinned_break_flush;
module_param_named(break_flush, vfio_unpinned_break_flush, bool, 0644);
MODULE_PARM_DESC(break_flush, "TEST: do not flush the IOTLB");
bool vfio_unpinned_break_late;
module_param_named(break_late, vfio_unpinned_break_late, bool, 0644);
MODULE_PARM_DESC(break_late, "TEST: test the marks before KVM drops its SPTEs");
bool vfio_unpinned_break_pin;
module_param_named(break_pin, vfio_unpinned_break_pin, bool, 0644);
MODULE_PARM_DESC(break_pin, "TEST: take no late pins");
bool vfio_unpinned_break_dirty;
module_param_named(break_dirty, vfio_unpinned_break_dirty, bool, 0644);
MODULE_PARM_DESC(break_dirty, "TEST: forget that a leaf was there");
bool vfio_unpinned_break_lock;
module_param_named(break_lock, vfio_unpinned_break_lock, bool, 0644);
MODULE_PARM_DESC(break_lock, "TEST: show counters without their lock");
bool vfio_unpinned_break_release;
module_param_named(break_release, vfio_unpinned_break_release, bool, 0644);
MODULE_PARM_DESC(break_release, "TEST: release no late pins of others for a new one");
bool vfio_unpinned_break_writeback;
module_param_named(break_writeback, vfio_unpinned_break_writeback, bool, 0644);
MODULE_PARM_DESC(break_writeback, "TEST: lose what devices have written");
bool vfio_unpinned_separate_domains;
EXPORT_SYMBOL_GPL(vfio_unpinned_separate_domains);
module_param_named(separate_domains, vfio_unpinned_separate_domains, bool,
		   0644);
MODULE_PARM_DESC(separate_domains, "TEST: a domain of its own for each group");
unsigned int vfio_unpinned_pause_ms;
module_param_named(pause_ms, vfio_unpinned_pause_ms, uint, 0644);
MODULE_PARM_DESC(pause_ms, "TEST: milliseconds to wait between the passes");
#endif

/*
 * KVM maps one page of a chunk that has one word. Without PINNED, no bracket has
 * passed since the gate but VFIO's own: the page table still holds all of it, and
 * the word may say GATED. With PINNED, that is true of the one page only.
 */
static bool unp_must_split(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			   unsigned long word)
{
	lockdep_assert_held(&unp->lock);
	return (word & UNP_HUGE) && (word & UNP_PINNED) &&
	       !(word & UNP_GATED) &&
	       vfio_unpinned_covered(unp, vaddr, PAGE_SIZE);
}

/* One page at the gate. KVM maps no more of it, so neither do we. */
static void unp_gate_page(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			  unsigned long pfn, bool writable)
{
	struct vfio_unpinned_chunk *chunk;
	unsigned long *word = vfio_unpinned_word(unp, vaddr, &chunk);
	bool same, ok;

	lockdep_assert_held(&unp->lock);
	if (!word)
		return;

	*word &= ~UNP_POPULATE;
	ok = vfio_unpinned_page_ok(pfn);
	same = vfio_unpinned_has_pfn(unp, vaddr, UNP_PRESENT, pfn);
	if (ok && same && writable && unp_must_split(unp, vaddr, *word)) {
		vfio_unpinned_split_word(unp, vaddr);
		word = vfio_unpinned_word(unp, vaddr, NULL);
		same = *word & UNP_PRESENT;
	}
	if (ok && same) {
		if (writable)
			*word |= UNP_GATED;
		return;
	}
	/*
	 * The guest reads other memory here than its devices write: let them
	 * fault instead.
	 */
	if ((*word & UNP_PRESENT) && (chunk->huge || !ok || !writable)) {
		unp->stats.orphan_zaps++;
		vfio_unpinned_zap(unp, vaddr, UNP_ZAP_ORPHAN);
	}
	if (ok && writable) {
		unp->stats.populates += vfio_unpinned_set(unp, vaddr, PAGE_SIZE,
							  pfn, UNP_GATED);
	} else if (writable) {
		unp->stats.refused_pages++;
		trace_unpinned_refuse(vaddr, pfn);
	}
}

/* Whoever is about to populate a page of the chunk has to look again. */
static void unp_end_populate(struct vfio_unpinned_mm *unp,
			     struct vfio_unpinned_chunk *chunk)
{
	unsigned long i;

	lockdep_assert_held(&unp->lock);
	for (i = 0; chunk->populate && i < UNP_CHUNK_WORDS; i++)
		chunk->leaf[i] &= ~UNP_POPULATE;
	chunk->populate = false;
}

/*
 * A chunk of a hugetlb page at the gate; @vaddr and @pfn are where the chunk
 * starts. Returns whether its leaves have to be set.
 */
static bool unp_gate_chunk(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			   unsigned long pfn, bool writable)
{
	struct vfio_unpinned_chunk *chunk;

	lockdep_assert_held(&unp->lock);
	if (!vfio_unpinned_word(unp, vaddr, &chunk))
		return false;
	unp_end_populate(unp, chunk);
	vfio_unpinned_zap_others(unp, vaddr, pfn);
	if (writable && chunk->huge)
		chunk->huge |= UNP_GATED;
	return writable && !chunk->huge;
}

/*
 * Can each mapping of the hugetlb page at @vaddr have one leaf for all of it, in
 * each domain? To set such a leaf takes as long as to set those of its parts.
 */
static bool unp_fits(struct vfio_unpinned_mm *unp, unsigned long vaddr,
		     unsigned long size)
{
	unsigned long last = vaddr + size - 1, leaves = 0;
	struct vfio_unpinned_map *map;

	lockdep_assert_held(&unp->lock);
	for (map = unp_map_first(unp, vaddr, last); map;
	     map = unp_map_next(map, vaddr, last)) {
		struct vfio_unpinned_attach *a;

		if (map->node.start > vaddr || map->node.last < last ||
		    !IS_ALIGNED(map->iova + vaddr - map->node.start, size))
			return false;
		list_for_each_entry(a, &map->attaches, link) {
			if (!(a->to->domain->pgsize_bitmap & size) ||
			    ++leaves > UNP_MAX_GIGANTIC)
				return false;
		}
	}
	return true;
}

/*
 * How much of a hugetlb page can be done in one go, if KVM maps what is from
 * @vaddr up to @end: all of it where it can have one leaf, else a chunk, or 0 if
 * it is less or not hugetlb. KVM maps no more than the page table of the user
 * does in one entry, so brackets that change that entry are over all of it.
 */
static unsigned long unp_hugetlb_size(struct vfio_unpinned_mm *unp,
				      unsigned long vaddr, unsigned long end,
				      unsigned long pfn)
{
	struct folio *folio;
	unsigned long size;

	lockdep_assert_held(&unp->lock);
	if (!IS_ALIGNED(vaddr | PFN_PHYS(pfn), UNP_CHUNK_SIZE) ||
	    end - vaddr < UNP_CHUNK_SIZE || !vfio_unpinned_page_ok(pfn))
		return 0;
	folio = page_folio(pfn_to_page(pfn));
	if (!folio_test_hugetlb(folio))
		return 0;
	size = folio_size(folio);
	if (IS_ALIGNED(vaddr | PFN_PHYS(pfn), size) && end - vaddr >= size &&
	    unp_fits(unp, vaddr, size))
		return size;
	return UNP_CHUNK_SIZE;
}

/* As much of [@vaddr, @end) as can be done in one go. Returns how much that is. */
static unsigned long unp_gate(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			      unsigned long end, unsigned long pfn,
			      bool writable)
{
	unsigned long size = unp_hugetlb_size(unp, vaddr, end, pfn), off;
	bool set = false;

	lockdep_assert_held(&unp->lock);
	if (!size) {
		unp_gate_page(unp, vaddr, pfn, writable);
		return PAGE_SIZE;
	}
	for (off = 0; off < size; off += UNP_CHUNK_SIZE)
		set |= unp_gate_chunk(unp, vaddr + off, pfn + PHYS_PFN(off),
				      writable);
	if (set)
		unp->stats.populates += vfio_unpinned_set(unp, vaddr, size, pfn,
						UNP_GATED | UNP_HUGE);
	return size;
}

/*
 * The gate. KVM holds mmu_lock and has found no bracket in progress over the
 * range, and a bracket that begins now has to wait for mmu_lock in KVM's
 * invalidate_range_start() before its late pass gets here.
 * Litmus: gate-late-pass, gate-device
 */
static void unp_change_pte(struct mmu_notifier *mn, struct mm_struct *mm,
			   unsigned long address, unsigned long pfn,
			   unsigned long nr_pages, bool writable)
{
	struct vfio_unpinned_mm *unp =
		container_of(mn, struct vfio_unpinned_mm, mn);
	unsigned long end = address + nr_pages * PAGE_SIZE;
	unsigned long size, done = 0;

	spin_lock(&unp->lock);
	unp->written = 0;
	for (; address < end && !unp->dead; address += size) {
		size = unp_gate(unp, address, end, pfn, writable);
		pfn += PHYS_PFN(size);
		done += size;
		if (done < UNP_BATCH_WORDS * PAGE_SIZE &&
		    unp->written < UNP_BATCH_LEAVES)
			continue;
		/* A bracket still has to wait, for KVM. */
		done = 0;
		vfio_unpinned_yield(unp, false);
	}
	vfio_unpinned_commit(unp);
	spin_unlock(&unp->lock);
}

/* May a marked page stay in the late pass? @force says that no mark counts. */
static bool unp_keep_marked(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			    unsigned long word, bool force,
			    enum vfio_unpinned_zap_reason *reason)
{
	lockdep_assert_held(&unp->lock);
	unp->stats.marks_found++;
	if (force || vfio_unpinned_poisoned(unp_page(word))) {
		unp->stats.forced_zaps++;
		if (!force)
			vfio_unpinned_event_lost(unp, vaddr, unp_size(word));
		*reason = UNP_ZAP_FORCED;
		return false;
	}
	if ((word & UNP_PINNED) || vfio_unpinned_late_pin(unp, vaddr, reason))
		return true;
	vfio_unpinned_want_populate(unp);
	vfio_unpinned_event_lost(unp, vaddr, unp_size(word));
	return false;
}

/* A bracket in the late pass; @force says that no mark counts. */
struct unp_bracket {
	unsigned long start;
	unsigned long last;
	bool force;
};

/*
 * A bracket over a part of a hugetlb page changes nothing in the page table of
 * the user, and KVM may have SPTEs of the rest.
 */
static bool unp_in_part(const struct unp_bracket *bracket, unsigned long vaddr,
			unsigned long word)
{
	return vaddr < bracket->start - offset_in_page(bracket->start) ||
	       vaddr + unp_size(word) - 1 > (bracket->last | ~PAGE_MASK);
}

/* The word of a hugetlb page's chunk in the late pass */
static void unp_late_huge(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			  unsigned long *word,
			  const struct unp_bracket *bracket)
{
	enum vfio_unpinned_zap_reason reason = UNP_ZAP_UNMARKED;

	lockdep_assert_held(&unp->lock);
	if (unp_in_part(bracket, vaddr, *word))
		return;
	if (vfio_unpinned_marked(unp, vaddr, UNP_CHUNK_SIZE) &&
	    unp_keep_marked(unp, vaddr, *word, bracket->force, &reason))
		*word &= ~UNP_GATED;
	else
		vfio_unpinned_zap(unp, vaddr, reason);
}

/* Pages of a chunk, some of which are marked: the others go in between. */
static void unp_late_pages(struct vfio_unpinned_mm *unp,
			   struct vfio_unpinned_chunk *chunk,
			   unsigned long vaddr, unsigned long last)
{
	unsigned long run = vaddr, *word;
	enum vfio_unpinned_zap_reason reason;

	lockdep_assert_held(&unp->lock);
	word = &chunk->leaf[PHYS_PFN(vaddr) % UNP_CHUNK_WORDS];
	for (; chunk->leaves && vaddr < last; vaddr += PAGE_SIZE, word++) {
		if (!(*word & UNP_PRESENT) ||
		    !vfio_unpinned_marked(unp, vaddr, PAGE_SIZE))
			continue;
		vfio_unpinned_zap_range(unp, run, vaddr - run, UNP_ZAP_UNMARKED);
		run = vaddr + PAGE_SIZE;
		if (unp_keep_marked(unp, vaddr, *word, false, &reason))
			*word &= ~UNP_GATED;
		else
			vfio_unpinned_zap(unp, vaddr, reason);
	}
	vfio_unpinned_zap_range(unp, run, last - run + 1, UNP_ZAP_UNMARKED);
}

/* A part of a chunk in the late pass; @arg: the struct unp_bracket. */
static void unp_late_chunk(struct vfio_unpinned_mm *unp,
			   struct vfio_unpinned_chunk *chunk,
			   unsigned long vaddr, unsigned long last, void *arg)
{
	const struct unp_bracket *bracket = arg;
	unsigned long size = last - vaddr + 1;

	lockdep_assert_held(&unp->lock);
	if (chunk->huge) {
		unp_late_huge(unp, unp_chunk_start(vaddr), &chunk->huge,
			      bracket);
	} else if (bracket->force) {
		unsigned long marked = vfio_unpinned_count_marked(unp, vaddr,
								  size);

		unp->stats.marks_found += marked;
		unp->stats.forced_zaps += marked;
		vfio_unpinned_zap_range(unp, vaddr, size, UNP_ZAP_FORCED);
	} else if (!vfio_unpinned_marked(unp, vaddr, size)) {
		vfio_unpinned_zap_range(unp, vaddr, size, UNP_ZAP_UNMARKED);
	} else {
		unp_late_pages(unp, chunk, vaddr, last);
	}
}

/* A late pass that began at @began is over. */
static void unp_count_late_pass(struct vfio_unpinned_mm *unp, u64 began)
{
	struct vfio_unpinned_times *times = &unp->times;
	u64 ns;

	if (!began)
		return;
	ns = ktime_get_ns() - began;
	spin_lock(&unp->lock);
	times->late_pass[min_t(int, fls64(ns), UNP_TIME_BUCKETS - 1)]++;
	times->late_pass_max = max(times->late_pass_max, ns);
	spin_unlock(&unp->lock);
}

/* A part of a chunk in a bracket that VFIO has issued; @arg: as above. */
static void unp_ungate_chunk(struct vfio_unpinned_mm *unp,
			     struct vfio_unpinned_chunk *chunk,
			     unsigned long vaddr, unsigned long last, void *arg)
{
	unsigned long *word = &chunk->leaf[PHYS_PFN(vaddr) % UNP_CHUNK_WORDS];

	lockdep_assert_held(&unp->lock);
	if (chunk->huge) {
		if (!unp_in_part(arg, unp_chunk_start(vaddr), chunk->huge))
			chunk->huge &= ~UNP_GATED;
		return;
	}
	for (; vaddr <= last; vaddr += PAGE_SIZE, word++)
		*word &= ~UNP_GATED;
}

static void unp_late_pass(struct vfio_unpinned_mm *unp,
			  const struct mmu_notifier_range *range)
{
	bool own = range->owner == unp;
	struct unp_bracket bracket = {
		.start = range->start,
		.last = range->end - 1,
		.force = test_bit(MMF_UNSTABLE, &unp->mn.mm->flags),
	};
	u64 began = unp_begin(unp);

	if (range->start >= range->end)
		return;
	/*
	 * Order KVM's zap and flush before the reading of the marks. Pairs with
	 * the barrier of the guest between mark and touch: either the mark is
	 * seen here, or the touch faults and comes back through the gate.
	 * Litmus: zap-test, touch-flush
	 */
	smp_mb();
	vfio_unpinned_walk_chunks(unp, bracket.start, bracket.last,
				  mmu_notifier_range_blockable(range),
				  own ? unp_ungate_chunk : unp_late_chunk,
				  &bracket);
	unp_count_late_pass(unp, began);
}

/* A test makes the guest mark and touch here. */
static void unp_rendezvous(const struct mmu_notifier_range *range)
{
	if (vfio_unpinned_pause_ms && mmu_notifier_range_blockable(range))
		msleep(vfio_unpinned_pause_ms);
}

static void unp_invalidate_start_late(struct mmu_notifier *mn,
				      const struct mmu_notifier_range *range)
{
	struct vfio_unpinned_mm *unp =
		container_of(mn, struct vfio_unpinned_mm, mn);

	if (vfio_unpinned_break_late)
		return;
	unp_rendezvous(range);
	unp_late_pass(unp, range);
}

#ifdef CONFIG_VFIO_IOMMU_TYPE1_UNPINNED_TEST
/* In list order VFIO comes before KVM: what goes wrong without a late pass. */
static int unp_invalidate_start_broken(struct mmu_notifier *mn,
				       const struct mmu_notifier_range *range)
{
	struct vfio_unpinned_mm *unp =
		container_of(mn, struct vfio_unpinned_mm, mn);

	if (vfio_unpinned_break_late) {
		unp_late_pass(unp, range);
		unp_rendezvous(range);
	}
	return 0;
}
#endif

/* The address space goes: no mark counts, and no leaf is set from here on. */
static void unp_release(struct mmu_notifier *mn, struct mm_struct *mm)
{
	struct vfio_unpinned_mm *unp =
		container_of(mn, struct vfio_unpinned_mm, mn);
	struct unp_bracket all = { .last = ULONG_MAX, .force = true };

	spin_lock(&unp->lock);
	unp->dead = true;
	spin_unlock(&unp->lock);
	vfio_unpinned_walk_chunks(unp, all.start, all.last, true,
				  unp_late_chunk, &all);
}

/* A page that is late-pinned can't be reclaimed, so spare it the attempt. */
static int unp_test_young(struct mmu_notifier *mn, struct mm_struct *mm,
			  unsigned long address)
{
	struct vfio_unpinned_mm *unp =
		container_of(mn, struct vfio_unpinned_mm, mn);
	unsigned long *word;
	int young;

	spin_lock(&unp->lock);
	word = vfio_unpinned_word(unp, address, NULL);
	young = word && (*word & UNP_PINNED);
	spin_unlock(&unp->lock);
	return young;
}

static int unp_clear_young(struct mmu_notifier *mn, struct mm_struct *mm,
			   unsigned long start, unsigned long end)
{
	int young = 0;

	for (; start < end && !young; start += PAGE_SIZE)
		young = unp_test_young(mn, mm, start);
	return young;
}

static const struct mmu_notifier_ops vfio_unpinned_mn_ops = {
	.release			= unp_release,
	.change_pte			= unp_change_pte,
	.clear_flush_young		= unp_clear_young,
	.clear_young			= unp_clear_young,
	.test_young			= unp_test_young,
	.invalidate_range_start_late	= unp_invalidate_start_late,
#ifdef CONFIG_VFIO_IOMMU_TYPE1_UNPINNED_TEST
	.invalidate_range_start		= unp_invalidate_start_broken,
#endif
};

static struct vfio_unpinned_mm *unp_create(void)
{
	struct vfio_unpinned_mm *unp;

	unp = kzalloc(sizeof(*unp), GFP_KERNEL_ACCOUNT);
	if (!unp)
		return NULL;

	mutex_init(&unp->update_lock);
	mutex_init(&unp->populate_lock);
	spin_lock_init(&unp->lock);
	xa_init(&unp->chunks);
	unp->maps = RB_ROOT_CACHED;
	INIT_LIST_HEAD(&unp->domains);
	INIT_LIST_HEAD(&unp->flush_list);
	unp->mn.ops = &vfio_unpinned_mn_ops;
	unp->users = 1;
	if (vfio_unpinned_pins_init(unp)) {
		kfree(unp);
		return NULL;
	}
	return unp;
}

static void unp_free(struct vfio_unpinned_mm *unp)
{
	vfio_unpinned_pins_exit(unp);
	WARN_ON_ONCE(!xa_empty(&unp->chunks) || !list_empty(&unp->domains));
	xa_destroy(&unp->chunks);
	kfree(unp);
}

/*
 * Others may hold the mmap_lock for as long as they like. The registration gives up
 * for any signal (mm_take_all_locks()): after its handler, the call starts again.
 */
static int unp_subscribe(struct vfio_unpinned_mm *unp, struct mm_struct *mm)
{
	int ret;

	if (mmap_write_lock_killable(mm))
		return -EINTR;
	ret = __mmu_notifier_register(&unp->mn, mm);
	mmap_write_unlock(mm);
	return ret == -EINTR ? -ERESTARTNOINTR : ret;
}

/*
 * Make @new the object of the current address space, if it is not NULL and there is
 * none yet. Returns the one that there is, with one more user if it is not @new.
 */
static struct vfio_unpinned_mm *unp_find(struct vfio_unpinned_mm *new)
{
	struct vfio_unpinned_mm *unp;

	guard(mutex)(&vfio_unpinned_mms_lock);
	list_for_each_entry(unp, &vfio_unpinned_mms, link) {
		if (unp->mn.mm == current->mm) {
			unp->users++;
			return unp;
		}
	}
	if (new)
		list_add(&new->link, &vfio_unpinned_mms);
	return new;
}

/**
 * vfio_unpinned_mm_get - Get the object of the current address space
 *
 * Context: Process context of the user, may sleep.
 * Return: The object with a reference, to be dropped with
 *	vfio_unpinned_mm_put(), or ERR_PTR(): -ENOMEM, -EINTR if the process is
 *	killed, -ERESTARTNOINTR for another signal, with nothing changed.
 */
struct vfio_unpinned_mm *vfio_unpinned_mm_get(void)
{
	struct vfio_unpinned_mm *unp = unp_find(NULL), *new;
	int ret;

	if (unp)
		return unp;
	new = unp_create();
	if (!new)
		return ERR_PTR(-ENOMEM);
	ret = unp_subscribe(new, current->mm);
	if (ret) {
		unp_free(new);
		return ERR_PTR(ret);
	}
	unp = unp_find(new);
	if (unp == new) {
		vfio_unpinned_debugfs_init(unp);
		return unp;
	}
	/* Another thread was faster. This one has had no leaves. */
	mmu_notifier_unregister(&new->mn, new->mn.mm);
	unp_free(new);
	return unp;
}

/**
 * vfio_unpinned_mm_put - Drop a reference
 * @unp: the object, without mappings and registration if it is the last one
 *
 * Context: Process context, may sleep.
 */
void vfio_unpinned_mm_put(struct vfio_unpinned_mm *unp)
{
	mutex_lock(&vfio_unpinned_mms_lock);
	if (--unp->users) {
		mutex_unlock(&vfio_unpinned_mms_lock);
		return;
	}
	list_del(&unp->link);
	mutex_unlock(&vfio_unpinned_mms_lock);

	vfio_unpinned_debugfs_exit(unp);
	/* The worker needs the mm. */
	cancel_delayed_work_sync(&unp->work);
	mmu_notifier_unregister(&unp->mn, unp->mn.mm);
	unp_free(unp);
}

/**
 * vfio_unpinned_charge - Charge memory to locked_vm
 * @unp: the address space, which may be gone
 * @pages: how many
 *
 * Context: Process context, may sleep.
 * Return: 0, -ENOMEM if that is over the caller's RLIMIT_MEMLOCK, -ESRCH if the
 *	address space is gone.
 */
int vfio_unpinned_charge(struct vfio_unpinned_mm *unp, unsigned long pages)
{
	struct mm_struct *mm = unp->mn.mm;
	int ret;

	if (!mmget_not_zero(mm))
		return -ESRCH;
	ret = account_locked_vm(mm, pages, true);
	mmput_async(mm);
	return ret;
}

/**
 * vfio_unpinned_uncharge - Give back what vfio_unpinned_charge() charged
 * @unp: the address space, which may be gone
 * @pages: how many
 *
 * Context: Process context, may sleep.
 */
void vfio_unpinned_uncharge(struct vfio_unpinned_mm *unp, unsigned long pages)
{
	struct mm_struct *mm = unp->mn.mm;

	if (!mmget_not_zero(mm))
		return;
	account_locked_vm(mm, pages, false);
	/* The last reference must not tear the mm down under our locks. */
	mmput_async(mm);
}

static int __init vfio_unpinned_init(void)
{
	return vfio_unpinned_pins_init_module();
}

static void __exit vfio_unpinned_exit(void)
{
	vfio_unpinned_pins_exit_module();
}

module_init(vfio_unpinned_init);
module_exit(vfio_unpinned_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("VFIO: DMA mappings of memory that is not pinned");
