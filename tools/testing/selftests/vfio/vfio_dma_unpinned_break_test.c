// SPDX-License-Identifier: GPL-2.0-only
/*
 * Negative controls: each test shows that one protection is there, and then,
 * with the protection switched off, that the test notices. The switches exist
 * with CONFIG_VFIO_UNPINNED_TEST only.
 *
 * Shared memory keeps its frames when it is not mapped, so that a DMA that
 * gets through where it must not still does no harm.
 */
#include <pthread.h>
#include <sys/klog.h>
#include <sys/syscall.h>

#include <libvfio/settings.h>
#include <libvfio/unpinned.h>

#include "kselftest_harness.h"

#define PARAMETERS	"/sys/module/vfio_unpinned/parameters/"
#define PAUSE_MS	"2000"

#define FREED_PAGES	64	/* more than a CPU's batch of pages holds back */
#define FREED_WARNING	"iommu: Detected page leak!"
#define MAKES_WARN	"makes the kernel warn: set VFIO_SELFTESTS_FREED"
#define SYSLOG_ACTION_READ_ALL	3

static bool set_parameter(const char *name, const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), PARAMETERS "%s", name);
	return !setting_write(path, value);
}

static void reset_parameters(void)
{
	set_parameter("break_flush", "0");
	set_parameter("break_late", "0");
	set_parameter("break_pin", "0");
	set_parameter("break_dirty", "0");
	set_parameter("pause_ms", "0");
}

FIXTURE(broken) {
	struct rig rig;
};

FIXTURE_SETUP(broken)
{
	const char *missing;

	if (!set_parameter("pause_ms", "0"))
		SKIP(return, "not a test configuration");
	missing = rig_init(&self->rig, MEM_MEMFD);
	if (missing)
		SKIP(return, "%s", missing);
	reset_parameters();
	rig_map(&self->rig);
	rig_register(&self->rig, RIG_PAGES);
	rig_enable_marks(&self->rig);
}

FIXTURE_TEARDOWN(broken)
{
	reset_parameters();
	rig_cleanup(&self->rig);
}

/*
 * A page is zapped after the IOMMU has cached its leaf. Returns whether the
 * device still gets there.
 */
static bool stale_iotlb(struct rig *rig, u64 page)
{
	u32 value = unique_value();
	void *vaddr = rig_vaddr(rig, page);

	guest_touch(rig->guest, rig_iova(page));
	VFIO_ASSERT_TRUE(rig_dma_works(rig, page), "no DMA before the zap");
	VFIO_ASSERT_EQ(madvise(vaddr, MEM_PAGE_SIZE, MADV_DONTNEED), 0);
	dma_write(rig->device, rig_iova(page), &value, sizeof(value));
	return READ_ONCE(*(u32 *)vaddr) == value;
}

TEST_F_TIMEOUT(broken, flush, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;

	EXPECT_FALSE(stale_iotlb(rig, 0));
	if (!getenv("VFIO_SELFTESTS_FREED")) {
		TH_LOG("the rest " MAKES_WARN);
		return;
	}
	ASSERT_TRUE(set_parameter("break_flush", "1"));
	EXPECT_TRUE(stale_iotlb(rig, 1));
	/*
	 * Teardown unmaps the range, and flushes it. A kernel that looks for missing
	 * flushes warns all the same when the page is freed.
	 */
}

struct bracket {
	pthread_t thread;
	pid_t tid;
	void *vaddr;	/* of MEM_HUGE_SIZE */
};

static void *bracket_thread(void *data)
{
	struct bracket *bracket = data;

	WRITE_ONCE(bracket->tid, syscall(SYS_gettid));
	/* One bracket, after which the page can be written as before. */
	VFIO_ASSERT_TRUE(!mprotect(bracket->vaddr, MEM_HUGE_SIZE,
				   PROT_READ | PROT_WRITE | PROT_EXEC), "mprotect");
	return NULL;
}

/*
 * The guest marks and touches between the two passes of a bracket, while KVM
 * still has (order broken) or no longer has an SPTE. Returns whether the device
 * can access the page after that. @page is the first one of MEM_HUGE_SIZE, or
 * there would be more brackets than one.
 */
static bool mark_and_touch_in_bracket(struct rig *rig, u64 page)
{
	struct bracket bracket = { .vaddr = rig_vaddr(rig, page) };
	bool works;

	guest_touch(rig->guest, rig_iova(page));
	VFIO_ASSERT_TRUE(set_parameter("pause_ms", PAUSE_MS), "pause_ms");
	VFIO_ASSERT_TRUE(!pthread_create(&bracket.thread, NULL, bracket_thread,
					 &bracket), "pthread_create");
	while (!READ_ONCE(bracket.tid))
		usleep(1000);
	wait_until_asleep(bracket.tid);
	rig_pin(rig, page);
	VFIO_ASSERT_EQ(pthread_join(bracket.thread, NULL), 0);
	VFIO_ASSERT_TRUE(set_parameter("pause_ms", "0"), "pause_ms");
	works = rig_dma_works(rig, page);
	guest_unmark(rig->guest, page);
	return works;
}

TEST_F_TIMEOUT(broken, late_pass_order, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;

	EXPECT_TRUE(mark_and_touch_in_bracket(rig, 0));
	ASSERT_TRUE(set_parameter("break_late", "1"));
	EXPECT_FALSE(mark_and_touch_in_bracket(rig, MEM_HUGE_SIZE /
					       MEM_PAGE_SIZE));
}

/* Is a marked page still there for the device after a bracket? */
static bool marked_page_stays(struct rig *rig, u64 page)
{
	rig_late_pin(rig, page);
	return rig_dma_works(rig, page);
}

TEST_F_TIMEOUT(broken, late_pin, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;

	EXPECT_TRUE(marked_page_stays(rig, 0));
	ASSERT_TRUE(set_parameter("break_pin", "1"));
	EXPECT_FALSE(marked_page_stays(rig, 1));
}

/* A page is marked, and touched or not. Can the device access it? */
static bool marked_page_works(struct rig *rig, u64 page, bool touch)
{
	guest_mark(rig->guest, page);
	if (touch)
		guest_touch(rig->guest, rig_iova(page));
	return rig_dma_works(rig, page);
}

TEST_F_TIMEOUT(broken, touch, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;

	/* Or the kernel populates what is marked, some time. */
	type1_pin_bitmap(rig->iommu, VFIO_PIN_BITMAP_FLAG_DISABLE_MARKS);
	EXPECT_TRUE(marked_page_works(rig, 0, true));
	EXPECT_FALSE(marked_page_works(rig, 1, false));
}

/*
 * The device writes to a page, which loses its leaf before the dirty pages are
 * asked for. Are they this one?
 */
static bool lost_leaf_is_dirty(struct rig *rig, u64 page)
{
	struct dirty dirty;

	guest_touch(rig->guest, rig_iova(page));
	rig_dirty(rig);
	VFIO_ASSERT_TRUE(rig_dma_works(rig, page), "no DMA before the zap");
	VFIO_ASSERT_TRUE(!madvise(rig_vaddr(rig, page), MEM_PAGE_SIZE,
				  MADV_DONTNEED), "madvise");
	dirty = rig_dirty(rig);
	return dirty_is(&dirty, &page, 1);
}

TEST_F_TIMEOUT(broken, dirty, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;

	type1_dirty_tracking(rig->iommu, VFIO_IOMMU_DIRTY_PAGES_FLAG_START);
	EXPECT_TRUE(lost_leaf_is_dirty(rig, 0));
	ASSERT_TRUE(set_parameter("break_dirty", "1"));
	EXPECT_FALSE(lost_leaf_is_dirty(rig, 1));
}

/* How often the kernel says that it has freed a page that a leaf points at. */
static int freed_warnings(void)
{
	static char log[1 << 20];
	char *at = log;
	int len, n = 0;

	len = klogctl(SYSLOG_ACTION_READ_ALL, log, sizeof(log) - 1);
	VFIO_ASSERT_GE(len, 0);
	log[len] = 0;
	for (; (at = strstr(at, FREED_WARNING)); at++)
		n++;
	return n;
}

/* Free pages that have leaves. Returns how often the kernel warned. */
static int warnings_for_freed_pages(struct rig *rig, u64 page)
{
	int before = freed_warnings();
	u64 n;

	for (n = 0; n < FREED_PAGES; n++)
		guest_touch(rig->guest, rig_iova(page + n));
	mem_discard(&rig->mem, rig_vaddr(rig, page),
		    FREED_PAGES * MEM_PAGE_SIZE);
	return freed_warnings() - before;
}

/* A hugetlb page goes to its pool, and not to the page allocator. */
static int warnings_for_hugetlb_page(struct rig *rig)
{
	int before = freed_warnings();

	guest_touch(rig->guest, rig_iova(0));
	mem_discard(&rig->mem, rig->mem.vaddr, MEM_HUGE_SIZE);
	return freed_warnings() - before;
}

TEST(freed_hugetlb_page)
{
	struct rig rig = {};
	const char *missing;

	if (!getenv("VFIO_SELFTESTS_FREED"))
		SKIP(return, MAKES_WARN);
	if (mem_free_pages(MEM_HUGETLB) < 4)
		SKIP(return, "no hugetlb pages");
	missing = rig_init(&rig, MEM_HUGETLB);
	if (missing)
		SKIP(return, "%s", missing);
	rig_map(&rig);
	EXPECT_EQ(warnings_for_hugetlb_page(&rig), 0);
	ASSERT_TRUE(set_parameter("break_flush", "1"));
	EXPECT_GT(warnings_for_hugetlb_page(&rig), 0);
	reset_parameters();
	rig_cleanup(&rig);
}

/* The check of CONFIG_IOMMU_DEBUG_PAGEALLOC, with memory that really is freed. */
TEST(freed_pages)
{
	struct rig rig = {};
	const char *missing;

	if (!getenv("VFIO_SELFTESTS_FREED"))
		SKIP(return, MAKES_WARN);
	missing = rig_init(&rig, MEM_ANON);
	if (missing)
		SKIP(return, "%s", missing);
	rig_map(&rig);
	EXPECT_EQ(warnings_for_freed_pages(&rig, 0), 0);
	ASSERT_TRUE(set_parameter("break_flush", "1"));
	EXPECT_GT(warnings_for_freed_pages(&rig, FREED_PAGES), 0);
	reset_parameters();
	rig_cleanup(&rig);
}

int main(int argc, char *argv[])
{
	get_device_bdfs(&argc, argv);
	return test_harness_run(argc, argv);
}
