// SPDX-License-Identifier: GPL-2.0-only
/*
 * VFIO: the object behind unpinned DMA mappings
 *
 * A vfio_unpinned_mm belongs to one user address space, whatever number of containers
 * that has, since the pins of one must hold off the zaps of all:
 *
 *	mm_get --> more users come and go --> mm_put of the last one
 *
 * Its users are mappings and registrations of the pin bitmap. It is subscribed to the
 * mmu notifiers of the address space from before the first user until after the last
 * one. The address space itself may end earlier (dead); no leaf is set from then on.
 *
 * Locks: see vfio_unpinned_priv.h.
 */
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include "vfio_unpinned_priv.h"

#define CREATE_TRACE_POINTS
#include "vfio_unpinned_trace.h"

static DEFINE_MUTEX(vfio_unpinned_mms_lock);
static LIST_HEAD(vfio_unpinned_mms);

#ifdef CONFIG_VFIO_UNPINNED_TEST
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
MODULE_PARM_DESC(break_release, "TEST: keep late pins whose mark is clear until the next bracket");
bool vfio_unpinned_break_writeback;
module_param_named(break_writeback, vfio_unpinned_break_writeback, bool, 0644);
MODULE_PARM_DESC(break_writeback, "TEST: lose what devices have written");
unsigned int vfio_unpinned_pause_ms;
module_param_named(pause_ms, vfio_unpinned_pause_ms, uint, 0644);
MODULE_PARM_DESC(pause_ms, "TEST: milliseconds to wait between the passes");
#endif

static struct vfio_unpinned_mm *unp_create(void)
{
	struct vfio_unpinned_mm *unp;

	unp = kzalloc_obj(*unp, GFP_KERNEL_ACCOUNT);
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
	vfio_unpinned_worker_init(unp);
	return unp;
}

static void unp_free(struct vfio_unpinned_mm *unp)
{
	vfio_unpinned_worker_exit(unp);
	vfio_unpinned_pins_exit(unp);
	WARN_ON_ONCE(!xa_empty(&unp->chunks) || !list_empty(&unp->domains));
	xa_destroy(&unp->chunks);
	kfree(unp);
}

/*
 * Others can hold the mmap_lock for as long as they like, so waiting for it is
 * killable. mm_take_all_locks() gives up on any signal: the call is restarted after
 * the handler.
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
	/* We lost the race, use the winner's object. Ours has never had leaves. */
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
	vfio_unpinned_worker_exit(unp);
	mmu_notifier_unregister(&unp->mn, unp->mn.mm);
	unp_free(unp);
}

/**
 * vfio_unpinned_read_stats - Read the counters of an address space
 * @unp: the address space
 * @stats: receives them
 *
 * Context: Process context.
 */
void vfio_unpinned_read_stats(struct vfio_unpinned_mm *unp,
			      struct vfio_unpinned_stats *stats)
{
	spin_lock(&unp->lock);
	*stats = unp->stats;
	spin_unlock(&unp->lock);
}
EXPORT_SYMBOL_GPL(vfio_unpinned_read_stats);

static int __init vfio_unpinned_init(void)
{
	return vfio_unpinned_worker_init_module();
}

static void __exit vfio_unpinned_exit(void)
{
	vfio_unpinned_worker_exit_module();
}

module_init(vfio_unpinned_init);
module_exit(vfio_unpinned_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("VFIO: DMA mappings of memory that is not pinned");
