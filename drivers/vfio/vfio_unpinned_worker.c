// SPDX-License-Identifier: GPL-2.0-only
/*
 * VFIO: worker and shrinker of unpinned DMA mappings
 *
 * What neither brackets nor KVM's faults bring about is done here. The worker releases
 * late pins whose mark is clear, and populates marked pages. The shrinker releases
 * pins, chunk by chunk, when memory is short (vfio_unpinned_release.c has the rule).
 *
 * A marked page may have no leaf, and no CPU may ever touch it again to bring one: a
 * buffer of a device whose mapping was removed and made again, one that was over the
 * limit, one that was marked before marks counted. The host faults it in and gives it
 * a leaf, PINNED and not GATED:
 *
 *   - in MAP, by the user, for the pages of the mapping;
 *   - in the worker, for what MAP could not get, and for all else.
 *
 * Neither waits for anybody else. A fault may need a server (userfaultfd), a disk, or
 * the mmap_lock: what is not available at once is left to a later run of the worker.
 * So neither a killed process nor an unmapping waits for a fault, except for the
 * allocation. The page and its tables are charged to the memory cgroup of the process.
 * The worker's CPU time can't be charged to anybody, so it is bounded, see
 * vfio_unpinned_schedule().
 *
 *   nothing  -> POPULATE   a marked page without a leaf was found
 *   POPULATE -> PINNED     it was pinned, and the gate has not been there since
 *   POPULATE -> nothing    the gate has
 *
 * The worker is idle, queued, running, or queued while it runs: see work_queued and
 * work_running, which lock protects.
 *
 * populate_lock is held from POPULATE to PINNED, so that nobody takes the flag of
 * another thread for its own. For the other locks see vfio_unpinned_priv.h. The
 * shrinker runs in reclaim, so it only tries to take lock.
 */
#include <linux/list_lru.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/shrinker.h>
#include <linux/userfaultfd_k.h>
#include "vfio_unpinned_priv.h"

/* How often late pins are looked at while some are held. */
#define UNP_WORK_INTERVAL	HZ
/* The worker runs for at most a tenth of the time, and not more often than this. */
#define UNP_WORK_REST		(HZ / 20 + 1)
#define UNP_WORK_SHARE		9
/* How many chunks the shrinker is asked for at a time. */
#define UNP_SHRINK_BATCH	32
/* How long to wait before unavailable pages are tried again: at first, and at most. */
#define UNP_RETRY_FIRST		(HZ / 50 + 1)
#define UNP_RETRY_LAST		HZ
/* What a fault may charge: the page and the tables that lead to it. */
#define UNP_FAULT_PAGES		4
/* How much is searched for marks at a time. */
#define UNP_POPULATE_WINDOW	(4 * UNP_CHUNK_SIZE)
/* How many pages of a run may be left for later before it ends. */
#define UNP_POPULATE_LATER	512

static struct shrinker *unp_shrinker;

/**
 * vfio_unpinned_schedule - Have the worker run
 * @unp: the address space
 * @delay: in how many jiffies at the latest, if it has not run a lot lately
 *
 * The worker's time is charged to nobody, so it is limited to a tenth.
 *
 * Context: Any context, with @unp->lock held.
 */
void vfio_unpinned_schedule(struct vfio_unpinned_mm *unp, unsigned long delay)
{
	unsigned long now = jiffies, when = now + delay;

	lockdep_assert_held(&unp->lock);
	if (time_before(when, unp->work_rest))
		when = unp->work_rest;
	if (unp->work_queued && time_before_eq(unp->work_when, when))
		return;
	unp->work_queued = true;
	unp->work_when = when;
	/* While it runs, unp_end_work() does it: it knows how long to rest. */
	if (!unp->work_running)
		mod_delayed_work(system_unbound_wq, &unp->work, when - now);
}

/**
 * vfio_unpinned_expect_release - A late pin was taken
 * @unp: the address space, with a bitmap
 *
 * Has the worker release it when its mark is clear: soon, if there are more than the
 * guest may have marks. While there are pins the worker comes back by itself.
 *
 * Context: Any context, with @unp->lock held.
 */
void vfio_unpinned_expect_release(struct vfio_unpinned_mm *unp)
{
	const struct vfio_unpinned_bitmap *bm = unp->bitmap;
	const struct vfio_unpinned_stats *stats = &unp->stats;

	lockdep_assert_held(&unp->lock);
	if (stats->late_pins > bm->limit ||
	    (bm->budget && stats->held > bm->budget / 2))
		vfio_unpinned_schedule(unp, 0);
	else
		vfio_unpinned_schedule(unp, UNP_WORK_INTERVAL);
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
	vfio_unpinned_schedule(unp, UNP_RETRY_LAST);
}

/* Does a marked page lack a leaf, and may it get one? */
static bool unp_wants_leaf(struct vfio_unpinned_mm *unp, unsigned long vaddr)
{
	unsigned long *word = vfio_unpinned_word(unp, vaddr, NULL);

	lockdep_assert_held(&unp->lock);
	return word && !(*word & UNP_PRESENT) && !unp->dead && unp->bitmap &&
	       unp->bitmap->marks_enabled &&
	       vfio_unpinned_covered(unp, vaddr, PAGE_SIZE) &&
	       vfio_unpinned_marked(unp, vaddr, PAGE_SIZE);
}

/*
 * Give a page that was just pinned for writing a leaf, as PINNED and not GATED.
 * No check against brackets is needed. When the page was pinned the page table
 * held it, so that KVM had no SPTE for another frame, and if one has come since,
 * read-only perhaps, the gate has taken POPULATE back. One that comes later finds
 * the leaf at the gate, and replaces or zaps it.
 *
 * Returns -ENOSPC if the limit or the budget is reached, -EAGAIN to try again.
 */
static int unp_adopt_page(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			  struct page *page)
{
	enum vfio_unpinned_zap_reason reason;
	bool adopted = false;
	unsigned long *word;
	int ret = 0;

	lockdep_assert_held(&unp->populate_lock);
	spin_lock(&unp->lock);
	word = vfio_unpinned_word(unp, vaddr, NULL);
	if (!unp_wants_leaf(unp, vaddr)) {
		/* The gate has set the leaf meanwhile, or the mark is clear. */
	} else if (!(*word & UNP_POPULATE)) {
		ret = -EAGAIN;
	} else if (vfio_unpinned_page_eligible(page_to_pfn(page))) {
		adopted = vfio_unpinned_account_pin(unp, vaddr, page, &reason);
		ret = adopted ? 0 : -ENOSPC;
	}
	if (adopted) {
		vfio_unpinned_expect_release(unp);
		vfio_unpinned_set(unp, vaddr, PAGE_SIZE, page_to_pfn(page),
				  UNP_PINNED);
		unp->stats.worker_populates++;
		vfio_unpinned_commit(unp);
	}
	spin_unlock(&unp->lock);
	if (!adopted)
		unpin_user_page(page);
	return ret;
}

/*
 * Is a memory cgroup of the process at its limit? Then the worker waits until
 * reclaim has made room: it must not trigger the OOM killer for a page that may
 * never be used.
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

/*
 * Pin a page for writing, without waiting for anybody. Returns -EAGAIN if the page is
 * not available now, and another error if it won't ever be.
 */
static int unp_fault_in(struct mm_struct *mm, unsigned long vaddr,
			struct page **page)
{
	struct vm_area_struct *vma;
	long ret = -EFAULT;

	if (mm == current->mm) {
		if (mmap_read_lock_killable(mm))
			return -EINTR;
	} else if (!mmap_read_trylock(mm)) {
		return -EAGAIN;
	}
	vma = vma_lookup(mm, vaddr);
	/* The server of a file may never answer, and its pages get no leaf. */
	if (vma && !vfio_unpinned_check_vma(vma)) {
		ret = pin_user_pages_remote(mm, vaddr, 1,
					    FOLL_WRITE | FOLL_NOWAIT, page,
					    NULL);
		/* It does not serve faults of the kernel, but the page may still arrive. */
		if (ret == -EFAULT && userfaultfd_armed(vma))
			ret = 0;
	}
	mmap_read_unlock(mm);
	if (ret > 0)
		return 0;
	return ret ?: -EAGAIN;
}

/*
 * Is there no room for one more late pin? The worker has just released those without
 * a mark, so faulting in a page would be in vain.
 */
static bool unp_full(struct vfio_unpinned_mm *unp)
{
	bool full;

	spin_lock(&unp->lock);
	full = !unp->bitmap || unp->stats.late_pins >= 2 * unp->bitmap->limit;
	spin_unlock(&unp->lock);
	return full;
}

/*
 * One page with POPULATE. Returns -EAGAIN if it is not available now, -ENOSPC or
 * -ENOMEM if others would fail, too.
 */
static int unp_populate_page(struct vfio_unpinned_mm *unp, unsigned long vaddr)
{
	struct mm_struct *mm = unp->mn.mm;
	struct page *page;
	int ret;

	lockdep_assert_held(&unp->populate_lock);
	if (unp_full(unp))
		return -ENOSPC;
	if (mm != current->mm && unp_cgroup_full(mm))
		return -ENOMEM;
	ret = unp_fault_in(mm, vaddr, &page);
	if (!ret)
		return unp_adopt_page(unp, vaddr, page);
	/* Nothing there can be mapped: the device will fault. */
	return ret == -ENOMEM || ret == -EAGAIN ? ret : 0;
}

/*
 * The first marked page without a leaf in [@vaddr, @last]; it gets POPULATE. Returns
 * ULONG_MAX if there is none.
 */
static unsigned long unp_find_wanted(struct vfio_unpinned_mm *unp,
				     unsigned long vaddr, unsigned long last)
{
	struct vfio_unpinned_chunk *chunk;
	unsigned long found = ULONG_MAX;
	struct vfio_unpinned_map *map;

	lockdep_assert_held(&unp->lock);
	for (map = unp_map_first(unp, vaddr, last); map;
	     map = unp_map_next(map, vaddr, last)) {
		unsigned long at = vfio_unpinned_next_mark(map, vaddr, last);

		while (at < found && !unp_wants_leaf(unp, at))
			at = vfio_unpinned_next_mark(map, at + PAGE_SIZE, last);
		found = min(found, at);
	}
	if (found == ULONG_MAX)
		return found;
	*vfio_unpinned_word(unp, found, &chunk) |= UNP_POPULATE;
	chunk->populate = true;
	return found;
}

/* The same, one window at a time, so that nobody waits long for the lock. */
static unsigned long unp_next_wanted(struct vfio_unpinned_mm *unp,
				     unsigned long vaddr, unsigned long last)
{
	unsigned long found = ULONG_MAX, end;
	struct vfio_unpinned_map *map;

	while (found == ULONG_MAX && vaddr <= last) {
		spin_lock(&unp->lock);
		map = unp_map_first(unp, vaddr, last);
		if (!map || !unp->bitmap || !unp->bitmap->marks_enabled) {
			spin_unlock(&unp->lock);
			break;
		}
		vaddr = max(vaddr, map->node.start);
		end = min(last, vaddr + UNP_POPULATE_WINDOW - 1);
		found = unp_find_wanted(unp, vaddr, end);
		spin_unlock(&unp->lock);
		vaddr = end + 1;
		cond_resched();
	}
	return found;
}

/* Is the worker the last user of the address space? A killed process must not wait. */
static bool unp_abandoned(struct mm_struct *mm)
{
	return mm != current->mm && atomic_read(&mm->mm_users) == 1;
}

/*
 * Populate the marked pages in [@vaddr, @last]. Returns 0 when all is done, or
 * -EAGAIN, -ENOSPC or -ENOMEM if something is left: *@next is where to go on, 0 if
 * it has been through all.
 */
static int unp_populate_range(struct vfio_unpinned_mm *unp, unsigned long vaddr,
			      unsigned long last, unsigned long *next)
{
	unsigned int later = 0;
	int ret;

	lockdep_assert_held(&unp->populate_lock);
	*next = 0;
	for (;; vaddr += PAGE_SIZE) {
		vaddr = unp_next_wanted(unp, vaddr, last);
		if (vaddr == ULONG_MAX)
			return later ? -EAGAIN : 0;
		if (unp_abandoned(unp->mn.mm) || fatal_signal_pending(current))
			return 0;
		ret = unp_populate_page(unp, vaddr);
		if (ret == -EAGAIN && ++later < UNP_POPULATE_LATER)
			continue;
		if (ret) {
			*next = vaddr + PAGE_SIZE;
			return ret;
		}
	}
}

/**
 * vfio_unpinned_populate - Populate the marked pages of a mapping
 * @map: a published mapping of the current process, which does not go meanwhile
 *
 * For buffers that no CPU touches again. What is not available at once is left to the
 * worker.
 *
 * Context: Process context, may sleep.
 */
void vfio_unpinned_populate(struct vfio_unpinned_map *map)
{
	struct vfio_unpinned_mm *unp = map->unp;
	unsigned long unused;
	int ret = -EAGAIN;

	if (mutex_trylock(&unp->populate_lock)) {
		ret = unp_populate_range(unp, map->node.start, map->node.last,
					 &unused);
		mutex_unlock(&unp->populate_lock);
	}
	if (!ret)
		return;
	spin_lock(&unp->lock);
	vfio_unpinned_want_populate(unp);
	spin_unlock(&unp->lock);
}

/* A run of the worker over the address space, or what is left of it. */
static int unp_populate_run(struct vfio_unpinned_mm *unp)
{
	unsigned long from = unp->populate_from;
	struct mem_cgroup *memcg, *old;
	int ret;

	lockdep_assert_held(&unp->populate_lock);
	if (!mmget_not_zero(unp->mn.mm))
		return 0;
	memcg = get_mem_cgroup_from_mm(unp->mn.mm);
	old = set_active_memcg(memcg);
	ret = unp_populate_range(unp, from, ULONG_MAX - 1, &unp->populate_from);
	set_active_memcg(old);
	mem_cgroup_put(memcg);
	/* The last reference must not tear the mm down under our lock. */
	mmput_async(unp->mn.mm);
	return ret ?: from ? -EAGAIN : 0;
}

/*
 * Populate the marked pages that have no leaf. Returns in how many jiffies to come
 * again, or 0 if nothing is left to do.
 */
static unsigned long unp_populate_marked(struct vfio_unpinned_mm *unp)
{
	u64 populates;
	bool wanted;
	int ret;

	spin_lock(&unp->lock);
	populates = unp->stats.worker_populates;
	wanted = unp->want_populate;
	unp->want_populate = false;
	spin_unlock(&unp->lock);
	if (!wanted)
		return 0;

	ret = -EAGAIN;
	if (mutex_trylock(&unp->populate_lock)) {
		ret = unp_populate_run(unp);
		mutex_unlock(&unp->populate_lock);
	}
	spin_lock(&unp->lock);
	if (ret)
		unp->want_populate = true;
	if (populates != unp->stats.worker_populates)
		unp->populate_delay = UNP_RETRY_FIRST;
	else
		unp->populate_delay = min(2 * unp->populate_delay, UNP_RETRY_LAST);
	ret = ret == -EAGAIN ? unp->populate_delay : ret ? UNP_RETRY_LAST : 0;
	spin_unlock(&unp->lock);
	return ret;
}

/* A run has begun at @began and ends: queue the next one, if it is wanted. */
static void unp_end_work(struct vfio_unpinned_mm *unp, unsigned long began)
{
	unsigned long now = jiffies, when = unp->work_when;

	lockdep_assert_held(&unp->lock);
	unp->work_running = false;
	unp->work_rest = now + UNP_WORK_REST + UNP_WORK_SHARE * (now - began);
	if (!unp->work_queued)
		return;
	unp->work_queued = false;
	vfio_unpinned_schedule(unp, time_after(when, now) ? when - now : 0);
}

static void unp_work(struct work_struct *work)
{
	struct vfio_unpinned_mm *unp =
		container_of(work, struct vfio_unpinned_mm, work.work);
	unsigned long began = jiffies, wait;

	spin_lock(&unp->lock);
	unp->work_queued = false;
	unp->work_running = true;
	unp->stats.worker_runs++;
	spin_unlock(&unp->lock);

	if (!vfio_unpinned_break_release)
		vfio_unpinned_release_unmarked(unp);
	wait = unp_populate_marked(unp);

	spin_lock(&unp->lock);
	if (unp->stats.late_pins)
		vfio_unpinned_schedule(unp, UNP_WORK_INTERVAL);
	if (wait)
		vfio_unpinned_schedule(unp, wait);
	unp_end_work(unp, began);
	spin_unlock(&unp->lock);
}

/**
 * vfio_unpinned_worker_init - Prepare the worker of an address space
 * @unp: the address space, not yet subscribed
 *
 * Context: Process context.
 */
void vfio_unpinned_worker_init(struct vfio_unpinned_mm *unp)
{
	INIT_DELAYED_WORK(&unp->work, unp_work);
	unp->work_rest = jiffies;
	spin_lock(&unp->lock);
	vfio_unpinned_restart_release(unp);
	spin_unlock(&unp->lock);
}

/**
 * vfio_unpinned_worker_exit - Stop the worker of an address space
 * @unp: the address space, without mappings and registration
 *
 * Context: Process context, may sleep.
 */
void vfio_unpinned_worker_exit(struct vfio_unpinned_mm *unp)
{
	cancel_delayed_work_sync(&unp->work);
}

/* How many chunks of the cgroup have late pins, which may have no mark. */
static unsigned long unp_shrink_count(struct shrinker *shrinker,
				      struct shrink_control *sc)
{
	return list_lru_shrink_count(&vfio_unpinned_lru, sc) ?: SHRINK_EMPTY;
}

/*
 * One chunk; @arg: how many of them had something to release. The lock of the list
 * is taken with that of the address space held, so it has to be dropped before. The
 * walk takes it again for LRU_RETRY.
 */
static enum lru_status unp_shrink_chunk(struct list_head *item,
					struct list_lru_one *list, void *arg)
{
	struct vfio_unpinned_chunk *chunk =
		container_of(item, struct vfio_unpinned_chunk, lru);
	struct vfio_unpinned_mm *unp = chunk->unp;
	unsigned long *released = arg;

	if (!spin_trylock(&unp->lock))
		return LRU_SKIP;
	/* Go on with the others. It can't be freed before its pins are gone. */
	list_move_tail(item, &list->list);
	spin_unlock(&list->lock);
	unp->stats.shrinker_scans++;
	if (vfio_unpinned_release_chunk(unp, chunk))
		++*released;
	spin_unlock(&unp->lock);
	return LRU_RETRY;
}

static unsigned long unp_shrink_scan(struct shrinker *shrinker,
				     struct shrink_control *sc)
{
	unsigned long released = 0;

	list_lru_shrink_walk(&vfio_unpinned_lru, sc, unp_shrink_chunk, &released);
	return released ?: SHRINK_STOP;
}

/**
 * vfio_unpinned_worker_init_module - Prepare what all address spaces share
 *
 * Context: Process context, may sleep.
 * Return: 0 or -ENOMEM.
 */
int __init vfio_unpinned_worker_init_module(void)
{
	int ret;

	unp_shrinker = shrinker_alloc(SHRINKER_MEMCG_AWARE |
				      SHRINKER_NUMA_AWARE, "vfio-unpinned");
	if (!unp_shrinker)
		return -ENOMEM;
	ret = vfio_unpinned_chunks_init(unp_shrinker);
	if (ret) {
		shrinker_free(unp_shrinker);
		return ret;
	}
	unp_shrinker->count_objects = unp_shrink_count;
	unp_shrinker->scan_objects = unp_shrink_scan;
	unp_shrinker->batch = UNP_SHRINK_BATCH;
	shrinker_register(unp_shrinker);
	return 0;
}

/**
 * vfio_unpinned_worker_exit_module - Undo vfio_unpinned_worker_init_module()
 *
 * Context: Process context, may sleep; no address space is left.
 */
void vfio_unpinned_worker_exit_module(void)
{
	shrinker_free(unp_shrinker);
	vfio_unpinned_chunks_exit();
}
