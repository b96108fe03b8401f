// SPDX-License-Identifier: GPL-2.0-only
/*
 * Everything at once, and SIGKILL in the middle of it: mappings, the bitmap,
 * marks, brackets, devices that come and go, touches by a guest, and DMA, each
 * in a thread of its own. Nobody waits for anybody, so calls may fail, with an
 * errno that is documented for what the others do. What must hold: DMA never
 * gets to memory that is not mapped, and when the process has gone nothing of it
 * is left in the kernel.
 *
 * VFIO_SELFTESTS_SEED and _SECONDS (how long rounds are started) can be set.
 */
#include <linux/mman.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <libvfio/child.h>
#include <libvfio/hostile.h>
#include <libvfio/memcg.h>
#include <libvfio/settings.h>
#include <libvfio/unpinned.h>
#include <libvfio/vfio_group.h>

#include "kselftest_harness.h"

#define WINDOW_PAGES	(2 * RIG_PAGES)	/* of IOVAs */
#define MAX_PAGES	64
#define LIMIT		100		/* of late pins */
#define RACERS		8
#define LATE_PINS	200

/* How long a round runs after all threads have started */
#define ROUND_MIN_MS	200
#define ROUND_MAX_MS	1500

/* ... or longer, until there was one */
#define RACE_TRIES	1200
#define RACE_POLL_US	(100 * 1000)

/* Kernel memory, charged or not, that may be left behind for other reasons */
#define CHARGE_SLACK	(512L << 10)
#define GROWTH_KIB	2048

struct race {
	struct rig rig;
	bool stop;
};

struct racer {
	struct race *race;
	struct kvm_random_state random;
	void (*step)(struct racer *racer);
	pthread_t thread;
};

static u32 below(struct racer *racer, u32 n)
{
	return kvm_random_u32(&racer->random) % n;
}

/* A part of the memory */
static void *random_part(struct racer *racer, u64 *size)
{
	u64 page = below(racer, RIG_PAGES);

	*size = (below(racer, min_t(u64, MAX_PAGES, RIG_PAGES - page)) + 1) *
		MEM_PAGE_SIZE;
	return rig_vaddr(&racer->race->rig, page);
}

#define ASSERT_ONE_OF(err, ...)						\
do {									\
	static const int __errs[] = { 0, __VA_ARGS__ };			\
	int __err = (err);						\
	size_t __n = 0;							\
									\
	while (__n < ARRAY_SIZE(__errs) && __errs[__n] != __err)	\
		__n++;							\
	VFIO_ASSERT_TRUE(__n < ARRAY_SIZE(__errs), "%s: %s", #err,	\
			 strerror(-__err));				\
} while (0)

static void step_map(struct racer *racer)
{
	struct iommu *iommu = racer->race->rig.iommu;
	struct dma_region region;

	region.vaddr = random_part(racer, &region.size);
	region.iova = rig_iova(below(racer, WINDOW_PAGES));
	switch (below(racer, 8)) {
	case 0:
		ASSERT_ONE_OF(__type1_map(iommu, &region), -EEXIST, -EFAULT,
			      -ENOMEM, -EAGAIN, -EBUSY);
		break;
	case 1:
	case 2:
		region.iova = RIG_IOVA;
		region.size = WINDOW_PAGES * MEM_PAGE_SIZE;
		ASSERT_ONE_OF(__type1_unmap(iommu, &region), -EINVAL, -ENOENT);
		break;
	case 3:
		ASSERT_ONE_OF(__type1_unmap(iommu, &region), -EINVAL, -ENOENT);
		break;
	default:
		ASSERT_ONE_OF(__type1_map_unpinned(iommu, &region), -EEXIST,
			      -EFAULT, -EOPNOTSUPP, -ENOSPC, -ENOMEM);
	}
}

static void step_bitmap(struct racer *racer)
{
	static const u32 flags[] = {
		VFIO_PIN_BITMAP_FLAG_ENABLE_MARKS,
		VFIO_PIN_BITMAP_FLAG_ENABLE_MARKS,
		VFIO_PIN_BITMAP_FLAG_DISABLE_MARKS,
		VFIO_PIN_BITMAP_FLAG_UNREGISTER,
	};
	struct rig *rig = &racer->race->rig;
	u8 *bitmap = rig->bitmap.vaddr;
	struct dma_region region = {
		.iova = RIG_IOVA,
		.size = WINDOW_PAGES * MEM_PAGE_SIZE,
	};
	u32 n;

	for (n = 0; n < 64; n++)
		WRITE_ONCE(bitmap[below(racer, WINDOW_PAGES / 8)],
			   kvm_random_u32(&racer->random));
	ASSERT_ONE_OF(__type1_register_bitmap(rig->iommu, bitmap, &region, LIMIT),
		      -EEXIST);
	ASSERT_ONE_OF(__type1_pin_bitmap(rig->iommu,
					 flags[below(racer, ARRAY_SIZE(flags))]),
		      -ENOENT);
}

/* Other memory at the same address, after none for a moment */
static void replace_memory(struct racer *racer, void *vaddr, u64 size)
{
	struct mem *mem = &racer->race->rig.mem;
	bool shared = mem->kind == MEM_MEMFD && below(racer, 2);
	int flags = MAP_FIXED | (shared ? MAP_SHARED :
					  MAP_PRIVATE | MAP_ANONYMOUS);

	VFIO_ASSERT_TRUE(mmap(vaddr, size, PROT_NONE, MAP_FIXED | MAP_PRIVATE |
			      MAP_ANONYMOUS, -1, 0) == vaddr, "mmap");
	VFIO_ASSERT_TRUE(mmap(vaddr, size, PROT_READ | PROT_WRITE, flags,
			      shared ? mem->fd : -1, shared ? vaddr - mem->vaddr : 0)
			 == vaddr, "mmap");
}

/* Another reference to the group would keep the next one from opening it. */
static void fork_without_files(void)
{
	pid_t pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);

	if (!pid)
		_exit(0);
	VFIO_ASSERT_TRUE(pid > 0 && waitpid(pid, NULL, 0) == pid, "fork");
}

/* None of it has to succeed: all of it makes brackets. */
static void step_bracket(struct racer *racer)
{
	static const int advice[] = {
		MADV_DONTNEED, MADV_PAGEOUT, MADV_COLD, MADV_FREE,
		MADV_POPULATE_WRITE, MADV_HUGEPAGE, MADV_NOHUGEPAGE,
		MADV_COLLAPSE,
	};
	u64 size;
	void *vaddr = random_part(racer, &size);

	switch (below(racer, 16)) {
	case 0:
		fork_without_files();
		break;
	case 1:
	case 2:
		replace_memory(racer, vaddr, size);
		break;
	case 3:
	case 4:
		mprotect(vaddr, size, PROT_READ);
		mprotect(vaddr, size, PROT_READ | PROT_WRITE);
		break;
	case 5:
		mem_bracket(vaddr);
		break;
	case 6:
		/* All shrinkers */
		setting_write("/proc/sys/vm/drop_caches", "2");
		break;
	case 7:
		__late_pass_measure(below(racer, 2) ? "1" : "0");
		break;
	default:
		madvise(vaddr, size, advice[below(racer, ARRAY_SIZE(advice))]);
	}
}

/*
 * The second device comes and goes. A process that is forked meanwhile would keep the
 * device, and with it the group, if its BARs were mapped.
 */
static void step_attach(struct racer *racer)
{
	int group, device;

	if (!device_missing(1, true)) {
		group = vfio_group_open("pci", device_bdf[1]);
		vfio_group_attach(group, racer->race->rig.iommu);
		device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, device_bdf[1]);
		VFIO_ASSERT_GE(device, 0);
		usleep(below(racer, 20) * 1000);
		close(device);
		close(group);
	}
	usleep(below(racer, 20) * 1000);
}

static void step_touch(struct racer *racer)
{
	ASSERT_ONE_OF(__guest_touch(racer->race->rig.guest,
				    rig_iova(below(racer, RIG_PAGES))), -EFAULT);
}

/* To whatever is there or not */
static void step_dma(struct racer *racer)
{
	u32 value = unique_value();

	dma_write(racer->race->rig.device, rig_iova(below(racer, WINDOW_PAGES)),
		  &value, sizeof(value));
}

#define VICTIM_PAGES	256

/* Memory that is not mapped for the device, just given back by somebody else */
static void step_victim(struct racer *racer)
{
	u64 n, size = VICTIM_PAGES * MEM_PAGE_SIZE;
	u64 *vaddr = mmap(NULL, size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	VFIO_ASSERT_NE(vaddr, MAP_FAILED);
	for (n = 0; n < size / sizeof(*vaddr); n++) {
		VFIO_ASSERT_TRUE(!READ_ONCE(vaddr[n]), "a new page isn't empty");
		vaddr[n] = (u64)&vaddr[n];
	}
	usleep(below(racer, 50) * 1000);
	for (n = 0; n < size / sizeof(*vaddr); n++)
		VFIO_ASSERT_TRUE(READ_ONCE(vaddr[n]) == (u64)&vaddr[n],
				 "somebody has written to memory of another's");
	munmap(vaddr, size);
}

static void (*const steps[RACERS])(struct racer *racer) = {
	step_map, step_bitmap, step_bracket, step_bracket, step_attach,
	step_touch, step_dma, step_victim,
};

static void *run(void *data)
{
	struct racer *racer = data;

	while (!READ_ONCE(racer->race->stop))
		racer->step(racer);
	return NULL;
}

/* All is undone: nothing is left while the process lives on. */
static void finish(struct race *race)
{
	struct rig *rig = &race->rig;
	struct dma_region all = {
		.iova = RIG_IOVA,
		.size = WINDOW_PAGES * MEM_PAGE_SIZE * 2,
	};

	ASSERT_ONE_OF(__type1_unmap(rig->iommu, &all), -ENOENT);
	ASSERT_ONE_OF(__type1_pin_bitmap(rig->iommu,
					 VFIO_PIN_BITMAP_FLAG_UNREGISTER),
		      -ENOENT);
	if (stats_available())
		VFIO_ASSERT_EQ(stat_get("leaves"), -1, "counters are left");
	VFIO_ASSERT_TRUE(status_kib("VmLck") * 1024 == MEM_PAGE_SIZE,
			 "%lu KiB are left locked", status_kib("VmLck"));
	rig_cleanup(rig);
}

struct race_setup {
	u32 seed;
	const char *cgroup;	/* or NULL */
};

/* In a child: race until told to stop, or killed. */
static int run_race(void *data)
{
	struct race_setup *setup = data;
	struct racer racers[RACERS];
	struct race race = {};
	int n;

	if (setup->cgroup)
		memcg_enter(setup->cgroup);
	if (rig_init(&race.rig, setup->seed & 1 ? MEM_ANON : MEM_MEMFD))
		return 1;
	for (n = 0; n < RACERS; n++) {
		racers[n] = (struct racer) {
			.race = &race,
			.random = new_kvm_random_state(setup->seed + n),
			.step = steps[n],
		};
		VFIO_ASSERT_TRUE(!pthread_create(&racers[n].thread, NULL, run,
						 &racers[n]), "pthread_create");
	}
	say('r');
	wait_for_go();
	WRITE_ONCE(race.stop, true);
	for (n = 0; n < RACERS; n++)
		pthread_join(racers[n].thread, NULL);
	finish(&race);
	return 0;
}

FIXTURE(race) {
	struct rig rig;
	struct kernel_counts before;
	struct kvm_random_state random;
	char *cgroup;
	s64 populates, late_pins;	/* seen, or nothing was raced */
};

FIXTURE_SETUP(race)
{
	const char *missing = rig_init(&self->rig, MEM_ANON);

	if (missing)
		SKIP(return, "%s", missing);
	/* The child wants the device. */
	rig_cleanup(&self->rig);
	self->before = kernel_counts();
	self->random = new_kvm_random_state(env_seed());
	self->cgroup = memcg_create(NULL, "vfio-selftest");
}

FIXTURE_TEARDOWN(race)
{
	separate_domains(false);
	if (self->cgroup)
		memcg_destroy(self->cgroup);
}

/* Has a touch got in, and a bracket met a mark? Then it was a race. */
static bool has_raced(FIXTURE_DATA(race) * self)
{
	return self->populates > 0 && self->late_pins > 0;
}

static void count_races(FIXTURE_DATA(race) * self, pid_t pid)
{
	self->populates += max(stat_of(pid, "populates"), 0L);
	self->late_pins += max(stat_of(pid, "pin_events"), 0L);
}

/* The first ones take long on a slow kernel, longer than a round. */
static void wait_for_races(FIXTURE_DATA(race) * self, pid_t pid)
{
	int n;

	for (n = 0; n < RACE_TRIES && !has_raced(self); n++) {
		usleep(RACE_POLL_US);
		count_races(self, pid);
	}
}

/* One process: it is killed, or it is told to stop, and ends by itself. */
static void one_round(struct __test_metadata *_metadata,
		      FIXTURE_DATA(race) * self, u64 round)
{
	struct race_setup setup = {
		.seed = kvm_random_u32(&self->random),
		.cgroup = self->cgroup,
	};
	u32 ms = ROUND_MIN_MS + kvm_random_u32(&self->random) %
		 (ROUND_MAX_MS - ROUND_MIN_MS);
	bool killed = kvm_random_u32(&self->random) % 4;
	struct kernel_counts left;
	struct child child;

	separate_domains(kvm_random_bool(&self->random));
	child_start(&child, run_race, &setup);
	ASSERT_EQ(child_hear(&child), 'r');
	usleep(ms * 1000);
	count_races(self, child.pid);
	if (stats_available())
		wait_for_races(self, child.pid);
	ASSERT_EQ(killed ? child_kill(&child) : child_wait(&child),
		  killed ? -SIGKILL : 0) {
		TH_LOG("round %lu", round);
	}
	if (stats_available())
		ASSERT_EQ(stat_wait_of(child.pid, "leaves", -1), -1);
	left = kernel_counts_left(&self->before);
	ASSERT_EQ(left.pins, 0);
	ASSERT_EQ(left.iommu_pages, 0);
	if (self->cgroup)
		ASSERT_LT(memcg_kernel_left(self->cgroup, CHARGE_SLACK),
			  CHARGE_SLACK);
}

TEST_F_TIMEOUT(race, and_kill, 60 * RIG_TIMEOUT_S)
{
	u64 seconds = env_number("VFIO_SELFTESTS_SECONDS", 20);
	time_t end = time(NULL) + seconds;
	s64 kib = 0, grown;
	u64 round;

	for (round = 0; round < 2 || time(NULL) < end; round++) {
		one_round(_metadata, self, round);
		/* The first ones fill caches. */
		if (round == 1)
			kib = meminfo_kernel_kib();
	}
	grown = meminfo_kernel_kib() - kib;
	printf("# count: %lu rounds of races and kills, kernel memory has grown by %ld KiB\n",
	       round, grown);
	printf("# count: %ld leaves set by the gate, %ld late pins, as last seen of each\n",
	       self->populates, self->late_pins);
	EXPECT_LT(grown, GROWTH_KIB);
	EXPECT_TRUE(self->populates || !stats_available());
	EXPECT_TRUE(self->late_pins || !stats_available());

	/* The device is as good as new. */
	ASSERT_EQ(rig_init(&self->rig, MEM_ANON), NULL);
	rig_map(&self->rig);
	guest_touch(self->rig.guest, rig_iova(0));
	EXPECT_TRUE(rig_dma_works(&self->rig, 0));
	rig_cleanup(&self->rig);
}

static void *run_shrinkers(void *data)
{
	struct race *race = data;

	while (!READ_ONCE(race->stop))
		setting_write("/proc/sys/vm/drop_caches", "2");
	return NULL;
}

/* Late pins come and go, by brackets and by the shrinker, whoever is faster. */
TEST_F_TIMEOUT(race, shrinker, RIG_TIMEOUT_S)
{
	struct race race = {};
	struct rig *rig = &race.rig;
	pthread_t thread;
	int n;

	ASSERT_EQ(rig_init_marks(rig, MEM_ANON), NULL);
	ASSERT_EQ(pthread_create(&thread, NULL, run_shrinkers, &race), 0);
	for (n = 0; n < LATE_PINS; n++) {
		rig_late_pin(rig, n % RIG_PAGES);
		EXPECT_STAT("late_pins", 1);
		guest_unmark(rig->guest, n % RIG_PAGES);
		if (n % 2)
			mem_bracket(rig_vaddr(rig, n % RIG_PAGES));
		if (stats_available())
			EXPECT_EQ(stat_wait("late_pins", 0), 0);
	}
	WRITE_ONCE(race.stop, true);
	ASSERT_EQ(pthread_join(thread, NULL), 0);
	rig_cleanup(rig);
}

int main(int argc, char *argv[])
{
	get_device_bdfs(&argc, argv);
	return test_harness_run(argc, argv);
}
