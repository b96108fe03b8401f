// SPDX-License-Identifier: GPL-2.0-only
/*
 * DMA to marked pages while everything else happens to the memory around them:
 * a page that is marked and touched works until the mark is cleared, whatever
 * the host does meanwhile, and no other page is needed for that.
 */
#include <linux/mman.h>
#include <pthread.h>

#include <libvfio/unpinned.h>

#include "kselftest_harness.h"

#define ROUNDS		20
#define PAGES_PER_ROUND	8

FIXTURE(stress) {
	struct rig rig;
	pthread_t thread;
	bool stop;
};

FIXTURE_VARIANT(stress) {
	enum mem_kind kind;
	u64 limit;
};

FIXTURE_VARIANT_ADD(stress, anon) {
	.kind = MEM_ANON,
	.limit = RIG_PAGES,
};

FIXTURE_VARIANT_ADD(stress, memfd) {
	.kind = MEM_MEMFD,
	.limit = RIG_PAGES,
};

FIXTURE_SETUP(stress)
{
	const char *missing = rig_init(&self->rig, variant->kind);

	if (missing)
		SKIP(return, "%s", missing);
	rig_map(&self->rig);
	rig_register(&self->rig, variant->limit);
	rig_enable_marks(&self->rig);
}

FIXTURE_TEARDOWN(stress)
{
	rig_cleanup(&self->rig);
}

/* Brackets of all kinds; none of them loses content. */
static void *disturb(void *data)
{
	FIXTURE_DATA(stress) * self = data;
	void *vaddr = self->rig.mem.vaddr;
	unsigned int n;
	int advice;

	for (n = 0; !READ_ONCE(self->stop); n++) {
		mem_bracket(vaddr + n % 2 * MEM_HUGE_SIZE);
		if (mem_can_pageout())
			mem_reclaim(vaddr, RIG_SIZE);
		advice = n % 3 ? MADV_HUGEPAGE : MADV_NOHUGEPAGE;
		VFIO_ASSERT_EQ(madvise(vaddr, RIG_SIZE, advice), 0);
		/* Fails where a page is pinned, or huge pages are not to be had. */
		madvise(vaddr, RIG_SIZE, MADV_COLLAPSE);
	}
	return NULL;
}

/* Write, mark, transfer, compare, clear the mark: some pages at a time. */
static void transfer(struct __test_metadata *_metadata, struct rig *rig, u64 first)
{
	u32 value[PAGES_PER_ROUND];
	int n;

	for (n = 0; n < PAGES_PER_ROUND; n++) {
		guest_mark(rig->guest, first + n);
		value[n] = rig_guest_write(rig, first + n);
	}
	for (n = 0; n < PAGES_PER_ROUND; n += PAGES_PER_ROUND - 1) {
		EXPECT_FALSE(rig_dma_read_blocked(rig, first + n, value[n]));
		value[n] = unique_value();
		dma_write(rig->device, rig_iova(first + n), &value[n],
			  sizeof(value[n]));
	}
	for (n = 0; n < PAGES_PER_ROUND; n++) {
		guest_unmark(rig->guest, first + n);
		EXPECT_EQ(guest_read(rig->guest, rig_iova(first + n)), value[n]);
	}
}

TEST_F_TIMEOUT(stress, dma_among_brackets, 2 * RIG_TIMEOUT_S)
{
	u64 step = RIG_PAGES / ROUNDS;
	int n;

	ASSERT_EQ(pthread_create(&self->thread, NULL, disturb, self), 0);
	for (n = 0; n < ROUNDS; n++)
		transfer(_metadata, &self->rig, n * step);
	WRITE_ONCE(self->stop, true);
	ASSERT_EQ(pthread_join(self->thread, NULL), 0);
	if (stats_available()) {
		EXPECT_GT(stat_get("pin_events"), 0);
		EXPECT_EQ(stat_get("over_limit_zaps"), 0);
		EXPECT_EQ(stat_wait("late_pins", 0), 0);
	}
}

int main(int argc, char *argv[])
{
	get_device_bdfs(&argc, argv);
	return test_harness_run(argc, argv);
}
