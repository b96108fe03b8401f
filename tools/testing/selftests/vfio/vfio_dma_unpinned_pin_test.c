// SPDX-License-Identifier: GPL-2.0-only
/*
 * Marks and late pins: what a mark keeps, up to which limit, and when it lets
 * go. RIG_PAGES is the limit where the limit is not what a test is about.
 */
#include <linux/mman.h>
#include <sys/wait.h>

#include <libvfio/unpinned.h>

#include "kselftest_harness.h"

FIXTURE(pin) {
	struct rig rig;
};

FIXTURE_VARIANT(pin) {
	enum mem_kind kind;
};

FIXTURE_VARIANT_ADD(pin, anon) {
	.kind = MEM_ANON,
};

FIXTURE_VARIANT_ADD(pin, memfd) {
	.kind = MEM_MEMFD,
};

FIXTURE_SETUP(pin)
{
	const char *missing = rig_init(&self->rig, variant->kind);

	if (missing)
		SKIP(return, "%s", missing);
}

FIXTURE_TEARDOWN(pin)
{
	rig_cleanup(&self->rig);
}

/* What shared memory does not do: copy on write, huge pages when asked for */
FIXTURE(pin_anon) {
	struct rig rig;
};

FIXTURE_SETUP(pin_anon)
{
	const char *missing = rig_init(&self->rig, MEM_ANON);

	if (missing)
		SKIP(return, "%s", missing);
}

FIXTURE_TEARDOWN(pin_anon)
{
	rig_cleanup(&self->rig);
}

/* A mapping with a bitmap whose marks count. */
static void setup_marks(struct rig *rig, u64 limit)
{
	rig_map(rig);
	rig_register(rig, limit);
	rig_enable_marks(rig);
}

TEST_F_TIMEOUT(pin, unmarked_page_is_reclaimed, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	u32 old;

	if (!mem_can_pageout())
		SKIP(return, NO_SWAP);
	setup_marks(rig, RIG_PAGES);
	old = rig_guest_write(rig, 0);
	EXPECT_TRUE(mem_pageout(rig_vaddr(rig, 0), MEM_PAGE_SIZE));
	EXPECT_TRUE(rig_dma_read_blocked(rig, 0, old));
	EXPECT_STAT("leaves", 0);
	EXPECT_STAT("late_pins", 0);
}

TEST_F_TIMEOUT(pin, marked_page_survives_reclaim, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	u64 frame;
	u32 old;

	if (!mem_can_pageout())
		SKIP(return, NO_SWAP);
	setup_marks(rig, RIG_PAGES);
	rig_pin(rig, 4);
	old = rig_guest_write(rig, 4);
	frame = mem_frame(rig_vaddr(rig, 4));
	EXPECT_FALSE(mem_pageout(rig_vaddr(rig, 4), MEM_PAGE_SIZE));
	EXPECT_STAT("late_pins", 1);
	EXPECT_STAT("leaves", 1);
	EXPECT_FALSE(rig_dma_read_blocked(rig, 4, old));
	EXPECT_EQ(guest_read(rig->guest, rig_iova(4)), old);
	EXPECT_TRUE(rig_dma_works(rig, 4));
	EXPECT_EQ(mem_frame(rig_vaddr(rig, 4)), frame);

	old = rig_guest_write(rig, 4);
	guest_unmark(rig->guest, 4);
	/* The pin may be held for a while yet, and with it the page. */
	if (stats_available())
		EXPECT_EQ(stat_wait("late_pins", 0), 0);
	EXPECT_TRUE(mem_pageout(rig_vaddr(rig, 4), MEM_PAGE_SIZE));
	EXPECT_STAT("leaves", 0);
	EXPECT_TRUE(rig_dma_read_blocked(rig, 4, old));
	EXPECT_EQ(guest_read(rig->guest, rig_iova(4)), old);
}

TEST_F_TIMEOUT(pin, marked_page_survives_fork, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	int status, go[2];
	char byte;
	pid_t child;
	u64 frame;

	setup_marks(rig, RIG_PAGES);
	rig_pin(rig, 0);
	frame = mem_frame(rig_vaddr(rig, 0));
	ASSERT_EQ(pipe(go), 0);
	child = fork();
	if (!child) {
		close(go[1]);
		_exit(read(go[0], &byte, 1));
	}
	ASSERT_GT(child, 0);
	EXPECT_STAT("leaves", 1);
	/* Shared memory is not copied, so it is left alone. */
	EXPECT_STAT("late_pins", variant->kind == MEM_ANON ? 1 : 0);
	/* A write must not go to a copy of what the device has. */
	guest_touch(rig->guest, rig_iova(0));
	EXPECT_TRUE(rig_dma_works(rig, 0));
	EXPECT_EQ(mem_frame(rig_vaddr(rig, 0)), frame);
	close(go[1]);
	EXPECT_EQ(waitpid(child, &status, 0), child);
	EXPECT_EQ(status, 0);
}

TEST_F_TIMEOUT(pin_anon, marked_page_survives_collapse, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	int page, err = 0;
	u64 frame;

	if (!mem_make_huge(rig->mem.vaddr))
		SKIP(return, "no huge page to be had");
	/* Small pages again, until the collapse. */
	ASSERT_EQ(madvise(rig->mem.vaddr, MEM_HUGE_SIZE, MADV_NOHUGEPAGE), 0);
	mem_discard(&rig->mem, rig->mem.vaddr, MEM_HUGE_SIZE);
	setup_marks(rig, RIG_PAGES);
	for (page = 0; page < 8; page++)
		guest_touch(rig->guest, rig_iova(page));
	ASSERT_EQ(madvise(rig->mem.vaddr, MEM_HUGE_SIZE, MADV_HUGEPAGE), 0);
	rig_pin(rig, 3);
	frame = mem_frame(rig_vaddr(rig, 3));
	if (madvise(rig->mem.vaddr, MEM_HUGE_SIZE, MADV_COLLAPSE))
		err = errno;
	EXPECT_EQ(err, EAGAIN);
	EXPECT_STAT("late_pins", 1);
	EXPECT_EQ(mem_frame(rig_vaddr(rig, 3)), frame);
	EXPECT_TRUE(rig_dma_works(rig, 3));
	guest_touch(rig->guest, rig_iova(4));
	EXPECT_TRUE(rig_dma_works(rig, 4));
}

TEST_F_TIMEOUT(pin, marked_page_survives_compaction, RIG_TIMEOUT_S)
{
	int fd = open("/proc/sys/vm/compact_memory", O_WRONLY);
	struct rig *rig = &self->rig;
	u64 frame;

	if (fd < 0)
		SKIP(return, "no compaction in this kernel");
	setup_marks(rig, RIG_PAGES);
	rig_pin(rig, 0);
	frame = mem_frame(rig_vaddr(rig, 0));
	EXPECT_EQ(write(fd, "1", 1), 1);
	close(fd);
	EXPECT_EQ(mem_frame(rig_vaddr(rig, 0)), frame);
	EXPECT_TRUE(rig_dma_works(rig, 0));
}

/* The bitmap is read up to its last bit, and no further. */
TEST_F_TIMEOUT(pin, marks_at_both_ends, RIG_TIMEOUT_S)
{
	const u64 last = RIG_PAGES - 1;
	struct rig *rig = &self->rig;

	setup_marks(rig, RIG_PAGES);
	rig_late_pin(rig, 0);
	rig_late_pin(rig, last);
	EXPECT_STAT("late_pins", 2);
	EXPECT_TRUE(rig_dma_works(rig, 0));
	EXPECT_TRUE(rig_dma_works(rig, last));
	guest_unmark(rig->guest, last);
	mem_bracket(rig_vaddr(rig, last));
	EXPECT_STAT("late_pins", 1);
	EXPECT_TRUE(rig_dma_write_blocked(rig, last));
}

/* A page is at two IOVAs, and marked at the one where it was mapped last. */
TEST_F_TIMEOUT(pin, mark_at_another_iova, RIG_TIMEOUT_S)
{
	struct dma_region alias = self->rig.region, both = self->rig.region;
	struct rig *rig = &self->rig;

	alias.iova += RIG_SIZE;
	both.size += RIG_SIZE;
	rig_map(rig);
	type1_map_unpinned(rig->iommu, &alias);
	type1_register_bitmap(rig->iommu, rig->bitmap.vaddr, &both, RIG_PAGES);
	rig_enable_marks(rig);
	guest_mark(rig->guest, RIG_PAGES + 3);
	guest_touch(rig->guest, rig_iova(3));
	mem_bracket(rig_vaddr(rig, 3));
	EXPECT_STAT("late_pins", 1);
	EXPECT_TRUE(rig_dma_works(rig, 3));
	EXPECT_TRUE(dma_works(rig->device, rig_iova(RIG_PAGES + 3),
			      rig_vaddr(rig, 3)));
}

TEST_F_TIMEOUT(pin, bracket_releases, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;

	setup_marks(rig, RIG_PAGES);
	rig_late_pin(rig, 2);
	EXPECT_STAT("late_pins", 1);
	guest_unmark(rig->guest, 2);
	mem_bracket(rig_vaddr(rig, 2));
	EXPECT_STAT("late_pins", 0);
	EXPECT_STAT("leaves", 0);
	EXPECT_TRUE(rig_dma_write_blocked(rig, 2));
}

/* The guest can write the page without another fault: the leaf has to stay. */
TEST_F_TIMEOUT(pin, release_after_access_keeps_leaf, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;

	if (!stats_available())
		SKIP(return, NO_STATS);
	setup_marks(rig, RIG_PAGES);
	rig_late_pin(rig, 2);
	guest_touch(rig->guest, rig_iova(2));
	EXPECT_EQ(stat_get("late_pins"), 1);
	guest_unmark(rig->guest, 2);
	EXPECT_EQ(stat_wait("late_pins", 0), 0);
	EXPECT_EQ(stat_get("released"), 1);
	EXPECT_EQ(stat_get("leaves"), 1);
	EXPECT_TRUE(rig_dma_works(rig, 2));
}

/* Nobody knows what is at the address by now: the leaf has to go. */
TEST_F_TIMEOUT(pin, release_without_access_drops_leaf, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	u32 old;

	if (!stats_available())
		SKIP(return, NO_STATS);
	setup_marks(rig, RIG_PAGES);
	rig_pin(rig, 2);
	old = rig_guest_write(rig, 2);
	mem_bracket(rig_vaddr(rig, 2));
	EXPECT_EQ(stat_get("late_pins"), 1);
	/* The IOMMU has the leaf in its cache from here on. */
	EXPECT_FALSE(rig_dma_read_blocked(rig, 2, old));
	guest_unmark(rig->guest, 2);
	EXPECT_EQ(stat_wait("late_pins", 0), 0);
	EXPECT_EQ(stat_get("released"), 1);
	EXPECT_EQ(stat_get("leaves"), 0);
	EXPECT_TRUE(rig_dma_read_blocked(rig, 2, old));
	guest_touch(rig->guest, rig_iova(2));
	EXPECT_TRUE(rig_dma_works(rig, 2));
}

/* Twice as many as the guest may have marks */
TEST_F_TIMEOUT(pin, limit, RIG_TIMEOUT_S)
{
	int page, works = 0, last = 0;
	struct rig *rig = &self->rig;
	s64 populates;

	setup_marks(rig, 4);
	for (page = 0; page < 9; page++)
		rig_pin(rig, page);
	mem_bracket(rig_vaddr(rig, 0));
	for (page = 0; page < 9; page++) {
		if (rig_dma_works(rig, page))
			works++;
		else
			last = page;
	}
	EXPECT_EQ(works, 8);
	EXPECT_STAT("over_limit_zaps", 1);
	EXPECT_STAT("late_pins", 8);
	EXPECT_STAT("late_pins_peak", 8);
	if (!stats_available())
		return;

	/* The host brings it back as soon as it can, without another touch. */
	populates = stat_get("worker_populates");
	guest_unmark(rig->guest, (last + 1) % 9);
	EXPECT_EQ(stat_wait("worker_populates", populates + 1), populates + 1);
	EXPECT_TRUE(rig_dma_works(rig, last));
	EXPECT_EQ(stat_get("late_pins"), 8);
}

/* One marked page of a huge page holds all of it. */
static void budget_of_huge_page(struct __test_metadata *_metadata,
				struct rig *rig, u64 budget, bool survives)
{
	u64 pages = MEM_HUGE_SIZE / MEM_PAGE_SIZE;

	if (!mem_make_huge(rig->mem.vaddr))
		SKIP(return, "no huge page to be had");
	rig_map(rig);
	rig_register_budget(rig, 2, budget);
	rig_enable_marks(rig);
	rig_pin(rig, 10);
	rig_pin(rig, 11);
	mem_bracket(rig->mem.vaddr);
	EXPECT_STAT("late_pins", survives ? 2 : 0);
	EXPECT_STAT("held", survives ? pages : 0);
	EXPECT_STAT("over_budget_zaps", survives ? 0 : 2);
	EXPECT_STAT("over_limit_zaps", 0);
	EXPECT_EQ(rig_dma_write_blocked(rig, 10), !survives);
	EXPECT_EQ(rig_dma_write_blocked(rig, 11), !survives);
	EXPECT_TRUE(rig_dma_write_blocked(rig, 12));
	if (!survives)
		return;

	/* It is held until the last of the pins goes. */
	guest_unmark(rig->guest, 10);
	mem_bracket(rig->mem.vaddr);
	EXPECT_STAT("late_pins", 1);
	EXPECT_STAT("held", pages);
	EXPECT_TRUE(rig_dma_works(rig, 11));
}

TEST_F_TIMEOUT(pin_anon, budget_holds_huge_page, RIG_TIMEOUT_S)
{
	budget_of_huge_page(_metadata, &self->rig,
			    MEM_HUGE_SIZE / MEM_PAGE_SIZE, true);
}

TEST_F_TIMEOUT(pin_anon, budget_below_huge_page, RIG_TIMEOUT_S)
{
	budget_of_huge_page(_metadata, &self->rig,
			    MEM_HUGE_SIZE / MEM_PAGE_SIZE - 1, false);
}

/*
 * A page that is discarded while it is pinned is an orphan: the device has it,
 * nobody else does. The guest sees other memory at the address.
 */
TEST_F_TIMEOUT(pin_anon, orphan_then_read, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	u32 old;

	setup_marks(rig, RIG_PAGES);
	rig_pin(rig, 6);
	old = rig_guest_write(rig, 6);
	mem_discard(&rig->mem, rig_vaddr(rig, 6), MEM_PAGE_SIZE);
	EXPECT_STAT("late_pins", 1);
	EXPECT_FALSE(rig_dma_read_blocked(rig, 6, old));

	EXPECT_EQ(guest_read(rig->guest, rig_iova(6)), 0);
	EXPECT_STAT("orphan_zaps", 1);
	EXPECT_STAT("late_pins", 0);
	EXPECT_STAT("leaves", 0);
	EXPECT_TRUE(rig_dma_read_blocked(rig, 6, old));
	EXPECT_TRUE(rig_dma_write_blocked(rig, 6));
}

TEST_F_TIMEOUT(pin, orphan_then_touch, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	u32 old;

	setup_marks(rig, RIG_PAGES);
	rig_pin(rig, 6);
	old = rig_guest_write(rig, 6);
	mem_discard(&rig->mem, rig_vaddr(rig, 6), MEM_PAGE_SIZE);
	EXPECT_FALSE(rig_dma_read_blocked(rig, 6, old));

	guest_touch(rig->guest, rig_iova(6));
	EXPECT_STAT("orphan_zaps", 1);
	EXPECT_STAT("late_pins", 0);
	EXPECT_STAT("leaves", 1);
	EXPECT_TRUE(rig_dma_read_blocked(rig, 6, old));
	EXPECT_TRUE(rig_dma_works(rig, 6));
}

TEST_F_TIMEOUT(pin, unmap_releases, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	u32 old;

	setup_marks(rig, RIG_PAGES);
	rig_late_pin(rig, 1);
	old = rig_guest_write(rig, 1);
	EXPECT_STAT("late_pins", 1);
	rig_unmap(rig);
	EXPECT_STAT("late_pins", 0);
	EXPECT_STAT("leaves", 0);
	EXPECT_TRUE(rig_dma_read_blocked(rig, 1, old));
}

TEST_F_TIMEOUT(pin, unregister_releases, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	u64 locked;

	rig_map(rig);
	locked = status_kib("VmLck");
	rig_register(rig, 100);
	rig_enable_marks(rig);
	EXPECT_GE(status_kib("VmLck"), locked + 200 * MEM_PAGE_SIZE / 1024);
	rig_late_pin(rig, 1);
	rig_late_pin(rig, 2);
	guest_touch(rig->guest, rig_iova(2));
	EXPECT_STAT("late_pins", 2);

	type1_pin_bitmap(rig->iommu, VFIO_PIN_BITMAP_FLAG_UNREGISTER);
	EXPECT_EQ(status_kib("VmLck"), locked);
	EXPECT_STAT("late_pins", 0);
	EXPECT_STAT("leaves", 1);
	EXPECT_TRUE(rig_dma_write_blocked(rig, 1));
	EXPECT_TRUE(rig_dma_works(rig, 2));
	/* No mark counts now. */
	mem_bracket(rig_vaddr(rig, 2));
	EXPECT_TRUE(rig_dma_write_blocked(rig, 2));
}

/* A guest that knows nothing of marks. */
TEST_F_TIMEOUT(pin, without_marks_every_leaf_stays, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;

	rig_map(rig);
	rig_register(rig, RIG_PAGES);
	guest_touch(rig->guest, rig_iova(0));
	mem_bracket(rig_vaddr(rig, 0));
	EXPECT_STAT("marks_enabled", 0);
	EXPECT_STAT("late_pins", 1);
	EXPECT_TRUE(rig_dma_works(rig, 0));

	rig_enable_marks(rig);
	EXPECT_STAT("marks_enabled", 1);
	mem_bracket(rig_vaddr(rig, 0));
	EXPECT_STAT("late_pins", 0);
	EXPECT_TRUE(rig_dma_write_blocked(rig, 0));

	type1_pin_bitmap(rig->iommu, VFIO_PIN_BITMAP_FLAG_DISABLE_MARKS);
	EXPECT_STAT("marks_enabled", 0);
	guest_touch(rig->guest, rig_iova(0));
	mem_bracket(rig_vaddr(rig, 0));
	EXPECT_TRUE(rig_dma_works(rig, 0));
}

/* The touch is what makes the leaf: a mark alone does not. */
TEST_F_TIMEOUT(pin, mark_without_touch, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;

	rig_map(rig);
	rig_register(rig, RIG_PAGES);
	guest_mark(rig->guest, 8);
	EXPECT_STAT("leaves", 0);
	EXPECT_EQ(mem_resident(rig_vaddr(rig, 8), MEM_PAGE_SIZE), 0);
	EXPECT_TRUE(rig_dma_write_blocked(rig, 8));
	guest_touch(rig->guest, rig_iova(8));
	EXPECT_TRUE(rig_dma_works(rig, 8));
}

/* For buffers that no CPU will touch again. */
TEST_F_TIMEOUT(pin, enable_populates_marked_pages, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;

	if (!stats_available())
		SKIP(return, NO_STATS);
	rig_map(rig);
	rig_register(rig, RIG_PAGES);
	guest_mark(rig->guest, 8);
	guest_mark(rig->guest, RIG_PAGES - 1);
	rig_enable_marks(rig);
	EXPECT_EQ(stat_wait("worker_populates", 2), 2);
	EXPECT_EQ(stat_get("leaves"), 2);
	EXPECT_TRUE(rig_dma_works(rig, 8));
	EXPECT_TRUE(rig_dma_works(rig, RIG_PAGES - 1));
	EXPECT_TRUE(rig_dma_write_blocked(rig, 9));
}

TEST_F_TIMEOUT(pin, map_populates_marked_pages, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	u32 old;

	setup_marks(rig, RIG_PAGES);
	rig_pin(rig, 8);
	old = rig_guest_write(rig, 8);
	rig_unmap(rig);
	rig_map(rig);
	EXPECT_FALSE(rig_dma_read_blocked(rig, 8, old));
	EXPECT_TRUE(rig_dma_works(rig, 8));
	EXPECT_EQ(guest_read(rig->guest, rig_iova(8)),
		  READ_ONCE(*(u32 *)rig_vaddr(rig, 8)));
}

/* What the guest can hold by what it writes in its bitmap is bounded. */
TEST_F_TIMEOUT(pin, all_marked, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	u64 page;

	if (!mem_can_pageout())
		SKIP(return, NO_SWAP);
	setup_marks(rig, 16);
	memset(rig->bitmap.vaddr, 0xff, MEM_PAGE_SIZE);
	for (page = 0; page < 64; page++)
		guest_touch(rig->guest, rig_iova(page));
	mem_pageout(rig_vaddr(rig, 0), 64 * MEM_PAGE_SIZE);
	EXPECT_LE(mem_resident(rig_vaddr(rig, 0), 64 * MEM_PAGE_SIZE), 32 + 1);
	EXPECT_STAT("late_pins", 32);
}

int main(int argc, char *argv[])
{
	get_device_bdfs(&argc, argv);
	return test_harness_run(argc, argv);
}
