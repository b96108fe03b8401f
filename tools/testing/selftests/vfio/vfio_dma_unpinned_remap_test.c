// SPDX-License-Identifier: GPL-2.0-only
/*
 * Everything that changes page tables, one test each, while a device transfers to
 * and from marked pages: see libvfio/shadow.h for the model. And what shows that the
 * model would notice if something were wrong.
 *
 * VFIO_SELFTESTS_SEED chooses the pages, VFIO_SELFTESTS_ROUNDS says how often.
 */
#include <linux/fs.h>
#include <linux/mman.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include <libvfio/settings.h>
#include <libvfio/shadow.h>
#include <libvfio/uffd.h>

#include "kselftest_harness.h"

#define BREAK_PIN	"/sys/module/vfio_unpinned/parameters/break_pin"

#define ALL		SHADOW_UNMARKED_PAGES

static void discard_unmarked(struct shadow *shadow)
{
	int n;

	for (n = 0; n < SHADOW_UNMARKED_PAGES; n++)
		mem_discard(&shadow->rig->mem,
			    shadow_vaddr(shadow, shadow_unmarked_page(shadow, n)),
			    MEM_PAGE_SIZE);
}

static void populate_write(struct shadow *shadow)
{
	discard_unmarked(shadow);
	shadow_advise(shadow, MADV_POPULATE_WRITE);
}

/* --- address space ------------------------------------------------------------ */

static void scribble(struct shadow *shadow)
{
	u64 page;

	for (page = 0; page < RIG_PAGES; page++)
		WRITE_ONCE(*(u32 *)shadow_vaddr(shadow, page), 0xdeadbeef);
}

/* The parent's unmarked pages become copies, and the child's marked ones are. */
static void fork_and_copy(struct shadow *shadow)
{
	int go[2], status, n;
	char byte;
	pid_t child;

	VFIO_ASSERT_EQ(pipe(go), 0);
	child = fork();
	if (!child) {
		close(go[1]);
		if (read(go[0], &byte, 1))
			_exit(1);
		scribble(shadow);
		_exit(0);
	}
	VFIO_ASSERT_GT(child, 0);
	for (n = 0; n < SHADOW_UNMARKED_PAGES; n++) {
		u64 page = shadow_unmarked_page(shadow, n);

		WRITE_ONCE(*(u32 *)shadow_vaddr(shadow, page),
			   shadow->value[page][0]);
	}
	close(go[1]);
	close(go[0]);
	VFIO_ASSERT_TRUE(waitpid(child, &status, 0) == child && !status,
			 "status %d of the child", status);
}

static void protect(struct shadow *shadow)
{
	int prot = shadow_random(shadow, 2) ? PROT_READ : PROT_NONE;

	VFIO_ASSERT_EQ(mprotect(shadow_memory(shadow), RIG_SIZE, prot), 0);
}

static void unprotect(struct shadow *shadow)
{
	VFIO_ASSERT_TRUE(!mprotect(shadow_memory(shadow), RIG_SIZE, PROT_READ | PROT_WRITE),
			 "mprotect");
}

/* Elsewhere and back: page tables move, and there is a time without memory. */
static void remap(struct shadow *shadow)
{
	void *here = shadow_memory(shadow), *there;

	there = mmap(NULL, RIG_SIZE + MEM_HUGE_SIZE, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	VFIO_ASSERT_NE(there, MAP_FAILED);
	there = (void *)align_up((u64)there, MEM_HUGE_SIZE);
	VFIO_ASSERT_TRUE(mremap(here, RIG_SIZE, RIG_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED,
				there) == there, "mremap");
	VFIO_ASSERT_TRUE(mremap(there, RIG_SIZE, RIG_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED,
				here) == here, "mremap back");
}

static void clear_soft_dirty(struct shadow *shadow)
{
	VFIO_ASSERT_EQ(setting_write("/proc/self/clear_refs", "4"), 0);
}

/* --- userfaultfd -------------------------------------------------------------- */

static struct uffd uffd;

/* As on the receiving side of a migration: the model knows the content. */
static void content_of_model(void *page, u64 vaddr, void *data)
{
	struct shadow *shadow = data;
	u64 n = (vaddr - (u64)shadow_memory(shadow)) / MEM_PAGE_SIZE;
	u32 *word = page;
	size_t i;

	for (i = 0; i < MEM_PAGE_SIZE / sizeof(u32); i++)
		word[i] = n < RIG_PAGES ?
			shadow->value[n][i >= MEM_PAGE_SIZE / sizeof(u32) / 2] : 0;
}

static const char *setup_uffd(struct shadow *shadow, u64 features, u64 mode)
{
	if (!uffd_open(&uffd, features) ||
	    uffd_register(&uffd, shadow_memory(shadow), RIG_SIZE, mode))
		return "no userfaultfd with this feature in this kernel";
	uffd.content = content_of_model;
	uffd.data = shadow;
	uffd_start(&uffd);
	return NULL;
}

static const char *uffd_missing(struct shadow *shadow)
{
	return setup_uffd(shadow, 0, UFFDIO_REGISTER_MODE_MISSING);
}

static const char *uffd_minor(struct shadow *shadow)
{
	return setup_uffd(shadow, UFFD_FEATURE_MINOR_SHMEM,
			  UFFDIO_REGISTER_MODE_MINOR);
}

static const char *uffd_wp(struct shadow *shadow)
{
	return setup_uffd(shadow, UFFD_FEATURE_PAGEFAULT_FLAG_WP,
			  UFFDIO_REGISTER_MODE_WP);
}

static const char *uffd_wp_shmem(struct shadow *shadow)
{
	return setup_uffd(shadow, UFFD_FEATURE_PAGEFAULT_FLAG_WP |
			  UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
			  UFFDIO_REGISTER_MODE_WP);
}

static const char *uffd_wp_async(struct shadow *shadow)
{
	return setup_uffd(shadow, UFFD_FEATURE_WP_ASYNC |
			  UFFD_FEATURE_WP_UNPOPULATED, UFFDIO_REGISTER_MODE_WP);
}

static struct mem elsewhere;

static const char *uffd_moving(struct shadow *shadow)
{
	mem_alloc(&elsewhere, MEM_ANON, RIG_SIZE);
	return setup_uffd(shadow, UFFD_FEATURE_MOVE,
			  UFFDIO_REGISTER_MODE_MISSING) ?:
	       uffd_register(&uffd, elsewhere.vaddr, RIG_SIZE,
			     UFFDIO_REGISTER_MODE_MISSING) ?
	       "no second range for userfaultfd" : NULL;
}

static void close_uffd(struct shadow *shadow)
{
	uffd_close(&uffd);
}

/* The pages stay in the page cache: the page table loses all of them. */
static void unmap_shared(struct shadow *shadow)
{
	shadow_advise(shadow, MADV_DONTNEED);
}

static void write_protect(struct shadow *shadow)
{
	VFIO_ASSERT_TRUE(!uffd_write_protect(&uffd, shadow_memory(shadow), RIG_SIZE, true),
			 "UFFDIO_WRITEPROTECT");
}

/* All that was written is reported and write-protected again. */
static void scan_written(struct shadow *shadow)
{
	struct page_region regions[SHADOW_MARKED + SHADOW_UNMARKED];
	struct pm_scan_arg args = {
		.size = sizeof(args),
		.flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
		.start = (u64)shadow_memory(shadow),
		.end = (u64)shadow_memory(shadow) + RIG_SIZE,
		.vec = (u64)regions,
		.vec_len = ARRAY_SIZE(regions),
		.category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN,
	};
	int fd = open("/proc/self/pagemap", O_RDONLY);

	VFIO_ASSERT_TRUE(fd >= 0 && ioctl(fd, PAGEMAP_SCAN, &args) >= 0,
			 "PAGEMAP_SCAN: %s", strerror(errno));
	close(fd);
}

static void move_unmarked(struct shadow *shadow, bool away)
{
	int n;

	for (n = 0; n < SHADOW_UNMARKED_PAGES; n++) {
		u64 page = shadow_unmarked_page(shadow, n);
		void *here = shadow_vaddr(shadow, page);
		void *there = elsewhere.vaddr + page * MEM_PAGE_SIZE;
		int err;

		err = away ? uffd_move(&uffd, there, here, MEM_PAGE_SIZE) :
			     uffd_move(&uffd, here, there, MEM_PAGE_SIZE);
		VFIO_ASSERT_TRUE(!err, "UFFDIO_MOVE: %s", strerror(-err));
	}
}

static void move_away(struct shadow *shadow)
{
	u64 page = shadow->marked[shadow_random(shadow, SHADOW_MARKED)];
	int err = uffd_move(&uffd, elsewhere.vaddr + page * MEM_PAGE_SIZE,
			    shadow_vaddr(shadow, page), MEM_PAGE_SIZE);

	VFIO_ASSERT_TRUE(err == -EBUSY, "UFFDIO_MOVE of a marked page: %s",
			 strerror(-err));
	move_unmarked(shadow, true);
}

static void move_back(struct shadow *shadow)
{
	move_unmarked(shadow, false);
}

/* --- the tests ----------------------------------------------------------------- */

FIXTURE(remap) {
	struct rig rig;
};

FIXTURE_VARIANT(remap) {
	struct mover mover;
};

FIXTURE_VARIANT_ADD(remap, madv_dontneed) {
	.mover.step = discard_unmarked,
	.mover.moved = ALL,
	.mover.spares_marked = true,
	.mover.discards = true,
};

FIXTURE_VARIANT_ADD(remap, punch_hole_memfd) {
	.mover.kind = MEM_MEMFD,
	.mover.step = discard_unmarked,
	.mover.moved = ALL,
	.mover.spares_marked = true,
	.mover.discards = true,
};

FIXTURE_VARIANT_ADD(remap, madv_populate_write) {
	.mover.step = populate_write,
	.mover.spares_marked = true,
	.mover.discards = true,
};

FIXTURE_VARIANT_ADD(remap, fork) {
	.mover.step = fork_and_copy,
	.mover.moved = ALL,
};

FIXTURE_VARIANT_ADD(remap, mprotect) {
	.mover.step = protect,
	.mover.restore = unprotect,
};

FIXTURE_VARIANT_ADD(remap, mremap) {
	.mover.step = remap,
};

FIXTURE_VARIANT_ADD(remap, mremap_memfd) {
	.mover.kind = MEM_MEMFD,
	.mover.step = remap,
};

FIXTURE_VARIANT_ADD(remap, soft_dirty) {
	.mover.step = clear_soft_dirty,
};

FIXTURE_VARIANT_ADD(remap, pagemap_scan) {
	.mover.setup = uffd_wp_async,
	.mover.step = scan_written,
	.mover.cleanup = close_uffd,
};

FIXTURE_VARIANT_ADD(remap, uffd_missing) {
	.mover.setup = uffd_missing,
	.mover.step = discard_unmarked,
	.mover.cleanup = close_uffd,
	.mover.moved = ALL,
	.mover.spares_marked = true,
};

FIXTURE_VARIANT_ADD(remap, uffd_minor) {
	.mover.kind = MEM_MEMFD,
	.mover.setup = uffd_minor,
	.mover.step = unmap_shared,
	.mover.cleanup = close_uffd,
	.mover.moved = ALL,
};

FIXTURE_VARIANT_ADD(remap, uffd_wp) {
	.mover.setup = uffd_wp,
	.mover.step = write_protect,
	.mover.cleanup = close_uffd,
};

FIXTURE_VARIANT_ADD(remap, uffd_wp_memfd) {
	.mover.kind = MEM_MEMFD,
	.mover.setup = uffd_wp_shmem,
	.mover.step = write_protect,
	.mover.cleanup = close_uffd,
};

FIXTURE_VARIANT_ADD(remap, uffd_move) {
	.mover.setup = uffd_moving,
	.mover.step = move_away,
	.mover.restore = move_back,
	.mover.cleanup = close_uffd,
	.mover.moved = ALL,
};

FIXTURE_SETUP(remap)
{
	const char *missing;

	if (!stats_available())
		SKIP(return, NO_STATS);
	missing = rig_init_marks(&self->rig, variant->mover.kind);
	if (missing)
		SKIP(return, "%s", missing);
}

FIXTURE_TEARDOWN(remap)
{
	settings_restore();
	rig_cleanup(&self->rig);
}

TEST_F_TIMEOUT(remap, marked_pages_stay, MOVER_TIMEOUT_S)
{
	struct mover_result result;
	const char *missing = mover_run(&self->rig, &variant->mover, &result);

	if (missing)
		SKIP(return, "%s", missing);
	EXPECT_TRUE(mover_passed(&result));
}

/* --- controls ------------------------------------------------------------------ */

static void no_step(struct shadow *shadow)
{
}

FIXTURE(control) {
	struct rig rig;
};

FIXTURE_SETUP(control)
{
	const char *missing;

	if (!stats_available())
		SKIP(return, NO_STATS);
	missing = rig_init_marks(&self->rig, MEM_MEMFD);
	if (missing)
		SKIP(return, "%s", missing);
	/* What is wrong after one is no state to start another one with. */
	setenv("VFIO_SELFTESTS_ROUNDS", "1", 1);
}

FIXTURE_TEARDOWN(control)
{
	settings_restore();
	rig_cleanup(&self->rig);
}

/* Marked pages that go are noticed: by the device, which does not get there. */
TEST_F_TIMEOUT(control, without_late_pins, MOVER_TIMEOUT_S)
{
	static const struct mover mover = { .step = unmap_shared };
	struct mover_result result;

	if (setting_change(BREAK_PIN, "1"))
		SKIP(return, "not a test configuration");
	ASSERT_EQ(mover_run(&self->rig, &mover, &result), NULL);
	EXPECT_GT(result.mismatches, 0);
	EXPECT_GT(stat_get("over_limit_zaps"), 0);
}

static const char *disable_marks(struct shadow *shadow)
{
	type1_pin_bitmap(shadow->rig->iommu, VFIO_PIN_BITMAP_FLAG_DISABLE_MARKS);
	return NULL;
}

/* Unmarked pages that stay are noticed. */
TEST_F_TIMEOUT(control, with_all_pinned, MOVER_TIMEOUT_S)
{
	static const struct mover mover = {
		.setup = disable_marks,
		.step = unmap_shared,
	};
	struct mover_result result;

	ASSERT_EQ(mover_run(&self->rig, &mover, &result), NULL);
	EXPECT_EQ(result.mismatches, 0);
	EXPECT_EQ(result.kept, SHADOW_UNMARKED_PAGES);
}

/* A step that does nothing is noticed. */
TEST_F_TIMEOUT(control, without_mover, MOVER_TIMEOUT_S)
{
	static const struct mover mover = { .step = no_step, .moved = ALL };
	struct mover_result result;

	ASSERT_EQ(mover_run(&self->rig, &mover, &result), NULL);
	EXPECT_EQ(result.unmet, 1);
	EXPECT_EQ(result.unmoved, ALL);
	EXPECT_EQ(result.kept, SHADOW_UNMARKED_PAGES);
}

int main(int argc, char *argv[])
{
	get_device_bdfs(&argc, argv);
	return test_harness_run(argc, argv);
}
