// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every errno that include/uapi/linux/vfio.h documents for
 * VFIO_IOMMU_MAP_DMA_UNPINNED, VFIO_IOMMU_PIN_BITMAP, VFIO_IOMMU_UNPINNED_EVENTFD
 * and VFIO_IOMMU_UNPINNED_STATS, and that nothing has changed then. Not here, since
 * it takes other hardware: EOPNOTSUPP of an IOMMU that can't do it.
 */
#include <fcntl.h>
#include <linux/memfd.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/time.h>
#include <sys/wait.h>

#include <libvfio/hostile.h>
#include <libvfio/unpinned.h>

#include "kselftest_harness.h"

#define MSI_IOVA	0xfee00000UL	/* reserved on x86 */
#define ENTRY_LIMIT	"/sys/module/vfio_iommu_type1/parameters/dma_entry_limit"

#define MAX_ALIASES	16		/* mappings of the same memory */

#define MAP_FLAGS	(VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE)

FIXTURE(failure) {
	struct mem mem;
	struct mem bitmap;
	struct iommu *iommu;
	struct vfio_pci_device *device;
	struct vfio_iommu_type1_dma_map map;		/* good ones */
	struct vfio_iommu_type1_pin_bitmap reg;
	struct user_state state;
};

FIXTURE_SETUP(failure)
{
	const char *missing = device_missing(0, true);

	if (missing)
		SKIP(return, "%s", missing);
	mem_alloc(&self->mem, MEM_ANON, RIG_SIZE);
	mem_alloc(&self->bitmap, MEM_ANON, 2 * MEM_PAGE_SIZE);
	self->iommu = iommu_init(MODE_VFIO_TYPE1V2_IOMMU);
	self->device = vfio_pci_device_init(device_bdf[0], self->iommu);
	missing = unpinned_missing(self->iommu);
	if (missing)
		SKIP(return, "%s", missing);
	self->map = (struct vfio_iommu_type1_dma_map) {
		.argsz = sizeof(self->map),
		.flags = MAP_FLAGS,
		.vaddr = (u64)self->mem.vaddr,
		.iova = RIG_IOVA,
		.size = RIG_SIZE,
	};
	self->reg = (struct vfio_iommu_type1_pin_bitmap) {
		.argsz = sizeof(self->reg),
		.flags = VFIO_PIN_BITMAP_FLAG_REGISTER,
		.vaddr = (u64)self->bitmap.vaddr,
		.iova = RIG_IOVA,
		.npages = RIG_PAGES,
		.limit = 1,
	};
	self->state = user_state(self->iommu);
}

FIXTURE_TEARDOWN(failure)
{
	vfio_pci_device_cleanup(self->device);
	iommu_cleanup(self->iommu);
}

/* The call with one field changed fails, and changes nothing. */
#define EXPECT_FAILURE(cmd, good, field, value, err)			\
do {									\
	typeof(good) __args = (good);					\
									\
	__args.field = (value);						\
	EXPECT_EQ(type1_ioctl(self->iommu, cmd, &__args), err) {		\
		TH_LOG("with " #field " = " #value);			\
	}								\
	EXPECT_UNCHANGED();						\
} while (0)

#define EXPECT_UNCHANGED()	EXPECT_STATE(self->iommu, self->state)

#define EXPECT_MAP_FAILURE(field, value, err) \
	EXPECT_FAILURE(VFIO_IOMMU_MAP_DMA_UNPINNED, self->map, field, value, err)

#define EXPECT_REGISTER_FAILURE(field, value, err) \
	EXPECT_FAILURE(VFIO_IOMMU_PIN_BITMAP, self->reg, field, value, err)

/* After all the failures, the same call with good values works. */
#define EXPECT_MAP_WORKS()						\
	EXPECT_EQ(type1_ioctl(self->iommu, VFIO_IOMMU_MAP_DMA_UNPINNED, &self->map), 0)

TEST_F_TIMEOUT(failure, capability, RIG_TIMEOUT_S)
{
	struct vfio_iommu_type1_info_cap_unpinned cap;
	struct iommu *empty = iommu_init(MODE_VFIO_TYPE1V2_IOMMU);

	EXPECT_EQ(ioctl(empty->container_fd, VFIO_CHECK_EXTENSION,
			VFIO_TYPE1_UNPINNED_IOMMU), 0);
	iommu_cleanup(empty);
	EXPECT_EQ(ioctl(self->iommu->container_fd, VFIO_CHECK_EXTENSION,
			VFIO_TYPE1_UNPINNED_IOMMU), 1);
	ASSERT_TRUE(type1_get_cap(self->iommu,
				  VFIO_IOMMU_TYPE1_INFO_CAP_UNPINNED,
				  &cap, sizeof(cap)));
	EXPECT_EQ(cap.header.version, 1);
	EXPECT_EQ(cap.flags, 0);
	EXPECT_TRUE(cap.pgsize_bitmap & MEM_PAGE_SIZE);
}

TEST_F_TIMEOUT(failure, map_einval, RIG_TIMEOUT_S)
{
	EXPECT_MAP_FAILURE(argsz, sizeof(self->map) - 1, -EINVAL);
	EXPECT_MAP_FAILURE(argsz, 0, -EINVAL);
	EXPECT_MAP_FAILURE(flags, 0, -EINVAL);
	EXPECT_MAP_FAILURE(flags, VFIO_DMA_MAP_FLAG_READ, -EINVAL);
	EXPECT_MAP_FAILURE(flags, VFIO_DMA_MAP_FLAG_WRITE, -EINVAL);
	EXPECT_MAP_FAILURE(flags, MAP_FLAGS | VFIO_DMA_MAP_FLAG_VADDR, -EINVAL);
	EXPECT_MAP_FAILURE(flags, MAP_FLAGS | 1U << 31, -EINVAL);
	EXPECT_MAP_FAILURE(iova, RIG_IOVA + 1, -EINVAL);
	EXPECT_MAP_FAILURE(vaddr, self->map.vaddr + 512, -EINVAL);
	EXPECT_MAP_FAILURE(size, MEM_PAGE_SIZE - 1, -EINVAL);
	EXPECT_MAP_FAILURE(size, 0, -EINVAL);
	EXPECT_MAP_FAILURE(iova, MSI_IOVA, -EINVAL);
	EXPECT_MAP_FAILURE(iova, 1UL << 62, -EINVAL);
	EXPECT_MAP_WORKS();
}

TEST_F_TIMEOUT(failure, map_eoverflow, RIG_TIMEOUT_S)
{
	EXPECT_MAP_FAILURE(iova, -MEM_PAGE_SIZE, -EOVERFLOW);
	EXPECT_MAP_FAILURE(vaddr, -MEM_PAGE_SIZE, -EOVERFLOW);
	EXPECT_MAP_FAILURE(size, -MEM_PAGE_SIZE, -EOVERFLOW);
	EXPECT_MAP_WORKS();
}

TEST_F_TIMEOUT(failure, map_eexist, RIG_TIMEOUT_S)
{
	struct dma_region pinned = {
		.vaddr = self->mem.vaddr,
		.iova = RIG_IOVA + MEM_PAGE_SIZE,
		.size = MEM_PAGE_SIZE,
	};

	type1_map(self->iommu, &pinned);
	self->state = user_state(self->iommu);
	EXPECT_MAP_FAILURE(argsz, sizeof(self->map), -EEXIST);
	type1_unmap(self->iommu, &pinned);

	EXPECT_MAP_WORKS();
	self->state = user_state(self->iommu);
	EXPECT_MAP_FAILURE(argsz, sizeof(self->map), -EEXIST);
	EXPECT_MAP_FAILURE(iova, RIG_IOVA + RIG_SIZE - MEM_PAGE_SIZE, -EEXIST);
	EXPECT_EQ(__type1_map(self->iommu, &pinned), -EEXIST);
	EXPECT_UNCHANGED();
}

TEST_F_TIMEOUT(failure, map_efault, RIG_TIMEOUT_S)
{
	void *end = self->mem.vaddr + RIG_SIZE - MEM_PAGE_SIZE;

	EXPECT_EQ(type1_ioctl(self->iommu, VFIO_IOMMU_MAP_DMA_UNPINNED, (void *)8),
		  -EFAULT);
	ASSERT_EQ(munmap(end, MEM_PAGE_SIZE), 0);
	EXPECT_MAP_FAILURE(flags, MAP_FLAGS, -EFAULT);
	EXPECT_MAP_FAILURE(vaddr, 8 * MEM_PAGE_SIZE, -EFAULT);
	/* The end of the address space, which is 0 as the end of a range. */
	EXPECT_MAP_FAILURE(vaddr, -self->map.size, -EFAULT);
	self->map.size -= MEM_PAGE_SIZE;
	EXPECT_MAP_WORKS();
}

/* Memory of another kind in the middle of the range. */
TEST_F_TIMEOUT(failure, map_eopnotsupp, RIG_TIMEOUT_S)
{
	void *hole = self->mem.vaddr + MEM_HUGE_SIZE;
	char dir[] = "/tmp/vfio-selftest-XXXXXX", path[64];
	int fd;

	ASSERT_EQ(mprotect(hole, MEM_PAGE_SIZE, PROT_READ), 0);
	EXPECT_MAP_FAILURE(flags, MAP_FLAGS, -EOPNOTSUPP);

	rig_map_bar(self->device, hole);
	EXPECT_MAP_FAILURE(flags, MAP_FLAGS, -EOPNOTSUPP);

	/* A file system that has pages of its own, unlike tmpfs. */
	ASSERT_TRUE(mkdtemp(dir) && !mount("ramfs", dir, "ramfs", 0, NULL));
	snprintf(path, sizeof(path), "%s/file", dir);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	umount2(dir, MNT_DETACH);
	rmdir(dir);
	ASSERT_EQ(ftruncate(fd, MEM_PAGE_SIZE), 0);
	ASSERT_NE(mmap(hole, MEM_PAGE_SIZE, PROT_READ | PROT_WRITE,
		       MAP_FIXED | MAP_SHARED, fd, 0), MAP_FAILED);
	EXPECT_MAP_FAILURE(flags, MAP_FLAGS, -EOPNOTSUPP);
	close(fd);

	ASSERT_NE(mmap(hole, MEM_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_FIXED |
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), MAP_FAILED);
	EXPECT_MAP_WORKS();
}

TEST_F_TIMEOUT(failure, map_enospc, RIG_TIMEOUT_S)
{
	struct vfio_iommu_type1_dma_map second = self->map;
	char old[32] = "", *one = "1";
	int fd = open(ENTRY_LIMIT, O_RDWR);

	if (fd < 0 || read(fd, old, sizeof(old) - 1) <= 0)
		SKIP(return, "no parameter for the limit");
	/* A container takes it over when it gets its IOMMU. */
	vfio_pci_device_cleanup(self->device);
	iommu_cleanup(self->iommu);
	ASSERT_EQ(pwrite(fd, one, 1, 0), 1);
	self->iommu = iommu_init(MODE_VFIO_TYPE1V2_IOMMU);
	self->device = vfio_pci_device_init(device_bdf[0], self->iommu);
	EXPECT_EQ(pwrite(fd, old, strlen(old), 0), strlen(old));
	close(fd);

	EXPECT_MAP_WORKS();
	self->state = user_state(self->iommu);
	second.iova += RIG_SIZE;
	EXPECT_EQ(type1_ioctl(self->iommu, VFIO_IOMMU_MAP_DMA_UNPINNED, &second),
		  -ENOSPC);
	EXPECT_UNCHANGED();
}

TEST_F_TIMEOUT(failure, map_enospc_aliases, RIG_TIMEOUT_S)
{
	struct vfio_iommu_type1_dma_map map = self->map;
	int n;

	for (n = 0; n < MAX_ALIASES; n++) {
		ASSERT_EQ(type1_ioctl(self->iommu, VFIO_IOMMU_MAP_DMA_UNPINNED, &map),
			  0);
		map.iova += RIG_SIZE;
	}
	self->state = user_state(self->iommu);
	EXPECT_FAILURE(VFIO_IOMMU_MAP_DMA_UNPINNED, map, size, MEM_PAGE_SIZE,
		       -ENOSPC);
	EXPECT_EQ(__type1_unmap(self->iommu, &(struct dma_region) {
					.iova = RIG_IOVA, .size = RIG_SIZE }), 0);
	EXPECT_EQ(type1_ioctl(self->iommu, VFIO_IOMMU_MAP_DMA_UNPINNED, &map), 0);
}

TEST_F_TIMEOUT(failure, map_enomem, RIG_TIMEOUT_S)
{
	limit_memlock(status_kib("VmLck") * 1024 / MEM_PAGE_SIZE + 3);
	/* Two pages for 2 MiB. */
	EXPECT_MAP_FAILURE(flags, MAP_FLAGS, -ENOMEM);
	self->map.size = MEM_HUGE_SIZE;
	EXPECT_MAP_WORKS();
}

#define LARGE_SIZE	(4UL << 30)	/* 16 MiB of tables and words */
#define LARGE_IOVA	(8UL << 30)
#define LARGE_TRIES	100

static int alarms;

static void count_alarm(int signal)
{
	WRITE_ONCE(alarms, alarms + 1);
}

/* EINTR is for who is killed, and does not see it: others need not try again. */
TEST_F_TIMEOUT(failure, map_is_not_interrupted, RIG_TIMEOUT_S)
{
	struct itimerval timer = { { 0, 5000 }, { 0, 5000 } }, off = {};
	struct sigaction action = { .sa_handler = count_alarm };
	int n, before, during = 0;

	self->map.iova = LARGE_IOVA;
	self->map.size = LARGE_SIZE;
	self->map.vaddr = (u64)mmap(NULL, LARGE_SIZE, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
				    -1, 0);
	ASSERT_NE(self->map.vaddr, (u64)MAP_FAILED);
	ASSERT_EQ(sigaction(SIGALRM, &action, NULL), 0);
	ASSERT_EQ(setitimer(ITIMER_REAL, &timer, NULL), 0);
	for (n = 0; n < LARGE_TRIES && !during; n++) {
		before = READ_ONCE(alarms);
		EXPECT_MAP_WORKS();
		during = READ_ONCE(alarms) - before;
		EXPECT_EQ(__type1_unmap(self->iommu, &(struct dma_region) {
						.iova = LARGE_IOVA,
						.size = LARGE_SIZE }), 0);
	}
	ASSERT_EQ(setitimer(ITIMER_REAL, &off, NULL), 0);
	EXPECT_GT(during, 0);
	EXPECT_UNCHANGED();
}

TEST_F_TIMEOUT(failure, unmap_vaddr_ebusy, RIG_TIMEOUT_S)
{
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap),
		.flags = VFIO_DMA_UNMAP_FLAG_VADDR,
		.iova = RIG_IOVA,
		.size = RIG_SIZE,
	};

	EXPECT_MAP_WORKS();
	self->state = user_state(self->iommu);
	EXPECT_EQ(type1_ioctl(self->iommu, VFIO_IOMMU_UNMAP_DMA, &unmap), -EBUSY);
	EXPECT_UNCHANGED();
}

TEST_F_TIMEOUT(failure, register_einval, RIG_TIMEOUT_S)
{
	EXPECT_REGISTER_FAILURE(argsz, sizeof(self->reg) - 1, -EINVAL);
	EXPECT_REGISTER_FAILURE(flags, 0, -EINVAL);
	EXPECT_REGISTER_FAILURE(flags, 1U << 4, -EINVAL);
	EXPECT_REGISTER_FAILURE(flags, VFIO_PIN_BITMAP_FLAG_REGISTER |
				VFIO_PIN_BITMAP_FLAG_ENABLE_MARKS, -EINVAL);
	EXPECT_REGISTER_FAILURE(vaddr, self->reg.vaddr + 8, -EINVAL);
	EXPECT_REGISTER_FAILURE(vaddr, -MEM_PAGE_SIZE + 1, -EINVAL);
	EXPECT_REGISTER_FAILURE(iova, RIG_IOVA + 512, -EINVAL);
	EXPECT_REGISTER_FAILURE(iova, -MEM_PAGE_SIZE, -EINVAL);
	EXPECT_REGISTER_FAILURE(npages, 0, -EINVAL);
	EXPECT_REGISTER_FAILURE(npages, 1UL << 32, -EINVAL);
	EXPECT_REGISTER_FAILURE(npages, -1UL, -EINVAL);
	EXPECT_REGISTER_FAILURE(limit, 0, -EINVAL);
	EXPECT_REGISTER_FAILURE(limit, RIG_PAGES + 1, -EINVAL);
	EXPECT_REGISTER_FAILURE(limit, -1UL, -EINVAL);
	EXPECT_REGISTER_FAILURE(budget, 2 * self->reg.limit - 1, -EINVAL);
	EXPECT_EQ(type1_ioctl(self->iommu, VFIO_IOMMU_PIN_BITMAP, &self->reg), 0);
}

TEST_F_TIMEOUT(failure, other_flags_einval, RIG_TIMEOUT_S)
{
	static const u32 flags[] = {
		VFIO_PIN_BITMAP_FLAG_ENABLE_MARKS,
		VFIO_PIN_BITMAP_FLAG_DISABLE_MARKS,
		VFIO_PIN_BITMAP_FLAG_UNREGISTER,
	};
	struct vfio_iommu_type1_pin_bitmap other;
	size_t n;

	ASSERT_EQ(type1_ioctl(self->iommu, VFIO_IOMMU_PIN_BITMAP, &self->reg), 0);
	self->state = user_state(self->iommu);
	for (n = 0; n < ARRAY_SIZE(flags); n++) {
		other = (struct vfio_iommu_type1_pin_bitmap) {
			.argsz = sizeof(other),
			.flags = flags[n],
		};
#define EXPECT_OTHER_FAILURE(field, value) \
	EXPECT_FAILURE(VFIO_IOMMU_PIN_BITMAP, other, field, value, -EINVAL)
		EXPECT_OTHER_FAILURE(argsz, 8);
		EXPECT_OTHER_FAILURE(vaddr, self->reg.vaddr);
		EXPECT_OTHER_FAILURE(iova, MEM_PAGE_SIZE);
		EXPECT_OTHER_FAILURE(npages, 1);
		EXPECT_OTHER_FAILURE(limit, 1);
		EXPECT_OTHER_FAILURE(budget, 2);
		EXPECT_EQ(__type1_pin_bitmap(self->iommu, flags[n]), 0);
		if (flags[n] != VFIO_PIN_BITMAP_FLAG_UNREGISTER)
			EXPECT_UNCHANGED();
	}
}

TEST_F_TIMEOUT(failure, register_eexist, RIG_TIMEOUT_S)
{
	ASSERT_EQ(type1_ioctl(self->iommu, VFIO_IOMMU_PIN_BITMAP, &self->reg), 0);
	self->state = user_state(self->iommu);
	EXPECT_REGISTER_FAILURE(flags, VFIO_PIN_BITMAP_FLAG_REGISTER, -EEXIST);
	EXPECT_REGISTER_FAILURE(limit, 2, -EEXIST);
	EXPECT_REGISTER_FAILURE(budget, 2, -EEXIST);
}

TEST_F_TIMEOUT(failure, not_registered_enoent, RIG_TIMEOUT_S)
{
	EXPECT_EQ(__type1_pin_bitmap(self->iommu, VFIO_PIN_BITMAP_FLAG_ENABLE_MARKS),
		  -ENOENT);
	EXPECT_EQ(__type1_pin_bitmap(self->iommu, VFIO_PIN_BITMAP_FLAG_DISABLE_MARKS),
		  -ENOENT);
	EXPECT_EQ(__type1_pin_bitmap(self->iommu,
				     VFIO_PIN_BITMAP_FLAG_UNREGISTER), -ENOENT);
	EXPECT_UNCHANGED();
}

TEST_F_TIMEOUT(failure, register_efault, RIG_TIMEOUT_S)
{
	EXPECT_EQ(type1_ioctl(self->iommu, VFIO_IOMMU_PIN_BITMAP, (void *)8), -EFAULT);
	EXPECT_UNCHANGED();
	/* The second page of the bitmap is not there. */
	ASSERT_EQ(munmap(self->bitmap.vaddr + MEM_PAGE_SIZE, MEM_PAGE_SIZE), 0);
	EXPECT_REGISTER_FAILURE(npages, 8 * MEM_PAGE_SIZE + 1, -EFAULT);
	EXPECT_EQ(type1_ioctl(self->iommu, VFIO_IOMMU_PIN_BITMAP, &self->reg), 0);
}

TEST_F_TIMEOUT(failure, register_enomem, RIG_TIMEOUT_S)
{
	/* Twice the limit and a page of bits; the budget costs nothing. */
	limit_memlock(status_kib("VmLck") * 1024 / MEM_PAGE_SIZE + 20);
	self->reg.budget = RIG_PAGES;
	EXPECT_REGISTER_FAILURE(limit, 10, -ENOMEM);
	self->reg.limit = 9;
	EXPECT_EQ(type1_ioctl(self->iommu, VFIO_IOMMU_PIN_BITMAP, &self->reg), 0);
}

TEST_F_TIMEOUT(failure, old_type1, RIG_TIMEOUT_S)
{
	struct vfio_iommu_type1_unpinned_eventfd eventfd = {
		.argsz = sizeof(eventfd),
		.fd = -1,
	};
	struct vfio_iommu_type1_unpinned_stats stats = { .argsz = sizeof(stats) };

	vfio_pci_device_cleanup(self->device);
	iommu_cleanup(self->iommu);
	self->iommu = iommu_init(MODE_VFIO_TYPE1_IOMMU);
	self->device = vfio_pci_device_init(device_bdf[0], self->iommu);
	EXPECT_EQ(ioctl(self->iommu->container_fd, VFIO_CHECK_EXTENSION,
			VFIO_TYPE1_UNPINNED_IOMMU), 0);
	EXPECT_MAP_FAILURE(flags, MAP_FLAGS, -EINVAL);
	EXPECT_REGISTER_FAILURE(limit, 1, -EOPNOTSUPP);
	EXPECT_EQ(type1_ioctl(self->iommu, VFIO_IOMMU_UNPINNED_EVENTFD, &eventfd),
		  -EOPNOTSUPP);
	EXPECT_EQ(type1_ioctl(self->iommu, VFIO_IOMMU_UNPINNED_STATS, &stats),
		  -EOPNOTSUPP);
}

TEST_F_TIMEOUT(failure, eventfd, RIG_TIMEOUT_S)
{
	struct vfio_iommu_type1_unpinned_eventfd good = {
		.argsz = sizeof(good),
		.fd = eventfd(0, EFD_CLOEXEC),
	};
	int fd = open("/dev/null", O_RDWR);

	ASSERT_GE(good.fd, 0);
	ASSERT_GE(fd, 0);
#define EXPECT_EVENTFD_FAILURE(field, value, err) \
	EXPECT_FAILURE(VFIO_IOMMU_UNPINNED_EVENTFD, good, field, value, err)
	EXPECT_EVENTFD_FAILURE(argsz, sizeof(good) - 1, -EINVAL);
	EXPECT_EVENTFD_FAILURE(flags, 1, -EINVAL);
	EXPECT_EVENTFD_FAILURE(reserved, 1, -EINVAL);
	EXPECT_EVENTFD_FAILURE(fd, -2, -EINVAL);
	EXPECT_EVENTFD_FAILURE(fd, fd, -EINVAL);
	EXPECT_EVENTFD_FAILURE(fd, 1000000, -EBADF);
	EXPECT_EQ(type1_ioctl(self->iommu, VFIO_IOMMU_UNPINNED_EVENTFD, (void *)8),
		  -EFAULT);
	EXPECT_EQ(type1_ioctl(self->iommu, VFIO_IOMMU_UNPINNED_EVENTFD, &good), 0);
	EXPECT_UNCHANGED();
	close(good.fd);
	close(fd);
}

TEST_F_TIMEOUT(failure, stats, RIG_TIMEOUT_S)
{
	struct vfio_iommu_type1_unpinned_stats stats = { .argsz = sizeof(stats) };
	const size_t least = offsetof(struct vfio_iommu_type1_unpinned_stats,
				      leaves);

	EXPECT_EQ(type1_ioctl(self->iommu, VFIO_IOMMU_UNPINNED_STATS, &stats), -ENOENT);
	ASSERT_EQ(type1_ioctl(self->iommu, VFIO_IOMMU_PIN_BITMAP, &self->reg), 0);
	self->state = user_state(self->iommu);
	stats.argsz = least - 1;
	EXPECT_EQ(type1_ioctl(self->iommu, VFIO_IOMMU_UNPINNED_STATS, &stats), -EINVAL);
	stats.argsz = least;
	EXPECT_EQ(type1_ioctl(self->iommu, VFIO_IOMMU_UNPINNED_STATS, &stats), 0);
	EXPECT_EQ(type1_ioctl(self->iommu, VFIO_IOMMU_UNPINNED_STATS, (void *)8),
		  -EFAULT);
	EXPECT_UNCHANGED();
}

int main(int argc, char *argv[])
{
	get_device_bdfs(&argc, argv);
	return test_harness_run(argc, argv);
}
