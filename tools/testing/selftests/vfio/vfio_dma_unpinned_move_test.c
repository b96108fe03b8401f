// SPDX-License-Identifier: GPL-2.0-only
/*
 * Everything in the kernel that takes page frames or exchanges them, one test each,
 * while a device transfers to and from marked pages: see libvfio/shadow.h for the
 * model. vfio_dma_unpinned_remap_test.c is about the same for page tables.
 *
 * VFIO_SELFTESTS_SEED chooses the pages, VFIO_SELFTESTS_ROUNDS says how often.
 * VFIO_SELFTESTS_SWAP_FILE is for the tests with a swap file: see libvfio/swap.h.
 */
#include <linux/mempolicy.h>
#include <linux/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <libvfio/memcg.h>
#include <libvfio/settings.h>
#include <libvfio/shadow.h>
#include <libvfio/swap.h>

#include "kselftest_harness.h"

#define MM		"/sys/kernel/mm/"
#define BALANCING	"/sys/kernel/debug/sched/numa_balancing/"
#define THP		MM "transparent_hugepage/"
#define KHUGEPAGED	THP "khugepaged/"

#define BALLAST_PAGES	16384UL
#define BALLAST_SIZE	(BALLAST_PAGES * MEM_PAGE_SIZE)
#define BALLAST_STEP	64

#define ALL		SHADOW_UNMARKED_PAGES
#define LOWER_HALF	(SHADOW_UNMARKED_PAGES / 2)
#define UPPER_HALF	(SHADOW_UNMARKED_PAGES / 2)

/* --- madvise ---------------------------------------------------------------- */

static const char *needs_swap(struct shadow *shadow)
{
	return mem_can_pageout() ? NULL : NO_SWAP;
}

static void reclaim(struct shadow *shadow)
{
	mem_reclaim(shadow_memory(shadow), RIG_SIZE);
}

static void pageout(struct shadow *shadow)
{
	shadow_until_taken(shadow, reclaim);
}

static void lazy_free(struct shadow *shadow)
{
	shadow_advise(shadow, MADV_FREE);
	pageout(shadow);
}

/* --- memory.reclaim --------------------------------------------------------- */

static char *cgroup;

static const char *enter_cgroup(struct shadow *shadow)
{
	const char *missing = needs_swap(shadow);

	if (missing)
		return missing;
	cgroup = memcg_join();
	return cgroup ? NULL : NO_MEMCG;
}

static const char *set_lru_gen(const char *value)
{
	return setting_change(MM "lru_gen/enabled", value) ?
		"no MGLRU in this kernel" : NULL;
}

static const char *lru_gen_off(struct shadow *shadow)
{
	return set_lru_gen("0") ?: enter_cgroup(shadow);
}

static const char *lru_gen_on(struct shadow *shadow)
{
	return set_lru_gen("7") ?: enter_cgroup(shadow);
}

/* Less than asked for is an error, which is what marked pages lead to. */
static void reclaim_cgroup(struct shadow *shadow)
{
	memcg_reclaim(cgroup, 2 << 20);
}

static void memory_reclaim(struct shadow *shadow)
{
	shadow_until_taken(shadow, reclaim_cgroup);
}

static void cold(struct shadow *shadow)
{
	shadow_advise(shadow, MADV_COLD);
	memory_reclaim(shadow);
}

static void leave_cgroup(struct shadow *shadow)
{
	memcg_leave(cgroup);
	cgroup = NULL;
}

/* --- huge pages ------------------------------------------------------------- */

static const char *needs_huge_pages(struct shadow *shadow)
{
	return access(KHUGEPAGED, F_OK) ? "no huge pages in this kernel" : NULL;
}

static void collapse_both(struct shadow *shadow)
{
	int half;

	/* Fails where pages are marked, or when no huge page is to be had. */
	for (half = 0; half < 2; half++)
		madvise(shadow_memory(shadow) + half * MEM_HUGE_SIZE, MEM_HUGE_SIZE,
			MADV_COLLAPSE);
}

static void collapse(struct shadow *shadow)
{
	shadow_advise(shadow, MADV_HUGEPAGE);
	shadow_until_taken(shadow, collapse_both);
}

static const char *wake_khugepaged(struct shadow *shadow)
{
	if (setting_change(KHUGEPAGED "pages_to_scan", "4096") ||
	    setting_change(KHUGEPAGED "alloc_sleep_millisecs", "10") ||
	    setting_change(KHUGEPAGED "scan_sleep_millisecs", "10"))
		return "no huge pages in this kernel";
	return NULL;
}

static void khugepaged(struct shadow *shadow)
{
	shadow_advise(shadow, MADV_HUGEPAGE);
	shadow_until_taken(shadow, NULL);
}

static void no_huge_pages(struct shadow *shadow)
{
	shadow_advise(shadow, MADV_NOHUGEPAGE);
}

/* --- KSM ---------------------------------------------------------------------- */

static const char *wake_ksm(struct shadow *shadow)
{
	if (setting_change(MM "ksm/sleep_millisecs", "10") ||
	    setting_change(MM "ksm/pages_to_scan", "4096") ||
	    setting_change(MM "ksm/run", "1"))
		return "no KSM in this kernel";
	/* Newer kernels only: look at each page in each scan. */
	setting_change(MM "ksm/smart_scan", "0");
	return NULL;
}

/* Of the pages with the same content, one may stay where it is. */
static void merge(struct shadow *shadow)
{
	shadow_advise(shadow, MADV_MERGEABLE);
	shadow_until_taken(shadow, NULL);
}

static void unmerge(struct shadow *shadow)
{
	shadow_advise(shadow, MADV_UNMERGEABLE);
}

/* --- NUMA -------------------------------------------------------------------- */

#define NODE_MASK(node)	(1UL << (node))
#define MAX_NODE	(8 * sizeof(unsigned long))

static const char *needs_nodes(struct shadow *shadow)
{
	return access("/sys/devices/system/node/node1", F_OK) ?
		"one memory node only" : NULL;
}

/* Node of a page that is there, or the one that is not its. */
static int node_of(void *page, bool other)
{
	int node = -1;

	VFIO_ASSERT_TRUE(!syscall(SYS_move_pages, 0, 1, &page, NULL, &node, 0) &&
			 node >= 0, "move_pages: status %d", node);
	return other ? !node : node;
}

static void *first_unmarked(struct shadow *shadow)
{
	return shadow_vaddr(shadow, shadow->unmarked[0]);
}

/* All pages of the model to the other node: those that are marked stay. */
static void move_pages_away(struct shadow *shadow)
{
	int count = SHADOW_UNMARKED_PAGES + SHADOW_MARKED_PAGES;
	void *pages[count];
	int nodes[count], status[count], n;

	for (n = 0; n < SHADOW_UNMARKED_PAGES; n++)
		pages[n] = shadow_vaddr(shadow, shadow_unmarked_page(shadow, n));
	for (; n < count; n++) {
		u64 marked = n - SHADOW_UNMARKED_PAGES;

		pages[n] = shadow_vaddr(shadow, shadow->marked[marked / 2] +
					marked % 2);
	}
	for (n = 0; n < count; n++)
		nodes[n] = node_of(pages[n], true);
	VFIO_ASSERT_TRUE(syscall(SYS_move_pages, 0, count, pages, nodes, status,
				 MPOL_MF_MOVE) >= 0, "move_pages: %s", strerror(errno));
}

static void bind_range(void *vaddr, u64 size, unsigned long nodes, unsigned int flags)
{
	int error = mem_bind(vaddr, size, nodes, flags);

	VFIO_ASSERT_TRUE(!error, "mbind: %s", strerror(-error));
}

static void bind_to_other(struct shadow *shadow)
{
	bind_range(shadow_memory(shadow), RIG_SIZE,
		   NODE_MASK(node_of(first_unmarked(shadow), true)),
		   MPOL_MF_MOVE);
}

static void unbind(struct shadow *shadow)
{
	bind_range(shadow_memory(shadow), RIG_SIZE, 0, 0);
}

/* Everything of the process, which gives the number of pages that stay. */
static void migrate(struct shadow *shadow)
{
	int node = node_of(first_unmarked(shadow), false);
	unsigned long from = NODE_MASK(node), to = NODE_MASK(!node);

	VFIO_ASSERT_TRUE(syscall(SYS_migrate_pages, 0, MAX_NODE, &from, &to) >= 0,
			 "migrate_pages: %s", strerror(errno));
}

static const char *balance_nodes(struct shadow *shadow)
{
	const char *missing = needs_nodes(shadow);

	if (missing)
		return missing;
	/* As often as can be: the kernel would do it less and less. */
	if (setting_change("/proc/sys/kernel/numa_balancing", "1") ||
	    setting_change(BALANCING "scan_delay_ms", "100") ||
	    setting_change(BALANCING "scan_period_min_ms", "100") ||
	    setting_change(BALANCING "scan_period_max_ms", "200"))
		return "no NUMA balancing in this kernel";
	return NULL;
}

static void allocate_on(int mode, unsigned long nodes)
{
	VFIO_ASSERT_TRUE(!syscall(SYS_set_mempolicy, mode, nodes ? &nodes : NULL,
				  nodes ? MAX_NODE : 0), "set_mempolicy");
}

/* Far from the CPU, which is what is to be balanced. */
static void allocate_far(struct shadow *shadow)
{
	allocate_on(MPOL_BIND, NODE_MASK(1));
}

/*
 * The process has to run, to sleep is no use, and to access the memory. That the
 * pages are looked at takes them; few of them are migrated then.
 */
static void be_balanced(struct shadow *shadow)
{
	time_t end = time(NULL) + 30;
	int n;

	allocate_on(MPOL_DEFAULT, 0);
	do {
		for (n = 0; n < SHADOW_UNMARKED_PAGES; n++)
			(void)READ_ONCE(*(u32 *)shadow_vaddr(shadow,
					shadow_unmarked_page(shadow, n)));
	} while (!shadow_taken(shadow) && time(NULL) < end);
}

/* --- compaction ----------------------------------------------------------------- */

/*
 * Compaction moves pages up to where there is room, but not to huge pages that are
 * free as a whole, until there is no room left. So the round's memory comes from the
 * lowest frames of the ballast, and the rest of it gets holes. On a second node there
 * is little else to move, once the page cache is gone: it would fill all holes.
 */
static void *ballast;
static u64 ballast_frames[BALLAST_PAGES];

static const char *needs_compaction(struct shadow *shadow)
{
	if (access("/proc/sys/vm/compact_memory", W_OK))
		return "no compaction in this kernel";
	if (!needs_nodes(shadow))
		bind_range(shadow_memory(shadow), RIG_SIZE, NODE_MASK(1), 0);
	return NULL;
}

/* Free those that are below, or that are above it and not one of a step. */
static void free_ballast(u64 frame, bool below)
{
	u64 n;

	for (n = 0; n < BALLAST_PAGES; n++) {
		if (below ? ballast_frames[n] > frame :
			    ballast_frames[n] < frame ||
			    !(ballast_frames[n] % BALLAST_STEP))
			continue;
		VFIO_ASSERT_TRUE(!madvise(ballast + n * MEM_PAGE_SIZE, MEM_PAGE_SIZE,
					  MADV_DONTNEED), "MADV_DONTNEED");
	}
}

static int compare_frames(const void *a, const void *b)
{
	u64 first = *(const u64 *)a, second = *(const u64 *)b;

	return first < second ? -1 : first > second;
}

static void take_ballast(struct shadow *shadow)
{
	u64 *sorted = malloc(sizeof(ballast_frames));

	ballast = mmap(NULL, BALLAST_SIZE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	VFIO_ASSERT_TRUE(sorted && ballast != MAP_FAILED, "out of memory");
	sync();
	setting_write("/proc/sys/vm/drop_caches", "1");
	madvise(ballast, BALLAST_SIZE, MADV_NOHUGEPAGE);
	if (!needs_nodes(shadow))
		bind_range(ballast, BALLAST_SIZE, NODE_MASK(1), 0);
	VFIO_ASSERT_TRUE(!madvise(ballast, BALLAST_SIZE, MADV_POPULATE_WRITE),
			 "MADV_POPULATE_WRITE");
	mem_frames_now(ballast, BALLAST_PAGES, ballast_frames);
	memcpy(sorted, ballast_frames, sizeof(ballast_frames));
	qsort(sorted, BALLAST_PAGES, sizeof(*sorted), compare_frames);
	free_ballast(sorted[2 * (SHADOW_MARKED_PAGES + SHADOW_UNMARKED_PAGES)],
		     true);
	free(sorted);
}

static void compact_once(struct shadow *shadow)
{
	setting_write("/proc/sys/vm/compact_memory", "1");
}

static void compact(struct shadow *shadow)
{
	u64 page, highest = 0;

	for (page = 0; page < RIG_PAGES; page++) {
		if (shadow->frames[page] > highest)
			highest = shadow->frames[page];
	}
	free_ballast(highest, false);
	shadow_until_taken(shadow, compact_once);
	munmap(ballast, BALLAST_SIZE);
}

/* --- swapoff and swap files ----------------------------------------------------- */

static const char *find_swap(struct shadow *shadow)
{
	return swap_find();
}

static void disable_swap(struct shadow *shadow)
{
	int err;

	pageout(shadow);
	VFIO_ASSERT_EQ(shadow_moved(shadow), ALL, "no page was swapped out");
	err = swap_disable();
	VFIO_ASSERT_TRUE(!err, "swapoff: %s", strerror(-err));
}

static void enable_swap(struct shadow *shadow)
{
	int err = swap_enable();

	VFIO_ASSERT_TRUE(!err, "swapon: %s", strerror(-err));
}

static const char *use_file(struct shadow *shadow)
{
	return swap_to_file();
}

static const char *file_lru_gen_off(struct shadow *shadow)
{
	return swap_to_file() ?: lru_gen_off(shadow);
}

static const char *file_lru_gen_on(struct shadow *shadow)
{
	return swap_to_file() ?: lru_gen_on(shadow);
}

static void leave_file(struct shadow *shadow)
{
	leave_cgroup(shadow);
	swap_restore();
}

/* --- pressure from outside ------------------------------------------------------ */

/*
 * A process that locks more and more of the second node, in no cgroup but the root,
 * until reclaim has to take all else that is there. Some more of it is not locked, so
 * that it is not killed for want of memory as soon as the model is gone. The policy is
 * of the memory, not of the process: when that node is full, page tables have to be
 * elsewhere.
 */
#define HOG_SIZE	(16UL << 20)	/* not locked */
#define HOG_CHUNK	(2UL << 20)	/* locked at a time */
#define HOG_PAUSE_US	(5 * 1000)	/* in which kswapd may work */
#define HOG_WAITS	4		/* of shadow_until_taken() */
#define HOG_NODE	NODE_MASK(1)

static pid_t hog;

static char *hog_map(u64 size)
{
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	VFIO_ASSERT_NE(memory, MAP_FAILED);
	bind_range(memory, size, HOG_NODE, 0);
	return memory;
}

/* Until it is killed */
static void be_hog(void)
{
	char *memory;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setting_write("/proc/self/oom_score_adj", "1000");
	raise(SIGSTOP);
	memory = hog_map(HOG_SIZE);
	VFIO_ASSERT_TRUE(!madvise(memory, HOG_SIZE, MADV_POPULATE_WRITE),
			 "MADV_POPULATE_WRITE: %s", strerror(errno));
	for (;;) {
		memory = hog_map(HOG_CHUNK);
		/* Faster than small pages */
		madvise(memory, HOG_CHUNK, MADV_HUGEPAGE);
		VFIO_ASSERT_TRUE(!mlock(memory, HOG_CHUNK), "mlock: %s",
				 strerror(errno));
		usleep(HOG_PAUSE_US);
	}
}

/* Before the pages are there, since a fork takes them, too. */
static void prepare_hog(struct shadow *shadow)
{
	int status;

	bind_range(shadow_memory(shadow), RIG_SIZE, HOG_NODE, 0);
	hog = fork();
	VFIO_ASSERT_GE(hog, 0);
	if (!hog)
		be_hog();
	VFIO_ASSERT_TRUE(waitpid(hog, &status, WUNTRACED) == hog &&
			 WIFSTOPPED(status), "waitpid");
}

/*
 * By kswapd, or by the hog where kswapd has given the node up for a while, as it does
 * after a test that has left it nothing to take.
 */
static s64 pages_stolen(void)
{
	return vmstat_line("pgsteal_kswapd") + vmstat_line("pgsteal_direct");
}

/* Pages that a guest has used are active: they would be the last to go. */
static void press(struct shadow *shadow)
{
	s64 stolen = pages_stolen();
	int n, status;

	shadow_advise(shadow, MADV_COLD);
	kill(hog, SIGCONT);
	for (n = 0; n < HOG_WAITS && !shadow_taken(shadow); n++) {
		shadow_until_taken(shadow, NULL);
		VFIO_ASSERT_TRUE(shadow_taken(shadow) ||
				 !waitpid(hog, &status, WNOHANG),
				 "the hog has ended: 0x%x", status);
	}
	kill(hog, SIGKILL);
	VFIO_ASSERT_EQ(waitpid(hog, &status, 0), hog);
	unbind(shadow);
	VFIO_ASSERT_GT(pages_stolen(), stolen, "reclaim has taken nothing");
}

/* No compaction for huge pages, which would be another mover. */
static const char *needs_hog(struct shadow *shadow)
{
	if (setting_change(THP "defrag", "never"))
		return "no huge pages in this kernel";
	return needs_nodes(shadow) ?: needs_swap(shadow);
}

static const char *pressure_lru_gen_off(struct shadow *shadow)
{
	return needs_hog(shadow) ?: set_lru_gen("0");
}

static const char *pressure_lru_gen_on(struct shadow *shadow)
{
	return needs_hog(shadow) ?: set_lru_gen("7");
}

static const char *file_pressure_lru_gen_off(struct shadow *shadow)
{
	return swap_to_file() ?: pressure_lru_gen_off(shadow);
}

static const char *file_pressure_lru_gen_on(struct shadow *shadow)
{
	return swap_to_file() ?: pressure_lru_gen_on(shadow);
}

/* --- the tests ----------------------------------------------------------------- */

FIXTURE(move) {
	struct rig rig;
};

FIXTURE_VARIANT(move) {
	struct mover mover;
};

FIXTURE_VARIANT_ADD(move, madv_pageout) {
	.mover.setup = needs_swap,
	.mover.step = pageout,
	.mover.moved = ALL,
};

FIXTURE_VARIANT_ADD(move, madv_pageout_memfd) {
	.mover.kind = MEM_MEMFD,
	.mover.setup = needs_swap,
	.mover.step = pageout,
	.mover.moved = ALL,
};

FIXTURE_VARIANT_ADD(move, madv_cold) {
	.mover.setup = enter_cgroup,
	.mover.step = cold,
	.mover.cleanup = leave_cgroup,
	.mover.moved = ALL,
};

FIXTURE_VARIANT_ADD(move, madv_free) {
	.mover.setup = needs_swap,
	.mover.step = lazy_free,
	.mover.moved = ALL,
	.mover.discards = true,
};

FIXTURE_VARIANT_ADD(move, madv_collapse) {
	.mover.setup = needs_huge_pages,
	.mover.step = collapse,
	.mover.restore = no_huge_pages,
	.mover.moved = UPPER_HALF,
};

FIXTURE_VARIANT_ADD(move, madv_collapse_memfd) {
	.mover.kind = MEM_MEMFD,
	.mover.setup = needs_huge_pages,
	.mover.step = collapse,
	.mover.restore = no_huge_pages,
	.mover.moved = UPPER_HALF,
	.mover.keeps = LOWER_HALF,
};

FIXTURE_VARIANT_ADD(move, memory_reclaim) {
	.mover.setup = lru_gen_off,
	.mover.step = memory_reclaim,
	.mover.cleanup = leave_cgroup,
	.mover.moved = ALL,
};

FIXTURE_VARIANT_ADD(move, memory_reclaim_lru_gen) {
	.mover.setup = lru_gen_on,
	.mover.step = memory_reclaim,
	.mover.cleanup = leave_cgroup,
	.mover.moved = ALL,
};

FIXTURE_VARIANT_ADD(move, khugepaged) {
	.mover.setup = wake_khugepaged,
	.mover.step = khugepaged,
	.mover.restore = no_huge_pages,
	.mover.moved = UPPER_HALF,
};

FIXTURE_VARIANT_ADD(move, ksm) {
	.mover.setup = wake_ksm,
	.mover.step = merge,
	.mover.restore = unmerge,
	.mover.moved = ALL - 1,
	.mover.same = true,
};

FIXTURE_VARIANT_ADD(move, compaction) {
	.mover.setup = needs_compaction,
	.mover.prepare = take_ballast,
	.mover.step = compact,
	.mover.moved = ALL,
};

FIXTURE_VARIANT_ADD(move, move_pages) {
	.mover.setup = needs_nodes,
	.mover.step = move_pages_away,
	.mover.moved = ALL,
};

FIXTURE_VARIANT_ADD(move, mbind) {
	.mover.setup = needs_nodes,
	.mover.step = bind_to_other,
	.mover.restore = unbind,
	.mover.moved = ALL,
};

FIXTURE_VARIANT_ADD(move, migrate_pages) {
	.mover.setup = needs_nodes,
	.mover.step = migrate,
	.mover.moved = ALL,
};

FIXTURE_VARIANT_ADD(move, numa_balancing) {
	.mover.setup = balance_nodes,
	.mover.prepare = allocate_far,
	.mover.step = be_balanced,
};

FIXTURE_VARIANT_ADD(move, swapoff) {
	.mover.setup = find_swap,
	.mover.step = disable_swap,
	.mover.restore = enable_swap,
};

FIXTURE_VARIANT_ADD(move, swapoff_file) {
	.mover.setup = use_file,
	.mover.step = disable_swap,
	.mover.restore = enable_swap,
	.mover.cleanup = leave_file,
};

FIXTURE_VARIANT_ADD(move, memory_reclaim_file) {
	.mover.setup = file_lru_gen_off,
	.mover.step = memory_reclaim,
	.mover.cleanup = leave_file,
	.mover.moved = ALL,
};

FIXTURE_VARIANT_ADD(move, memory_reclaim_file_lru_gen) {
	.mover.setup = file_lru_gen_on,
	.mover.step = memory_reclaim,
	.mover.cleanup = leave_file,
	.mover.moved = ALL,
};

FIXTURE_VARIANT_ADD(move, pressure) {
	.mover.setup = pressure_lru_gen_off,
	.mover.prepare = prepare_hog,
	.mover.step = press,
	.mover.moved = ALL,
};

FIXTURE_VARIANT_ADD(move, pressure_lru_gen) {
	.mover.setup = pressure_lru_gen_on,
	.mover.prepare = prepare_hog,
	.mover.step = press,
	.mover.moved = ALL,
};

FIXTURE_VARIANT_ADD(move, pressure_file) {
	.mover.setup = file_pressure_lru_gen_off,
	.mover.prepare = prepare_hog,
	.mover.step = press,
	.mover.cleanup = leave_file,
	.mover.moved = ALL,
};

FIXTURE_VARIANT_ADD(move, pressure_file_lru_gen) {
	.mover.setup = file_pressure_lru_gen_on,
	.mover.prepare = prepare_hog,
	.mover.step = press,
	.mover.cleanup = leave_file,
	.mover.moved = ALL,
};

FIXTURE_SETUP(move)
{
	const char *missing;

	if (!stats_available())
		SKIP(return, NO_STATS);
	missing = rig_init_marks(&self->rig, variant->mover.kind);
	if (missing)
		SKIP(return, "%s", missing);
}

FIXTURE_TEARDOWN(move)
{
	settings_restore();
	rig_cleanup(&self->rig);
}

TEST_F_TIMEOUT(move, marked_pages_stay, MOVER_TIMEOUT_S)
{
	struct mover_result result;
	const char *missing = mover_run(&self->rig, &variant->mover, &result);

	if (missing)
		SKIP(return, "%s", missing);
	EXPECT_TRUE(mover_passed(&result));
}

int main(int argc, char *argv[])
{
	get_device_bdfs(&argc, argv);
	return test_harness_run(argc, argv);
}
