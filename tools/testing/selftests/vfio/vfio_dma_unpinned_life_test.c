// SPDX-License-Identifier: GPL-2.0-only
/*
 * What memory and its mappings live through: kinds of memory, aliases, mappings
 * that go one by one, memory that is replaced under a mapping, a fork that does not
 * inherit it, a bitmap that loses its memory.
 */
#include <linux/mman.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include <libvfio/settings.h>
#include <libvfio/unpinned.h>

#include "kselftest_harness.h"

#define THP_DIR		"/sys/kernel/mm/transparent_hugepage/"

/* --- kinds of memory ----------------------------------------------------------- */

FIXTURE(kind) {
	struct rig rig;
};

FIXTURE_VARIANT(kind) {
	enum mem_kind kind;
	const char *huge;	/* setting that is for huge pages, or NULL */
	const char *value;
	bool advise;
};

FIXTURE_VARIANT_ADD(kind, sealed_memfd) {
	.kind = MEM_SEALED_MEMFD,
};

FIXTURE_VARIANT_ADD(kind, private_memfd) {
	.kind = MEM_PRIVATE_MEMFD,
};

FIXTURE_VARIANT_ADD(kind, shared_anon) {
	.kind = MEM_SHARED_ANON,
};

FIXTURE_VARIANT_ADD(kind, thp_madvise) {
	.kind = MEM_ANON,
	.huge = THP_DIR "enabled",
	.value = "madvise",
	.advise = true,
};

FIXTURE_VARIANT_ADD(kind, thp_always) {
	.kind = MEM_ANON,
	.huge = THP_DIR "enabled",
	.value = "always",
};

FIXTURE_VARIANT_ADD(kind, thp_memfd) {
	.kind = MEM_MEMFD,
	.huge = THP_DIR "shmem_enabled",
	.value = "advise",
	.advise = true,
};

FIXTURE_SETUP(kind)
{
	struct rig *rig = &self->rig;
	const char *missing = rig_init_marks(rig, variant->kind);
	void *vaddr = rig->mem.vaddr;

	if (missing)
		SKIP(return, "%s", missing);
	if (!variant->huge)
		return;
	if (setting_change(variant->huge, variant->value))
		SKIP(return, "no huge pages in this kernel");
	if (variant->advise) {
		ASSERT_EQ(madvise(vaddr, RIG_SIZE, MADV_HUGEPAGE), 0);
		return;
	}
	/* A mapping that nobody gave any advice. */
	ASSERT_EQ(mmap(vaddr, RIG_SIZE, PROT_READ | PROT_WRITE, MAP_FIXED |
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), vaddr);
}

FIXTURE_TEARDOWN(kind)
{
	settings_restore();
	rig_cleanup(&self->rig);
}

/* A marked page and its neighbour, from the touch to the end of the memory. */
TEST_F_TIMEOUT(kind, life_of_a_page, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	u64 frame;
	u32 old;

	/* A read that comes first, as the guest's may, gets a page of zeroes. */
	WRITE_ONCE(*(u32 *)rig_vaddr(rig, 5), 0);
	rig_pin(rig, 5);
	if (variant->huge && !mem_is_huge(rig_vaddr(rig, 5)))
		SKIP(return, "no huge page to be had");
	guest_touch(rig->guest, rig_iova(6));
	frame = mem_frame(rig_vaddr(rig, 5));
	EXPECT_TRUE(rig_dma_works(rig, 5));
	EXPECT_TRUE(rig_dma_works(rig, 6));

	mem_bracket(rig_vaddr(rig, 5));
	EXPECT_STAT("leaves", 1);
	EXPECT_STAT("late_pins", 1);
	EXPECT_STAT("held", variant->huge ? MEM_HUGE_SIZE / MEM_PAGE_SIZE : 1);
	EXPECT_EQ(mem_frame(rig_vaddr(rig, 5)), frame);
	EXPECT_TRUE(rig_dma_works(rig, 5));
	EXPECT_TRUE(rig_dma_write_blocked(rig, 6));

	guest_unmark(rig->guest, 5);
	guest_touch(rig->guest, rig_iova(6));
	old = rig_guest_write(rig, 5);
	mem_discard(&rig->mem, rig->mem.vaddr, MEM_HUGE_SIZE);
	EXPECT_STAT("leaves", 0);
	EXPECT_STAT("late_pins", 0);
	EXPECT_TRUE(rig_dma_read_blocked(rig, 5, old));
	EXPECT_EQ(guest_read(rig->guest, rig_iova(5)), 0);
	rig_pin(rig, 5);
	EXPECT_TRUE(rig_dma_works(rig, 5));
}

/* --- mappings and what is behind them --------------------------------------------- */

FIXTURE(life) {
	struct rig rig;
};

FIXTURE_SETUP(life)
{
	const char *missing = rig_init(&self->rig, MEM_ANON);

	if (missing)
		SKIP(return, "%s", missing);
}

FIXTURE_TEARDOWN(life)
{
	rig_cleanup(&self->rig);
}

#define PARTS		4UL
#define PART_PAGES	(RIG_PAGES / PARTS)

/* The rig's memory in several mappings, with a leaf and a late pin in each. */
static void map_parts(struct rig *rig)
{
	struct dma_region part = { .size = RIG_SIZE / PARTS };
	u64 n;

	rig_register(rig, RIG_PAGES);
	rig_enable_marks(rig);
	for (n = 0; n < PARTS; n++) {
		part.vaddr = rig_vaddr(rig, n * PART_PAGES);
		part.iova = rig_iova(n * PART_PAGES);
		type1_map_unpinned(rig->iommu, &part);
		rig_pin(rig, n * PART_PAGES);
		mem_bracket(rig_vaddr(rig, n * PART_PAGES));
	}
	for (n = 0; n < PARTS; n++)
		guest_touch(rig->guest, rig_iova(n * PART_PAGES + 1));
}

/* VFIO_IOMMU_UNMAP_DMA of a range or of all: bytes, or minus the errno. */
static s64 unmap_bytes(struct rig *rig, u32 flags, u64 first, u64 pages)
{
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap),
		.flags = flags,
		.iova = pages ? rig_iova(first) : 0,
		.size = pages * MEM_PAGE_SIZE,
	};

	return type1_ioctl(rig->iommu, VFIO_IOMMU_UNMAP_DMA, &unmap) ?: (s64)unmap.size;
}

TEST_F_TIMEOUT(life, unmap_some_of_the_mappings, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;

	map_parts(rig);
	EXPECT_STAT("leaves", 2 * PARTS);
	EXPECT_STAT("late_pins", PARTS);
	/* A mapping is one thing: it does not go in part. */
	EXPECT_EQ(unmap_bytes(rig, 0, PART_PAGES + 1, 1), -EINVAL);
	EXPECT_EQ(unmap_bytes(rig, 0, 1, PART_PAGES), -EINVAL);
	EXPECT_STAT("leaves", 2 * PARTS);

	EXPECT_EQ(unmap_bytes(rig, 0, PART_PAGES, 2 * PART_PAGES),
		  2 * PART_PAGES * MEM_PAGE_SIZE);
	EXPECT_STAT("leaves", 2 * (PARTS - 2));
	EXPECT_STAT("late_pins", PARTS - 2);
	EXPECT_TRUE(rig_dma_works(rig, 0));
	EXPECT_TRUE(rig_dma_write_blocked(rig, PART_PAGES));
	EXPECT_TRUE(rig_dma_write_blocked(rig, 2 * PART_PAGES + 1));
	EXPECT_TRUE(rig_dma_works(rig, 3 * PART_PAGES));
}

TEST_F_TIMEOUT(life, unmap_all, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	u64 unmapped = 0;

	map_parts(rig);
	/* With the one of the device's own page. */
	EXPECT_EQ(__iommu_unmap_all(rig->iommu, &unmapped), 0);
	EXPECT_EQ(unmapped, RIG_SIZE + DMA_MAX_SIZE);
	EXPECT_STAT("leaves", 0);
	EXPECT_STAT("late_pins", 0);
	iommu_map(rig->iommu, &rig->device->driver.region);
	EXPECT_TRUE(rig_dma_write_blocked(rig, 0));
	EXPECT_TRUE(rig_dma_write_blocked(rig, 1));

	rig_map(rig);
	guest_touch(rig->guest, rig_iova(1));
	EXPECT_TRUE(rig_dma_works(rig, 1));
}

TEST_F_TIMEOUT(life, update_vaddr_is_refused, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_VADDR,
		.vaddr = (u64)rig->mem.vaddr,
		.iova = RIG_IOVA,
		.size = RIG_SIZE,
	};

	rig_map(rig);
	guest_touch(rig->guest, rig_iova(0));
	EXPECT_EQ(unmap_bytes(rig, VFIO_DMA_UNMAP_FLAG_VADDR, 0, RIG_PAGES),
		  -EBUSY);
	EXPECT_EQ(unmap_bytes(rig, VFIO_DMA_UNMAP_FLAG_VADDR |
			      VFIO_DMA_UNMAP_FLAG_ALL, 0, 0), -EBUSY);
	EXPECT_EQ(type1_ioctl(rig->iommu, VFIO_IOMMU_MAP_DMA, &map), -EINVAL);
	map.flags |= VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
	EXPECT_EQ(type1_ioctl(rig->iommu, VFIO_IOMMU_MAP_DMA_UNPINNED, &map), -EINVAL);
	EXPECT_TRUE(rig_dma_works(rig, 0));
}

/* The leaf follows the new memory, and the old page is let go. */
TEST_F_TIMEOUT(life, memory_replaced_under_a_late_pin, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	s64 pins;
	u32 old;

	rig_map(rig);
	rig_register(rig, RIG_PAGES);
	rig_enable_marks(rig);
	pins = vmstat_pins();
	rig_pin(rig, 7);
	old = rig_guest_write(rig, 7);
	ASSERT_EQ(munmap(rig_vaddr(rig, 7), MEM_PAGE_SIZE), 0);
	EXPECT_EQ(vmstat_pins(), pins + 1);
	EXPECT_FALSE(rig_dma_read_blocked(rig, 7, old));

	ASSERT_NE(mmap(rig_vaddr(rig, 7), MEM_PAGE_SIZE, PROT_READ | PROT_WRITE,
		       MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
		  MAP_FAILED);
	guest_touch(rig->guest, rig_iova(7));
	EXPECT_EQ(guest_read(rig->guest, rig_iova(7)), 0);
	EXPECT_EQ(vmstat_pins(), pins);
	EXPECT_STAT("orphan_zaps", 1);
	EXPECT_TRUE(rig_dma_works(rig, 7));
}

/* A child that has nothing of the memory is no reason to take it away. */
TEST_F_TIMEOUT(life, fork_without_the_memory, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	int status;
	pid_t child;

	rig_map(rig);
	ASSERT_EQ(madvise(rig->mem.vaddr, RIG_SIZE, MADV_DONTFORK), 0);
	guest_touch(rig->guest, rig_iova(0));
	child = fork();
	if (!child)
		_exit(msync(rig->mem.vaddr, MEM_PAGE_SIZE, MS_ASYNC) ? errno : 0);
	ASSERT_EQ(waitpid(child, &status, 0), child);
	EXPECT_EQ(WEXITSTATUS(status), ENOMEM);
	EXPECT_STAT("leaves", 1);
	EXPECT_STAT("zaps", 0);
	EXPECT_TRUE(rig_dma_works(rig, 0));
}

/* The same pages of a file at two addresses of the process. */
TEST_F_TIMEOUT(life, two_addresses_of_a_file, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	void *second = rig_vaddr(rig, RIG_PAGES / 2);
	struct mem file;
	u32 old;

	mem_alloc(&file, MEM_MEMFD, RIG_SIZE / 2);
	ASSERT_EQ(mmap(rig->mem.vaddr, RIG_SIZE / 2, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_FIXED, file.fd, 0), rig->mem.vaddr);
	ASSERT_EQ(mmap(second, RIG_SIZE / 2, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_FIXED, file.fd, 0), second);
	rig_map(rig);
	guest_touch(rig->guest, rig_iova(0));
	EXPECT_TRUE(rig_dma_works(rig, 0));
	EXPECT_TRUE(rig_dma_write_blocked(rig, RIG_PAGES / 2));
	guest_touch(rig->guest, rig_iova(RIG_PAGES / 2));
	EXPECT_TRUE(dma_works(rig->device, rig_iova(RIG_PAGES / 2),
			      rig->mem.vaddr));

	old = rig_guest_write(rig, 0);
	mem_discard(&file, file.vaddr, MEM_PAGE_SIZE);
	EXPECT_STAT("leaves", 0);
	EXPECT_TRUE(rig_dma_read_blocked(rig, 0, old));
	EXPECT_TRUE(rig_dma_read_blocked(rig, RIG_PAGES / 2, old));
	mem_free(&file);
}

/* --- the bitmap's memory ------------------------------------------------------------ */

FIXTURE(bitmap) {
	struct rig rig;
};

FIXTURE_VARIANT(bitmap) {
	enum mem_kind kind;
	bool truncate;
};

FIXTURE_VARIANT_ADD(bitmap, unmapped_anon) {
	.kind = MEM_ANON,
};

FIXTURE_VARIANT_ADD(bitmap, unmapped_memfd) {
	.kind = MEM_MEMFD,
};

FIXTURE_VARIANT_ADD(bitmap, truncated_memfd) {
	.kind = MEM_MEMFD,
	.truncate = true,
};

FIXTURE_SETUP(bitmap)
{
	const char *missing = rig_init_marks(&self->rig, variant->kind);

	if (missing)
		SKIP(return, "%s", missing);
}

FIXTURE_TEARDOWN(bitmap)
{
	rig_cleanup(&self->rig);
}

/* The kernel holds the pages that were registered, and they say what they said. */
TEST_F_TIMEOUT(bitmap, last_marks_stay, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	struct mem *mem = &rig->bitmap;
	u64 page;

	for (page = 0; page < 3; page++)
		guest_touch(rig->guest, rig_iova(page));
	guest_mark(rig->guest, 1);
	ASSERT_EQ(variant->truncate ? ftruncate(mem->fd, 0) :
				      munmap(mem->vaddr, mem->size), 0);
	EXPECT_NE(__guest_touch(rig->guest, RIG_BITMAP_GPA), 0);

	mem_bracket(rig_vaddr(rig, 0));
	EXPECT_STAT("leaves", 1);
	EXPECT_STAT("late_pins", 1);
	EXPECT_TRUE(rig_dma_write_blocked(rig, 0));
	EXPECT_TRUE(rig_dma_works(rig, 1));
	type1_pin_bitmap(rig->iommu, VFIO_PIN_BITMAP_FLAG_UNREGISTER);
	EXPECT_STAT("late_pins", 0);

	/* Memory that is there can be registered instead. */
	mem_free(mem);
	mem_alloc(mem, variant->kind, MEM_PAGE_SIZE);
	rig_register(rig, RIG_PAGES);
	rig_enable_marks(rig);
	guest_touch(rig->guest, rig_iova(1));
	mem_bracket(rig_vaddr(rig, 1));
	EXPECT_TRUE(rig_dma_write_blocked(rig, 1));
}

int main(int argc, char *argv[])
{
	get_device_bdfs(&argc, argv);
	return test_harness_run(argc, argv);
}
