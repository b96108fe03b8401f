// SPDX-License-Identifier: GPL-2.0-only
/*
 * The limit counts marks: a guest that stays within it loses no page, whatever its
 * pages cost the host, and however it moves its marks. The budget bounds what a
 * guest can hold that spreads its marks on purpose.
 */
#include <linux/mman.h>

#include <libvfio/hostile.h>
#include <libvfio/settings.h>
#include <libvfio/unpinned.h>

#include "kselftest_harness.h"

#define BREAK_RELEASE	"/sys/module/vfio_unpinned/parameters/break_release"

#define HUGE_PAGES	(MEM_HUGE_SIZE / MEM_PAGE_SIZE)
#define SPREAD		6UL			/* huge pages */
#define SPREAD_SIZE	(SPREAD * MEM_HUGE_SIZE)
#define SPREAD_IOVA	0x80000000UL
#define MARKS		2UL			/* in each of them */
#define ROUNDS		16UL
#define GROUP		8UL			/* pages that are marked at a time */

FIXTURE(limit) {
	struct rig rig;
	struct mem mem;
	struct dma_region region;
};

FIXTURE_SETUP(limit)
{
	const char *missing = rig_init(&self->rig, MEM_ANON);

	if (missing)
		SKIP(return, "%s", missing);
	if (!stats_available())
		SKIP(return, NO_STATS);
	mem_alloc(&self->mem, MEM_ANON, SPREAD_SIZE);
	self->region = (struct dma_region) {
		.vaddr = self->mem.vaddr,
		.iova = SPREAD_IOVA,
		.size = SPREAD_SIZE,
	};
	guest_map(self->rig.guest, SPREAD_IOVA, self->mem.vaddr, SPREAD_SIZE);
}

FIXTURE_TEARDOWN(limit)
{
	settings_restore();
	rig_cleanup(&self->rig);
	mem_free(&self->mem);
}

static void *spread_vaddr(FIXTURE_DATA(limit) * self, u64 page)
{
	return self->mem.vaddr + page * MEM_PAGE_SIZE;
}

static iova_t spread_iova(u64 page)
{
	return SPREAD_IOVA + page * MEM_PAGE_SIZE;
}

static bool spread_works(FIXTURE_DATA(limit) * self, u64 page)
{
	return dma_works(self->rig.device, spread_iova(page),
			 spread_vaddr(self, page));
}

/* Huge pages, mapped and registered, with MARKS marks in each. */
static bool spread_marks(FIXTURE_DATA(limit) * self, u64 limit, u64 budget)
{
	struct rig *rig = &self->rig;
	u64 huge, n, page;

	for (huge = 0; huge < SPREAD; huge++) {
		if (!mem_make_huge(spread_vaddr(self, huge * HUGE_PAGES)))
			return false;
	}
	type1_map_unpinned(rig->iommu, &self->region);
	type1_register_budget(rig->iommu, rig->bitmap.vaddr, &self->region,
			      limit, budget);
	rig_enable_marks(rig);
	for (huge = 0; huge < SPREAD; huge++) {
		for (n = 0; n < MARKS; n++) {
			page = huge * HUGE_PAGES + 17 * huge + 100 * n;
			guest_mark(rig->guest, page);
			guest_touch(rig->guest, spread_iova(page));
		}
	}
	return true;
}

static u64 spread_page(u64 n)
{
	u64 huge = n / MARKS;

	return huge * HUGE_PAGES + 17 * huge + 100 * (n % MARKS);
}

static void spread_bracket(FIXTURE_DATA(limit) * self)
{
	u64 huge;

	for (huge = 0; huge < SPREAD; huge++)
		mem_bracket(spread_vaddr(self, huge * HUGE_PAGES));
}

static u64 spread_working(FIXTURE_DATA(limit) * self)
{
	u64 n, working = 0;

	for (n = 0; n < SPREAD * MARKS; n++)
		working += spread_works(self, spread_page(n));
	return working;
}

/* What the guest can't know: that each of its pages holds 512. */
TEST_F_TIMEOUT(limit, spread_over_huge_pages, RIG_TIMEOUT_S)
{
	if (!spread_marks(self, SPREAD * MARKS, 0))
		SKIP(return, "no huge page to be had");
	spread_bracket(self);
	EXPECT_EQ(spread_working(self), SPREAD * MARKS);
	EXPECT_EQ(stat_get("over_limit_zaps"), 0);
	EXPECT_EQ(stat_get("over_budget_zaps"), 0);
	EXPECT_EQ(stat_get("late_pins"), SPREAD * MARKS);
	EXPECT_EQ(stat_get("held"), SPREAD * HUGE_PAGES);
	EXPECT_EQ(stat_get("held_peak"), SPREAD * HUGE_PAGES);
}

/* The operator's bound for a guest that does that on purpose. */
TEST_F_TIMEOUT(limit, budget, RIG_TIMEOUT_S)
{
	u64 huge = SPREAD / 2;

	if (!spread_marks(self, SPREAD * MARKS, huge * HUGE_PAGES))
		SKIP(return, "no huge page to be had");
	spread_bracket(self);
	EXPECT_EQ(stat_get("held"), huge * HUGE_PAGES);
	EXPECT_EQ(stat_get("held_peak"), huge * HUGE_PAGES);
	EXPECT_EQ(stat_get("late_pins"), huge * MARKS);
	EXPECT_EQ(stat_get("over_limit_zaps"), 0);
	EXPECT_EQ(stat_get("over_budget_zaps"), (SPREAD - huge) * MARKS);
	EXPECT_EQ(spread_working(self), huge * MARKS);
}

/*
 * Marks move from huge page to huge page: those that hold nothing anymore but for
 * the pin of a mark that is gone are let go where the budget would be in the way.
 */
TEST_F_TIMEOUT(limit, budget_counts_no_stale_pins, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	u64 n, huge, page;

	if (!spread_marks(self, SPREAD * MARKS, HUGE_PAGES))
		SKIP(return, "no huge page to be had");
	memset(rig->bitmap.vaddr, 0, rig->bitmap.size);
	for (n = 0; n < 2 * SPREAD; n++) {
		huge = n % SPREAD;
		page = huge * HUGE_PAGES + n;
		guest_mark(rig->guest, page);
		guest_touch(rig->guest, spread_iova(page));
		mem_bracket(spread_vaddr(self, huge * HUGE_PAGES));
		EXPECT_TRUE(spread_works(self, page));
		guest_unmark(rig->guest, page);
	}
	EXPECT_EQ(stat_get("over_budget_zaps"), 0);
	EXPECT_LE(stat_get("held_peak"), HUGE_PAGES);
}

/*
 * GROUP pages are marked and pinned, then others, and so on, in another 2 MiB each
 * time, which is as much as a bracket is over. The guest never has more marks than
 * the limit says, but each round leaves GROUP pins behind. Returns how many pages
 * lost their leaf while they were marked.
 */
static u64 move_marks(FIXTURE_DATA(limit) * self)
{
	struct rig *rig = &self->rig;
	u64 round, n, first, lost = 0;

	type1_map_unpinned(rig->iommu, &self->region);
	type1_register_bitmap(rig->iommu, rig->bitmap.vaddr, &self->region,
			      GROUP);
	rig_enable_marks(rig);
	for (round = 0; round < ROUNDS; round++) {
		first = round % SPREAD * HUGE_PAGES + round;
		for (n = 0; n < GROUP; n++) {
			guest_mark(rig->guest, first + n);
			guest_touch(rig->guest, spread_iova(first + n));
		}
		mem_bracket(spread_vaddr(self, first));
		for (n = 0; n < GROUP; n += GROUP - 1)
			lost += !spread_works(self, first + n);
		for (n = 0; n < GROUP; n++)
			guest_unmark(rig->guest, first + n);
	}
	return lost;
}

TEST_F_TIMEOUT(limit, stale_pins_do_not_count, RIG_TIMEOUT_S)
{
	EXPECT_EQ(move_marks(self), 0);
	EXPECT_EQ(stat_get("over_limit_zaps"), 0);
	EXPECT_LE(stat_get("late_pins_peak"), 2 * GROUP);
	EXPECT_GT(stat_get("released"), 0);
}

/* Marked pages go if nobody lets go of those pins in time. */
TEST_F_TIMEOUT(limit, control_stale_pins_kept, RIG_TIMEOUT_S)
{
	if (setting_change(BREAK_RELEASE, "1"))
		SKIP(return, "not a test configuration");
	EXPECT_GT(move_marks(self), 0);
	EXPECT_GT(stat_get("over_limit_zaps"), 0);
}

/* Over the limit all at once: the bound holds, and later the guest is within it. */
TEST_F_TIMEOUT(limit, back_within_limit, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	u64 page;

	rig_map(rig);
	rig_register(rig, GROUP);
	rig_enable_marks(rig);
	for (page = 0; page < 8 * GROUP; page++)
		rig_pin(rig, page);
	mem_bracket(rig->mem.vaddr);
	EXPECT_EQ(stat_get("late_pins"), 2 * GROUP);
	EXPECT_EQ(stat_get("over_limit_zaps"), 6 * GROUP);

	memset(rig->bitmap.vaddr, 0, rig->bitmap.size);
	EXPECT_EQ(stat_wait("late_pins", 0), 0);
	for (page = 0; page < GROUP; page++)
		rig_pin(rig, 100 + page);
	mem_bracket(rig->mem.vaddr);
	EXPECT_EQ(stat_get("late_pins"), GROUP);
	EXPECT_EQ(stat_get("over_limit_zaps"), 6 * GROUP);
	EXPECT_TRUE(rig_dma_works(rig, 100));
	EXPECT_TRUE(rig_dma_works(rig, 100 + GROUP - 1));
}

int main(int argc, char *argv[])
{
	get_device_bdfs(&argc, argv);
	return test_harness_run(argc, argv);
}
