// SPDX-License-Identifier: GPL-2.0-only
/*
 * A device without IOMMU, as mediated devices are, in a container with unpinned
 * mappings: what it pins is pinned, held and accounted page by page, what it reads
 * and writes is what the process sees, and what it has pinned is not unmapped
 * before it lets go. Needs the device of CONFIG_TEST_VFIO_PIN.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <libvfio/child.h>
#include <libvfio/hostile.h>
#include <libvfio/unpinned.h>
#include <libvfio/vfio_pin_device.h>

#include "kselftest_harness.h"

#define PAGES_AND_MORE	4096UL	/* that the process may lock, in pages */

FIXTURE(emulated) {
	struct rig rig;
	struct vfio_pin_device device;
	u64 locked;	/* VmLck with the mapping, in KiB */
	s64 pins;	/* FOLL_PIN references with the mapping */
};

FIXTURE_VARIANT(emulated) {
	enum mem_kind kind;
};

FIXTURE_VARIANT_ADD(emulated, anon) {
	.kind = MEM_ANON,
};

FIXTURE_VARIANT_ADD(emulated, memfd) {
	.kind = MEM_MEMFD,
};

FIXTURE_SETUP(emulated)
{
	const char *missing = vfio_pin_device_missing();

	if (!missing)
		missing = rig_init(&self->rig, variant->kind);
	if (missing)
		SKIP(return, "%s", missing);
	/* Accounted, and a limit that is none */
	limit_memlock(PAGES_AND_MORE);
	vfio_pin_device_init(&self->device, self->rig.iommu);
	rig_map(&self->rig);
	self->locked = status_kib("VmLck");
	self->pins = vmstat_pins();
}

FIXTURE_TEARDOWN(emulated)
{
	vfio_pin_device_cleanup(&self->device);
	rig_cleanup(&self->rig);
}

/* What the device holds, and what the process is charged for it. */
#define EXPECT_PINNED(pages)						\
do {									\
	const u64 __pages = (pages);					\
									\
	EXPECT_EQ(status_kib("VmLck"), self->locked + __pages * PAGE_KIB); \
	EXPECT_EQ(vmstat_pins(), self->pins + __pages);			\
} while (0)

TEST_F_TIMEOUT(emulated, pins_one_page, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	u64 frame;

	if (!mem_can_pageout())
		SKIP(return, NO_SWAP);
	memset(rig_vaddr(rig, 3), 1, 3 * MEM_PAGE_SIZE);
	guest_touch(rig->guest, rig_iova(4));
	frame = vfio_pin_page(&self->device, rig_iova(4));
	EXPECT_EQ(frame, mem_frame_now(rig_vaddr(rig, 4)));
	EXPECT_PINNED(1);
	EXPECT_EQ(__vfio_pin_page(&self->device, rig_iova(4), NULL), -EEXIST);

	/* Its neighbours go, it stays, and the leaf goes as any other's. */
	EXPECT_TRUE(mem_pageout(rig_vaddr(rig, 3), MEM_PAGE_SIZE));
	EXPECT_TRUE(mem_pageout(rig_vaddr(rig, 5), MEM_PAGE_SIZE));
	mem_reclaim(rig_vaddr(rig, 4), MEM_PAGE_SIZE);
	mem_bracket(rig_vaddr(rig, 4));
	EXPECT_EQ(mem_frame(rig_vaddr(rig, 4)), frame);
	EXPECT_TRUE(rig_dma_write_blocked(rig, 4));
	guest_touch(rig->guest, rig_iova(4));
	EXPECT_TRUE(rig_dma_works(rig, 4));
	EXPECT_EQ(mem_frame(rig_vaddr(rig, 4)), frame);

	vfio_unpin_page(&self->device, rig_iova(4));
	EXPECT_PINNED(0);
	EXPECT_TRUE(mem_pageout(rig_vaddr(rig, 4), MEM_PAGE_SIZE));
	EXPECT_EQ(__vfio_unpin_page(&self->device, rig_iova(4)), -ENOENT);
}

/* What is not in memory comes in; where nothing is mapped, nothing is pinned. */
TEST_F_TIMEOUT(emulated, pins_what_is_not_there, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	u64 frame;

	EXPECT_EQ(mem_frame_now(rig_vaddr(rig, 7)), 0);
	frame = vfio_pin_page(&self->device, rig_iova(7));
	EXPECT_EQ(frame, mem_frame_now(rig_vaddr(rig, 7)));
	EXPECT_STAT("leaves", 0);
	EXPECT_PINNED(1);
	EXPECT_EQ(__vfio_pin_page(&self->device, rig_iova(RIG_PAGES), NULL),
		  -EINVAL);
	ASSERT_EQ(munmap(rig_vaddr(rig, 8), MEM_PAGE_SIZE), 0);
	EXPECT_EQ(__vfio_pin_page(&self->device, rig_iova(8), NULL), -EFAULT);
	EXPECT_PINNED(1);
	vfio_pin_device_cleanup(&self->device);
	EXPECT_PINNED(0);
}

TEST_F_TIMEOUT(emulated, limit_of_locked_memory, RIG_TIMEOUT_S)
{
	u64 page;

	limit_memlock(self->locked / PAGE_KIB + 2);
	for (page = 0; page < 2; page++)
		vfio_pin_page(&self->device, rig_iova(page));
	EXPECT_EQ(__vfio_pin_page(&self->device, rig_iova(2), NULL), -ENOMEM);
	EXPECT_PINNED(2);
	vfio_unpin_page(&self->device, rig_iova(0));
	EXPECT_EQ(__vfio_pin_page(&self->device, rig_iova(2), NULL), 0);
	EXPECT_PINNED(2);
}

TEST_F_TIMEOUT(emulated, reads_and_writes, RIG_TIMEOUT_S)
{
	struct vfio_pin_device *device = &self->device;
	u32 value = unique_value(), other = unique_value(), pair[2] = {};
	struct rig *rig = &self->rig;
	u32 *word = rig_vaddr(rig, 3);

	if (!mem_can_pageout())
		SKIP(return, NO_SWAP);
	/* Never touched */
	EXPECT_EQ(__vfio_pin_write(device, rig_iova(3), &value, sizeof(value)), 0);
	EXPECT_EQ(*word, value);
	word[1] = other;
	EXPECT_TRUE(mem_pageout(word, MEM_PAGE_SIZE));
	EXPECT_EQ(__vfio_pin_read(device, rig_iova(3), pair, sizeof(pair)), 0);
	EXPECT_EQ(pair[0], value);
	EXPECT_EQ(pair[1], other);

	/* In swap: the rest of the page stays, and the guest sees it. */
	EXPECT_TRUE(mem_pageout(word, MEM_PAGE_SIZE));
	value = unique_value();
	EXPECT_EQ(__vfio_pin_write(device, rig_iova(3), &value, sizeof(value)), 0);
	EXPECT_EQ(guest_read(rig->guest, rig_iova(3)), value);
	EXPECT_EQ(word[1], other);

	/* Two pages at once, and beyond the end */
	pair[0] = unique_value();
	pair[1] = unique_value();
	EXPECT_EQ(__vfio_pin_write(device, rig_iova(5) - sizeof(u32), pair,
				   sizeof(pair)), 0);
	EXPECT_EQ(((u32 *)rig_vaddr(rig, 5))[-1], pair[0]);
	EXPECT_EQ(((u32 *)rig_vaddr(rig, 5))[0], pair[1]);
	EXPECT_EQ(__vfio_pin_read(device, rig_iova(RIG_PAGES), pair,
				  sizeof(pair)), -EINVAL);
	EXPECT_PINNED(0);
}

/* Beside what has leaves: what it holds, always, and what it has written, once. */
TEST_F_TIMEOUT(emulated, dirty_pages, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	u32 value = unique_value();

	vfio_pin_page(&self->device, rig_iova(1));
	type1_dirty_tracking(rig->iommu, VFIO_IOMMU_DIRTY_PAGES_FLAG_START);
	vfio_pin_page(&self->device, rig_iova(2));
	guest_touch(rig->guest, rig_iova(3));
	EXPECT_EQ(__vfio_pin_write(&self->device, rig_iova(4), &value,
				   sizeof(value)), 0);
	EXPECT_EQ(__vfio_pin_read(&self->device, rig_iova(5), &value,
				  sizeof(value)), 0);
	EXPECT_RIG_DIRTY(rig, 1, 2, 3, 4);
	EXPECT_RIG_DIRTY(rig, 1, 2, 3);
	vfio_unpin_page(&self->device, rig_iova(1));
	mem_discard(&rig->mem, rig_vaddr(rig, 3), MEM_PAGE_SIZE);
	EXPECT_RIG_DIRTY(rig, 1, 2, 3);
	EXPECT_RIG_DIRTY(rig, 2);
}

struct unmapping {
	pthread_t thread;
	pid_t tid;
	struct iommu *iommu;
	struct dma_region region;
	bool done;
};

static void *unmap_thread(void *data)
{
	struct unmapping *unmapping = data;

	WRITE_ONCE(unmapping->tid, syscall(SYS_gettid));
	type1_unmap(unmapping->iommu, &unmapping->region);
	WRITE_ONCE(unmapping->done, true);
	return NULL;
}

static void start_unmapping(struct unmapping *unmapping)
{
	VFIO_ASSERT_TRUE(!pthread_create(&unmapping->thread, NULL, unmap_thread,
					 unmapping), "pthread_create");
	while (!READ_ONCE(unmapping->tid))
		usleep(1000);
}

static void end_unmapping(struct unmapping *unmapping)
{
	VFIO_ASSERT_EQ(pthread_join(unmapping->thread, NULL), 0);
	VFIO_ASSERT_TRUE(unmapping->done, "not unmapped");
}

/* The device is told, and the mapping stays until it has let go. */
TEST_F_TIMEOUT(emulated, unmapping_waits, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	struct unmapping unmapping = {
		.iommu = rig->iommu,
		.region = rig->region,
	};

	guest_touch(rig->guest, rig_iova(0));
	vfio_pin_page(&self->device, rig_iova(1));
	vfio_pin_page(&self->device, rig_iova(RIG_PAGES - 1));
	vfio_pin_hold(&self->device, true);
	start_unmapping(&unmapping);
	while (!vfio_pin_unmaps(&self->device))
		usleep(1000);
	EXPECT_FALSE(READ_ONCE(unmapping.done));
	EXPECT_PINNED(2);
	EXPECT_TRUE(rig_dma_works(rig, 0));
	EXPECT_EQ(__type1_map_unpinned(rig->iommu, &rig->region), -EEXIST);

	vfio_pin_hold(&self->device, false);
	end_unmapping(&unmapping);
	EXPECT_EQ(vfio_pin_unmaps(&self->device), 1);
	EXPECT_EQ(__vfio_unpin_page(&self->device, rig_iova(1)), -ENOENT);
	EXPECT_EQ(vmstat_pins(), self->pins);
	EXPECT_LT(status_kib("VmLck"), self->locked);
	EXPECT_TRUE(rig_dma_write_blocked(rig, 0));

	/* Nothing pinned, nothing to tell. */
	rig_map(rig);
	rig_unmap(rig);
	EXPECT_EQ(vfio_pin_unmaps(&self->device), 1);
}

/* The device is told of one after the other, and none locks the other out. */
TEST_F_TIMEOUT(emulated, two_unmappings, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	struct unmapping unmapping[2] = {};
	int n;

	rig_unmap(rig);
	for (n = 0; n < 2; n++) {
		unmapping[n].iommu = rig->iommu;
		unmapping[n].region.vaddr = rig_vaddr(rig, n * RIG_PAGES / 2);
		unmapping[n].region.iova = rig_iova(n * RIG_PAGES / 2);
		unmapping[n].region.size = RIG_SIZE / 2;
		type1_map_unpinned(rig->iommu, &unmapping[n].region);
		vfio_pin_page(&self->device, unmapping[n].region.iova);
	}
	EXPECT_EQ(vmstat_pins(), self->pins + 2);
	vfio_pin_hold(&self->device, true);
	start_unmapping(&unmapping[0]);
	while (!vfio_pin_unmaps(&self->device))
		usleep(1000);
	start_unmapping(&unmapping[1]);
	wait_until_asleep(unmapping[1].tid);
	EXPECT_EQ(vfio_pin_unmaps(&self->device), 1);
	vfio_pin_hold(&self->device, false);
	end_unmapping(&unmapping[0]);
	end_unmapping(&unmapping[1]);
	EXPECT_EQ(vfio_pin_unmaps(&self->device), 2);
	EXPECT_EQ(vmstat_pins(), self->pins);
}

/* The last device with an IOMMU goes, comes back, and the mapping stays. */
TEST_F_TIMEOUT(emulated, left_behind, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	struct dma_region other = rig->region;
	u32 value;

	other.iova += RIG_SIZE;
	vfio_pin_page(&self->device, rig_iova(1));
	guest_touch(rig->guest, rig_iova(2));
	type1_dirty_tracking(rig->iommu, VFIO_IOMMU_DIRTY_PAGES_FLAG_START);
	dma_cleanup(rig->device);
	/* The tables go with the domain. */
	self->locked = status_kib("VmLck") - PAGE_KIB - TABLES_KIB;
	self->pins = vmstat_pins() - 1;
	vfio_pci_device_cleanup(rig->device);
	EXPECT_PINNED(1);
	EXPECT_EQ(__type1_map_unpinned(rig->iommu, &other), -EOPNOTSUPP);
	EXPECT_RIG_DIRTY(rig, 1, 2);
	EXPECT_RIG_DIRTY(rig, 1);
	EXPECT_EQ(__vfio_pin_read(&self->device, rig_iova(2), &value,
				  sizeof(value)), 0);
	vfio_pin_page(&self->device, rig_iova(3));
	EXPECT_PINNED(2);
	vfio_unpin_page(&self->device, rig_iova(1));
	EXPECT_PINNED(1);
	/* No device can write there now. */
	guest_touch(rig->guest, rig_iova(4));
	EXPECT_RIG_DIRTY(rig, 1, 3);
	EXPECT_RIG_DIRTY(rig, 3);

	rig->device = vfio_pci_device_init(device_bdf[0], rig->iommu);
	dma_init(rig->device, RIG_EDU_IOVA);
	EXPECT_TRUE(rig_dma_works(rig, 4));
	EXPECT_RIG_DIRTY(rig, 2, 3, 4);
	vfio_unpin_page(&self->device, rig_iova(3));
}

FIXTURE(alone) {
	struct mem mem;
	struct iommu *iommu;
	struct vfio_pin_device device;
};

FIXTURE_SETUP(alone)
{
	const char *missing = vfio_pin_device_missing();

	if (missing)
		SKIP(return, "%s", missing);
	mem_alloc(&self->mem, MEM_ANON, RIG_SIZE);
	self->iommu = iommu_init(MODE_VFIO_TYPE1V2_IOMMU);
	vfio_pin_device_init(&self->device, self->iommu);
}

FIXTURE_TEARDOWN(alone)
{
	vfio_pin_device_cleanup(&self->device);
	iommu_cleanup(self->iommu);
	mem_free(&self->mem);
}

/* There is nothing that could be mapped unpinned. */
TEST_F(alone, can_map_pinned_only)
{
	struct dma_region region = {
		.vaddr = self->mem.vaddr,
		.iova = RIG_IOVA,
		.size = RIG_SIZE,
	};
	u64 locked = status_kib("VmLck"), frame;
	s64 pins = vmstat_pins();

	EXPECT_EQ(__type1_map_unpinned(self->iommu, &region), -EOPNOTSUPP);
	EXPECT_EQ(ioctl(self->iommu->container_fd, VFIO_CHECK_EXTENSION,
			VFIO_TYPE1_UNPINNED_IOMMU), 0);
	type1_map(self->iommu, &region);
	EXPECT_EQ(vmstat_pins(), pins);
	frame = vfio_pin_page(&self->device, rig_iova(5));
	EXPECT_EQ(frame, mem_frame_now(self->mem.vaddr + 5 * MEM_PAGE_SIZE));
	EXPECT_EQ(vmstat_pins(), pins + 1);
	EXPECT_EQ(status_kib("VmLck"), locked + PAGE_KIB);
	type1_unmap(self->iommu, &region);
	EXPECT_EQ(vfio_pin_unmaps(&self->device), 1);
	EXPECT_EQ(vmstat_pins(), pins);
	EXPECT_EQ(status_kib("VmLck"), locked);
}

/* In a child: the device holds pages, until the process is killed. */
static int pin_until_killed(void *unused)
{
	struct vfio_pin_device device;
	struct rig rig;
	u64 page;

	rig_init(&rig, MEM_ANON);
	vfio_pin_device_init(&device, rig.iommu);
	rig_map(&rig);
	for (page = 0; page < 64; page++)
		vfio_pin_page(&device, rig_iova(page));
	guest_touch(rig.guest, rig_iova(0));
	say('p');
	return pause();
}

TEST(killed_with_pins)
{
	const char *missing = vfio_pin_device_missing();
	struct kernel_counts before, left;
	struct child child;

	if (!missing)
		missing = device_missing(0, false);
	if (missing)
		SKIP(return, "%s", missing);
	before = kernel_counts();
	child_start(&child, pin_until_killed, NULL);
	ASSERT_EQ(child_hear(&child), 'p');
	EXPECT_GE(vmstat_pins(), before.pins + 64);
	EXPECT_EQ(child_kill(&child), -SIGKILL);
	left = kernel_counts_left(&before);
	EXPECT_EQ(left.pins, 0);
	EXPECT_EQ(left.iommu_pages, 0);
}

int main(int argc, char *argv[])
{
	get_device_bdfs(&argc, argv);
	return test_harness_run(argc, argv);
}
