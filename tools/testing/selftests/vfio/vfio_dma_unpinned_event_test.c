// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the user of a container is told: the eventfd is signalled when a DMA
 * request was blocked and when a marked page lost its leaf, not for each one in a
 * storm, and the statistics say what it was.
 */
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <time.h>

#include <libvfio/unpinned.h>

#include "kselftest_harness.h"

#define SIGNALS_PER_SECOND	10
#define LOST_PAGES		512UL	/* in one bracket */

static int set_eventfd(struct iommu *iommu, int fd)
{
	struct vfio_iommu_type1_unpinned_eventfd args = {
		.argsz = sizeof(args),
		.fd = fd,
	};

	return type1_ioctl(iommu, VFIO_IOMMU_UNPINNED_EVENTFD, &args);
}

static int get_stats(struct iommu *iommu,
		     struct vfio_iommu_type1_unpinned_stats *stats, u32 argsz)
{
	memset(stats, 0xff, sizeof(*stats));
	stats->argsz = argsz;
	return type1_ioctl(iommu, VFIO_IOMMU_UNPINNED_STATS, stats);
}

/* Wait, for a limited time, for a signal. How many there were, 0 for none. */
static u64 wait_signal(int fd, int timeout_ms)
{
	struct pollfd pollfd = { .fd = fd, .events = POLLIN };
	u64 count = 0;

	if (poll(&pollfd, 1, timeout_ms) != 1)
		return 0;
	VFIO_ASSERT_EQ(read(fd, &count, sizeof(count)), sizeof(count));
	return count;
}

#define wait_long(fd)	wait_signal(fd, RIG_TIMEOUT_S * 1000 / 4)
/* Longer than the kernel holds a signal back. */
#define wait_more(fd)	wait_signal(fd, 500)

static u64 now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000UL + ts.tv_nsec / 1000000;
}

/* Of the rig's device, as the kernel is to report them. */
static void expect_source(struct __test_metadata *_metadata,
			  const struct vfio_iommu_type1_unpinned_stats *stats)
{
	unsigned int segment, bus, slot, function;
	int fields;

	fields = sscanf(device_bdf[0], "%x:%x:%x.%x", &segment, &bus, &slot,
			&function);
	ASSERT_EQ(fields, 4);
	EXPECT_EQ(stats->fault_segment, segment);
	EXPECT_EQ(stats->fault_source, bus << 8 | slot << 3 | function);
}

FIXTURE(event) {
	struct rig rig;
	int fd;
};

FIXTURE_SETUP(event)
{
	const char *missing = rig_init(&self->rig, MEM_ANON);

	if (missing)
		SKIP(return, "%s", missing);
	self->fd = eventfd(0, EFD_CLOEXEC);
	ASSERT_GE(self->fd, 0);
	ASSERT_EQ(set_eventfd(self->rig.iommu, self->fd), 0);
}

FIXTURE_TEARDOWN(event)
{
	rig_cleanup(&self->rig);
	close(self->fd);
}

TEST_F_TIMEOUT(event, blocked_request, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	struct vfio_iommu_type1_unpinned_stats stats;
	u64 faults;

	rig_map(rig);
	ASSERT_EQ(get_stats(rig->iommu, &stats, sizeof(stats)), 0);
	EXPECT_EQ(stats.argsz, sizeof(stats));
	EXPECT_EQ(stats.flags, 0);
	EXPECT_EQ(stats.dma_faults, 0);
	EXPECT_EQ(wait_more(self->fd), 0);

	EXPECT_TRUE(rig_dma_write_blocked(rig, 5));
	EXPECT_GE(wait_long(self->fd), 1);
	ASSERT_EQ(get_stats(rig->iommu, &stats, sizeof(stats)), 0);
	EXPECT_EQ(stats.flags, VFIO_UNPINNED_STATS_FLAG_FAULT |
			       VFIO_UNPINNED_STATS_FLAG_FAULT_WRITE);
	EXPECT_GE(stats.dma_faults, 1);
	EXPECT_EQ(stats.fault_iova, rig_iova(5));
	expect_source(_metadata, &stats);
	EXPECT_STAT("dma_faults", stats.dma_faults);
	faults = stats.dma_faults;

	EXPECT_TRUE(rig_dma_read_blocked(rig, 7, unique_value()));
	EXPECT_GE(wait_long(self->fd), 1);
	ASSERT_EQ(get_stats(rig->iommu, &stats, sizeof(stats)), 0);
	EXPECT_EQ(stats.flags, VFIO_UNPINNED_STATS_FLAG_FAULT);
	EXPECT_GT(stats.dma_faults, faults);
	EXPECT_EQ(stats.fault_iova, rig_iova(7));
	expect_source(_metadata, &stats);

	/* What is not blocked is no event. */
	wait_more(self->fd);
	guest_touch(rig->guest, rig_iova(5));
	EXPECT_TRUE(rig_dma_works(rig, 5));
	EXPECT_EQ(wait_more(self->fd), 0);
}

/* Many marked pages lose their leaf at once: few signals, and the count of all. */
TEST_F_TIMEOUT(event, lost_marks, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	u64 page, began, signals = 0, more;
	struct vfio_iommu_type1_unpinned_stats stats;

	rig_map(rig);
	rig_register(rig, 1);
	rig_enable_marks(rig);
	for (page = 0; page < LOST_PAGES; page++)
		rig_pin(rig, page);
	EXPECT_EQ(wait_more(self->fd), 0);

	began = now_ms();
	mem_bracket(rig_vaddr(rig, 0));
	signals = wait_long(self->fd);
	EXPECT_GE(signals, 1);
	while ((more = wait_more(self->fd)))
		signals += more;
	ASSERT_EQ(get_stats(rig->iommu, &stats, sizeof(stats)), 0);
	EXPECT_GE(stats.over_limit_zaps, LOST_PAGES - 2);
	EXPECT_STAT("over_limit_zaps", stats.over_limit_zaps);
	EXPECT_LE(signals, 2 + (now_ms() - began) * SIGNALS_PER_SECOND / 1000);
	EXPECT_LT(signals, stats.over_limit_zaps / 4);
	EXPECT_EQ(stats.dma_faults, 0);
}

/* A page that nobody had marked is no loss. */
TEST_F_TIMEOUT(event, unmarked, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	struct vfio_iommu_type1_unpinned_stats stats;

	rig_map(rig);
	rig_register(rig, 1);
	rig_enable_marks(rig);
	guest_touch(rig->guest, rig_iova(3));
	mem_bracket(rig_vaddr(rig, 3));
	ASSERT_EQ(get_stats(rig->iommu, &stats, sizeof(stats)), 0);
	EXPECT_EQ(stats.zaps, 1);
	EXPECT_EQ(wait_more(self->fd), 0);
}

TEST_F_TIMEOUT(event, other_and_none, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	int other = eventfd(0, EFD_CLOEXEC);

	ASSERT_GE(other, 0);
	rig_map(rig);
	ASSERT_EQ(set_eventfd(rig->iommu, other), 0);
	EXPECT_TRUE(rig_dma_write_blocked(rig, 1));
	EXPECT_GE(wait_long(other), 1);
	EXPECT_EQ(wait_more(self->fd), 0);

	/* The kernel has a reference of its own. */
	ASSERT_EQ(set_eventfd(rig->iommu, self->fd), 0);
	wait_more(other);
	close(other);
	EXPECT_TRUE(rig_dma_write_blocked(rig, 2));
	EXPECT_GE(wait_long(self->fd), 1);

	ASSERT_EQ(set_eventfd(rig->iommu, -1), 0);
	ASSERT_EQ(set_eventfd(rig->iommu, -1), 0);
	wait_more(self->fd);
	EXPECT_TRUE(rig_dma_write_blocked(rig, 3));
	EXPECT_EQ(wait_more(self->fd), 0);
	/* rig_cleanup() closes the container, with an event that is pending. */
	ASSERT_EQ(set_eventfd(rig->iommu, self->fd), 0);
	EXPECT_TRUE(rig_dma_write_blocked(rig, 4));
}

/* A user of an older header gets what it knows, and nothing behind it. */
TEST_F_TIMEOUT(event, stats_size, RIG_TIMEOUT_S)
{
	const u32 small = offsetof(struct vfio_iommu_type1_unpinned_stats,
				   leaves);
	struct vfio_iommu_type1_unpinned_stats stats, untouched;

	memset(&untouched, 0xff, sizeof(untouched));
	EXPECT_EQ(get_stats(self->rig.iommu, &stats, sizeof(stats)), -ENOENT);
	rig_map(&self->rig);
	EXPECT_EQ(get_stats(self->rig.iommu, &stats, small - 1), -EINVAL);
	ASSERT_EQ(get_stats(self->rig.iommu, &stats, small), 0);
	EXPECT_EQ(stats.argsz, sizeof(stats));
	EXPECT_EQ(stats.dma_faults, 0);
	EXPECT_EQ(memcmp(&stats.leaves, &untouched.leaves,
			 sizeof(stats) - small), 0);
	guest_touch(self->rig.guest, rig_iova(0));
	ASSERT_EQ(get_stats(self->rig.iommu, &stats, sizeof(stats)), 0);
	EXPECT_EQ(stats.leaves, 1);
	EXPECT_EQ(stats.populates, 1);
	rig_unmap(&self->rig);
	EXPECT_EQ(get_stats(self->rig.iommu, &stats, sizeof(stats)), -ENOENT);
}

int main(int argc, char *argv[])
{
	get_device_bdfs(&argc, argv);
	return test_harness_run(argc, argv);
}
