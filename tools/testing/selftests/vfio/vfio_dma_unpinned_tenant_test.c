// SPDX-License-Identifier: GPL-2.0-only
/*
 * A process whose memory takes long, and the others: who waits for whom, and who
 * pays. Its memory is of userfaultfd and nobody resolves it, or of a FUSE server
 * that does not answer. What must not hang is waited for HANG_S.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <libvfio/child.h>
#include <libvfio/fuse.h>
#include <libvfio/memcg.h>
#include <libvfio/settings.h>
#include <libvfio/uffd.h>
#include <libvfio/unpinned.h>

#include "kselftest_harness.h"

#define HANG_S		60
#define POLL_US		(100 * 1000)
#define HOLE		8UL		/* the page without an answer */

#define WIDE_CHUNKS	32UL
#define WIDE_SIZE	(WIDE_CHUNKS * MEM_HUGE_SIZE)
#define WIDE_IOVA	0x80000000UL
#define OTHER_SIZE	(4UL << 20)
#define RECLAIM_TRIES	20
#define ENABLES		20000UL

/* Does it say @byte next, and in time? */
static bool hears(struct child *child, char byte)
{
	return child_hears(child, byte, HANG_S * 1000);
}

/* Does it end in time? See child_ends(). */
static int ends(struct child *child)
{
	return child_ends(child, HANG_S);
}

static void end_child(struct child *child)
{
	kill(child->pid, SIGKILL);
	VFIO_ASSERT_NE(ends(child), CHILD_RUNS, "process %d does not end", child->pid);
}

/* --- marked pages that can't be had now ----------------------------------------- */

FIXTURE(hole) {
	struct rig rig;
	struct uffd uffd;
};

FIXTURE_SETUP(hole)
{
	const char *missing = device_missing(0, false);

	if (missing)
		SKIP(return, "%s", missing);
	if (!stats_available())
		SKIP(return, NO_STATS);
}

FIXTURE_TEARDOWN(hole)
{
	settings_restore();
}

/* A mapping with marked pages, one of memory that nobody answers for. */
static void map_hole(FIXTURE_DATA(hole) * self)
{
	struct rig *rig = &self->rig;

	VFIO_ASSERT_TRUE(!rig_init(rig, MEM_ANON), "the device is not free");
	rig_map(rig);
	rig_register(rig, RIG_PAGES);
	guest_mark(rig->guest, HOLE);
	guest_mark(rig->guest, HOLE + 1);
	VFIO_ASSERT_TRUE(uffd_open(&self->uffd, 0) &&
			 !uffd_register(&self->uffd, rig_vaddr(rig, HOLE),
					MEM_PAGE_SIZE, UFFDIO_REGISTER_MODE_MISSING),
			 "userfaultfd");
	rig_enable_marks(rig);
}

/* It comes later, as in post-copy migration: then it gets its leaf. */
TEST_F_TIMEOUT(hole, gets_leaf_when_resolved, RIG_TIMEOUT_S)
{
	u32 page[MEM_PAGE_SIZE / sizeof(u32)] = { unique_value() };
	struct uffdio_copy copy = {
		.src = (u64)page,
		.len = MEM_PAGE_SIZE,
	};
	struct rig *rig = &self->rig;

	map_hole(self);
	EXPECT_EQ(stat_wait("worker_populates", 1), 1);
	EXPECT_TRUE(rig_dma_works(rig, HOLE + 1));
	EXPECT_EQ(stat_get("leaves"), 1);
	EXPECT_EQ(mem_resident(rig_vaddr(rig, HOLE), MEM_PAGE_SIZE), 0);

	copy.dst = (u64)rig_vaddr(rig, HOLE);
	ASSERT_EQ(ioctl(self->uffd.fd, UFFDIO_COPY, &copy), 0);
	EXPECT_EQ(stat_wait("worker_populates", 2), 2);
	EXPECT_FALSE(rig_dma_read_blocked(rig, HOLE, page[0]));
	EXPECT_TRUE(rig_dma_works(rig, HOLE));
	EXPECT_EQ(guest_read(rig->guest, rig_iova(HOLE)),
		  READ_ONCE(*(u32 *)rig_vaddr(rig, HOLE)));
	uffd_close(&self->uffd);
	rig_cleanup(rig);
}

static int process_with_hole(void *data)
{
	FIXTURE_DATA(hole) * self = data;

	map_hole(self);
	stat_wait("worker_populates", 1);
	say('w');
	rig_unmap(&self->rig);
	/* Now it is the user who populates. */
	rig_map(&self->rig);
	say('m');
	return pause();
}

/* Nobody ever answers: the process can unmap and map, and be killed. */
TEST_F_TIMEOUT(hole, killed, 4 * HANG_S + RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	struct child child;

	child_start(&child, process_with_hole, self);
	ASSERT_TRUE(hears(&child, 'w'));
	EXPECT_TRUE(hears(&child, 'm'));
	ASSERT_EQ(kill(child.pid, SIGKILL), 0);
	EXPECT_EQ(ends(&child), -SIGKILL);
	ASSERT_EQ(rig_init(rig, MEM_ANON), NULL);
	rig_map(rig);
	guest_touch(rig->guest, rig_iova(0));
	EXPECT_TRUE(rig_dma_works(rig, 0));
	rig_cleanup(rig);
}

/* --- memory that a server does not give --------------------------------------------- */

FIXTURE(stuck) {
	struct fuse_file file;
	struct child child;
	struct child other;
};

FIXTURE_SETUP(stuck)
{
	const char *missing = device_missing(1, false) ?: fuse_open(&self->file);

	if (missing)
		SKIP(return, "%s", missing);
}

/* Without its server, each of them can end. */
FIXTURE_TEARDOWN(stuck)
{
	fuse_close(&self->file);
	if (self->other.running)
		end_child(&self->other);
	if (self->child.running)
		end_child(&self->child);
}

/* A read as a debugger's does not let go of the mmap_lock in the fault. */
static void *read_as_debugger(void *vaddr)
{
	int fd = open("/proc/self/mem", O_RDONLY);
	char byte;

	VFIO_ASSERT_GE(fd, 0, "/proc/self/mem");
	pread(fd, &byte, 1, (off_t)vaddr);
	close(fd);
	return NULL;
}

/* Its mmap_lock is held until the server answers; meanwhile it maps. */
static int map_while_held(void *data)
{
	struct fuse_file *file = data;
	struct rig rig = {};
	pthread_t thread;
	void *vaddr;

	device_bdf[0] = device_bdf[1];
	VFIO_ASSERT_TRUE(!rig_init(&rig, MEM_ANON), "the device is not free");
	vaddr = mmap(NULL, MEM_PAGE_SIZE, PROT_READ, MAP_PRIVATE, file->fd, 0);
	VFIO_ASSERT_TRUE(vaddr != MAP_FAILED &&
			 !pthread_create(&thread, NULL, read_as_debugger, vaddr) &&
			 fuse_asked(file, HANG_S * 1000), "the file is not read");
	say('h');
	rig_map(&rig);
	say('m');
	return pause();
}

static int map_and_unmap(void *data)
{
	struct rig rig = {};

	VFIO_ASSERT_TRUE(!rig_init(&rig, MEM_ANON), "the device is not free");
	rig_map(&rig);
	guest_touch(rig.guest, rig_iova(0));
	VFIO_ASSERT_TRUE(rig_dma_works(&rig, 0), "no DMA");
	rig_unmap(&rig);
	rig_cleanup(&rig);
	return 0;
}

/* A process that can't get its own mmap_lock keeps no other from its mappings. */
TEST_F_TIMEOUT(stuck, others_map, 2 * HANG_S + RIG_TIMEOUT_S)
{
	child_start(&self->child, map_while_held, &self->file);
	ASSERT_TRUE(hears(&self->child, 'h'));
	wait_until_asleep(self->child.pid);
	child_start(&self->other, map_and_unmap, NULL);
	EXPECT_EQ(ends(&self->other), 0);

	/* And it has waited all the time: it maps when the server is gone. */
	fuse_close(&self->file);
	EXPECT_TRUE(hears(&self->child, 'm'));
}

/* A marked page of the file, which only the worker would read. */
static int unmap_file(void *data)
{
	struct fuse_file *file = data;
	struct rig rig = {};

	VFIO_ASSERT_TRUE(!rig_init(&rig, MEM_ANON), "the device is not free");
	rig_map(&rig);
	rig_register(&rig, RIG_PAGES);
	guest_mark(rig.guest, HOLE);
	guest_mark(rig.guest, HOLE + 1);
	VFIO_ASSERT_TRUE(mmap(rig_vaddr(&rig, HOLE), MEM_PAGE_SIZE,
			      PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED,
			      file->fd, 0) != MAP_FAILED, "mmap of the file");
	rig_enable_marks(&rig);
	VFIO_ASSERT_EQ(stat_wait("leaves", 1), 1, "the other page has no leaf");
	say('w');
	rig_unmap(&rig);
	say('u');
	rig_cleanup(&rig);
	return 0;
}

/* The worker waits for no server, and so the process does not wait for the worker. */
TEST_F_TIMEOUT(stuck, worker_asks_no_server, 3 * HANG_S + RIG_TIMEOUT_S)
{
	if (!stats_available())
		SKIP(return, NO_STATS);
	child_start(&self->child, unmap_file, &self->file);
	EXPECT_TRUE(hears(&self->child, 'w'));
	EXPECT_TRUE(hears(&self->child, 'u'));
	EXPECT_FALSE(fuse_asked(&self->file, 0));
	EXPECT_EQ(ends(&self->child), 0);
}

/* --- what others pay --------------------------------------------------------------- */

FIXTURE(wide) {
	struct rig rig;
	struct mem mem;
	struct dma_region region;
};

FIXTURE_SETUP(wide)
{
	const char *missing = device_missing(0, false);

	if (missing)
		SKIP(return, "%s", missing);
	if (!stats_available())
		SKIP(return, NO_STATS);
}

FIXTURE_TEARDOWN(wide)
{
}

/* Late pins in the first @chunks of WIDE_CHUNKS, one in each. */
static void wide_init(FIXTURE_DATA(wide) * self, u64 chunks)
{
	struct rig *rig = &self->rig;
	u64 n;

	VFIO_ASSERT_TRUE(!rig_init(rig, MEM_ANON), "the device is not free");
	mem_alloc(&self->mem, MEM_ANON, WIDE_SIZE);
	self->region = (struct dma_region) {
		.vaddr = self->mem.vaddr,
		.iova = WIDE_IOVA,
		.size = WIDE_SIZE,
	};
	guest_map(rig->guest, WIDE_IOVA, self->mem.vaddr, WIDE_SIZE);
	type1_map_unpinned(rig->iommu, &self->region);
	type1_register_bitmap(rig->iommu, rig->bitmap.vaddr, &self->region,
			      WIDE_CHUNKS);
	rig_enable_marks(rig);
	for (n = 0; n < chunks; n++) {
		guest_mark(rig->guest, n * (MEM_HUGE_SIZE / MEM_PAGE_SIZE));
		guest_touch(rig->guest, WIDE_IOVA + n * MEM_HUGE_SIZE);
		mem_bracket(self->mem.vaddr + n * MEM_HUGE_SIZE);
	}
	VFIO_ASSERT_TRUE(stat_get("late_pins") == chunks, "%ld late pins",
			 stat_get("late_pins"));
}

static void wide_cleanup(FIXTURE_DATA(wide) * self)
{
	rig_cleanup(&self->rig);
	mem_free(&self->mem);
}

/* Wait until the worker has run @more times. Returns how often it has. */
static s64 more_runs(s64 more)
{
	s64 first = stat_get("worker_runs"), runs = first;
	int n;

	for (n = 0; n < HANG_S * 1000000L / POLL_US && runs < first + more; n++) {
		usleep(POLL_US);
		runs = stat_get("worker_runs");
	}
	return runs - first;
}

/* Chunks without pins cost the worker nothing. */
TEST_F_TIMEOUT(wide, worker_visits_pins_only, RIG_TIMEOUT_S)
{
	s64 scans, runs;

	wide_init(self, 1);
	scans = stat_get("worker_scans");
	runs = more_runs(3);
	EXPECT_GE(runs, 3);
	scans = stat_get("worker_scans") - scans;
	EXPECT_GE(scans, 2);
	/* One may have come between two readings, on both sides. */
	EXPECT_LE(scans, runs + 2);
	wide_cleanup(self);
}

/* The same for the shrinker, which finds those of everybody here. */
TEST_F_TIMEOUT(wide, shrinker_visits_pins_only, RIG_TIMEOUT_S)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);
	s64 scans;
	int n;

	ASSERT_GE(fd, 0);
	wide_init(self, 2);
	scans = stat_get("shrinker_scans");
	for (n = 0; n < 8; n++)
		EXPECT_EQ(pwrite(fd, "2", 1, 0), 1);
	scans = stat_get("shrinker_scans") - scans;
	close(fd);
	EXPECT_GT(scans, 0);
	/* It asks for no more than twice what there is, some times for each. */
	EXPECT_LE(scans, 8 * 16 * 2 * 2);
	wide_cleanup(self);
}

static int vmm_in_cgroup(void *data)
{
	FIXTURE_DATA(wide) self = {};

	memcg_enter(data);
	wide_init(&self, WIDE_CHUNKS);
	say('i');
	return pause();
}

static int other_in_cgroup(void *data)
{
	struct mem mem;

	memcg_enter(data);
	mem_alloc(&mem, MEM_ANON, OTHER_SIZE);
	memset(mem.vaddr, 1, OTHER_SIZE);
	say('i');
	return pause();
}

/* Reclaim in a cgroup meets the late pins of that cgroup, and no others. */
TEST_F_TIMEOUT(wide, shrinker_knows_cgroups, RIG_TIMEOUT_S)
{
	char *parent = memcg_create(NULL, "vfio-selftest"), *vmms, *others;
	struct child vmm, other;
	s64 scans;
	int n;

	if (!parent)
		SKIP(return, NO_MEMCG);
	if (!mem_can_pageout())
		SKIP(return, NO_SWAP);
	vmms = memcg_create(parent, "vmm");
	others = memcg_create(parent, "other");
	child_start(&vmm, vmm_in_cgroup, vmms);
	child_start(&other, other_in_cgroup, others);
	ASSERT_TRUE(hears(&vmm, 'i'));
	ASSERT_TRUE(hears(&other, 'i'));

	scans = stat_of(vmm.pid, "shrinker_scans");
	for (n = 0; n < RECLAIM_TRIES; n++)
		memcg_reclaim(others, WIDE_SIZE);
	EXPECT_LT(memcg_get_key(others, "memory.stat", "anon"), OTHER_SIZE / 2);
	EXPECT_EQ(stat_of(vmm.pid, "shrinker_scans"), scans);
	for (n = 0; n < RECLAIM_TRIES; n++)
		memcg_reclaim(vmms, WIDE_SIZE);
	EXPECT_GT(stat_of(vmm.pid, "shrinker_scans"), scans);

	end_child(&vmm);
	end_child(&other);
	memcg_destroy(vmms);
	memcg_destroy(others);
	memcg_destroy(parent);
}

/* A VMM that asks for the worker all the time gets it now and then. */
TEST_F_TIMEOUT(wide, enable_in_a_loop, RIG_TIMEOUT_S)
{
	s64 runs;
	u64 n;

	wide_init(self, 1);
	runs = stat_get("worker_runs");
	for (n = 0; n < ENABLES; n++)
		type1_pin_bitmap(self->rig.iommu,
				 VFIO_PIN_BITMAP_FLAG_ENABLE_MARKS);
	runs = stat_get("worker_runs") - runs;
	EXPECT_LE(runs, ENABLES / 20);
	wide_cleanup(self);
}

int main(int argc, char *argv[])
{
	get_device_bdfs(&argc, argv);
	return test_harness_run(argc, argv);
}
