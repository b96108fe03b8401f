// SPDX-License-Identifier: GPL-2.0-only
/*
 * Hugetlb memory: leaves of the size of its pages, which come and go as a whole,
 * and what happens where a mapping, a bracket or KVM has less than a whole page.
 *
 * Needs free hugetlb pages: 4 of 2 MiB, 1 of 1 GiB for the tests with that size. The
 * tests of memory failure, at the end, take one each out of the pool for good.
 */
#include <linux/fs.h>
#include <sys/ioctl.h>

#include <libvfio/child.h>
#include <libvfio/iommu_leaves.h>
#include <libvfio/unpinned.h>

#include "kselftest_harness.h"

#define HUGE_PAGES	(MEM_HUGE_SIZE / MEM_PAGE_SIZE)
#define SECOND_IOVA	(RIG_IOVA + 4 * MEM_GIGANTIC_SIZE)
#define RIG_SLOT	1	/* of the guest: the first that rig_init() makes */

FIXTURE(huge) {
	struct rig rig;
	s64 free_pages;
};

FIXTURE_VARIANT(huge) {
	enum mem_kind kind;
};

FIXTURE_VARIANT_ADD(huge, shared) {
	.kind = MEM_HUGETLB,
};

FIXTURE_VARIANT_ADD(huge, private) {
	.kind = MEM_PRIVATE_HUGETLB,
};

FIXTURE_VARIANT_ADD(huge, gigantic) {
	.kind = MEM_GIGANTIC,
};

FIXTURE_SETUP(huge)
{
	const char *missing;

	self->free_pages = mem_free_pages(variant->kind);
	missing = rig_init(&self->rig, variant->kind);
	if (missing)
		SKIP(return, "%s", missing);
}

/* No page of the pool is held by a pin or a leaf that is left. */
FIXTURE_TEARDOWN(huge)
{
	rig_cleanup(&self->rig);
	VFIO_ASSERT_TRUE(mem_free_pages(variant->kind) == self->free_pages,
			 "%ld hugetlb pages are lost",
			 self->free_pages - mem_free_pages(variant->kind));
}

/* Words that the kernel keeps for a page of the rig: one for each 2 MiB */
static s64 words(struct rig *rig)
{
	return mem_page_size(rig->mem.kind) / MEM_HUGE_SIZE;
}

static u64 pages(struct rig *rig)
{
	return mem_page_size(rig->mem.kind) / MEM_PAGE_SIZE;
}

/* Without a page of this size in the IOMMU, leaves are smaller. */
static bool has_leaf_size(struct rig *rig, u64 size)
{
	struct vfio_iommu_type1_info_cap_unpinned cap = {};

	VFIO_ASSERT_TRUE(type1_get_cap(rig->iommu, VFIO_IOMMU_TYPE1_INFO_CAP_UNPINNED,
				       &cap, sizeof(cap)), "no capability");
	return cap.pgsize_bitmap & size;
}

/* Leaves of a size in what the device has from @iova on */
static u64 leaves_of(struct rig *rig, iova_t iova, u64 size)
{
	struct iommu_leaves leaves;

	iommu_count_leaves(device_bdf[0], iova, rig->mem.size, &leaves);
	return size == MEM_PAGE_SIZE ? leaves.small :
	       size == MEM_HUGE_SIZE ? leaves.huge : leaves.gigantic;
}

#define EXPECT_LEAVES(rig, iova, size, n)				\
do {									\
	if (iommu_shows_leaves(device_bdf[0]))				\
		EXPECT_EQ(leaves_of(rig, iova, size), n);		\
} while (0)

/* A limit for all of the memory, and marks that count */
static void setup_marks(struct rig *rig)
{
	rig_map(rig);
	rig_register(rig, rig->mem.size / MEM_PAGE_SIZE);
	rig_enable_marks(rig);
}

/* A bracket over all that the rig has of one hugetlb page, or more. */
static void bracket(struct rig *rig)
{
	int prot = PROT_READ | PROT_WRITE;

	VFIO_ASSERT_TRUE(!mprotect(rig->mem.vaddr, rig->mem.size, PROT_READ) &&
			 !mprotect(rig->mem.vaddr, rig->mem.size, prot), "mprotect");
}

static void log_dirty_pages(struct rig *rig, bool on)
{
	vm_set_user_memory_region(rig->guest->vm, RIG_SLOT,
				  on ? KVM_MEM_LOG_DIRTY_PAGES : 0, RIG_IOVA,
				  rig->mem.size, rig->mem.vaddr);
}

TEST_F_TIMEOUT(huge, touch_makes_leaf_of_its_size, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	u64 size = mem_page_size(variant->kind);

	rig_map(rig);
	EXPECT_EQ(mem_free_pages(variant->kind),
		  self->free_pages - (s64)(rig->mem.size / size));
	EXPECT_STAT("leaves", 0);
	EXPECT_TRUE(rig_dma_write_blocked(rig, 3));
	guest_touch(rig->guest, rig_iova(3));
	EXPECT_STAT("leaves", words(rig));
	if (has_leaf_size(rig, size))
		EXPECT_LEAVES(rig, RIG_IOVA, size, 1);
	EXPECT_TRUE(rig_dma_works(rig, 3));
	/* No CPU has been there. */
	EXPECT_TRUE(rig_dma_works(rig, HUGE_PAGES - 1));
	EXPECT_EQ(rig_dma_write_blocked(rig, HUGE_PAGES), size == MEM_HUGE_SIZE);
}

TEST_F_TIMEOUT(huge, bracket_takes_it_whole, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	u32 value;

	rig_map(rig);
	value = rig_guest_write(rig, 1);
	EXPECT_STAT("leaves", words(rig));
	bracket(rig);
	EXPECT_STAT("leaves", 0);
	EXPECT_LEAVES(rig, RIG_IOVA, mem_page_size(variant->kind), 0);
	EXPECT_TRUE(rig_dma_read_blocked(rig, 1, value));
	EXPECT_TRUE(rig_dma_write_blocked(rig, HUGE_PAGES - 1));
	guest_touch(rig->guest, rig_iova(1));
	EXPECT_STAT("leaves", words(rig));
	EXPECT_TRUE(rig_dma_works(rig, HUGE_PAGES - 1));
}

/* Of 1 GiB, the 2 MiB with the mark stay. The pin is of all of the page. */
TEST_F_TIMEOUT(huge, mark_keeps_page, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	u64 frame;

	setup_marks(rig);
	rig_pin(rig, 5);
	frame = mem_frame(rig_vaddr(rig, 5));
	bracket(rig);
	EXPECT_STAT("held", pages(rig));
	EXPECT_STAT("leaves", 1);
	EXPECT_TRUE(rig_dma_works(rig, 5));
	if (words(rig) > 1)
		EXPECT_TRUE(rig_dma_write_blocked(rig, HUGE_PAGES));
	guest_touch(rig->guest, rig_iova(5));
	EXPECT_STAT("leaves", words(rig));
	EXPECT_TRUE(rig_dma_works(rig, 5));
	EXPECT_EQ(mem_frame(rig_vaddr(rig, 5)), frame);

	guest_unmark(rig->guest, 5);
	if (stats_available())
		EXPECT_EQ(stat_wait("late_pins", 0), 0);
	/* It was touched, so it stays until the next bracket. */
	EXPECT_STAT("leaves", words(rig));
	EXPECT_TRUE(rig_dma_works(rig, 5));
	bracket(rig);
	EXPECT_STAT("leaves", 0);
}

TEST_F_TIMEOUT(huge, release_without_touch_takes_it, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;

	if (!stats_available())
		SKIP(return, NO_STATS);
	setup_marks(rig);
	rig_pin(rig, 5);
	bracket(rig);
	guest_unmark(rig->guest, 5);
	EXPECT_EQ(stat_wait("late_pins", 0), 0);
	EXPECT_STAT("leaves", 0);
	EXPECT_TRUE(rig_dma_write_blocked(rig, 5));
}

TEST_F_TIMEOUT(huge, budget_counts_whole_pages, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;

	rig_map(rig);
	rig_register_budget(rig, 1, pages(rig) - 1);
	rig_enable_marks(rig);
	rig_pin(rig, 5);
	bracket(rig);
	EXPECT_STAT("late_pins", 0);
	EXPECT_STAT("held", 0);
	EXPECT_STAT("over_budget_zaps", 1);
	EXPECT_STAT("leaves", 0);
	EXPECT_TRUE(rig_dma_write_blocked(rig, 5));
}

/* Memory that goes is given back, and the leaf follows to what comes instead. */
TEST_F_TIMEOUT(huge, leaf_follows_memory, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	u64 size = mem_page_size(variant->kind);
	u32 value;

	rig_map(rig);
	value = rig_guest_write(rig, 0);
	mem_discard(&rig->mem, rig->mem.vaddr, size);
	EXPECT_STAT("leaves", 0);
	EXPECT_TRUE(rig_dma_read_blocked(rig, 0, value));
	EXPECT_EQ(guest_read(rig->guest, rig_iova(0)), 0);
	guest_touch(rig->guest, rig_iova(0));
	EXPECT_STAT("leaves", words(rig));
	EXPECT_TRUE(rig_dma_works(rig, 0));
}

/* A page that is marked and gone from the page table: the device keeps the old. */
TEST_F_TIMEOUT(huge, orphan_is_replaced, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;

	if (mem_free_pages(variant->kind) < 1)
		SKIP(return, "no hugetlb page besides");
	setup_marks(rig);
	rig_pin(rig, 5);
	mem_discard(&rig->mem, rig->mem.vaddr, mem_page_size(variant->kind));
	EXPECT_STAT("held", pages(rig));
	EXPECT_TRUE(rig_dma_write_blocked(rig, 5));
	guest_touch(rig->guest, rig_iova(5));
	EXPECT_STAT("late_pins", 0);
	EXPECT_STAT("leaves", words(rig));
	EXPECT_TRUE(rig_dma_works(rig, 5));
}

/* One that is over a part of a page changes nothing in the page table. */
TEST_F_TIMEOUT(huge, bracket_in_part_takes_nothing, RIG_TIMEOUT_S)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	struct rig *rig = &self->rig;
	struct page_region found[4];
	struct pm_scan_arg scan = {
		.size = sizeof(scan),
		.flags = PM_SCAN_WP_MATCHING,
		.start = (u64)rig_vaddr(rig, 1),
		.end = (u64)rig_vaddr(rig, 3),
		.vec = (u64)found,
		.vec_len = ARRAY_SIZE(found),
		.category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN,
	};

	rig_map(rig);
	guest_touch(rig->guest, rig_iova(2));
	if (ioctl(fd, PAGEMAP_SCAN, &scan) < 0) {
		close(fd);
		SKIP(return, "no PAGEMAP_SCAN that brackets: %s", strerror(errno));
	}
	close(fd);
	EXPECT_STAT("leaves", words(rig));
	EXPECT_TRUE(rig_dma_works(rig, 2));
}

/*
 * KVM maps page by page while it logs dirty pages. Then leaves are small, and a
 * page that is held gets one for each, of which the untouched go with the pin.
 */
TEST_F_TIMEOUT(huge, small_sptes, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;

	if (!stats_available())
		SKIP(return, NO_STATS);
	setup_marks(rig);
	log_dirty_pages(rig, true);
	guest_touch(rig->guest, rig_iova(3));
	EXPECT_STAT("leaves", 1);
	EXPECT_LEAVES(rig, RIG_IOVA, MEM_PAGE_SIZE, 1);
	EXPECT_TRUE(rig_dma_works(rig, 3));
	EXPECT_TRUE(rig_dma_write_blocked(rig, 4));

	/* One word for all of it again, and one pin for two */
	rig_pin(rig, 5);
	rig_pin(rig, 9);
	bracket(rig);
	EXPECT_STAT("held", pages(rig));
	EXPECT_STAT("leaves", 2);
	guest_unmark(rig->guest, 9);
	guest_touch(rig->guest, rig_iova(3));
	EXPECT_STAT("leaves", 3);
	log_dirty_pages(rig, false);
	guest_touch(rig->guest, rig_iova(5));
	EXPECT_STAT("leaves", words(rig));
	EXPECT_STAT("held", pages(rig));
	EXPECT_TRUE(rig_dma_works(rig, 6));

	/* And the other way round: the marked page and the touched one keep theirs */
	bracket(rig);
	EXPECT_STAT("leaves", 1);
	log_dirty_pages(rig, true);
	guest_touch(rig->guest, rig_iova(7));
	EXPECT_STAT("leaves", 2);
	EXPECT_STAT("late_pins", 1);
	EXPECT_STAT("held", pages(rig));
	EXPECT_TRUE(rig_dma_works(rig, 5));
	EXPECT_TRUE(rig_dma_write_blocked(rig, 6));
	guest_unmark(rig->guest, 5);
	EXPECT_EQ(stat_wait("late_pins", 0), 0);
	EXPECT_STAT("leaves", 1);
	EXPECT_TRUE(rig_dma_works(rig, 7));
	EXPECT_TRUE(rig_dma_write_blocked(rig, 5));
}

/* A marked page without a leaf is populated by the host. */
TEST_F_TIMEOUT(huge, host_populates, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;

	if (!stats_available())
		SKIP(return, NO_STATS);
	rig_register(rig, rig->mem.size / MEM_PAGE_SIZE);
	rig_enable_marks(rig);
	guest_mark(rig->guest, 5);
	rig_map(rig);
	EXPECT_STAT("worker_populates", 1);
	EXPECT_STAT("held", pages(rig));
	EXPECT_TRUE(rig_dma_works(rig, 5));
	EXPECT_TRUE(rig_dma_write_blocked(rig, 6));
	guest_touch(rig->guest, rig_iova(6));
	EXPECT_STAT("leaves", words(rig));
	EXPECT_STAT("held", pages(rig));
	EXPECT_TRUE(rig_dma_works(rig, 6));
	EXPECT_TRUE(rig_dma_works(rig, 5));
}

/* What lies in a mapping in part gets the largest leaves that fit. */
TEST_F_TIMEOUT(huge, mapping_in_part, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	struct dma_region part = {
		.vaddr = rig_vaddr(rig, 1),
		.iova = rig_iova(1),
		.size = rig->mem.size - 2 * MEM_PAGE_SIZE,
	};

	type1_map_unpinned(rig->iommu, &part);
	guest_touch(rig->guest, rig_iova(0));
	EXPECT_STAT("leaves", words(rig));
	EXPECT_LEAVES(rig, RIG_IOVA, MEM_PAGE_SIZE,
		      (words(rig) > 1 ? 2 : 1) * (HUGE_PAGES - 1));
	if (has_leaf_size(rig, MEM_HUGE_SIZE))
		EXPECT_LEAVES(rig, RIG_IOVA, MEM_HUGE_SIZE,
			      words(rig) > 1 ? words(rig) - 2 : 0);
	EXPECT_TRUE(rig_dma_write_blocked(rig, 0));
	EXPECT_TRUE(rig_dma_works(rig, 1));
	type1_unmap(rig->iommu, &part);
	EXPECT_TRUE(rig_dma_write_blocked(rig, 1));
}

/* Each mapping has the leaves that its own alignment allows. */
TEST_F_TIMEOUT(huge, aliases, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	struct dma_region shifted = {
		.vaddr = rig->mem.vaddr,
		.iova = SECOND_IOVA + MEM_PAGE_SIZE,
		.size = MEM_HUGE_SIZE,
	};

	rig_map(rig);
	guest_touch(rig->guest, rig_iova(0));
	/* The leaves are there already. */
	type1_map_unpinned(rig->iommu, &shifted);
	EXPECT_STAT("leaves", words(rig));
	EXPECT_LEAVES(rig, SECOND_IOVA, MEM_PAGE_SIZE, HUGE_PAGES);
	EXPECT_TRUE(dma_works(rig->device, shifted.iova, rig->mem.vaddr));
	EXPECT_TRUE(rig_dma_works(rig, HUGE_PAGES - 1));
	bracket(rig);
	EXPECT_TRUE(dma_write_blocked(rig->device, shifted.iova, rig->mem.vaddr));
	EXPECT_TRUE(rig_dma_write_blocked(rig, 0));
	guest_touch(rig->guest, rig_iova(0));
	EXPECT_TRUE(dma_works(rig->device, shifted.iova, rig->mem.vaddr));
	type1_unmap(rig->iommu, &shifted);
	EXPECT_TRUE(dma_write_blocked(rig->device, shifted.iova, rig->mem.vaddr));
	EXPECT_TRUE(rig_dma_works(rig, 0));
}

/* How many of the rig's pages from @first on are dirty now. */
static u64 dirty_from(struct rig *rig, u64 first)
{
	u64 n, count = 0, total = rig->region.size / MEM_PAGE_SIZE;
	u64 *bits = calloc(total / 64, sizeof(u64));

	VFIO_ASSERT_NOT_NULL(bits, "out of memory");
	type1_dirty_get(rig->iommu, &rig->region, bits);
	for (n = first; n < total; n++)
		count += bits[n / 64] >> n % 64 & 1;
	free(bits);
	return count;
}

/* A page that can be written as a whole is dirty as a whole. */
TEST_F_TIMEOUT(huge, dirty_pages, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;

	rig_map(rig);
	type1_dirty_tracking(rig->iommu, VFIO_IOMMU_DIRTY_PAGES_FLAG_START);
	EXPECT_EQ(dirty_from(rig, 0), 0);
	guest_touch(rig->guest, rig_iova(5));
	EXPECT_TRUE(rig_dma_works(rig, HUGE_PAGES - 1));
	EXPECT_EQ(dirty_from(rig, 0), pages(rig));
	EXPECT_EQ(dirty_from(rig, pages(rig)), 0);
	bracket(rig);
	EXPECT_STAT("leaves", 0);
	EXPECT_EQ(dirty_from(rig, 0), pages(rig));
	EXPECT_EQ(dirty_from(rig, 0), 0);
}

TEST_F_TIMEOUT(huge, unmap_while_held, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;

	setup_marks(rig);
	rig_pin(rig, 5);
	bracket(rig);
	EXPECT_STAT("held", pages(rig));
	rig_unmap(rig);
	EXPECT_STAT("late_pins", 0);
	EXPECT_STAT("leaves", 0);
	EXPECT_TRUE(rig_dma_write_blocked(rig, 5));
}

static int read_and_wait(void *vaddr)
{
	(void)READ_ONCE(*(u32 *)vaddr);
	say('r');
	wait_for_go();
	return 0;
}

/*
 * Page tables that processes share make brackets as wide as 1 GiB. With an
 * unpinned mapping they are of the pages that change, a table that is shared by
 * then no longer is, and none is shared again: what is taken from a shared table
 * is taken as a whole, without a bracket over it.
 */
TEST(brackets_are_narrow)
{
	s64 free_pages = mem_free_pages(MEM_HUGETLB);
	struct rig rig;
	const char *missing;
	struct mem *mem = &rig.mem;
	struct child child;
	void *wide;

	missing = rig_init(&rig, MEM_HUGETLB);
	if (missing)
		SKIP(return, "%s", missing);
	/* As large as tables must be to be shared, with little memory behind it */
	ASSERT_EQ(ftruncate(mem->fd, MEM_GIGANTIC_SIZE), 0);
	wide = mmap(NULL, 2 * MEM_GIGANTIC_SIZE, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ASSERT_NE(wide, MAP_FAILED);
	wide = (void *)align_up((u64)wide, MEM_GIGANTIC_SIZE);
	ASSERT_EQ(mmap(wide, MEM_GIGANTIC_SIZE, PROT_READ | PROT_WRITE,
		       MAP_FIXED | MAP_SHARED | MAP_NORESERVE, mem->fd, 0), wide);
	guest_map(rig.guest, SECOND_IOVA, wide, MEM_GIGANTIC_SIZE);
	WRITE_ONCE(*(u32 *)wide, 1);
	child_start(&child, read_and_wait, wide);
	ASSERT_EQ(child_hear(&child), 'r');

	type1_map_unpinned(rig.iommu, &(struct dma_region) {
		.vaddr = wide,
		.iova = SECOND_IOVA,
		.size = MEM_GIGANTIC_SIZE,
	});
	guest_touch(rig.guest, SECOND_IOVA);
	guest_touch(rig.guest, SECOND_IOVA + MEM_HUGE_SIZE);
	EXPECT_STAT("leaves", 2);
	EXPECT_EQ(madvise(wide, MEM_HUGE_SIZE, MADV_DONTNEED), 0);
	EXPECT_STAT("leaves", 1);
	EXPECT_EQ(mem_frame_now(wide), 0);
	EXPECT_NE(mem_frame_now(wide + MEM_HUGE_SIZE), 0);
	EXPECT_TRUE(dma_write_blocked(rig.device, SECOND_IOVA, wide));
	EXPECT_TRUE(dma_works(rig.device, SECOND_IOVA + MEM_HUGE_SIZE,
			      wide + MEM_HUGE_SIZE));
	EXPECT_EQ(child_wait(&child), 0);

	/* Nor does somebody share it who comes later. */
	child_start(&child, read_and_wait, wide);
	ASSERT_EQ(child_hear(&child), 'r');
	guest_touch(rig.guest, SECOND_IOVA);
	EXPECT_STAT("leaves", 2);
	EXPECT_EQ(madvise(wide, MEM_HUGE_SIZE, MADV_DONTNEED), 0);
	EXPECT_STAT("leaves", 1);
	EXPECT_NE(mem_frame_now(wide + MEM_HUGE_SIZE), 0);
	EXPECT_EQ(child_wait(&child), 0);
	ASSERT_EQ(munmap(wide, MEM_GIGANTIC_SIZE), 0);
	rig_cleanup(&rig);
	EXPECT_EQ(mem_free_pages(MEM_HUGETLB), free_pages);
}

/* --- memory failure --------------------------------------------------------------- */

#define POISONED	5	/* page of the first hugetlb page */

FIXTURE(poison) {
	struct rig rig;
};

FIXTURE_VARIANT(poison) {
	enum mem_kind kind;
	bool mark;
	bool late_pin;
	bool touch;		/* again, after that */
};

FIXTURE_VARIANT_ADD(poison, shared_unmarked) {
	.kind = MEM_HUGETLB,
};

FIXTURE_VARIANT_ADD(poison, shared_marked) {
	.kind = MEM_HUGETLB,
	.mark = true,
};

FIXTURE_VARIANT_ADD(poison, shared_late_pinned) {
	.kind = MEM_HUGETLB,
	.mark = true,
	.late_pin = true,
};

FIXTURE_VARIANT_ADD(poison, private_unmarked) {
	.kind = MEM_PRIVATE_HUGETLB,
};

FIXTURE_VARIANT_ADD(poison, private_marked) {
	.kind = MEM_PRIVATE_HUGETLB,
	.mark = true,
};

FIXTURE_VARIANT_ADD(poison, private_late_pinned) {
	.kind = MEM_PRIVATE_HUGETLB,
	.mark = true,
	.late_pin = true,
	.touch = true,
};

FIXTURE_VARIANT_ADD(poison, gigantic_late_pinned) {
	.kind = MEM_GIGANTIC,
	.mark = true,
	.late_pin = true,
	.touch = true,
};

FIXTURE_SETUP(poison)
{
	const char *missing = rig_init(&self->rig, variant->kind);

	if (!missing && !stats_available())
		missing = NO_STATS;
	if (missing)
		SKIP(return, "%s", missing);
	setup_marks(&self->rig);
}

FIXTURE_TEARDOWN(poison)
{
	rig_cleanup(&self->rig);
}

/* Each write to the page that is gone is a fault. */
static void expect_writes_blocked(struct __test_metadata *_metadata,
				  struct rig *rig)
{
	const u64 written[] = { 0, POISONED, pages(rig) - 1 };
	s64 faults = stat_get("dma_faults") + ARRAY_SIZE(written);
	u32 value = unique_value();
	size_t n;

	for (n = 0; n < ARRAY_SIZE(written); n++)
		dma_write(rig->device, rig_iova(written[n]), &value,
			  sizeof(value));
	EXPECT_EQ(stat_wait("dma_faults", faults), faults);
}

/* The hugetlb page is gone as a whole, and one next to it is as before. */
TEST_F_TIMEOUT(poison, takes_all_of_it, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	bool next = rig->mem.size > mem_page_size(variant->kind);
	int err;
	u32 old;

	/* Not the other way round: the worker would populate, and pin, the page. */
	old = rig_guest_write(rig, POISONED);
	if (variant->mark)
		guest_mark(rig->guest, POISONED);
	if (variant->late_pin)
		bracket(rig);
	EXPECT_STAT("held", variant->late_pin ? pages(rig) : 0);
	if (variant->touch)
		guest_touch(rig->guest, rig_iova(POISONED));
	if (next)
		guest_touch(rig->guest, rig_iova(pages(rig)));
	EXPECT_STAT("leaves", words(rig) + next);
	EXPECT_FALSE(rig_dma_read_blocked(rig, POISONED, old));

	err = mem_poison(rig_vaddr(rig, POISONED));
	if (err == -EINVAL)
		SKIP(return, "no injection of memory failures in this kernel");
	ASSERT_EQ(err, 0);
	EXPECT_STAT("leaves", next);
	EXPECT_STAT("late_pins", 0);
	EXPECT_STAT("forced_zaps", variant->mark);
	EXPECT_TRUE(rig_dma_read_blocked(rig, POISONED, old));
	expect_writes_blocked(_metadata, rig);
	mem_bus_errors();
	EXPECT_NE(__guest_touch(rig->guest, rig_iova(POISONED)), 0);
	EXPECT_GT(mem_bus_errors(), 0);
	EXPECT_STAT("leaves", next);
	if (next)
		EXPECT_TRUE(rig_dma_works(rig, pages(rig)));

	/* Other memory at the address is as good as any. */
	ASSERT_NE(mmap(rig->mem.vaddr, mem_page_size(variant->kind),
		       PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE |
		       MAP_ANONYMOUS, -1, 0), MAP_FAILED);
	guest_touch(rig->guest, rig_iova(POISONED));
	EXPECT_STAT("leaves", next + 1);
	EXPECT_TRUE(rig_dma_works(rig, POISONED));
}

int main(int argc, char *argv[])
{
	get_device_bdfs(&argc, argv);
	return test_harness_run(argc, argv);
}
