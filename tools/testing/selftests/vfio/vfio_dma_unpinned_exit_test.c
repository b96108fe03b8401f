// SPDX-License-Identifier: GPL-2.0-only
/*
 * How a process with unpinned mappings ends: it exits, executes another program, is
 * killed at any moment, by the OOM killer, has its memory reaped, or is gone while
 * another process still holds the container. Nothing of it may be left: no leaf, pin
 * or state, and the next one gets the device.
 *
 * VFIO_SELFTESTS_SEED chooses the moments, VFIO_SELFTESTS_ROUNDS says how many.
 */
#include <linux/mman.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <libvfio/child.h>
#include <libvfio/memcg.h>
#include <libvfio/shadow.h>
#include <libvfio/unpinned.h>

#include "kselftest_harness.h"

#define MARKED_PAGES	16UL	/* of 2 * MARKED_PAGES that are there */
#define KILLS		4	/* per round */
#define KILL_WITHIN_MS	400
#define HOLDER		"--hold-files"	/* what the program does after exec() */

static const char *program;

/* A device, a guest and mappings; half of the pages that are there are marked. */
static void set_up(struct rig *rig, enum mem_kind kind)
{
	u64 page;

	VFIO_ASSERT_TRUE(!rig_init(rig, kind), "the device is not free");
	rig_map(rig);
	rig_register(rig, RIG_PAGES);
	rig_enable_marks(rig);
	for (page = 0; page < MARKED_PAGES; page++)
		rig_pin(rig, page);
	mem_bracket(rig->mem.vaddr);
	for (; page < 2 * MARKED_PAGES; page++)
		guest_touch(rig->guest, rig_iova(page));
}

/* --- the tests ------------------------------------------------------------------- */

FIXTURE(end) {
	s64 pins;
};

FIXTURE_VARIANT(end) {
	enum mem_kind kind;
};

FIXTURE_VARIANT_ADD(end, anon) {
	.kind = MEM_ANON,
};

FIXTURE_VARIANT_ADD(end, memfd) {
	.kind = MEM_MEMFD,
};

FIXTURE_SETUP(end)
{
	struct rig rig;
	const char *missing;

	if (!stats_available())
		SKIP(return, NO_STATS);
	missing = rig_init(&rig, variant->kind);
	if (missing)
		SKIP(return, "%s", missing);
	rig_cleanup(&rig);
	self->pins = vmstat_pins();
}

/* The next one finds all as it was. */
FIXTURE_TEARDOWN(end)
{
	struct rig rig;

	VFIO_ASSERT_TRUE(vmstat_pins() == self->pins, "%ld pins are left",
			 vmstat_pins() - self->pins);
	VFIO_ASSERT_TRUE(!rig_init(&rig, variant->kind), "the device is not free");
	rig_map(&rig);
	VFIO_ASSERT_TRUE(rig_dma_write_blocked(&rig, 0), "a leaf is left");
	guest_touch(rig.guest, rig_iova(0));
	VFIO_ASSERT_TRUE(rig_dma_works(&rig, 0), "no DMA");
	rig_cleanup(&rig);
}

static bool is_alive(struct child *victim)
{
	return stat_of(victim->pid, "leaves") == 2 * MARKED_PAGES &&
	       stat_of(victim->pid, "late_pins") == MARKED_PAGES;
}

/* Its memory is gone, whatever else there is. */
static bool is_bare(struct child *victim)
{
	return stat_of(victim->pid, "leaves") == 0 &&
	       stat_of(victim->pid, "late_pins") == 0 &&
	       stat_of(victim->pid, "forced_zaps") == MARKED_PAGES;
}

static bool is_gone(struct child *victim, s64 pins)
{
	return stat_wait_of(victim->pid, "leaves", -1) == -1 &&
	       vmstat_pins() == pins;
}

static int set_up_and_wait(void *data)
{
	struct rig rig;

	set_up(&rig, *(enum mem_kind *)data);
	say('r');
	wait_for_go();
	return 0;
}

TEST_F_TIMEOUT(end, exit, RIG_TIMEOUT_S)
{
	enum mem_kind kind = variant->kind;
	struct child victim;

	child_start(&victim, set_up_and_wait, &kind);
	ASSERT_EQ(child_hear(&victim), 'r');
	EXPECT_TRUE(is_alive(&victim));
	EXPECT_EQ(child_wait(&victim), 0);
	EXPECT_TRUE(is_gone(&victim, self->pins));
}

static int set_up_and_exec(void *data)
{
	struct child_files files = child_files();
	char say_arg[16], go_arg[16];
	struct rig rig;

	set_up(&rig, *(enum mem_kind *)data);
	say('r');
	snprintf(say_arg, sizeof(say_arg), "%d", files.say);
	snprintf(go_arg, sizeof(go_arg), "%d", files.go);
	execl(program, program, HOLDER, say_arg, go_arg, NULL);
	return errno;
}

/* After exec() the container and the group are open; the memory is gone. */
static int hold_files(char *argv[])
{
	child_take_files((struct child_files) {
		.say = atoi(argv[2]),
		.go = atoi(argv[3]),
	});
	say('x');
	wait_for_go();
	return 0;
}

TEST_F_TIMEOUT(end, exec, RIG_TIMEOUT_S)
{
	enum mem_kind kind = variant->kind;
	struct child victim;

	child_start(&victim, set_up_and_exec, &kind);
	ASSERT_EQ(child_hear(&victim), 'r');
	ASSERT_EQ(child_hear(&victim), 'x');
	EXPECT_TRUE(is_bare(&victim));
	EXPECT_EQ(child_wait(&victim), 0);
	EXPECT_TRUE(is_gone(&victim, self->pins));
}

/* What it does is interrupted anywhere. */
static int churn(void *data)
{
	struct rig rig;
	u64 n;

	say('r');
	set_up(&rig, *(enum mem_kind *)data);
	for (n = 0;; n++) {
		rig_pin(&rig, n % RIG_PAGES);
		guest_unmark(rig.guest, (n + RIG_PAGES / 2) % RIG_PAGES);
		switch (n % 64) {
		case 15:
			mem_bracket(rig_vaddr(&rig, n % RIG_PAGES));
			break;
		case 31:
			mem_reclaim(rig.mem.vaddr, RIG_SIZE);
			break;
		case 47:
			mem_discard(&rig.mem, rig_vaddr(&rig, n % RIG_PAGES),
				    MEM_PAGE_SIZE);
			break;
		case 63:
			rig_unmap(&rig);
			rig_map(&rig);
			break;
		}
	}
	return 0;
}

TEST_F_TIMEOUT(end, killed_at_any_moment, 2 * RIG_TIMEOUT_S)
{
	struct shadow random = { .random = shadow_seed() ?: 1 };
	enum mem_kind kind = variant->kind;
	struct child victim;
	int n;

	for (n = 0; n < KILLS * shadow_rounds(); n++) {
		child_start(&victim, churn, &kind);
		ASSERT_EQ(child_hear(&victim), 'r');
		usleep(shadow_random(&random, KILL_WITHIN_MS) * 1000);
		ASSERT_EQ(kill(victim.pid, SIGKILL), 0);
		EXPECT_EQ(child_wait(&victim), -SIGKILL);
		EXPECT_TRUE(is_gone(&victim, self->pins));
	}
}

static int set_up_and_eat(void *data)
{
	struct rig rig;
	char *memory;
	size_t n, size = 256 << 20;

	set_up(&rig, *(enum mem_kind *)data);
	say('r');
	wait_for_go();
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	VFIO_ASSERT_NE(memory, MAP_FAILED);
	for (n = 0; n < size; n += MEM_PAGE_SIZE)
		WRITE_ONCE(memory[n], 1);
	return 0;
}

TEST_F_TIMEOUT(end, killed_for_memory, RIG_TIMEOUT_S)
{
	enum mem_kind kind = variant->kind;
	char *cgroup = memcg_join();
	struct child victim;

	if (!cgroup)
		SKIP(return, NO_MEMCG);
	/* All of the cgroup's processes have to fit, but for the victim's meal. */
	memcg_set(cgroup, "memory.oom.group", 0);
	memcg_set(cgroup, "memory.swap.max", 0);
	child_start(&victim, set_up_and_eat, &kind);
	ASSERT_EQ(child_hear(&victim), 'r');
	EXPECT_TRUE(is_alive(&victim));
	memcg_set(cgroup, "memory.max", 64 << 20);
	child_let_go(&victim);
	EXPECT_EQ(child_wait(&victim), -SIGKILL);
	EXPECT_EQ(memcg_get_key(cgroup, "memory.events", "oom_kill"), 1);
	EXPECT_TRUE(is_gone(&victim, self->pins));
	memcg_leave(cgroup);
}

#define ROOM		(RIG_SIZE / 4)	/* less than what is marked */

struct marker {
	enum mem_kind kind;
	char *cgroup;
};

/* All pages are marked, and none of them is there. */
static int mark_all(void *data)
{
	struct marker *marker = data;
	struct rig rig;

	memcg_enter(marker->cgroup);
	VFIO_ASSERT_TRUE(!rig_init(&rig, marker->kind), "the device is not free");
	rig_map(&rig);
	rig_register(&rig, RIG_PAGES);
	say('r');
	wait_for_go();
	memset(rig.bitmap.vaddr, 0xff, RIG_PAGES / 8);
	rig_enable_marks(&rig);
	say('t');
	return pause();
}

/* What the worker has brought in by the time when it finds no room anymore. */
static s64 populated_at_last(pid_t pid)
{
	s64 now = 0, before;

	do {
		before = now;
		sleep(2);	/* it comes once a second */
		now = stat_of(pid, "worker_populates");
	} while (now != before || !now);
	return now;
}

/* Marks alone don't call the OOM killer: the worker waits for room. */
TEST_F_TIMEOUT(end, not_killed_for_marks, RIG_TIMEOUT_S)
{
	struct marker marker = {
		.kind = variant->kind,
		.cgroup = memcg_create(NULL, "vfio-selftest"),
	};
	struct child victim;
	s64 used, populated;

	if (!marker.cgroup)
		SKIP(return, NO_MEMCG);
	memcg_set(marker.cgroup, "memory.swap.max", 0);
	child_start(&victim, mark_all, &marker);
	ASSERT_EQ(child_hear(&victim), 'r');
	used = memcg_get(marker.cgroup, "memory.current");
	memcg_set(marker.cgroup, "memory.max", used + ROOM);
	child_let_go(&victim);
	ASSERT_EQ(child_hear(&victim), 't');
	populated = populated_at_last(victim.pid);
	EXPECT_GT(populated, 0);
	EXPECT_LT(populated, (s64)RIG_PAGES);
	EXPECT_EQ(memcg_get_key(marker.cgroup, "memory.events", "oom"), 0);

	memcg_set(marker.cgroup, "memory.max", used + 2 * RIG_SIZE);
	EXPECT_EQ(stat_wait_of(victim.pid, "worker_populates", RIG_PAGES),
		  RIG_PAGES);
	ASSERT_EQ(kill(victim.pid, SIGKILL), 0);
	EXPECT_EQ(child_wait(&victim), -SIGKILL);
	EXPECT_TRUE(is_gone(&victim, self->pins));
	memcg_destroy(marker.cgroup);
}

/*
 * What the OOM reaper does, done by request: as long as the victim does not run, it
 * is the reaper that takes its pages, while no mark counts.
 */
TEST_F_TIMEOUT(end, reaped, RIG_TIMEOUT_S)
{
	struct sched_param param = { .sched_priority = 1 };
	enum mem_kind kind = variant->kind;
	struct child victim;
	cpu_set_t one;
	int pidfd;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
	child_start(&victim, set_up_and_wait, &kind);
	ASSERT_EQ(child_hear(&victim), 'r');
	EXPECT_TRUE(is_alive(&victim));
	pidfd = syscall(SYS_pidfd_open, victim.pid, 0);
	ASSERT_GE(pidfd, 0);

	/* Ahead of the victim on their CPU, so that it does not end before. */
	ASSERT_EQ(sched_setscheduler(0, SCHED_FIFO, &param), 0);
	ASSERT_EQ(kill(victim.pid, SIGKILL), 0);
	EXPECT_EQ(syscall(SYS_process_mrelease, pidfd, 0), 0);
	/* Shared memory is not reaped. */
	EXPECT_TRUE(variant->kind == MEM_ANON ? is_bare(&victim) :
						is_alive(&victim));
	param.sched_priority = 0;
	ASSERT_EQ(sched_setscheduler(0, SCHED_OTHER, &param), 0);
	EXPECT_EQ(child_wait(&victim), -SIGKILL);
	close(pidfd);
	EXPECT_TRUE(is_gone(&victim, self->pins));
}

/* The heir: it has all files of its parent, and none of its memory. */
static void inherit(struct rig *rig)
{
	struct dma_region own = {
		.iova = 2 * RIG_IOVA,
		.size = MEM_HUGE_SIZE,
	};
	u32 value = unique_value();
	struct mem mem;

	wait_for_go();
	/* The device gets at nothing of what the parent had. */
	if (rig->mem.kind == MEM_MEMFD) {
		WRITE_ONCE(*(u32 *)rig->mem.vaddr, value);
		VFIO_ASSERT_TRUE(rig_dma_write_blocked(rig, 0), "a leaf is left");
		VFIO_ASSERT_TRUE(READ_ONCE(*(u32 *)rig->mem.vaddr) == value,
				 "memory has changed");
	}
	/* But the heir can unmap that, and map what it has itself. */
	VFIO_ASSERT_TRUE(!__type1_unmap(rig->iommu, &rig->region), "unmap");
	mem_alloc(&mem, MEM_ANON, MEM_HUGE_SIZE);
	own.vaddr = mem.vaddr;
	VFIO_ASSERT_TRUE(!__type1_map_unpinned(rig->iommu, &own), "map");
	say('h');
}

static int set_up_and_leave_heir(void *data)
{
	struct rig rig;
	pid_t heir;

	set_up(&rig, *(enum mem_kind *)data);
	heir = fork();
	VFIO_ASSERT_GE(heir, 0);
	if (!heir) {
		inherit(&rig);
		exit(0);
	}
	say('r');
	return 0;
}

TEST_F_TIMEOUT(end, container_outlives_the_memory, RIG_TIMEOUT_S)
{
	enum mem_kind kind = variant->kind;
	struct child victim;
	int status;

	child_start(&victim, set_up_and_leave_heir, &kind);
	ASSERT_EQ(child_hear(&victim), 'r');
	ASSERT_EQ(waitpid(victim.pid, &status, 0), victim.pid);
	EXPECT_EQ(status, 0);
	EXPECT_TRUE(is_bare(&victim));

	child_let_go(&victim);
	EXPECT_EQ(child_hear(&victim), 'h');
	EXPECT_EQ(child_hear(&victim), 0);
	close(victim.says);
	EXPECT_TRUE(is_gone(&victim, self->pins));
}

int main(int argc, char *argv[])
{
	program = argv[0];
	if (argc == 4 && !strcmp(argv[1], HOLDER))
		return hold_files(argv);
	get_device_bdfs(&argc, argv);
	return test_harness_run(argc, argv);
}
