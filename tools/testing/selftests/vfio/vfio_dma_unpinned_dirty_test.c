// SPDX-License-Identifier: GPL-2.0-only
/*
 * Dirty tracking: a page is reported if a device could write it at any time since
 * the last query, and no other page is.
 */
#include <linux/userfaultfd.h>
#include <sys/mman.h>

#include <libvfio/settings.h>
#include <libvfio/uffd.h>
#include <libvfio/unpinned.h>

#include "kselftest_harness.h"

#define FAR	(MEM_HUGE_SIZE / MEM_PAGE_SIZE)	/* no bracket for page 0 is here */

FIXTURE(dirty) {
	struct rig rig;
};

FIXTURE_VARIANT(dirty) {
	enum mem_kind kind;
};

FIXTURE_VARIANT_ADD(dirty, anon) {
	.kind = MEM_ANON,
};

FIXTURE_VARIANT_ADD(dirty, memfd) {
	.kind = MEM_MEMFD,
};

static void start(struct rig *rig)
{
	type1_dirty_tracking(rig->iommu, VFIO_IOMMU_DIRTY_PAGES_FLAG_START);
}

static void stop(struct rig *rig)
{
	type1_dirty_tracking(rig->iommu, VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP);
}

static void touch(struct rig *rig, u64 page)
{
	guest_touch(rig->guest, rig_iova(page));
}

static void discard(struct rig *rig, u64 page)
{
	mem_discard(&rig->mem, rig_vaddr(rig, page), MEM_PAGE_SIZE);
}

FIXTURE_SETUP(dirty)
{
	const char *missing = rig_init(&self->rig, variant->kind);

	if (missing)
		SKIP(return, "%s", missing);
}

FIXTURE_TEARDOWN(dirty)
{
	rig_cleanup(&self->rig);
}

/* What was written before is not what the first query is about. */
TEST_F_TIMEOUT(dirty, begins_with_the_start, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;

	rig_map(rig);
	touch(rig, 0);
	touch(rig, 1);
	discard(rig, 0);
	start(rig);
	EXPECT_RIG_DIRTY(rig, 1);
	stop(rig);

	touch(rig, 2);
	discard(rig, 2);
	start(rig);
	EXPECT_RIG_DIRTY(rig, 1);
}

/* The device can write at any time, so each query reports it. */
TEST_F_TIMEOUT(dirty, again_while_there_is_a_leaf, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;

	rig_map(rig);
	start(rig);
	EXPECT_RIG_DIRTY(rig);
	touch(rig, 3);
	touch(rig, RIG_PAGES - 1);
	EXPECT_RIG_DIRTY(rig, 3, RIG_PAGES - 1);
	EXPECT_TRUE(rig_dma_works(rig, 3));
	EXPECT_RIG_DIRTY(rig, 3, RIG_PAGES - 1);
	EXPECT_RIG_DIRTY(rig, 3, RIG_PAGES - 1);
	/* A DMA that is blocked writes nothing. */
	EXPECT_TRUE(rig_dma_write_blocked(rig, 4));
	EXPECT_RIG_DIRTY(rig, 3, RIG_PAGES - 1);
}

TEST_F_TIMEOUT(dirty, once_after_the_leaf_went, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;

	if (!mem_can_pageout())
		SKIP(return, NO_SWAP);
	rig_map(rig);
	start(rig);
	touch(rig, 0);
	touch(rig, 1);
	touch(rig, 2);
	touch(rig, FAR);
	EXPECT_RIG_DIRTY(rig, 0, 1, 2, FAR);
	EXPECT_TRUE(rig_dma_works(rig, 1));
	discard(rig, 0);
	EXPECT_TRUE(mem_pageout(rig_vaddr(rig, 1), MEM_PAGE_SIZE));
	EXPECT_TRUE(rig_dma_write_blocked(rig, 1));
	ASSERT_EQ(mprotect(rig_vaddr(rig, 2), MEM_PAGE_SIZE, PROT_READ), 0);
	EXPECT_STAT("leaves", 1);
	EXPECT_RIG_DIRTY(rig, 0, 1, 2, FAR);
	EXPECT_RIG_DIRTY(rig, FAR);

	/* From nothing to a leaf and back between two queries */
	touch(rig, 5);
	discard(rig, 5);
	EXPECT_RIG_DIRTY(rig, FAR, 5);
	EXPECT_RIG_DIRTY(rig, FAR);
}

/* A late pin keeps the leaf, and what it points at changes under it. */
TEST_F_TIMEOUT(dirty, late_pin, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;

	rig_map(rig);
	rig_register(rig, RIG_PAGES);
	rig_enable_marks(rig);
	start(rig);
	rig_late_pin(rig, 0);
	EXPECT_STAT("late_pins", 1);
	EXPECT_RIG_DIRTY(rig, 0);
	ASSERT_EQ(munmap(rig_vaddr(rig, 0), MEM_PAGE_SIZE), 0);
	EXPECT_RIG_DIRTY(rig, 0);
	ASSERT_NE(mmap(rig_vaddr(rig, 0), MEM_PAGE_SIZE, PROT_READ | PROT_WRITE,
		       MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
		  MAP_FAILED);
	touch(rig, 0);
	EXPECT_STAT("orphan_zaps", 1);
	EXPECT_RIG_DIRTY(rig, 0);
	guest_unmark(rig->guest, 0);
	mem_bracket(rig_vaddr(rig, 0));
	EXPECT_STAT("leaves", 0);
	EXPECT_RIG_DIRTY(rig, 0);
	EXPECT_RIG_DIRTY(rig);
}

TEST_F_TIMEOUT(dirty, unmap_reports_the_rest, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	struct dirty dirty = {};

	rig_map(rig);
	EXPECT_EQ(__type1_unmap_dirty(rig->iommu, &rig->region, &dirty), -EINVAL);
	start(rig);
	touch(rig, 0);
	EXPECT_TRUE(rig_dma_works(rig, 0));
	EXPECT_RIG_DIRTY(rig, 0);
	touch(rig, 1);
	touch(rig, 2);
	discard(rig, 1);
	type1_unmap_dirty(rig->iommu, &rig->region, &dirty);
	EXPECT_DIRTY(dirty, 0, 1, 2);
	EXPECT_TRUE(rig_dma_write_blocked(rig, 0));

	/* A mapping that is made while tracking is on is tracked. */
	rig_map(rig);
	EXPECT_RIG_DIRTY(rig);
	touch(rig, 3);
	EXPECT_RIG_DIRTY(rig, 3);
}

/* Mappings that do not begin at a multiple of 64 pages of the user's bitmap */
TEST_F_TIMEOUT(dirty, odd_offsets, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	struct dma_region part = {
		.vaddr = rig_vaddr(rig, 3),
		.iova = rig_iova(3),
		.size = 70 * MEM_PAGE_SIZE,
	};

	type1_map_unpinned(rig->iommu, &part);
	part.vaddr = rig_vaddr(rig, 73);
	part.iova = rig_iova(73);
	part.size = RIG_SIZE - 73 * MEM_PAGE_SIZE;
	type1_map_unpinned(rig->iommu, &part);
	start(rig);
	touch(rig, 3);
	touch(rig, 72);
	touch(rig, 73);
	touch(rig, RIG_PAGES - 1);
	EXPECT_RIG_DIRTY(rig, 3, 72, 73, RIG_PAGES - 1);
	discard(rig, 72);
	discard(rig, 73);
	EXPECT_RIG_DIRTY(rig, 3, 72, 73, RIG_PAGES - 1);
	EXPECT_RIG_DIRTY(rig, 3, RIG_PAGES - 1);
}

/* A copy to the user that fails loses nothing, and nothing is unmapped. */
TEST_F_TIMEOUT(dirty, bad_bitmap, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	struct dma_region part = {
		.vaddr = rig_vaddr(rig, 5),
		.iova = rig_iova(5),
		.size = RIG_SIZE - 5 * MEM_PAGE_SIZE,
	};
	void *bad = mmap(NULL, MEM_PAGE_SIZE, PROT_READ, MAP_PRIVATE |
			 MAP_ANONYMOUS, -1, 0);
	struct dirty dirty = {};

	ASSERT_NE(bad, MAP_FAILED);
	type1_map_unpinned(rig->iommu, &part);
	start(rig);
	touch(rig, 5);
	touch(rig, 100);
	discard(rig, 5);
	EXPECT_EQ(__type1_dirty_get(rig->iommu, &rig->region, bad), -EFAULT);
	EXPECT_EQ(__type1_dirty_get(rig->iommu, &part, bad), -EFAULT);
	EXPECT_RIG_DIRTY(rig, 5, 100);

	touch(rig, 6);
	discard(rig, 6);
	EXPECT_EQ(__type1_unmap_dirty(rig->iommu, &rig->region, bad), -EFAULT);
	EXPECT_TRUE(rig_dma_works(rig, 100));
	type1_unmap_dirty(rig->iommu, &rig->region, &dirty);
	EXPECT_DIRTY(dirty, 6, 100);
	ASSERT_EQ(munmap(bad, MEM_PAGE_SIZE), 0);
}

/* The kernel waits for the page of the user's bitmap, and another page is written. */
static void write_meanwhile(void *page, u64 vaddr, void *data)
{
	struct rig *rig = data;

	memset(page, 0, MEM_PAGE_SIZE);
	touch(rig, 9);
	VFIO_ASSERT_TRUE(rig_dma_works(rig, 9), "no DMA while the unmapping waits");
}

TEST_F_TIMEOUT(dirty, written_during_the_unmapping, RIG_TIMEOUT_S)
{
	struct uffd uffd = {
		.content = write_meanwhile,
		.data = &self->rig,
	};
	struct rig *rig = &self->rig;
	struct dirty *dirty = mmap(NULL, MEM_PAGE_SIZE, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(dirty, MAP_FAILED);
	if (!uffd_open(&uffd, 0))
		SKIP(return, "no userfaultfd");
	ASSERT_EQ(uffd_register(&uffd, dirty, MEM_PAGE_SIZE,
				UFFDIO_REGISTER_MODE_MISSING), 0);
	uffd_start(&uffd);
	rig_map(rig);
	start(rig);
	touch(rig, 8);
	type1_unmap_dirty(rig->iommu, &rig->region, dirty);
	EXPECT_DIRTY(*dirty, 8, 9);
	EXPECT_TRUE(rig_dma_write_blocked(rig, 9));
	uffd_close(&uffd);
	ASSERT_EQ(munmap(dirty, MEM_PAGE_SIZE), 0);
}

int main(int argc, char *argv[])
{
	get_device_bdfs(&argc, argv);
	return test_harness_run(argc, argv);
}
