// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages that are marked while they are in swap, when swapoff brings them back: it
 * makes no bracket, so nothing but the guest's touch or the worker gives them leaves.
 */
#include <linux/mman.h>
#include <pthread.h>

#include <libvfio/swap.h>
#include <libvfio/unpinned.h>

#include "kselftest_harness.h"

#define SWAPPED		256UL
#define SWAPPED_SIZE	(SWAPPED * MEM_PAGE_SIZE)
#define DEVICE_STEP	32	/* the device accesses one page of so many */

FIXTURE(swapped) {
	struct rig rig;
	u32 value[SWAPPED];
};

FIXTURE_VARIANT(swapped) {
	enum mem_kind kind;
	/* Beside swapoff; NULL: nobody wants the pages before it is over. */
	void (*meanwhile)(struct rig *rig);
};

/* From the end: swapoff begins at the other one. */
static void touch_swapped(struct rig *rig)
{
	u64 page = SWAPPED;

	while (page--)
		guest_touch(rig->guest, rig_iova(page));
}

/* It is the worker who gets the marked pages in, no CPU touches them. */
static void populate_swapped(struct rig *rig)
{
	rig_enable_marks(rig);
	VFIO_ASSERT_TRUE(stat_wait("leaves", SWAPPED) == SWAPPED, "%ld leaves",
			 stat_get("leaves"));
}

FIXTURE_VARIANT_ADD(swapped, anon) {
};

FIXTURE_VARIANT_ADD(swapped, anon_touched) {
	.meanwhile = touch_swapped,
};

FIXTURE_VARIANT_ADD(swapped, anon_populated) {
	.meanwhile = populate_swapped,
};

FIXTURE_VARIANT_ADD(swapped, memfd) {
	.kind = MEM_MEMFD,
};

FIXTURE_VARIANT_ADD(swapped, memfd_touched) {
	.kind = MEM_MEMFD,
	.meanwhile = touch_swapped,
};

FIXTURE_SETUP(swapped)
{
	const char *missing = swap_find();

	if (!stats_available())
		missing = NO_STATS;
	if (!missing)
		missing = rig_init_marks(&self->rig, variant->kind);
	if (missing)
		SKIP(return, "%s", missing);
}

FIXTURE_TEARDOWN(swapped)
{
	swap_restore();
	rig_cleanup(&self->rig);
}

/*
 * From the guest and from the device; then all of it into swap. Some pages of a file
 * may be in the swap cache, too, which does not matter to swapoff.
 */
static bool fill_and_swap_out(struct rig *rig, u32 *value)
{
	u64 page;

	for (page = 0; page < SWAPPED; page++)
		value[page] = rig_guest_write(rig, page);
	for (page = 0; page < SWAPPED; page += DEVICE_STEP) {
		guest_mark(rig->guest, page);
		guest_touch(rig->guest, rig_iova(page));
		value[page] = unique_value();
		dma_write(rig->device, rig_iova(page), &value[page], sizeof(u32));
		guest_unmark(rig->guest, page);
	}
	return mem_pageout(rig->mem.vaddr, SWAPPED_SIZE) ||
	       mem_resident(rig->mem.vaddr, SWAPPED_SIZE) < SWAPPED / 2;
}

/* Pages that are not what they were, for the guest or for the device. */
static u64 swapped_wrong(struct rig *rig, const u32 *value)
{
	u64 page, wrong = 0;

	for (page = 0; page < SWAPPED; page++)
		wrong += guest_read(rig->guest, rig_iova(page)) != value[page];
	for (page = 0; page < SWAPPED; page += DEVICE_STEP)
		wrong += rig_dma_read_blocked(rig, page, value[page]);
	return wrong;
}

static void *swapoff_thread(void *unused)
{
	return (void *)(long)swap_disable();
}

/* Swapoff brings pages back without a bracket, and none of them has a leaf. */
TEST_F_TIMEOUT(swapped, marked_before_swapoff, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	pthread_t thread;
	void *err;
	u64 page;

	ASSERT_TRUE(fill_and_swap_out(rig, self->value));
	for (page = 0; page < SWAPPED; page++)
		guest_mark(rig->guest, page);
	EXPECT_EQ(stat_get("leaves"), 0);
	ASSERT_EQ(pthread_create(&thread, NULL, swapoff_thread, NULL), 0);
	if (variant->meanwhile)
		variant->meanwhile(rig);
	ASSERT_EQ(pthread_join(thread, &err), 0);
	ASSERT_EQ((long)err, 0);
	EXPECT_EQ(mem_resident(rig->mem.vaddr, SWAPPED_SIZE), SWAPPED);
	if (!variant->meanwhile) {
		EXPECT_EQ(stat_get("leaves"), 0);
		EXPECT_TRUE(rig_dma_read_blocked(rig, 0, self->value[0]));
		touch_swapped(rig);
	}
	EXPECT_EQ(stat_get("leaves"), SWAPPED);
	EXPECT_EQ(swapped_wrong(rig, self->value), 0);
	EXPECT_TRUE(rig_dma_works(rig, SWAPPED - 1));
	self->value[SWAPPED - 1] = rig_guest_write(rig, SWAPPED - 1);

	/* And now the marks hold them. */
	ASSERT_EQ(swap_enable(), 0);
	mem_reclaim(rig->mem.vaddr, SWAPPED_SIZE);
	EXPECT_EQ(stat_get("late_pins"), SWAPPED);
	EXPECT_EQ(mem_resident(rig->mem.vaddr, SWAPPED_SIZE), SWAPPED);
	EXPECT_EQ(swapped_wrong(rig, self->value), 0);
	EXPECT_EQ(stat_get("over_limit_zaps") + stat_get("failed_pin_zaps") +
		  stat_get("forced_zaps") + stat_get("orphan_zaps"), 0);
}

int main(int argc, char *argv[])
{
	get_device_bdfs(&argc, argv);
	return test_harness_run(argc, argv);
}
