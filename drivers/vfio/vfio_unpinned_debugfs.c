// SPDX-License-Identifier: GPL-2.0-only
/*
 * VFIO: counters of unpinned DMA mappings
 *
 * vfio/unpinned/PID-N/stats in debugfs, one "name: value" per line; PID is the
 * process that made the first mapping, N tells objects of one PID apart. Beside
 * it, late_pass_ns has the times of late passes, once it is switched on.
 */
#include <linux/debugfs.h>
#include <linux/kstrtox.h>
#include <linux/mutex.h>
#include <linux/seq_file.h>
#include <linux/uaccess.h>
#include "vfio_unpinned_priv.h"

static int stats_show(struct seq_file *seq, void *unused)
{
	struct vfio_unpinned_mm *unp = seq->private;
	unsigned long limit, budget;
	struct vfio_unpinned_domain *d;
	struct vfio_unpinned_stats s;
	u64 faults = 0;
	bool marks_enabled;

	spin_lock(&unp->lock);
	s = unp->stats;
	list_for_each_entry(d, &unp->domains, link)
		faults += vfio_unpinned_faults_of(d->domain);
	limit = unp->bitmap ? unp->bitmap->limit : 0;
	budget = unp->bitmap ? unp->bitmap->budget : 0;
	marks_enabled = unp->bitmap && unp->bitmap->marks_enabled;
	spin_unlock(&unp->lock);
	if (vfio_unpinned_break_lock)
		s = unp->stats;

#define SHOW(field)	seq_printf(seq, #field ": %llu\n", s.field)
	SHOW(leaves);
	SHOW(populates);
	SHOW(worker_populates);
	SHOW(worker_runs);
	SHOW(worker_scans);
	SHOW(shrinker_scans);
	SHOW(zaps);
	SHOW(flushes);
	SHOW(marks_found);
	SHOW(late_pins);
	SHOW(late_pins_peak);
	SHOW(held);
	SHOW(held_peak);
	SHOW(pin_events);
	SHOW(released);
	SHOW(over_limit_zaps);
	SHOW(over_budget_zaps);
	SHOW(failed_pin_zaps);
	SHOW(forced_zaps);
	SHOW(orphan_zaps);
	SHOW(refused_pages);
#undef SHOW
	seq_printf(seq, "dma_faults: %llu\n", faults);
	seq_printf(seq, "limit: %lu\n", limit);
	seq_printf(seq, "budget: %lu\n", budget);
	seq_printf(seq, "marks_enabled: %d\n", marks_enabled);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(stats);

/* Below 2^n ns, and not below 2^(n-1): how many */
static int times_show(struct seq_file *seq, void *unused)
{
	struct vfio_unpinned_mm *unp = seq->private;
	struct vfio_unpinned_times t;
	u64 passes = 0;
	unsigned int n;

	spin_lock(&unp->lock);
	t = unp->times;
	spin_unlock(&unp->lock);

	for (n = 0; n < UNP_TIME_BUCKETS; n++)
		passes += t.late_pass[n];
	seq_printf(seq, "on: %d\n", t.on);
	seq_printf(seq, "late_passes: %llu\n", passes);
	seq_printf(seq, "late_pass_max: %llu\n", t.late_pass_max);
	seq_printf(seq, "hold_max: %llu\n", t.hold_max);
	for (n = 0; n < UNP_TIME_BUCKETS - 1; n++) {
		if (t.late_pass[n])
			seq_printf(seq, "%llu: %llu\n", BIT_ULL(n),
				   t.late_pass[n]);
	}
	seq_printf(seq, "more: %llu\n", t.late_pass[n]);
	return 0;
}

static int times_open(struct inode *inode, struct file *file)
{
	return single_open(file, times_show, inode->i_private);
}

/* 1 starts from 0, 0 stops and keeps what was measured. */
static ssize_t times_write(struct file *file, const char __user *buf,
			   size_t count, loff_t *pos)
{
	struct seq_file *seq = file->private_data;
	struct vfio_unpinned_mm *unp = seq->private;
	bool on;
	int ret;

	ret = kstrtobool_from_user(buf, count, &on);
	if (ret)
		return ret;
	spin_lock(&unp->lock);
	if (on)
		memset(&unp->times, 0, sizeof(unp->times));
	WRITE_ONCE(unp->times.on, on);
	spin_unlock(&unp->lock);
	return count;
}

static const struct file_operations times_fops = {
	.owner		= THIS_MODULE,
	.open		= times_open,
	.read		= seq_read,
	.write		= times_write,
	.llseek		= seq_lseek,
	.release	= single_release,
};

/* Below the directory of VFIO, which is made before anybody can get here. */
static struct dentry *unp_debugfs_root(void)
{
	struct dentry *vfio = debugfs_lookup("vfio", NULL);
	struct dentry *root = debugfs_lookup("unpinned", vfio);

	if (!root)
		root = debugfs_create_dir("unpinned", vfio);
	else
		dput(root);
	dput(vfio);
	return root;
}

/**
 * vfio_unpinned_debugfs_init - Show the counters of an address space
 * @unp: the address space
 *
 * Context: Process context, may sleep.
 */
void vfio_unpinned_debugfs_init(struct vfio_unpinned_mm *unp)
{
	static unsigned int count;
	static DEFINE_MUTEX(lock);	/* count, and who makes the root */
	char name[32];

	guard(mutex)(&lock);
	snprintf(name, sizeof(name), "%d-%u", task_tgid_nr(current), count++);
	unp->debugfs = debugfs_create_dir(name, unp_debugfs_root());
	debugfs_create_file("stats", 0400, unp->debugfs, unp, &stats_fops);
	debugfs_create_file("late_pass_ns", 0600, unp->debugfs, unp,
			    &times_fops);
}

/**
 * vfio_unpinned_debugfs_exit - Undo vfio_unpinned_debugfs_init()
 * @unp: the address space
 *
 * Context: Process context, may sleep.
 */
void vfio_unpinned_debugfs_exit(struct vfio_unpinned_mm *unp)
{
	debugfs_remove_recursive(unp->debugfs);
}
