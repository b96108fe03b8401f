// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every allocation fails once: for each call, the first one, then the second
 * one, until the call runs through without reaching it. A failed call has the
 * errno of that and has changed nothing; if the call copes with the failure,
 * all is as without it. Either way the guest can touch its memory, and then its
 * device gets there.
 *
 * Needs /proc/thread-self/fail-nth, failslab and fail_page_alloc.
 */
#include <sys/ioctl.h>

#include <libvfio/hostile.h>
#include <libvfio/settings.h>
#include <libvfio/unpinned.h>
#include <libvfio/vfio_group.h>
#include <libvfio/vfio_pin_device.h>

#include "kselftest_harness.h"

#define FAIL_NTH	"/proc/thread-self/fail-nth"
#define DEBUGFS		"/sys/kernel/debug"

#define MAX_ALLOCATIONS	2000	/* of one call, then something is wrong */
#define MARKED		8	/* pages that MAP has to populate */
#define MAY_LOCK	4096	/* pages, which is more than any of the calls needs */

FIXTURE(fail) {
	struct rig rig;
	struct user_state state;
	int group_fd;		/* of the second device */
	u64 injected;		/* failures in all */
	u64 failed;		/* calls that failed for them */
};

static int fail_nth_fd;

/* Let all kinds of allocations fail that the calls do, without a report. */
static const char *injection_init(void)
{
	static const struct {
		const char *path;
		const char *value;
	} settings[] = {
		{ DEBUGFS "/failslab/ignore-gfp-wait", "N" },
		{ DEBUGFS "/failslab/verbose", "0" },
		{ DEBUGFS "/fail_page_alloc/ignore-gfp-wait", "N" },
		{ DEBUGFS "/fail_page_alloc/ignore-gfp-highmem", "N" },
		{ DEBUGFS "/fail_page_alloc/min-order", "0" },
		{ DEBUGFS "/fail_page_alloc/verbose", "0" },
	};
	size_t n;

	if (!stats_available())
		return NO_STATS;
	fail_nth_fd = open(FAIL_NTH, O_RDWR);
	if (fail_nth_fd < 0)
		return "no fault injection in this kernel";
	for (n = 0; n < ARRAY_SIZE(settings); n++) {
		if (setting_write(settings[n].path, settings[n].value))
			return settings[n].path;
	}
	return NULL;
}

/* From now on, the @nth allocation of this thread fails. */
static void arm(unsigned int nth)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%u", nth);

	VFIO_ASSERT_EQ(write(fail_nth_fd, text, len), len, FAIL_NTH);
}

/* Returns whether it has come to that. Doesn't change errno. */
static bool disarm(void)
{
	char text[16] = "";
	int err = errno;

	VFIO_ASSERT_GT(pread(fail_nth_fd, text, sizeof(text) - 1, 0), 0, FAIL_NTH);
	arm(0);
	errno = err;
	return !atoi(text);
}

FIXTURE_SETUP(fail)
{
	const char *missing = rig_init(&self->rig, MEM_ANON);

	if (!missing)
		missing = injection_init();
	if (missing)
		SKIP(return, "%s", missing);
	self->group_fd = -1;
}

FIXTURE_TEARDOWN(fail)
{
	if (self->group_fd >= 0)
		close(self->group_fd);
	close(fail_nth_fd);
	rig_cleanup(&self->rig);
}

/*
 * Do @call with each of its allocations failing in turn. @check verifies a
 * success, @undo undoes it; a failure is -ENOMEM or @other.
 */
#define SWEEP(call, check, undo, other)					\
do {									\
	unsigned int __nth = 0;						\
	bool __injected = true;						\
	int __err;							\
									\
	self->state = user_state(self->rig.iommu);			\
	while (__injected) {						\
		ASSERT_LT(++__nth, MAX_ALLOCATIONS);			\
		arm(__nth);						\
		__err = (call);						\
		__injected = disarm();					\
		self->injected += __injected;				\
		if (__err) {						\
			self->failed++;					\
			ASSERT_TRUE(__injected);			\
			ASSERT_TRUE(__err == -ENOMEM || __err == (other)) { \
				TH_LOG("allocation %u: %s", __nth,	\
				       strerror(-__err));		\
			}						\
		} else {						\
			check;						\
			undo;						\
		}							\
		EXPECT_STATE(self->rig.iommu, self->state);		\
	}								\
	printf("# count: %lu failures injected, %lu calls failed\n",		\
	       self->injected, self->failed);				\
} while (0)

/* I1 holds for @page. The counters may be missing: debugfs allocates too. */
static void check_touch(struct __test_metadata *_metadata, struct rig *rig,
			u64 page)
{
	guest_touch(rig->guest, rig_iova(page));
	EXPECT_TRUE(rig_dma_works(rig, page));
}

TEST_F_TIMEOUT(fail, map, 4 * RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;

	SWEEP(__type1_map_unpinned(rig->iommu, &rig->region),
	      check_touch(_metadata, rig, 0), rig_unmap(rig), -ENOMEM);
	EXPECT_GT(self->failed, 0);
	rig_map(rig);
	guest_touch(rig->guest, rig_iova(0));
	EXPECT_TRUE(rig_dma_works(rig, 0));
}

static void unmap_and_discard(struct rig *rig)
{
	rig_unmap(rig);
	mem_discard(&rig->mem, rig->mem.vaddr, RIG_SIZE);
}

/* Marked pages that no CPU touches: the worker makes up for a failure. */
TEST_F_TIMEOUT(fail, map_populates, 10 * RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	u64 page;

	rig_register(rig, RIG_PAGES);
	rig_enable_marks(rig);
	for (page = 0; page < MARKED; page++)
		guest_mark(rig->guest, page);
	SWEEP(__type1_map_unpinned(rig->iommu, &rig->region),
	      EXPECT_EQ(stat_wait("leaves", MARKED), MARKED),
	      unmap_and_discard(rig), -ENOMEM);
	EXPECT_GT(self->failed, 0);
	rig_map(rig);
	EXPECT_EQ(stat_wait("leaves", MARKED), MARKED);
	EXPECT_TRUE(rig_dma_works(rig, MARKED - 1));
}

TEST_F_TIMEOUT(fail, register, 4 * RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;

	rig_map(rig);
	SWEEP(__type1_register_bitmap(rig->iommu, rig->bitmap.vaddr,
				      &rig->region, RIG_PAGES),
	      EXPECT_EQ(stat_get("limit"), RIG_PAGES),
	      type1_pin_bitmap(rig->iommu, VFIO_PIN_BITMAP_FLAG_UNREGISTER),
	      -ENOMEM);
	EXPECT_GT(self->failed, 0);
	rig_register(rig, RIG_PAGES);
	rig_enable_marks(rig);
	rig_late_pin(rig, 0);
	EXPECT_EQ(stat_get("late_pins"), 1);
	EXPECT_TRUE(rig_dma_works(rig, 0));
}

/* It takes no memory to give memory back. */
TEST_F_TIMEOUT(fail, unmap, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	unsigned int nth;

	for (nth = 1; nth < 8; nth++) {
		rig_map(rig);
		guest_touch(rig->guest, rig_iova(0));
		arm(nth);
		EXPECT_EQ(__type1_unmap(rig->iommu, &rig->region), 0);
		EXPECT_FALSE(disarm());
	}
}

static int start_tracking(struct rig *rig)
{
	return __type1_dirty_tracking(rig->iommu,
				      VFIO_IOMMU_DIRTY_PAGES_FLAG_START);
}

static void stop_tracking(struct rig *rig)
{
	type1_dirty_tracking(rig->iommu, VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP);
}

TEST_F_TIMEOUT(fail, start_dirty_tracking, 4 * RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;

	rig_map(rig);
	guest_touch(rig->guest, rig_iova(3));
	SWEEP(start_tracking(rig), EXPECT_RIG_DIRTY(rig, 3), stop_tracking(rig),
	      -ENOMEM);
	EXPECT_GT(self->failed, 0);
	EXPECT_TRUE(rig_dma_works(rig, 3));
	/* None of the failed ones has left it on. */
	EXPECT_EQ(__type1_dirty_get(rig->iommu, &rig->region, &(struct dirty){}),
		  -EINVAL);
}

TEST_F_TIMEOUT(fail, map_while_tracked, 4 * RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;

	ASSERT_EQ(start_tracking(rig), 0);
	SWEEP(__type1_map_unpinned(rig->iommu, &rig->region),
	      guest_touch(rig->guest, rig_iova(0)); EXPECT_RIG_DIRTY(rig, 0),
	      rig_unmap(rig), -ENOMEM);
	EXPECT_GT(self->failed, 0);
	stop_tracking(rig);
}

static int attach(FIXTURE_DATA(fail) * self)
{
	return vfio_group_set_container(self->group_fd, self->rig.iommu);
}

static void detach(FIXTURE_DATA(fail) * self)
{
	vfio_group_unset_container(self->group_fd);
}

/* A second device, with a domain of its own, to a container with mappings */
TEST_F_TIMEOUT(fail, attach, 4 * RIG_TIMEOUT_S)
{
	const char *missing = device_missing(1, true);
	struct rig *rig = &self->rig;

	if (missing)
		SKIP(return, "%s", missing);
	separate_domains(true);
	self->group_fd = vfio_group_open("pci", device_bdf[1]);
	rig_map(rig);
	guest_touch(rig->guest, rig_iova(0));
	SWEEP(attach(self), EXPECT_EQ(stat_get("leaves"), 1), detach(self), -EIO);
	separate_domains(false);
	EXPECT_GT(self->failed, 0);
	EXPECT_TRUE(rig_dma_works(rig, 0));
}

static void check_pinned(struct __test_metadata *_metadata, struct rig *rig,
			 const struct user_state *before, u64 frame)
{
	struct user_state now = user_state(rig->iommu);

	EXPECT_EQ(frame, mem_frame_now(rig_vaddr(rig, 0)));
	EXPECT_EQ(now.pins, before->pins + 1);
	EXPECT_EQ(now.locked, before->locked + MEM_PAGE_SIZE / 1024);
	EXPECT_EQ(now.leaves, before->leaves);
}

static void unpin_and_discard(struct vfio_pin_device *device, struct rig *rig)
{
	vfio_unpin_page(device, rig_iova(0));
	mem_discard(&rig->mem, rig_vaddr(rig, 0), MEM_PAGE_SIZE);
}

/* vfio_pin_pages() of a page that has to be faulted in, and of one with a leaf */
TEST_F_TIMEOUT(fail, pin_pages, 4 * RIG_TIMEOUT_S)
{
	const char *missing = vfio_pin_device_missing();
	struct vfio_pin_device device;
	struct rig *rig = &self->rig;
	u64 frame = 0;

	if (missing)
		SKIP(return, "%s", missing);
	/* What is pinned is charged then. */
	limit_memlock(MAY_LOCK);
	vfio_pin_device_init(&device, rig->iommu);
	rig_map(rig);
	SWEEP(__vfio_pin_page(&device, rig_iova(0), &frame),
	      check_pinned(_metadata, rig, &self->state, frame),
	      unpin_and_discard(&device, rig), -ENOMEM);
	EXPECT_GT(self->failed, 0);

	guest_touch(rig->guest, rig_iova(0));
	SWEEP(__vfio_pin_page(&device, rig_iova(0), &frame),
	      check_pinned(_metadata, rig, &self->state, frame),
	      vfio_unpin_page(&device, rig_iova(0)), -ENOMEM);
	EXPECT_TRUE(rig_dma_works(rig, 0));
	vfio_pin_page(&device, rig_iova(0));
	vfio_pin_device_cleanup(&device);
	EXPECT_STATE(rig->iommu, self->state);
}

/* Around KVM_RUN alone: the library's own calls must not fail. */
static unsigned int touch_nth;
static bool touch_injected;

static void fail_run(bool begin)
{
	if (begin)
		arm(touch_nth);
	else
		touch_injected = disarm();
}

/* The guest's touch faults a page in, or fails, and then it works. */
TEST_F_TIMEOUT(fail, touch, 4 * RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	int err;

	rig_map(rig);
	guest_touch(rig->guest, rig_iova(0));
	do {
		ASSERT_LT(++touch_nth, MAX_ALLOCATIONS);
		mem_discard(&rig->mem, rig_vaddr(rig, 0), MEM_PAGE_SIZE);
		EXPECT_EQ(stat_get("leaves"), 0);
		rig->guest->around_run = fail_run;
		err = __guest_touch(rig->guest, rig_iova(0));
		rig->guest->around_run = NULL;
		self->injected += touch_injected;
		self->failed += !!err;
		ASSERT_TRUE(!err || touch_injected);
		ASSERT_TRUE(!err || err == -EFAULT || err == -ENOMEM);
		EXPECT_EQ(stat_get("leaves"), !err);
		check_touch(_metadata, rig, 0);
	} while (touch_injected);
	printf("# count: %lu failures injected, %lu touches failed\n", self->injected,
	       self->failed);
	EXPECT_GT(self->injected, 0);
	EXPECT_TRUE(rig_dma_works(rig, 0));
}

int main(int argc, char *argv[])
{
	get_device_bdfs(&argc, argv);
	return test_harness_run(argc, argv);
}
