// SPDX-License-Identifier: GPL-2.0-only
/*
 * What devices have written is not lost when the page goes to swap, and pages that
 * are only read cost no more writes to swap than in a VM without a device.
 */
#include <sys/mman.h>

#include <libvfio/settings.h>
#include <libvfio/unpinned.h>

#include "kselftest_harness.h"

#define BREAK_SWITCH	"/sys/module/vfio_unpinned/parameters/break_writeback"

#define SET_PAGES	256UL	/* that are read in turn */
#define SET_ROUNDS	3

FIXTURE(writeback) {
	struct rig rig;
};

FIXTURE_SETUP(writeback)
{
	const char *missing = rig_init(&self->rig, MEM_ANON);

	if (missing)
		SKIP(return, "%s", missing);
	if (!mem_can_pageout())
		SKIP(return, NO_SWAP);
}

FIXTURE_TEARDOWN(writeback)
{
	setting_write(BREAK_SWITCH, "0");
	rig_cleanup(&self->rig);
}

/*
 * A page that the kernel has cleaned while a late pin held it, and that a device
 * writes after that: MADV_FREE cleans it, and from then on it may be dropped as
 * long as it is clean. Returns whether the write is there when the page is read
 * again.
 */
static bool write_survives(struct rig *rig, u64 page)
{
	u32 value = unique_value();
	void *vaddr = rig_vaddr(rig, page);

	rig_guest_write(rig, page);
	rig_pin(rig, page);
	VFIO_ASSERT_EQ(madvise(vaddr, MEM_PAGE_SIZE, MADV_FREE), 0, "MADV_FREE");
	VFIO_ASSERT_EQ(stat_get("late_pins"), 1, "no late pin");
	dma_write(rig->device, rig_iova(page), &value, sizeof(value));
	guest_unmark(rig->guest, page);
	VFIO_ASSERT_EQ(stat_wait("late_pins", 0), 0, "the pin stays");
	VFIO_ASSERT_TRUE(mem_pageout(vaddr, MEM_PAGE_SIZE), "the page stays");
	return guest_read(rig->guest, rig_iova(page)) == value;
}

TEST_F_TIMEOUT(writeback, device_write, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;

	if (!stats_available())
		SKIP(return, NO_STATS);
	rig_map(rig);
	rig_register(rig, RIG_PAGES);
	rig_enable_marks(rig);
	EXPECT_TRUE(write_survives(rig, 0));
	if (setting_write(BREAK_SWITCH, "1"))
		SKIP(return, "not a test configuration");
	EXPECT_FALSE(write_survives(rig, 1));
	setting_write(BREAK_SWITCH, "0");
	EXPECT_TRUE(write_survives(rig, 2));
}

/* The guest reads all pages, and all go, a number of times: writes to swap. */
static s64 swap_writes(struct rig *rig)
{
	u64 page, round;
	s64 before;

	for (page = 0; page < SET_PAGES; page++)
		rig_guest_write(rig, page);
	VFIO_ASSERT_TRUE(mem_pageout(rig_vaddr(rig, 0), SET_PAGES * MEM_PAGE_SIZE),
			 "pages stay");
	before = vmstat_line("pswpout");
	for (round = 0; round < SET_ROUNDS; round++) {
		for (page = 0; page < SET_PAGES; page++)
			guest_read(rig->guest, rig_iova(page));
		VFIO_ASSERT_TRUE(mem_pageout(rig_vaddr(rig, 0),
					     SET_PAGES * MEM_PAGE_SIZE), "pages stay");
	}
	return vmstat_line("pswpout") - before;
}

/*
 * A leaf is there only with an SPTE that can be written, and KVM takes the page of
 * such an SPTE for dirty. So the device makes no page dirty that would be clean.
 */
TEST_F_TIMEOUT(writeback, read_only_set, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	s64 without, with;

	without = swap_writes(rig);
	rig_map(rig);
	rig_register(rig, RIG_PAGES);
	rig_enable_marks(rig);
	with = swap_writes(rig);
	TH_LOG("swap writes of %lu reads: %ld without a device, %ld with one",
	       SET_PAGES * SET_ROUNDS, (long)without, (long)with);
	EXPECT_STAT("leaves", 0);
	EXPECT_LE(with, without + without / 4 + 64);
}

int main(int argc, char *argv[])
{
	get_device_bdfs(&argc, argv);
	return test_harness_run(argc, argv);
}
