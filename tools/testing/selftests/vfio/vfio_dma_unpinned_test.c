// SPDX-License-Identifier: GPL-2.0-only
/*
 * The life of a leaf of an unpinned mapping, without marks: when the device
 * can access a page, and when it no longer can.
 */
#include <sys/mount.h>
#include <sys/wait.h>

#include <libvfio/settings.h>
#include <libvfio/trace.h>
#include <libvfio/unpinned.h>

#include "kselftest_harness.h"

FIXTURE(life) {
	struct rig rig;
};

FIXTURE_VARIANT(life) {
	enum mem_kind kind;
};

FIXTURE_VARIANT_ADD(life, anon) {
	.kind = MEM_ANON,
};

FIXTURE_VARIANT_ADD(life, memfd) {
	.kind = MEM_MEMFD,
};

FIXTURE_SETUP(life)
{
	const char *missing = rig_init(&self->rig, variant->kind);

	if (missing)
		SKIP(return, "%s", missing);
}

FIXTURE_TEARDOWN(life)
{
	rig_cleanup(&self->rig);
}

/* What shared memory does not do: copy on write, huge pages when asked for */
FIXTURE(life_anon) {
	struct rig rig;
};

FIXTURE_SETUP(life_anon)
{
	const char *missing = rig_init(&self->rig, MEM_ANON);

	if (missing)
		SKIP(return, "%s", missing);
}

FIXTURE_TEARDOWN(life_anon)
{
	rig_cleanup(&self->rig);
}

TEST_F_TIMEOUT(life, map_brings_nothing_in, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;

	rig_map(rig);
	EXPECT_EQ(mem_resident(rig->mem.vaddr, RIG_SIZE), 0);
	EXPECT_STAT("leaves", 0);
	/* Reading the result of the first makes that page resident. */
	EXPECT_TRUE(rig_dma_write_blocked(rig, 0));
	EXPECT_TRUE(rig_dma_write_blocked(rig, RIG_PAGES - 1));
	EXPECT_LE(mem_resident(rig->mem.vaddr, RIG_SIZE), 2);
	EXPECT_STAT("leaves", 0);
}

TEST_F_TIMEOUT(life, guest_touch_makes_leaf, RIG_TIMEOUT_S)
{
	u32 sent[DMA_MAX_SIZE / 4], got[DMA_MAX_SIZE / 4];
	struct rig *rig = &self->rig;
	size_t n;

	rig_map(rig);
	guest_touch(rig->guest, rig_iova(3));
	EXPECT_STAT("leaves", 1);

	for (n = 0; n < ARRAY_SIZE(sent); n++)
		sent[n] = unique_value();
	dma_write(rig->device, rig_iova(3), sent, sizeof(sent));
	EXPECT_EQ(memcmp(rig_vaddr(rig, 3), sent, sizeof(sent)), 0);
	dma_read(rig->device, rig_iova(3), got, sizeof(got));
	EXPECT_EQ(memcmp(got, sent, sizeof(sent)), 0);
	EXPECT_EQ(guest_read(rig->guest, rig_iova(3)), sent[0]);

	EXPECT_TRUE(rig_dma_write_blocked(rig, 2));
	EXPECT_TRUE(rig_dma_write_blocked(rig, 4));
}

TEST_F_TIMEOUT(life, touch_before_map, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;

	/* The translation that KVM has by now must not make a later touch moot. */
	guest_touch(rig->guest, rig_iova(0));
	rig_map(rig);
	guest_touch(rig->guest, rig_iova(0));
	EXPECT_STAT("leaves", 1);
	EXPECT_TRUE(rig_dma_works(rig, 0));
}

TEST_F_TIMEOUT(life_anon, read_makes_no_leaf, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;

	rig_map(rig);
	EXPECT_EQ(guest_read(rig->guest, rig_iova(0)), 0);
	EXPECT_STAT("leaves", 0);
	EXPECT_TRUE(rig_dma_write_blocked(rig, 0));
	guest_touch(rig->guest, rig_iova(0));
	EXPECT_TRUE(rig_dma_works(rig, 0));
}

/* The first fault of a device after its mapping is counted. */
static void check_first_fault(struct __test_metadata *_metadata,
			      struct rig *rig)
{
	rig_map(rig);
	guest_touch(rig->guest, rig_iova(0));
	EXPECT_TRUE(rig_dma_works(rig, 0));
	EXPECT_EQ(stat_get("dma_faults"), 0);
	EXPECT_TRUE(rig_dma_write_blocked(rig, 1));
	/* The IOMMU reports it by an interrupt. */
	EXPECT_EQ(stat_wait("dma_faults", 1), 1);
}

TEST_F_TIMEOUT(life, faults_are_counted, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;

	if (!stats_available())
		SKIP(return, NO_STATS);
	check_first_fault(_metadata, rig);
	EXPECT_TRUE(rig_dma_read_blocked(rig, 2, unique_value()));
	EXPECT_EQ(stat_wait("dma_faults", 2), 2);
}

static u64 traced_faults(u64 page, const char *access)
{
	char text[128];

	snprintf(text, sizeof(text), "%s iova=0x%016lx flags=0x%04x (%s)",
		 device_bdf[0], rig_iova(page), !strcmp(access, "WRITE"), access);
	return trace_count(text);
}

TEST_F_TIMEOUT(life, faults_are_traced, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;

	if (!stats_available())
		SKIP(return, NO_STATS);
	rig_map(rig);
	if (!trace_start("iommu:io_page_fault"))
		SKIP(return, NO_TRACE);
	EXPECT_TRUE(rig_dma_write_blocked(rig, 1));
	EXPECT_TRUE(rig_dma_read_blocked(rig, 2, unique_value()));
	EXPECT_EQ(stat_wait("dma_faults", 2), 2);
	EXPECT_EQ(traced_faults(1, "WRITE"), 1);
	EXPECT_EQ(traced_faults(2, "READ"), 1);
	EXPECT_EQ(trace_count("io_page_fault: "), 2);
	trace_stop();
}

#define ALL_PASSES	(~0UL)

/* How many, never how long: that depends on the machine. */
TEST_F_TIMEOUT(life, late_passes_are_measured, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	s64 passes, longest;
	int n;

	if (!stats_available())
		SKIP(return, NO_STATS);
	rig_map(rig);
	mem_bracket(rig_vaddr(rig, 0));
	EXPECT_EQ(late_pass_get("on"), 0);
	EXPECT_EQ(late_pass_get("late_passes"), 0);
	EXPECT_EQ(__late_pass_measure("perhaps"), -EINVAL);
	late_pass_measure(true);
	EXPECT_EQ(late_pass_get("on"), 1);
	guest_touch(rig->guest, rig_iova(0));
	for (n = 0; n < 4; n++)
		mem_bracket(rig_vaddr(rig, 0));
	EXPECT_GE(late_pass_get("late_passes"), 4);
	EXPECT_GT(late_pass_get("hold_max"), 0);
	/* Off: what was measured stays, and no more comes. */
	late_pass_measure(false);
	EXPECT_EQ(late_pass_get("on"), 0);
	passes = late_pass_get("late_passes");
	mem_bracket(rig_vaddr(rig, 0));
	EXPECT_EQ(late_pass_get("late_passes"), passes);

	/* Each pass is in one line, the longest one in the last that has any. */
	longest = late_pass_get("late_pass_max");
	EXPECT_GT(longest, 0);
	EXPECT_EQ(late_pass_sum(ALL_PASSES), passes);
	EXPECT_EQ(late_pass_sum(2 * longest), passes);
	EXPECT_LT(late_pass_sum(longest), passes);

	/* On again: from 0. */
	late_pass_measure(true);
	EXPECT_LT(late_pass_get("late_passes"), passes);
	EXPECT_EQ(late_pass_sum(ALL_PASSES), late_pass_get("late_passes"));
}

TEST_F_TIMEOUT(life, discard, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	u32 old;

	rig_map(rig);
	old = rig_guest_write(rig, 0);
	EXPECT_TRUE(rig_dma_works(rig, 0));
	old = rig_guest_write(rig, 0);
	mem_discard(&rig->mem, rig_vaddr(rig, 0), MEM_PAGE_SIZE);
	EXPECT_STAT("leaves", 0);
	EXPECT_TRUE(rig_dma_read_blocked(rig, 0, old));
	EXPECT_TRUE(rig_dma_write_blocked(rig, 0));

	guest_touch(rig->guest, rig_iova(0));
	EXPECT_EQ(guest_read(rig->guest, rig_iova(0)), 0);
	EXPECT_TRUE(rig_dma_works(rig, 0));
}

TEST_F_TIMEOUT(life, discard_takes_one_page, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	int page;

	rig_map(rig);
	for (page = 0; page < 3; page++)
		guest_touch(rig->guest, rig_iova(page));
	mem_discard(&rig->mem, rig_vaddr(rig, 1), MEM_PAGE_SIZE);
	EXPECT_STAT("leaves", 2);
	EXPECT_TRUE(rig_dma_works(rig, 0));
	EXPECT_TRUE(rig_dma_write_blocked(rig, 1));
	EXPECT_TRUE(rig_dma_works(rig, 2));
}

TEST_F_TIMEOUT(life, munmap, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	u32 old;

	rig_map(rig);
	old = rig_guest_write(rig, 5);
	ASSERT_EQ(munmap(rig_vaddr(rig, 5), MEM_PAGE_SIZE), 0);
	EXPECT_STAT("leaves", 0);
	EXPECT_TRUE(rig_dma_read_blocked(rig, 5, old));
	EXPECT_EQ(__guest_touch(rig->guest, rig_iova(5)), -EFAULT);

	/* The mapping is one of addresses, whatever is there. */
	ASSERT_NE(mmap(rig_vaddr(rig, 5), MEM_PAGE_SIZE, PROT_READ | PROT_WRITE,
		       MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
		  MAP_FAILED);
	guest_touch(rig->guest, rig_iova(5));
	EXPECT_TRUE(rig_dma_works(rig, 5));
}

TEST_F_TIMEOUT(life, pageout_and_swap_in, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	u32 old;

	if (!mem_can_pageout())
		SKIP(return, NO_SWAP);
	rig_map(rig);
	old = rig_guest_write(rig, 7);
	ASSERT_TRUE(mem_pageout(rig_vaddr(rig, 7), MEM_PAGE_SIZE));
	EXPECT_STAT("leaves", 0);
	EXPECT_TRUE(rig_dma_read_blocked(rig, 7, old));
	EXPECT_EQ(mem_resident(rig_vaddr(rig, 7), MEM_PAGE_SIZE), 0);

	guest_touch(rig->guest, rig_iova(7));
	EXPECT_EQ(guest_read(rig->guest, rig_iova(7)), old);
	EXPECT_STAT("leaves", 1);
	EXPECT_TRUE(rig_dma_works(rig, 7));
}

/* What the device alone has written must be in what comes back from swap. */
TEST_F_TIMEOUT(life, pageout_keeps_what_device_wrote, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	u32 sent = unique_value();

	if (!mem_can_pageout())
		SKIP(return, NO_SWAP);
	rig_map(rig);
	guest_touch(rig->guest, rig_iova(0));
	ASSERT_TRUE(mem_pageout(rig_vaddr(rig, 0), MEM_PAGE_SIZE));
	guest_touch(rig->guest, rig_iova(0));
	dma_write(rig->device, rig_iova(0), &sent, sizeof(sent));
	ASSERT_TRUE(mem_pageout(rig_vaddr(rig, 0), MEM_PAGE_SIZE));
	EXPECT_EQ(guest_read(rig->guest, rig_iova(0)), sent);
}

TEST_F_TIMEOUT(life, write_protect, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	u32 old;

	rig_map(rig);
	old = rig_guest_write(rig, 0);
	ASSERT_EQ(mprotect(rig_vaddr(rig, 0), MEM_PAGE_SIZE, PROT_READ), 0);
	EXPECT_STAT("leaves", 0);
	EXPECT_EQ(__guest_touch(rig->guest, rig_iova(0)), -EFAULT);
	EXPECT_EQ(guest_read(rig->guest, rig_iova(0)), old);
	EXPECT_TRUE(rig_dma_write_blocked(rig, 0));

	ASSERT_EQ(mprotect(rig_vaddr(rig, 0), MEM_PAGE_SIZE,
			   PROT_READ | PROT_WRITE), 0);
	guest_touch(rig->guest, rig_iova(0));
	EXPECT_TRUE(rig_dma_works(rig, 0));
}

TEST_F_TIMEOUT(life, fork_copies_on_write, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	int status, go[2];
	char byte;
	pid_t child;

	rig_map(rig);
	guest_touch(rig->guest, rig_iova(0));
	ASSERT_EQ(pipe(go), 0);
	child = fork();
	if (!child) {
		close(go[1]);
		_exit(read(go[0], &byte, 1));
	}
	ASSERT_GT(child, 0);
	/* The child holds the old frame of anonymous memory. */
	guest_touch(rig->guest, rig_iova(0));
	EXPECT_STAT("leaves", 1);
	EXPECT_TRUE(rig_dma_works(rig, 0));
	close(go[1]);
	EXPECT_EQ(waitpid(child, &status, 0), child);
	EXPECT_EQ(status, 0);
}

/* What is at the page now must not get a leaf, not even when it is written. */
static void expect_refused(struct __test_metadata *_metadata, struct rig *rig,
			   u64 page, u32 value)
{
	/* A plain write, since a locked one to a device may be an error. */
	guest_write(rig->guest, rig_iova(page) + EDU_REG_INVERT, value);
	EXPECT_STAT("leaves", 0);
	EXPECT_STAT("refused_pages", 1);
}

TEST_F_TIMEOUT(life, bar_where_ram_was, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	u32 value = unique_value();

	rig_map(rig);
	guest_touch(rig->guest, rig_iova(9));
	rig_map_bar(rig->device, rig_vaddr(rig, 9));
	EXPECT_STAT("leaves", 0);
	EXPECT_EQ(guest_read(rig->guest, rig_iova(9)), EDU_ID);
	expect_refused(_metadata, rig, 9, value);
	EXPECT_EQ(guest_read(rig->guest, rig_iova(9) + EDU_REG_INVERT), ~value);
	EXPECT_TRUE(rig_dma_read_blocked(rig, 9, EDU_ID));
}

TEST_F_TIMEOUT(life, file_where_ram_was, RIG_TIMEOUT_S)
{
	char dir[] = "/tmp/vfio-selftest-XXXXXX", path[64];
	struct rig *rig = &self->rig;
	u32 value = unique_value();
	void *map;
	int fd;

	/* A file system that has pages of its own, unlike tmpfs. */
	if (!mkdtemp(dir) || mount("ramfs", dir, "ramfs", 0, NULL))
		SKIP(return, "can't mount ramfs: %s", strerror(errno));
	snprintf(path, sizeof(path), "%s/file", dir);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	umount2(dir, MNT_DETACH);
	rmdir(dir);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(ftruncate(fd, MEM_PAGE_SIZE), 0);

	rig_map(rig);
	guest_touch(rig->guest, rig_iova(9));
	map = mmap(rig_vaddr(rig, 9), MEM_PAGE_SIZE, PROT_READ | PROT_WRITE,
		   MAP_FIXED | MAP_SHARED, fd, 0);
	ASSERT_NE(map, MAP_FAILED);
	EXPECT_STAT("leaves", 0);
	guest_write(rig->guest, rig_iova(9), value);
	expect_refused(_metadata, rig, 9, value);
	EXPECT_TRUE(rig_dma_read_blocked(rig, 9, value));
	EXPECT_TRUE(rig_dma_write_blocked(rig, 9));
}

TEST_F_TIMEOUT(life_anon, huge_page, RIG_TIMEOUT_S)
{
	u64 last = MEM_HUGE_SIZE / MEM_PAGE_SIZE - 1;
	struct rig *rig = &self->rig;
	u32 old;

	if (!mem_make_huge(rig->mem.vaddr))
		SKIP(return, "no huge page to be had");
	rig_map(rig);
	guest_touch(rig->guest, rig_iova(0));
	EXPECT_TRUE(rig_dma_works(rig, 0));
	guest_touch(rig->guest, rig_iova(last));
	EXPECT_TRUE(rig_dma_works(rig, last));

	/* Splits the huge page in the middle. */
	old = rig_guest_write(rig, 100);
	mem_discard(&rig->mem, rig_vaddr(rig, 100), MEM_PAGE_SIZE);
	EXPECT_TRUE(rig_dma_read_blocked(rig, 100, old));
	EXPECT_TRUE(rig_dma_write_blocked(rig, 100));
	guest_touch(rig->guest, rig_iova(99));
	EXPECT_TRUE(rig_dma_works(rig, 99));
	guest_touch(rig->guest, rig_iova(100));
	EXPECT_TRUE(rig_dma_works(rig, 100));
}

TEST_F_TIMEOUT(life, unmap_and_map_again, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	u32 old;

	rig_map(rig);
	old = rig_guest_write(rig, 0);
	EXPECT_FALSE(rig_dma_read_blocked(rig, 0, old));
	rig_unmap(rig);
	EXPECT_TRUE(rig_dma_read_blocked(rig, 0, old));
	EXPECT_EQ(guest_read(rig->guest, rig_iova(0)), old);

	rig_map(rig);
	EXPECT_STAT("leaves", 0);
	EXPECT_TRUE(rig_dma_read_blocked(rig, 0, old));
	guest_touch(rig->guest, rig_iova(0));
	EXPECT_TRUE(rig_dma_works(rig, 0));
}

/* Memory that the process has under another address as well. */
TEST_F_TIMEOUT(life, two_iovas, RIG_TIMEOUT_S)
{
	struct dma_region alias = self->rig.region;
	struct rig *rig = &self->rig;
	u32 old;

	alias.iova += RIG_SIZE;
	rig_map(rig);
	type1_map_unpinned(rig->iommu, &alias);
	old = rig_guest_write(rig, 0);
	EXPECT_TRUE(rig_dma_works(rig, 0));
	EXPECT_TRUE(dma_works(rig->device, alias.iova, rig_vaddr(rig, 0)));
	old = rig_guest_write(rig, 0);
	mem_discard(&rig->mem, rig_vaddr(rig, 0), MEM_PAGE_SIZE);
	EXPECT_TRUE(rig_dma_read_blocked(rig, 0, old));
	EXPECT_TRUE(dma_read_blocked(rig->device, alias.iova, old));
}

/* A device that is taken out of the machine and put back */
FIXTURE(replug) {
	struct rig rig;
};

static int write_attribute(const char *bdf, const char *name, const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", bdf, name);
	return setting_write(path, value);
}

static bool replug(const char *bdf)
{
	return !write_attribute(bdf, "remove", "1") &&
	       !setting_write("/sys/bus/pci/rescan", "1") &&
	       !write_attribute(bdf, "driver_override", "vfio-pci") &&
	       !setting_write("/sys/bus/pci/drivers_probe", bdf);
}

FIXTURE_SETUP(replug)
{
	const char *missing = device_missing(0, false);

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_TRUE(replug(device_bdf[0]));
	ASSERT_EQ(rig_init(&self->rig, MEM_ANON), NULL);
}

FIXTURE_TEARDOWN(replug)
{
	rig_cleanup(&self->rig);
}

/* It is known by its address, so that its faults are counted as before. */
TEST_F_TIMEOUT(replug, faults_are_counted, RIG_TIMEOUT_S)
{
	if (!stats_available())
		SKIP(return, NO_STATS);
	check_first_fault(_metadata, &self->rig);
}

int main(int argc, char *argv[])
{
	get_device_bdfs(&argc, argv);
	return test_harness_run(argc, argv);
}
