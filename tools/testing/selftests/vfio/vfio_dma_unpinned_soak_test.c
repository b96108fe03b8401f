// SPDX-License-Identifier: GPL-2.0-only
/*
 * Everything that moves memory, all at once: two processes with a device and a
 * guest each, one with anonymous memory, one with a memfd behind userfaultfd. In
 * each of them every mover is a thread that works without pause, while the device
 * transfers to and from marked pages and the guest goes over the unmarked ones.
 * Movers of the whole machine belong to the first process and meet both.
 *
 * After some time all movers of both processes stop, and the state of the memory
 * is compared with the model: see libvfio/shadow.h. That is a round, of as many as
 * fit into the time.
 *
 * VFIO_SELFTESTS_SECONDS says for how long the movers work in all, _ROUNDS in how
 * many rounds, _SEED chooses pages and pauses.
 */
#include <dirent.h>
#include <linux/mempolicy.h>
#include <linux/mman.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <libvfio/hostile.h>
#include <libvfio/memcg.h>
#include <libvfio/settings.h>
#include <libvfio/shadow.h>
#include <libvfio/swap.h>
#include <libvfio/uffd.h>

#include "kselftest_harness.h"

#define MM		"/sys/kernel/mm/"
#define BALANCING	"/sys/kernel/debug/sched/numa_balancing/"
#define KHUGEPAGED	MM "transparent_hugepage/khugepaged/"
#define MEMORY_DIR	"/sys/devices/system/memory/"
#define BREAK_PIN	"/sys/module/vfio_unpinned/parameters/break_pin"
#define CMA_DIR		"/sys/kernel/debug/cma/"

#define VMMS		2
#define MAX_MOVERS	32
#define ROUND_S		20
#define CONTROL_S	5

/* A slow machine may need that much longer until each mover has come through. */
#define PATIENCE	20

#define HOG_ABOVE	(32UL << 20)
#define CMA_FRAMES	"512"
#define MEMORY_BLOCKS	64
#define OFFLINE_S	3
#define MAX_NODE	(8 * sizeof(unsigned long))

/* A mover that finds something to do each time, whatever the others do */
#define BOTH		3
#define ANON		1
#define MEMFD		2

struct worker {
	const struct soak_mover *mover;
	struct shadow *shadow;
	struct kvm_random_state random;
	pthread_t thread;
	u64 done;
};

struct soak_mover {
	const char *name;
	/* Returns whether it has come through. */
	bool (*step)(struct worker *worker);
	unsigned int where;	/* processes that have it */
	unsigned int pause_ms;	/* at most, after each step, times the patience */
	bool optional;		/* may never come through */
};

/* One of the processes; what is here is its own. */
static struct {
	unsigned int kind;		/* ANON or MEMFD */
	bool broken;			/* no late pins: the control */
	u64 seconds;			/* of a round */
	pthread_barrier_t *barrier;	/* of both processes */
	bool stop;
	struct worker workers[MAX_MOVERS];
	int nr_workers;
	struct uffd uffd;
	struct mem elsewhere;
	char *cgroup;
	s64 faults;			/* while movers worked */
	u64 taken;			/* unmarked pages that the device had lost */
	u64 moved;			/* and those with other frames or none */
	u64 frames[RIG_PAGES];		/* as the guest has last seen them */
	u64 wrong;			/* with a content that is not the model's */
} soak;

static u32 below(struct worker *worker, u32 n)
{
	return kvm_random_u32(&worker->random) % n;
}

static void *memory(struct worker *worker)
{
	return shadow_memory(worker->shadow);
}

/* --- advice ------------------------------------------------------------------- */

/* For all of the memory, so that it stays one VMA, which mremap() wants. */
static bool advise(struct worker *worker, int advice)
{
	return !madvise(memory(worker), RIG_SIZE, advice);
}

static bool step_pageout(struct worker *worker)
{
	return advise(worker, MADV_PAGEOUT);
}

static bool step_cold(struct worker *worker)
{
	return advise(worker, MADV_COLD);
}

static bool step_free(struct worker *worker)
{
	return advise(worker, MADV_FREE);
}

static bool step_populate(struct worker *worker)
{
	return advise(worker, MADV_POPULATE_WRITE);
}

/* The page cache keeps them. */
static bool step_unmap(struct worker *worker)
{
	return advise(worker, MADV_DONTNEED);
}

static bool step_merge(struct worker *worker)
{
	return advise(worker, below(worker, 4) ? MADV_MERGEABLE :
						 MADV_UNMERGEABLE);
}

/* By khugepaged as well. Fails where pages are marked, or meet another mover. */
static bool step_collapse(struct worker *worker)
{
	u32 half = below(worker, 2);
	bool done;

	advise(worker, MADV_HUGEPAGE);
	done = !madvise(memory(worker) + half * MEM_HUGE_SIZE, MEM_HUGE_SIZE,
			MADV_COLLAPSE);
	usleep(below(worker, 100) * 1000);
	advise(worker, MADV_NOHUGEPAGE);
	return done;
}

static void *unmarked_page(struct worker *worker)
{
	u64 n = below(worker, SHADOW_UNMARKED_PAGES);

	return shadow_vaddr(worker->shadow,
			    shadow_unmarked_page(worker->shadow, n));
}

static bool step_discard(struct worker *worker)
{
	return !madvise(unmarked_page(worker), MEM_PAGE_SIZE,
			soak.kind == ANON ? MADV_DONTNEED : MADV_REMOVE);
}

/* --- address space -------------------------------------------------------------- */

static bool step_protect(struct worker *worker)
{
	bool done = !mprotect(memory(worker), RIG_SIZE,
			      below(worker, 2) ? PROT_READ : PROT_NONE);

	usleep(below(worker, 2000));
	/* While it is elsewhere, there is nothing to protect. */
	while (mprotect(memory(worker), RIG_SIZE, PROT_READ | PROT_WRITE))
		usleep(100);
	return done;
}

/*
 * Elsewhere and back. Nobody maps as much memory meanwhile, which would get there.
 * It fails while a part of it has another protection or policy.
 */
static bool step_remap(struct worker *worker)
{
	void *here = memory(worker), *there = soak.elsewhere.vaddr + RIG_SIZE;

	if (mremap(here, RIG_SIZE, RIG_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED,
		   there) != there)
		return false;
	VFIO_ASSERT_TRUE(mremap(there, RIG_SIZE, RIG_SIZE,
				MREMAP_MAYMOVE | MREMAP_FIXED, here) == here,
			 "mremap back: %s", strerror(errno));
	return true;
}

static bool step_soft_dirty(struct worker *worker)
{
	return !setting_write("/proc/self/clear_refs", "4");
}

/* The child copies what it can write, until there is something that it can't. */
static bool step_fork(struct worker *worker)
{
	u64 page;
	pid_t pid = fork();

	if (!pid) {
		for (page = 0; soak.kind == ANON && page < RIG_PAGES; page++)
			WRITE_ONCE(*(u32 *)shadow_vaddr(worker->shadow, page),
				   0xdeadbeef);
		_exit(0);
	}
	return pid > 0 && waitpid(pid, NULL, 0) == pid;
}

static bool step_write_protect(struct worker *worker)
{
	return !uffd_write_protect(&soak.uffd, memory(worker), RIG_SIZE, true);
}

/* What is moved away is discarded there. */
static bool step_uffd_move(struct worker *worker)
{
	void *from = unmarked_page(worker);
	void *to = soak.elsewhere.vaddr + (from - memory(worker));
	int err = uffd_move(&soak.uffd, to, from, MEM_PAGE_SIZE);

	if (!err)
		mem_discard(&soak.elsewhere, to, MEM_PAGE_SIZE);
	return !err;
}

/* --- nodes ---------------------------------------------------------------------- */

static bool step_move_pages(struct worker *worker)
{
	int nodes[RIG_PAGES], status[RIG_PAGES], n;
	void *pages[RIG_PAGES];

	for (n = 0; n < (int)RIG_PAGES; n++) {
		pages[n] = shadow_vaddr(worker->shadow, n);
		nodes[n] = below(worker, 2);
	}
	return syscall(SYS_move_pages, 0, RIG_PAGES, pages, nodes, status,
		       MPOL_MF_MOVE) >= 0;
}

static bool step_bind(struct worker *worker)
{
	bool done = !mem_bind(memory(worker), RIG_SIZE, 1UL << below(worker, 2),
			      MPOL_MF_MOVE);

	mem_bind(memory(worker), RIG_SIZE, 0, 0);
	return done;
}

static bool step_migrate(struct worker *worker)
{
	u32 node = below(worker, 2);
	unsigned long from = 1UL << node, to = 1UL << !node;

	return syscall(SYS_migrate_pages, 0, MAX_NODE, &from, &to) >= 0;
}

/* --- the machine's -------------------------------------------------------------- */

static bool step_reclaim(struct worker *worker)
{
	/* Less than asked for is an error, and has done something too. */
	return !memcg_reclaim(soak.cgroup, 1 << 20);
}

static bool step_lru_gen(struct worker *worker)
{
	return !setting_write(MM "lru_gen/enabled", below(worker, 2) ? "7" : "0");
}

static bool step_compact(struct worker *worker)
{
	return !setting_write("/proc/sys/vm/compact_memory", "1");
}

static bool step_drop_caches(struct worker *worker)
{
	return !setting_write("/proc/sys/vm/drop_caches", "3");
}

/* Without swap, or while there is more in memory than fits: never both. */
static pthread_mutex_t swap_lock = PTHREAD_MUTEX_INITIALIZER;

static bool step_swapoff(struct worker *worker)
{
	bool done;
	int err;

	pthread_mutex_lock(&swap_lock);
	done = !swap_disable();
	usleep(below(worker, 200) * 1000);
	err = done ? swap_enable() : 0;
	VFIO_ASSERT_TRUE(!err, "swapon: %s", strerror(-err));
	pthread_mutex_unlock(&swap_lock);
	return done;
}

static void hog_memory(u64 size)
{
	char *hog = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	u64 at;

	/* Faster, as far as there are any. */
	madvise(hog, size, MADV_HUGEPAGE);
	for (at = 0; hog != MAP_FAILED && at < size; at += MEM_PAGE_SIZE)
		WRITE_ONCE(hog[at], 1);
}

/* More than is free, in a child that is the first to be killed if need be. */
static bool step_pressure(struct worker *worker)
{
	u64 size;
	pid_t pid;

	pthread_mutex_lock(&swap_lock);
	size = vmstat_line("nr_free_pages") * MEM_PAGE_SIZE + HOG_ABOVE;
	pid = fork();
	if (!pid) {
		setting_write("/proc/self/oom_score_adj", "1000");
		setting_write("/sys/fs/cgroup/cgroup.procs", "0");
		hog_memory(size);
		_exit(0);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
	pthread_mutex_unlock(&swap_lock);
	return pid > 0;
}

/* A block of movable memory, any of them; MEMORY_BLOCKS if there is none. */
static int movable_block(struct worker *worker)
{
	int n, movable[MEMORY_BLOCKS], nr = 0;
	char path[96], zones[64];

	for (n = 0; n < MEMORY_BLOCKS; n++) {
		snprintf(path, sizeof(path), MEMORY_DIR "memory%d/valid_zones", n);
		if (!setting_read(path, zones, sizeof(zones)) &&
		    !strncmp(zones, "Movable", strlen("Movable")))
			movable[nr++] = n;
	}
	return nr ? movable[below(worker, nr)] : MEMORY_BLOCKS;
}

/* If that does not take long; it is brought back. */
static bool step_offline(struct worker *worker)
{
	int status, n = movable_block(worker);
	char path[96], text[64];
	pid_t pid;

	snprintf(path, sizeof(path), MEMORY_DIR "memory%d/state", n);
	pid = fork();
	if (!pid) {
		signal(SIGALRM, SIG_DFL);
		alarm(OFFLINE_S);
		_exit(setting_write(path, "offline") ? 1 : 0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return false;
	if (!setting_read(path, text, sizeof(text)) && !strcmp(text, "offline"))
		VFIO_ASSERT_EQ(setting_write(path, "online_movable"), 0, "%s", path);
	return !status;
}

static bool step_cma(struct worker *worker)
{
	struct dirent *entry;
	bool done = false;
	char path[320];
	DIR *dir = opendir(CMA_DIR);

	while (dir && !done && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), CMA_DIR "%s/alloc", entry->d_name);
		done = !setting_write(path, CMA_FRAMES);
		if (!done)
			continue;
		snprintf(path, sizeof(path), CMA_DIR "%s/free", entry->d_name);
		setting_write(path, CMA_FRAMES);
	}
	if (dir)
		closedir(dir);
	return done;
}

/* --- the guest -------------------------------------------------------------------- */

/* Is it what the model has, or empty where movers discard? */
static bool is_right(struct shadow *shadow, u64 page, u32 value)
{
	return value == shadow->value[page][0] ||
	       (!value && shadow->mover->discards);
}

/* All unmarked pages, if they can be accessed now: what was taken comes back. */
static bool step_guest(struct worker *worker)
{
	struct shadow *shadow = worker->shadow;
	struct guest *guest = shadow->rig->guest;
	s64 kept = shadow_kept(shadow);
	bool done = false;
	u64 n, page;
	u32 value;

	if (kept < SHADOW_UNMARKED_PAGES)
		soak.taken += SHADOW_UNMARKED_PAGES - kept;
	for (n = 0; n < SHADOW_UNMARKED_PAGES; n++) {
		void *vaddr;

		page = shadow_unmarked_page(shadow, n);
		vaddr = shadow_vaddr(shadow, page);
		soak.moved += mem_frame_now(vaddr) != soak.frames[page];
		if (!__guest_touch(guest, rig_iova(page)) &&
		    !__guest_read(guest, rig_iova(page), &value)) {
			soak.wrong += !is_right(shadow, page, value);
			done = true;
		}
		soak.frames[page] = mem_frame_now(vaddr);
	}
	return done;
}

static const struct soak_mover movers[] = {
	{ "guest", step_guest, BOTH, 5 },
	{ "MADV_PAGEOUT", step_pageout, BOTH, 200 },
	{ "MADV_COLD", step_cold, BOTH, 200 },
	{ "MADV_FREE", step_free, ANON, 400 },
	{ "MADV_DONTNEED, REMOVE", step_discard, BOTH, 100 },
	{ "MADV_DONTNEED of all", step_unmap, MEMFD, 400 },
	{ "MADV_POPULATE_WRITE", step_populate, ANON, 400 },
	{ "MADV_COLLAPSE", step_collapse, ANON, 400, true },
	{ "KSM", step_merge, ANON, 400 },
	{ "mprotect", step_protect, BOTH, 400 },
	{ "mremap", step_remap, ANON, 200 },
	{ "soft-dirty", step_soft_dirty, BOTH, 200 },
	{ "fork", step_fork, BOTH, 1000 },
	{ "UFFDIO_WRITEPROTECT", step_write_protect, MEMFD, 200 },
	{ "UFFDIO_MOVE", step_uffd_move, ANON, 100 },
	{ "move_pages", step_move_pages, BOTH, 300 },
	{ "mbind", step_bind, BOTH, 300 },
	{ "migrate_pages", step_migrate, BOTH, 1000 },
	{ "memory.reclaim", step_reclaim, BOTH, 200, true },
	{ "MGLRU on, off", step_lru_gen, ANON, 1000 },
	{ "compaction", step_compact, ANON, 1000 },
	{ "drop_caches", step_drop_caches, ANON, 1000 },
	{ "swapoff", step_swapoff, ANON, 2000 },
	{ "global pressure", step_pressure, ANON, 2000 },
	{ "offlining", step_offline, ANON, 500, true },
	{ "CMA", step_cma, ANON, 500, true },
};

/* --- a round ---------------------------------------------------------------------- */

static void *run(void *data)
{
	struct worker *worker = data;

	while (!READ_ONCE(soak.stop)) {
		worker->done += worker->mover->step(worker);
		usleep(below(worker, worker->mover->pause_ms) * 1000 *
		       shadow_patience());
	}
	return NULL;
}

static void all_here(void)
{
	int ret = pthread_barrier_wait(soak.barrier);

	VFIO_ASSERT_TRUE(!ret || ret == PTHREAD_BARRIER_SERIAL_THREAD,
			 "pthread_barrier_wait");
}

/*
 * Has each mover that must do so come through at least once, and as much been taken
 * as if the guest had found all of it gone once?
 */
static bool all_done(void)
{
	int n;

	if (READ_ONCE(soak.taken) < SHADOW_UNMARKED_PAGES ||
	    READ_ONCE(soak.moved) < SHADOW_UNMARKED_PAGES)
		return false;
	for (n = 0; n < soak.nr_workers; n++) {
		if (!READ_ONCE(soak.workers[n].done) &&
		    !soak.workers[n].mover->optional)
			return false;
	}
	return true;
}

/* Those that are no threads of ours. */
static void kernel_movers(const char *on)
{
	setting_write(MM "ksm/run", on);
	setting_write("/proc/sys/kernel/numa_balancing", on);
}

static void reclaim(struct shadow *shadow)
{
	mem_reclaim(shadow_memory(shadow), RIG_SIZE);
}

/* In the end nothing but marks keeps a page. */
static void all_at_once(struct shadow *shadow)
{
	s64 faults = stat_get("dma_faults");
	u64 seconds = 0;
	int n;

	all_here();
	if (soak.kind == ANON)
		kernel_movers("1");
	soak.stop = false;
	memcpy(soak.frames, shadow->frames, sizeof(soak.frames));
	for (n = 0; n < soak.nr_workers; n++) {
		soak.workers[n].shadow = shadow;
		VFIO_ASSERT_TRUE(!pthread_create(&soak.workers[n].thread, NULL, run,
						 &soak.workers[n]), "pthread_create");
	}
	while (seconds < soak.seconds ||
	       (!all_done() && seconds < PATIENCE * soak.seconds)) {
		sleep(1);
		seconds++;
	}
	WRITE_ONCE(soak.stop, true);
	for (n = 0; n < soak.nr_workers; n++)
		pthread_join(soak.workers[n].thread, NULL);
	if (soak.kind == ANON)
		kernel_movers("0");
	all_here();
	soak.faults += stat_get("dma_faults") - faults;
	shadow_until_taken(shadow, reclaim);
}

static void quiet(struct shadow *shadow)
{
	shadow_advise(shadow, MADV_NOHUGEPAGE);
	if (soak.kind == ANON)
		shadow_advise(shadow, MADV_UNMERGEABLE);
}

/* --- the processes ------------------------------------------------------------------ */

/* As on the receiving side of a migration: the model knows the content. */
static void content_of_model(void *page, u64 vaddr, void *data)
{
	struct shadow *shadow = data;
	u64 n = (vaddr - (u64)shadow_memory(shadow)) / MEM_PAGE_SIZE;
	u32 *word = page;
	size_t i, half = MEM_PAGE_SIZE / sizeof(u32) / 2;

	for (i = 0; i < 2 * half; i++)
		word[i] = shadow->value[n][i >= half];
}

static const char *join_cgroup(void)
{
	soak.cgroup = memcg_join();
	return soak.cgroup ? NULL : NO_MEMCG;
}

static const char *setup_uffd(struct shadow *shadow)
{
	u64 features = UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_PAGEFAULT_FLAG_WP |
		       UFFD_FEATURE_WP_HUGETLBFS_SHMEM;
	u64 modes = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR |
		    UFFDIO_REGISTER_MODE_WP;

	if (!uffd_open(&soak.uffd, features) ||
	    uffd_register(&soak.uffd, shadow_memory(shadow), RIG_SIZE, modes))
		return "no userfaultfd with these features in this kernel";
	soak.uffd.content = content_of_model;
	soak.uffd.data = shadow;
	uffd_start(&soak.uffd);
	return join_cgroup();
}

/* Place for what is moved away, and for all of the memory. */
static const char *setup_anon(struct shadow *shadow)
{
	const char *missing = swap_find();

	mem_alloc(&soak.elsewhere, MEM_ANON, 2 * RIG_SIZE);
	if (!uffd_open(&soak.uffd, UFFD_FEATURE_MOVE) ||
	    uffd_register(&soak.uffd, soak.elsewhere.vaddr, RIG_SIZE,
			  UFFDIO_REGISTER_MODE_MISSING))
		missing = "no userfaultfd with these features in this kernel";
	return missing ?: join_cgroup();
}

static const struct mover anon_mover = {
	.kind = MEM_ANON,
	.setup = setup_anon,
	.step = all_at_once,
	.restore = quiet,
	.moved = SHADOW_UNMARKED_PAGES,
	.discards = true,
};

static const struct mover memfd_mover = {
	.kind = MEM_MEMFD,
	.setup = setup_uffd,
	.step = all_at_once,
	.restore = quiet,
	.moved = SHADOW_UNMARKED_PAGES,
};

static void choose_movers(void)
{
	size_t n;

	for (n = 0; n < ARRAY_SIZE(movers); n++) {
		if (!(movers[n].where & soak.kind))
			continue;
		VFIO_ASSERT_LT(soak.nr_workers, MAX_MOVERS, "too many movers");
		soak.workers[soak.nr_workers++] = (struct worker) {
			.mover = &movers[n],
			.random = new_kvm_random_state(shadow_seed() + n),
		};
	}
}

static void report(const struct mover_result *result)
{
	const char *name = soak.kind == ANON ? "anon" : "memfd";
	int n;

	if (soak.broken)
		printf("# count: the control, in which marks are not heeded:\n");
	printf("# count: %s: marked: %lu transfers, %ld faults, %lu mismatches\n",
	       name, result->transfers, soak.faults, result->mismatches);
	printf("# count: %s: late pins: %ld\n", name, stat_get("pin_events"));
	printf("# count: %s: unmarked: device lost %lu, process %lu, wrong %lu\n",
	       name, soak.taken, soak.moved, soak.wrong);
	for (n = 0; n < soak.nr_workers; n++)
		printf("# count: %s: %7lu times %s\n", name, soak.workers[n].done,
		       soak.workers[n].mover->name);
}

/* What was marked stays, what was not is taken, and each mover has had its turn. */
static bool passed(const struct mover_result *result)
{
	if (soak.broken)
		return result->mismatches && soak.faults;
	return mover_passed(result) && all_done() && !soak.faults &&
	       !soak.wrong;
}

/* In a child, which ends with everything as it is. Returns its exit status. */
static int run_vmm(int vmm)
{
	const struct mover *mover = vmm ? &memfd_mover : &anon_mover;
	struct mover_result result;
	const char *missing;
	struct rig rig;

	soak.kind = vmm ? MEMFD : ANON;
	device_bdf[0] = device_bdf[vmm];
	choose_movers();
	missing = rig_init_marks(&rig, mover->kind) ?:
		  mover_run(&rig, mover, &result);
	if (missing) {
		printf("# %s\n", missing);
		return KSFT_SKIP;
	}
	report(&result);
	memcg_leave(soak.cgroup);
	fflush(stdout);
	return passed(&result) ? KSFT_PASS : KSFT_FAIL;
}

FIXTURE(soak) {
	struct kernel_counts before;
};

FIXTURE_VARIANT(soak) {
	bool broken;
};

FIXTURE_VARIANT_ADD(soak, marked_pages_stay) {
};

/* The control: marks that nobody heeds */
FIXTURE_VARIANT_ADD(soak, without_late_pins) {
	.broken = true,
};

static const char *machine_missing(void)
{
	if (access("/sys/devices/system/node/node1", F_OK))
		return "one memory node only";
	if (setting_change(KHUGEPAGED "pages_to_scan", "4096") ||
	    setting_change(KHUGEPAGED "alloc_sleep_millisecs", "10") ||
	    setting_change(KHUGEPAGED "scan_sleep_millisecs", "10"))
		return "no huge pages in this kernel";
	if (setting_change(MM "ksm/sleep_millisecs", "10") ||
	    setting_change(MM "ksm/pages_to_scan", "4096") ||
	    setting_change(MM "ksm/run", "0"))
		return "no KSM in this kernel";
	if (setting_change("/proc/sys/kernel/numa_balancing", "0") ||
	    setting_change(BALANCING "scan_delay_ms", "100") ||
	    setting_change(BALANCING "scan_period_min_ms", "100") ||
	    setting_change(BALANCING "scan_period_max_ms", "200"))
		return "no NUMA balancing in this kernel";
	if (setting_change(MM "lru_gen/enabled", "7"))
		return "no MGLRU in this kernel";
	return NULL;
}

/* How long, and in how many rounds; the control is a short one. */
static void set_time(bool broken)
{
	u64 seconds = env_number("VFIO_SELFTESTS_SECONDS", 10);
	u64 rounds = env_number("VFIO_SELFTESTS_ROUNDS",
				DIV_ROUND_UP(seconds,
					     ROUND_S * shadow_patience()));
	char text[24];

	soak.broken = broken;
	soak.seconds = broken ? CONTROL_S : DIV_ROUND_UP(seconds, rounds);
	snprintf(text, sizeof(text), "%lu", broken ? 1 : rounds);
	setenv("VFIO_SELFTESTS_ROUNDS", text, 1);
}

static void make_barrier(void)
{
	pthread_barrierattr_t attr;

	soak.barrier = mmap(NULL, sizeof(*soak.barrier), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	VFIO_ASSERT_TRUE(soak.barrier != MAP_FAILED &&
			 !pthread_barrierattr_init(&attr) &&
			 !pthread_barrierattr_setpshared(&attr,
							 PTHREAD_PROCESS_SHARED) &&
			 !pthread_barrier_init(soak.barrier, &attr, VMMS),
			 "a barrier of two processes");
}

FIXTURE_SETUP(soak)
{
	const char *missing = device_missing(0, false) ?:
			      device_missing(1, false) ?: machine_missing();

	if (!stats_available())
		missing = NO_STATS;
	if (missing)
		SKIP(return, "%s", missing);
	/* Its faults and offlining may leave too little memory for the two. */
	if (variant->broken && !getenv("VFIO_SELFTESTS_SOAK_CONTROL"))
		SKIP(return, "the control is part of the long tests");
	if (variant->broken && setting_change(BREAK_PIN, "1"))
		SKIP(return, "not a test configuration");
	set_time(variant->broken);
	make_barrier();
	self->before = kernel_counts();
}

FIXTURE_TEARDOWN(soak)
{
	settings_restore();
}

TEST_F_TIMEOUT(soak, all_movers_at_once, 60 * RIG_TIMEOUT_S)
{
	int status, n, skipped = 0;
	struct kernel_counts left;
	pid_t pid[VMMS];

	fflush(stdout);
	for (n = 0; n < VMMS; n++) {
		pid[n] = fork();
		ASSERT_GE(pid[n], 0);
		if (!pid[n])
			_exit(run_vmm(n));
	}
	for (n = 0; n < VMMS; n++) {
		ASSERT_GT(wait(&status), 0);
		if (WIFEXITED(status) && WEXITSTATUS(status) == KSFT_PASS)
			continue;
		skipped += WIFEXITED(status) && WEXITSTATUS(status) == KSFT_SKIP;
		EXPECT_EQ(status, 0);
		/* The other one would wait for it. */
		kill(pid[0], SIGKILL);
		kill(pid[1], SIGKILL);
	}
	if (skipped)
		SKIP(return, "not everything is here");
	left = kernel_counts_left(&self->before);
	EXPECT_EQ(left.pins, 0);
	EXPECT_EQ(left.iommu_pages, 0);
}

int main(int argc, char *argv[])
{
	get_device_bdfs(&argc, argv);
	return test_harness_run(argc, argv);
}
