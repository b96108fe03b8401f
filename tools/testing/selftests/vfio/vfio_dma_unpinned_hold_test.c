// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who wants a certain page frame, and gets it or not: memory offlining and CMA
 * wait for the mark to be cleared, memory failure does not.
 *
 * Needs memory that can be had: "movablecore=" and "cma=" on the command line.
 */
#include <dirent.h>
#include <linux/mman.h>
#include <signal.h>
#include <sys/wait.h>

#include <libvfio/settings.h>
#include <libvfio/unpinned.h>

#include "kselftest_harness.h"

#define KPF_RESERVED	32	/* not in the uapi header */

#define BREAK_PIN	"/sys/module/vfio_unpinned/parameters/break_pin"
#define MEMORY_DIR	"/sys/devices/system/memory/"
#define NODE_DIR	"/sys/devices/system/node/"
#define CMA_DIR		"/sys/kernel/debug/cma/"

#define MAX_NODES	8
#define MAX_BLOCKS	1024
#define TAKE_SIZE	(16UL << 20)
#define TAKE_TRIES	16

#define MARKED		3		/* the page that is wanted */
#define USED		16UL		/* pages that are there, with that one */

#define OFFLINE_SECONDS	60

FIXTURE(hold) {
	struct rig rig;
};

FIXTURE_SETUP(hold)
{
	struct rig *rig = &self->rig;
	const char *missing;

	if (!stats_available())
		SKIP(return, NO_STATS);
	missing = rig_init_marks(rig, MEM_ANON);
	if (missing)
		SKIP(return, "%s", missing);
}

FIXTURE_TEARDOWN(hold)
{
	settings_restore();
	rig_cleanup(&self->rig);
}

/* Content in all pages that are used, and a mark on one of them. */
static void use_pages(struct rig *rig, u32 *value)
{
	u64 page;

	for (page = 0; page < USED; page++)
		value[page] = rig_guest_write(rig, page);
	rig_pin(rig, MARKED);
}

/* What was there is there, for the guest, and for the device after a touch. */
static bool pages_are(struct rig *rig, const u32 *value)
{
	u64 page;

	for (page = 0; page < USED; page++) {
		if (guest_read(rig->guest, rig_iova(page)) != value[page])
			return false;
	}
	return !rig_dma_read_blocked(rig, MARKED, value[MARKED]);
}

/* Is the frame of that page in [start, start + nr)? */
static bool is_within(struct rig *rig, u64 page, u64 start, u64 nr)
{
	u64 frame = mem_frame(rig_vaddr(rig, page));

	return frame >= start && frame < start + nr;
}

static u64 frames_within(struct rig *rig, u64 start, u64 nr)
{
	u64 page, within = 0;

	for (page = 0; page < USED; page++)
		within += is_within(rig, page, start, nr);
	return within;
}

/* --- where there are frames that somebody may want ------------------------------ */

struct area {
	char dir[300];	/* of CMA's */
	u64 start;	/* frame */
	u64 frames;
};

static long long area_number(struct area *area, const char *file)
{
	char path[400];

	snprintf(path, sizeof(path), "%s/%s", area->dir, file);
	return setting_number(path);
}

/* The first area of CMA. */
static bool find_area(struct area *area)
{
	struct dirent *entry;
	DIR *dir = opendir(CMA_DIR);
	bool found = false;

	while (dir && !found && (entry = readdir(dir))) {
		snprintf(area->dir, sizeof(area->dir), CMA_DIR "%s",
			 entry->d_name);
		area->start = area_number(area, "base_pfn");
		area->frames = area_number(area, "count");
		found = (s64)area->start > 0 && (s64)area->frames > 0;
	}
	if (dir)
		closedir(dir);
	return found;
}

static u64 block_frames(void)
{
	char text[64];

	if (setting_read(MEMORY_DIR "block_size_bytes", text, sizeof(text)))
		return 0;
	return strtoull(text, NULL, 16) / MEM_PAGE_SIZE;
}

/* Pages that have been reserved since boot are not moved by anybody. */
static bool has_reserved_page(u64 start, u64 frames)
{
	u64 *flags = malloc(frames * sizeof(u64)), n;
	int fd = open("/proc/kpageflags", O_RDONLY);
	bool reserved = false;

	VFIO_ASSERT_TRUE(flags && fd >= 0 &&
			 pread(fd, flags, frames * sizeof(u64), start * sizeof(u64)) ==
			 (ssize_t)(frames * sizeof(u64)), "read of kpageflags");
	for (n = 0; n < frames; n++)
		reserved |= flags[n] >> KPF_RESERVED & 1;
	close(fd);
	free(flags);
	return reserved;
}

struct block {
	char state[96];
	u64 start;	/* frame */
	u64 frames;
};

/* A block that is movable throughout: none in an area of CMA, which is kept. */
static bool find_block(struct block *block)
{
	char path[96], zones[64];
	struct area area = {};
	u64 n;

	find_area(&area);
	block->frames = block_frames();
	for (n = 0; block->frames && n < MAX_BLOCKS; n++) {
		block->start = n * block->frames;
		snprintf(block->state, sizeof(block->state),
			 MEMORY_DIR "memory%lu/state", n);
		snprintf(path, sizeof(path), MEMORY_DIR "memory%lu/valid_zones", n);
		if (!setting_read(path, zones, sizeof(zones)) &&
		    !strncmp(zones, "Movable", strlen("Movable")) &&
		    (area.start >= block->start + block->frames ||
		     area.start + area.frames <= block->start) &&
		    !has_reserved_page(block->start, block->frames))
			return true;
	}
	return false;
}

static int node_of_frame(u64 frame)
{
	char path[128];
	int node;

	for (node = 0; node < MAX_NODES && block_frames(); node++) {
		snprintf(path, sizeof(path), NODE_DIR "node%d/memory%lu", node,
			 frame / block_frames());
		if (!access(path, F_OK))
			return node;
	}
	return 0;
}

static void *map_on_node(void *vaddr, u64 size, int node)
{
	if (!vaddr)
		vaddr = mmap(NULL, size, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	VFIO_ASSERT_NE(vaddr, MAP_FAILED);
	VFIO_ASSERT_TRUE(!mem_bind(vaddr, size, 1UL << node, 0), "mbind");
	return vaddr;
}

/*
 * Have the marked page in [start, start + frames): other free memory of that node is
 * taken away until it gets there. Of the others some do: the allocator takes a page
 * from an area of CMA and one from elsewhere by turns.
 */
static bool place_pages(struct rig *rig, u64 start, u64 frames, u32 *value)
{
	int n, node = node_of_frame(start);
	void *taken[TAKE_TRIES];
	bool placed = false;

	map_on_node(rig->mem.vaddr, RIG_SIZE, node);
	for (n = 0; n < TAKE_TRIES; n++) {
		use_pages(rig, value);
		placed = is_within(rig, MARKED, start, frames);
		if (placed)
			break;
		guest_unmark(rig->guest, MARKED);
		mem_discard(&rig->mem, rig->mem.vaddr, RIG_SIZE);
		taken[n] = map_on_node(NULL, TAKE_SIZE, node);
		/* Small pages, with those that were just freed. */
		madvise(taken[n], TAKE_SIZE, MADV_NOHUGEPAGE);
		madvise(taken[n], TAKE_SIZE, MADV_POPULATE_WRITE);
	}
	while (n)
		munmap(taken[--n], TAKE_SIZE);
	/* The nodes of what comes later are no matter. */
	VFIO_ASSERT_TRUE(!mem_bind(rig->mem.vaddr, RIG_SIZE, 0, 0), "mbind");
	return placed;
}

/* --- offlining --------------------------------------------------------------- */

static bool is_online(struct block *block)
{
	char state[32];

	return !setting_read(block->state, state, sizeof(state)) &&
	       !strcmp(state, "online");
}

/* In another process, which waits as long as it takes. */
static pid_t start_offlining(struct block *block)
{
	pid_t pid = fork();

	if (!pid)
		_exit(-setting_write(block->state, "offline"));
	VFIO_ASSERT_GT(pid, 0);
	return pid;
}

/* Its exit status, or -1 if it is still at it after that time. */
static int offlining_status(pid_t pid, int seconds)
{
	int n, status;

	for (n = 0; n < seconds * 10; n++) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return status;
		usleep(100 * 1000);
	}
	return -1;
}

TEST_F_TIMEOUT(hold, offlining_waits_for_the_mark, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	struct block block;
	u32 value[USED];
	pid_t pid;
	int status;

	if (!find_block(&block))
		SKIP(return, "no block of memory that can be taken offline");
	if (!place_pages(rig, block.start, block.frames, value))
		SKIP(return, "user memory does not get into that block");

	/* It retries until a signal comes, as for any page that is pinned. */
	pid = start_offlining(&block);
	ASSERT_EQ(offlining_status(pid, 2), -1);
	EXPECT_EQ(stat_get("late_pins"), 1);
	EXPECT_TRUE(pages_are(rig, value));
	EXPECT_EQ(kill(pid, SIGTERM), 0);
	EXPECT_NE(offlining_status(pid, OFFLINE_SECONDS), 0);
	EXPECT_TRUE(is_online(&block));

	/* Or until the mark is cleared. */
	pid = start_offlining(&block);
	ASSERT_EQ(offlining_status(pid, 1), -1);
	guest_unmark(rig->guest, MARKED);
	status = offlining_status(pid, OFFLINE_SECONDS);
	EXPECT_EQ(status, 0);
	EXPECT_FALSE(is_online(&block));
	EXPECT_EQ(frames_within(rig, block.start, block.frames), 0);
	guest_touch(rig->guest, rig_iova(MARKED));
	EXPECT_TRUE(pages_are(rig, value));
	EXPECT_EQ(setting_write(block.state, "online_movable"), 0);
}

/* The control: a mark that nobody heeds keeps nothing. */
TEST_F_TIMEOUT(hold, offlining_without_late_pins, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	struct block block;
	u32 value[USED];

	if (!find_block(&block))
		SKIP(return, "no block of memory that can be taken offline");
	if (!place_pages(rig, block.start, block.frames, value))
		SKIP(return, "user memory does not get into that block");
	if (setting_change(BREAK_PIN, "1"))
		SKIP(return, "not a test configuration");
	EXPECT_EQ(offlining_status(start_offlining(&block), OFFLINE_SECONDS), 0);
	EXPECT_EQ(frames_within(rig, block.start, block.frames), 0);
	EXPECT_TRUE(rig_dma_read_blocked(rig, MARKED, value[MARKED]));
	EXPECT_EQ(setting_write(block.state, "online_movable"), 0);
}

/* --- CMA ------------------------------------------------------------------------ */

/* Allocate or free all of it. */
static int area_request(struct area *area, const char *file)
{
	char path[400], number[24];

	snprintf(path, sizeof(path), "%s/%s", area->dir, file);
	snprintf(number, sizeof(number), "%lu", area->frames);
	return setting_write(path, number);
}

TEST_F_TIMEOUT(hold, cma_fails_until_the_mark_goes, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	struct area area;
	u32 value[USED];
	s64 failures;

	if (!find_area(&area))
		SKIP(return, "no CMA area in debugfs");
	if (!place_pages(rig, area.start, area.frames, value))
		SKIP(return, "user memory does not get into the CMA area");

	failures = vmstat_line("cma_alloc_fail");
	EXPECT_EQ(area_request(&area, "alloc"), -ENOMEM);
	EXPECT_EQ(vmstat_line("cma_alloc_fail"), failures + 1);
	EXPECT_EQ(stat_get("late_pins"), 1);
	EXPECT_TRUE(pages_are(rig, value));

	guest_unmark(rig->guest, MARKED);
	EXPECT_EQ(stat_wait("late_pins", 0), 0);
	EXPECT_EQ(area_request(&area, "alloc"), 0);
	EXPECT_EQ(frames_within(rig, area.start, area.frames), 0);
	guest_touch(rig->guest, rig_iova(MARKED));
	EXPECT_TRUE(pages_are(rig, value));
	EXPECT_EQ(area_request(&area, "free"), 0);
}

/* --- pressure -------------------------------------------------------------------- */

/* Without pressure a worker looks, once a second. */
TEST_F_TIMEOUT(hold, pressure_releases_at_once, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	u32 value[USED];

	use_pages(rig, value);
	mem_bracket(rig_vaddr(rig, MARKED));
	EXPECT_EQ(stat_get("late_pins"), 1);
	/* All shrinkers, as in reclaim. */
	EXPECT_EQ(setting_write("/proc/sys/vm/drop_caches", "2"), 0);
	EXPECT_EQ(stat_get("late_pins"), 1);
	guest_unmark(rig->guest, MARKED);
	EXPECT_EQ(setting_write("/proc/sys/vm/drop_caches", "2"), 0);
	EXPECT_EQ(stat_get("late_pins"), 0);
	EXPECT_EQ(stat_get("released"), 1);
}

static u64 idle_bit(u64 frame)
{
	return 1UL << frame % 64;
}

static void set_idle(int fd, u64 frame)
{
	u64 bits = idle_bit(frame);

	VFIO_ASSERT_EQ(pwrite(fd, &bits, 8, frame / 64 * 8), 8, "idle pages");
}

static bool is_idle(int fd, u64 frame)
{
	u64 bits;

	VFIO_ASSERT_EQ(pread(fd, &bits, 8, frame / 64 * 8), 8, "idle pages");
	return bits & idle_bit(frame);
}

/* What can't be reclaimed looks young, and what a device may have otherwise, not. */
TEST_F_TIMEOUT(hold, late_pinned_page_stays_young, RIG_TIMEOUT_S)
{
	int fd = open("/sys/kernel/mm/page_idle/bitmap", O_RDWR);
	struct rig *rig = &self->rig;
	u64 pinned, other;
	u32 value[USED];

	if (fd < 0)
		SKIP(return, "no tracking of idle pages in this kernel");
	use_pages(rig, value);
	mem_bracket(rig_vaddr(rig, MARKED));
	/* Puts all pages on their LRU lists, where they are looked for. */
	EXPECT_EQ(setting_write("/proc/sys/vm/compact_memory", "1"), 0);
	guest_touch(rig->guest, rig_iova(MARKED + 1));
	EXPECT_EQ(stat_get("leaves"), 2);
	EXPECT_EQ(stat_get("late_pins"), 1);

	pinned = mem_frame(rig_vaddr(rig, MARKED));
	other = mem_frame(rig_vaddr(rig, MARKED + 1));
	set_idle(fd, pinned);
	set_idle(fd, other);
	EXPECT_FALSE(is_idle(fd, pinned));
	EXPECT_TRUE(is_idle(fd, other));
	close(fd);
}

/* --- memory failure --------------------------------------------------------------- */

/* Nobody gets there, and new memory at the address is as good as any. */
static void expect_poisoned(struct __test_metadata *_metadata, struct rig *rig,
			    u32 old)
{
	EXPECT_TRUE(rig_dma_read_blocked(rig, MARKED, old));
	mem_bus_errors();
	EXPECT_NE(__guest_touch(rig->guest, rig_iova(MARKED)), 0);
	EXPECT_GT(mem_bus_errors(), 0);

	ASSERT_NE(mmap(rig_vaddr(rig, MARKED), MEM_PAGE_SIZE,
		       PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE |
		       MAP_ANONYMOUS, -1, 0), MAP_FAILED);
	guest_touch(rig->guest, rig_iova(MARKED));
	EXPECT_TRUE(rig_dma_works(rig, MARKED));
}

FIXTURE(poison) {
	struct rig rig;
};

FIXTURE_VARIANT(poison) {
	bool mark;
	bool late_pin;
};

FIXTURE_VARIANT_ADD(poison, unmarked) {
};

FIXTURE_VARIANT_ADD(poison, marked) {
	.mark = true,
};

FIXTURE_VARIANT_ADD(poison, late_pinned) {
	.mark = true,
	.late_pin = true,
};

FIXTURE_SETUP(poison)
{
	const char *missing = rig_init_marks(&self->rig, MEM_ANON);

	if (missing)
		SKIP(return, "%s", missing);
}

FIXTURE_TEARDOWN(poison)
{
	rig_cleanup(&self->rig);
}

TEST_F_TIMEOUT(poison, takes_the_page, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	int err;
	u32 old;

	/* Not the other way round: the worker would populate, and pin, the page. */
	old = rig_guest_write(rig, MARKED);
	if (variant->mark)
		guest_mark(rig->guest, MARKED);
	if (variant->late_pin)
		mem_bracket(rig_vaddr(rig, MARKED));
	EXPECT_STAT("leaves", 1);
	EXPECT_STAT("late_pins", variant->late_pin);

	err = mem_poison(rig_vaddr(rig, MARKED));
	if (err == -EINVAL)
		SKIP(return, "no injection of memory failures in this kernel");
	ASSERT_EQ(err, 0);
	EXPECT_STAT("leaves", 0);
	EXPECT_STAT("late_pins", 0);
	EXPECT_STAT("forced_zaps", variant->mark);
	expect_poisoned(_metadata, rig, old);
}

int main(int argc, char *argv[])
{
	get_device_bdfs(&argc, argv);
	return test_harness_run(argc, argv);
}
