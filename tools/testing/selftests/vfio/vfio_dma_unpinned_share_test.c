// SPDX-License-Identifier: GPL-2.0-only
/*
 * More than one device, container or process: what they share, and what is
 * left when one of them goes.
 */
#include <signal.h>

#include <libvfio/child.h>
#include <libvfio/hostile.h>
#include <libvfio/unpinned.h>
#include <libvfio/vfio_group.h>

#include "kselftest_harness.h"

#define EDU2_IOVA	(RIG_EDU_IOVA + MEM_HUGE_SIZE)

struct pair {
	struct rig rig;
	struct iommu *iommu;	/* of the second device */
	struct vfio_pci_device *device;
};

static const char *pair_init(struct pair *pair, enum mem_kind kind,
			     bool containers)
{
	const char *missing = device_missing(1, false);

	if (missing)
		return missing;
	separate_domains(true);
	missing = rig_init(&pair->rig, kind);
	if (missing)
		return missing;
	pair->iommu = containers ? iommu_init(MODE_VFIO_TYPE1V2_IOMMU) :
				   pair->rig.iommu;
	return NULL;
}

static void pair_cleanup(struct pair *pair)
{
	if (pair->device) {
		dma_cleanup(pair->device);
		vfio_pci_device_cleanup(pair->device);
	}
	if (pair->iommu != pair->rig.iommu)
		iommu_cleanup(pair->iommu);
	rig_cleanup(&pair->rig);
	separate_domains(false);
}

FIXTURE(share) {
	struct pair pair;
};

FIXTURE_VARIANT(share) {
	enum mem_kind kind;
	bool containers;	/* one for each device */
};

FIXTURE_VARIANT_ADD(share, domains_anon) {
	.kind = MEM_ANON,
};

FIXTURE_VARIANT_ADD(share, domains_memfd) {
	.kind = MEM_MEMFD,
};

FIXTURE_VARIANT_ADD(share, containers_anon) {
	.kind = MEM_ANON,
	.containers = true,
};

FIXTURE_VARIANT_ADD(share, containers_memfd) {
	.kind = MEM_MEMFD,
	.containers = true,
};

FIXTURE_SETUP(share)
{
	const char *missing = pair_init(&self->pair, variant->kind,
					variant->containers);

	if (missing)
		SKIP(return, "%s", missing);
}

FIXTURE_TEARDOWN(share)
{
	pair_cleanup(&self->pair);
}

/* The second device comes, and sees what the first one sees. */
static void attach_second(struct pair *pair)
{
	pair->device = vfio_pci_device_init(device_bdf[1], pair->iommu);
	dma_init(pair->device, EDU2_IOVA);
	if (pair->iommu != pair->rig.iommu)
		type1_map_unpinned(pair->iommu, &pair->rig.region);
}

static bool both_work(struct pair *pair, u64 page)
{
	void *vaddr = rig_vaddr(&pair->rig, page);

	return rig_dma_works(&pair->rig, page) &&
	       dma_works(pair->device, rig_iova(page), vaddr);
}

static bool both_blocked(struct pair *pair, u64 page)
{
	void *vaddr = rig_vaddr(&pair->rig, page);

	return rig_dma_write_blocked(&pair->rig, page) &&
	       dma_write_blocked(pair->device, rig_iova(page), vaddr);
}

TEST_F_TIMEOUT(share, touch_and_discard, RIG_TIMEOUT_S)
{
	struct pair *pair = &self->pair;
	struct rig *rig = &pair->rig;

	rig_map(rig);
	attach_second(pair);
	EXPECT_TRUE(both_blocked(pair, 0));
	guest_touch(rig->guest, rig_iova(0));
	EXPECT_TRUE(both_work(pair, 0));
	mem_discard(&rig->mem, rig_vaddr(rig, 0), MEM_PAGE_SIZE);
	EXPECT_TRUE(both_blocked(pair, 0));
	guest_touch(rig->guest, rig_iova(0));
	EXPECT_TRUE(both_work(pair, 0));
}

TEST_F_TIMEOUT(share, late_device_gets_leaves, RIG_TIMEOUT_S)
{
	struct pair *pair = &self->pair;
	struct rig *rig = &pair->rig;

	rig_map(rig);
	rig_register(rig, RIG_PAGES);
	rig_enable_marks(rig);
	rig_late_pin(rig, 1);
	guest_touch(rig->guest, rig_iova(0));
	attach_second(pair);
	/* Pages that the guest does not touch again. */
	EXPECT_TRUE(both_work(pair, 0));
	EXPECT_TRUE(both_work(pair, 1));
	EXPECT_TRUE(both_blocked(pair, 2));
}

TEST_F_TIMEOUT(share, late_pin_holds_for_both, RIG_TIMEOUT_S)
{
	struct pair *pair = &self->pair;
	struct rig *rig = &pair->rig;

	rig_map(rig);
	attach_second(pair);
	rig_register(rig, RIG_PAGES);
	rig_enable_marks(rig);
	rig_late_pin(rig, 0);
	guest_touch(rig->guest, rig_iova(1));
	mem_bracket(rig_vaddr(rig, 1));
	EXPECT_STAT("late_pins", 1);
	EXPECT_TRUE(both_work(pair, 0));
	EXPECT_TRUE(both_blocked(pair, 1));
	guest_unmark(rig->guest, 0);
	mem_bracket(rig_vaddr(rig, 0));
	EXPECT_STAT("late_pins", 0);
	EXPECT_TRUE(both_blocked(pair, 0));
}

TEST_F_TIMEOUT(share, one_device_goes, RIG_TIMEOUT_S)
{
	struct pair *pair = &self->pair;
	struct rig *rig = &pair->rig;

	rig_map(rig);
	attach_second(pair);
	rig_register(rig, RIG_PAGES);
	rig_enable_marks(rig);
	rig_late_pin(rig, 0);
	EXPECT_TRUE(both_work(pair, 0));
	dma_cleanup(pair->device);
	vfio_pci_device_cleanup(pair->device);
	pair->device = NULL;
	EXPECT_TRUE(rig_dma_works(rig, 0));
	guest_unmark(rig->guest, 0);
	mem_bracket(rig_vaddr(rig, 0));
	EXPECT_TRUE(rig_dma_write_blocked(rig, 0));
}

/* Each mapping reports what had a leaf in it, in any domain. */
TEST_F_TIMEOUT(share, dirty_pages, RIG_TIMEOUT_S)
{
	struct pair *pair = &self->pair;
	struct rig *rig = &pair->rig;
	struct dirty dirty = {};

	rig_map(rig);
	attach_second(pair);
	type1_dirty_tracking(rig->iommu, VFIO_IOMMU_DIRTY_PAGES_FLAG_START);
	if (variant->containers)
		type1_dirty_tracking(pair->iommu,
				     VFIO_IOMMU_DIRTY_PAGES_FLAG_START);
	guest_touch(rig->guest, rig_iova(0));
	guest_touch(rig->guest, rig_iova(1));
	EXPECT_TRUE(dma_works(pair->device, rig_iova(0), rig_vaddr(rig, 0)));
	mem_discard(&rig->mem, rig_vaddr(rig, 1), MEM_PAGE_SIZE);
	EXPECT_RIG_DIRTY(rig, 0, 1);
	EXPECT_RIG_DIRTY(rig, 0);

	/* The second one goes, and the leaf of the first one stays. */
	if (variant->containers) {
		type1_unmap_dirty(pair->iommu, &rig->region, &dirty);
		EXPECT_DIRTY(dirty, 0, 1);
	}
	dma_cleanup(pair->device);
	vfio_pci_device_cleanup(pair->device);
	pair->device = NULL;
	EXPECT_RIG_DIRTY(rig, 0);
	EXPECT_TRUE(rig_dma_works(rig, 0));
	mem_discard(&rig->mem, rig_vaddr(rig, 0), MEM_PAGE_SIZE);
	EXPECT_RIG_DIRTY(rig, 0);
	EXPECT_RIG_DIRTY(rig);
}

/* Two domains of one container */
FIXTURE(attach) {
	struct pair pair;
};

FIXTURE_SETUP(attach)
{
	const char *missing = pair_init(&self->pair, MEM_ANON, false);

	if (missing)
		SKIP(return, "%s", missing);
}

FIXTURE_TEARDOWN(attach)
{
	pair_cleanup(&self->pair);
}

static void detach(struct vfio_pci_device *device)
{
	dma_cleanup(device);
	vfio_pci_device_cleanup(device);
}

/* Each device has what was mapped before it came, and what came after it. */
TEST_F_TIMEOUT(attach, between_mappings, RIG_TIMEOUT_S)
{
	struct pair *pair = &self->pair;
	struct rig *rig = &pair->rig;
	struct dma_region half = rig->region;

	half.size /= 2;
	type1_map_unpinned(rig->iommu, &half);
	guest_touch(rig->guest, rig_iova(1));
	attach_second(pair);
	half.vaddr += half.size;
	half.iova += half.size;
	type1_map_unpinned(rig->iommu, &half);
	guest_touch(rig->guest, rig_iova(RIG_PAGES - 1));
	EXPECT_STAT("leaves", 2);
	EXPECT_TRUE(both_work(pair, 1));
	EXPECT_TRUE(both_work(pair, RIG_PAGES - 1));

	type1_unmap(rig->iommu, &half);
	EXPECT_TRUE(both_work(pair, 1));
	EXPECT_TRUE(both_blocked(pair, RIG_PAGES - 1));
}

/* Each domain has tables of its own, which are charged as the first one's. */
TEST_F_TIMEOUT(attach, tables_are_charged, RIG_TIMEOUT_S)
{
	struct pair *pair = &self->pair;
	struct rig *rig = &pair->rig;
	u64 locked = status_kib("VmLck");
	int group;

	rig_map(rig);
	EXPECT_EQ(status_kib("VmLck"), locked + 2 * TABLES_KIB);
	locked = status_kib("VmLck");
	attach_second(pair);
	/* And the page of edu's driver. */
	EXPECT_EQ(status_kib("VmLck"), locked + TABLES_KIB + PAGE_KIB);
	detach(pair->device);
	pair->device = NULL;
	EXPECT_EQ(status_kib("VmLck"), locked);

	limit_memlock(locked / PAGE_KIB + TABLES_KIB / PAGE_KIB - 1);
	group = vfio_group_open("pci", device_bdf[1]);
	EXPECT_EQ(vfio_group_set_container(group, pair->iommu), -ENOMEM);
	close(group);
	EXPECT_EQ(status_kib("VmLck"), locked);
	guest_touch(rig->guest, rig_iova(0));
	EXPECT_TRUE(rig_dma_works(rig, 0));
}

/* The older domain goes, and comes back. */
TEST_F_TIMEOUT(attach, first_device_goes, RIG_TIMEOUT_S)
{
	struct pair *pair = &self->pair;
	struct rig *rig = &pair->rig;
	void *vaddr = rig_vaddr(rig, 0);

	rig_map(rig);
	rig_register(rig, RIG_PAGES);
	rig_enable_marks(rig);
	attach_second(pair);
	rig_late_pin(rig, 0);
	guest_touch(rig->guest, rig_iova(1));
	EXPECT_TRUE(both_work(pair, 0));
	detach(rig->device);
	EXPECT_STAT("leaves", 2);
	EXPECT_STAT("late_pins", 1);
	EXPECT_TRUE(dma_works(pair->device, rig_iova(0), vaddr));
	mem_discard(&rig->mem, rig_vaddr(rig, 1), MEM_PAGE_SIZE);
	EXPECT_TRUE(dma_write_blocked(pair->device, rig_iova(1),
				      rig_vaddr(rig, 1)));

	rig->device = vfio_pci_device_init(device_bdf[0], rig->iommu);
	dma_init(rig->device, RIG_EDU_IOVA);
	EXPECT_TRUE(both_work(pair, 0));
	EXPECT_TRUE(both_blocked(pair, 1));
}

/* All devices go, and the mappings with them. */
TEST_F_TIMEOUT(attach, last_device_goes, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->pair.rig;

	rig_map(rig);
	rig_register(rig, RIG_PAGES);
	rig_enable_marks(rig);
	rig_late_pin(rig, 0);
	detach(rig->device);
	EXPECT_STAT("leaves", -1);
	EXPECT_EQ(vmstat_pins(), rig->pins);
	EXPECT_EQ(status_kib("VmLck"), rig->locked);

	/* The container starts anew. */
	rig->device = vfio_pci_device_init(device_bdf[0], rig->iommu);
	dma_init(rig->device, RIG_EDU_IOVA);
	rig_map(rig);
	EXPECT_TRUE(rig_dma_write_blocked(rig, 0));
	guest_touch(rig->guest, rig_iova(0));
	EXPECT_TRUE(rig_dma_works(rig, 0));
}

FIXTURE(containers) {
	struct pair pair;
};

FIXTURE_SETUP(containers)
{
	const char *missing = pair_init(&self->pair, MEM_ANON, true);

	if (missing)
		SKIP(return, "%s", missing);
}

FIXTURE_TEARDOWN(containers)
{
	pair_cleanup(&self->pair);
}

TEST_F_TIMEOUT(containers, share_bitmap, RIG_TIMEOUT_S)
{
	struct pair *pair = &self->pair;
	struct rig *rig = &pair->rig;
	void *bitmap = rig->bitmap.vaddr;

	rig_map(rig);
	attach_second(pair);
	rig_register(rig, 10);
	EXPECT_EQ(__type1_pin_bitmap(pair->iommu, VFIO_PIN_BITMAP_FLAG_ENABLE_MARKS),
		  -ENOENT);
	EXPECT_EQ(__type1_register_bitmap(pair->iommu, bitmap, &rig->region, 11),
		  -EEXIST);
	type1_register_bitmap(pair->iommu, bitmap, &rig->region, 10);
	type1_pin_bitmap(pair->iommu, VFIO_PIN_BITMAP_FLAG_ENABLE_MARKS);
	rig_late_pin(rig, 0);
	EXPECT_STAT("late_pins", 1);

	/* The last one counts. */
	type1_pin_bitmap(rig->iommu, VFIO_PIN_BITMAP_FLAG_UNREGISTER);
	EXPECT_STAT("late_pins", 1);
	EXPECT_TRUE(both_work(pair, 0));
	type1_pin_bitmap(pair->iommu, VFIO_PIN_BITMAP_FLAG_UNREGISTER);
	EXPECT_STAT("late_pins", 0);
	EXPECT_TRUE(both_blocked(pair, 0));
}

/* In a child: set up, and access in a loop until the process is killed. */
static int run_until_killed(void *data)
{
	struct rig rig;
	u64 page;

	rig_init(&rig, *(enum mem_kind *)data);
	rig_map(&rig);
	rig_register(&rig, RIG_PAGES);
	rig_enable_marks(&rig);
	for (page = 0; page < 64; page++)
		rig_pin(&rig, page);
	mem_bracket(rig_vaddr(&rig, 0));
	VFIO_ASSERT_TRUE(rig_dma_works(&rig, 0), "no DMA");
	say('r');
	for (;; page++) {
		guest_touch(rig.guest, rig_iova(page % RIG_PAGES));
		mem_bracket(rig_vaddr(&rig, (page - 8) % RIG_PAGES));
	}
	return 0;
}

/* Kill it, and return its process ID. */
static pid_t run_and_kill(enum mem_kind kind)
{
	struct child child;
	pid_t pid;

	child_start(&child, run_until_killed, &kind);
	pid = child.pid;
	VFIO_ASSERT_EQ(child_hear(&child), 'r', "the child has ended");
	child_kill(&child);
	return pid;
}

FIXTURE(killed) {
	struct rig rig;
};

FIXTURE_VARIANT(killed) {
	enum mem_kind kind;
};

FIXTURE_VARIANT_ADD(killed, anon) {
	.kind = MEM_ANON,
};

FIXTURE_VARIANT_ADD(killed, memfd) {
	.kind = MEM_MEMFD,
};

FIXTURE_SETUP(killed)
{
	const char *missing = rig_init(&self->rig, variant->kind);

	if (missing)
		SKIP(return, "%s", missing);
	/* The child wants the device. */
	rig_cleanup(&self->rig);
}

FIXTURE_TEARDOWN(killed)
{
	rig_cleanup(&self->rig);
}

TEST_F_TIMEOUT(killed, leaves_nothing, RIG_TIMEOUT_S)
{
	s64 pins = vmstat_pins();
	pid_t pid;
	int n;

	for (n = 0; n < 3; n++) {
		pid = run_and_kill(variant->kind);
		if (stats_available())
			EXPECT_EQ(stat_wait_of(pid, "leaves", -1), -1);
		EXPECT_EQ(vmstat_pins(), pins);
	}
	ASSERT_EQ(rig_init(&self->rig, variant->kind), NULL);
	rig_map(&self->rig);
	guest_touch(self->rig.guest, rig_iova(0));
	EXPECT_TRUE(rig_dma_works(&self->rig, 0));
}

int main(int argc, char *argv[])
{
	get_device_bdfs(&argc, argv);
	return test_harness_run(argc, argv);
}
