// SPDX-License-Identifier: GPL-2.0-only
/*
 * A guest that marks what it likes, and a VMM that maps what it likes: they
 * can make the kernel hold memory up to the limit that they are charged for,
 * and nothing else suffers.
 *
 * VFIO_SELFTESTS_SEED, _ROUNDS (of the tests with random choices) and
 * _NORESERVE_GIB (of address space that is mapped) can be set.
 */
#include <linux/mman.h>
#include <pthread.h>

#include <libvfio/child.h>
#include <libvfio/hostile.h>
#include <libvfio/memcg.h>
#include <libvfio/unpinned.h>

#include "kselftest_harness.h"

#define BIG_HUGE_PAGES	5UL
#define BIG_SIZE	(BIG_HUGE_PAGES * MEM_HUGE_SIZE)
#define BIG_PAGES	(BIG_SIZE / MEM_PAGE_SIZE)
#define BIG_IOVA	0x80000000UL
#define BIG_LIMIT	128UL
#define BIG_PINS(limit)	min_t(u64, 2 * (limit), BIG_PAGES)
#define HUGE_PAGES	(MEM_HUGE_SIZE / MEM_PAGE_SIZE)

#define RECLAIM_TRIES	20
/* Counters of memory cgroups are up to date after 2 seconds. */
#define MEMCG_RECLAIM_TRIES	100
#define MEMCG_RECLAIM_INTERVAL_US	(50 * 1000)
/* mem_resident() counts the swap cache, which MADV_PAGEOUT does not reclaim. */
#define SWAP_CACHE	128

/* Pins that are no late pins: the page of edu's driver, the bitmap. */
#define OTHER_PINS	2

/* More memory than the rig's own, which stays unmapped. */
struct big {
	struct rig rig;
	struct mem mem;
	struct dma_region region;
};

static const char *big_init(struct big *big, enum mem_kind kind, u64 limit,
			    u64 budget)
{
	struct rig *rig = &big->rig;
	const char *missing = rig_init(rig, kind);

	if (missing)
		return missing;
	if (!mem_can_pageout())
		return NO_SWAP;
	if (!stats_available())
		return NO_STATS;
	mem_alloc(&big->mem, kind, BIG_SIZE);
	big->region = (struct dma_region) {
		.vaddr = big->mem.vaddr,
		.iova = BIG_IOVA,
		.size = BIG_SIZE,
	};
	guest_map(rig->guest, BIG_IOVA, big->mem.vaddr, BIG_SIZE);
	type1_map_unpinned(rig->iommu, &big->region);
	type1_register_budget(rig->iommu, rig->bitmap.vaddr, &big->region, limit,
			      budget);
	rig_enable_marks(rig);
	return NULL;
}

static void big_cleanup(struct big *big)
{
	rig_cleanup(&big->rig);
	mem_free(&big->mem);
}

static void *big_vaddr(struct big *big, u64 page)
{
	return big->mem.vaddr + page * MEM_PAGE_SIZE;
}

static void big_touch_all(struct big *big)
{
	u64 page;

	for (page = 0; page < BIG_PAGES; page++)
		guest_touch(big->rig.guest, BIG_IOVA + page * MEM_PAGE_SIZE);
}

static void big_bracket_all(struct big *big)
{
	u64 page;

	for (page = 0; page < BIG_PAGES; page += HUGE_PAGES)
		mem_bracket(big_vaddr(big, page));
}

static void mark_all(struct rig *rig)
{
	memset(rig->bitmap.vaddr, 0xff, rig->bitmap.size);
}

static void unmark_all(struct rig *rig)
{
	memset(rig->bitmap.vaddr, 0, rig->bitmap.size);
}

/* Reclaim for as long as it helps. Returns how many pages stay. */
static u64 reclaim_down_to(void *vaddr, u64 size, u64 pages)
{
	int n = 0;

	do {
		mem_reclaim(vaddr, size);
	} while (++n < RECLAIM_TRIES && mem_resident(vaddr, size) > pages);
	return mem_resident(vaddr, size);
}

FIXTURE(marks) {
	struct big big;
};

FIXTURE_VARIANT(marks) {
	enum mem_kind kind;
	u64 limit;
};

FIXTURE_VARIANT_ADD(marks, anon) {
	.kind = MEM_ANON,
	.limit = BIG_LIMIT,
};

FIXTURE_VARIANT_ADD(marks, memfd) {
	.kind = MEM_MEMFD,
	.limit = BIG_LIMIT,
};

/* It is the limit that keeps the memory reclaimable, nothing else. */
FIXTURE_VARIANT_ADD(marks, anon_no_limit) {
	.kind = MEM_ANON,
	.limit = BIG_PAGES,
};

FIXTURE_SETUP(marks)
{
	const char *missing = big_init(&self->big, variant->kind, variant->limit,
				       0);

	if (missing)
		SKIP(return, "%s", missing);
}

FIXTURE_TEARDOWN(marks)
{
	big_cleanup(&self->big);
}

/* A guest that marks everything keeps twice the limit, and the host gets the rest. */
TEST_F_TIMEOUT(marks, all_ones, 2 * RIG_TIMEOUT_S)
{
	u64 resident, pins = BIG_PINS(variant->limit);
	struct big *big = &self->big;
	struct rig *rig = &big->rig;
	int n;

	mark_all(rig);
	for (n = 0; n < 2; n++) {
		big_touch_all(big);
		resident = reclaim_down_to(big->mem.vaddr, BIG_SIZE, pins);
		EXPECT_GE(resident, pins);
		EXPECT_LE(resident, pins + SWAP_CACHE);
		EXPECT_EQ(stat_get("late_pins"), pins);
		EXPECT_EQ(stat_get("held"), pins);
		EXPECT_EQ(vmstat_pins() - rig->pins, pins + OTHER_PINS);
	}
	EXPECT_EQ(stat_get("late_pins_peak"), pins);
	EXPECT_EQ(stat_get("held_peak"), pins);
	EXPECT_EQ(stat_get("over_limit_zaps") > 0, pins < BIG_PAGES);

	unmark_all(rig);
	EXPECT_EQ(stat_wait("late_pins", 0), 0);
	big_touch_all(big);
	EXPECT_LE(reclaim_down_to(big->mem.vaddr, BIG_SIZE, 0), SWAP_CACHE);
	EXPECT_EQ(stat_get("late_pins"), 0);
}

FIXTURE(huge) {
	struct big big;
};

#define HUGE_BUDGET	(3 * HUGE_PAGES - 1)	/* two huge pages, not three */

FIXTURE_SETUP(huge)
{
	const char *missing = big_init(&self->big, MEM_ANON, BIG_HUGE_PAGES,
				       HUGE_BUDGET);

	if (missing)
		SKIP(return, "%s", missing);
}

FIXTURE_TEARDOWN(huge)
{
	big_cleanup(&self->big);
}

/* A mark in a huge page holds all of it, so the budget counts all of it. */
TEST_F_TIMEOUT(huge, one_mark_per_huge_page, RIG_TIMEOUT_S)
{
	struct kvm_random_state random = new_kvm_random_state(env_seed());
	struct big *big = &self->big;
	struct rig *rig = &big->rig;
	u64 first, page, resident;

	for (first = 0; first < BIG_PAGES; first += HUGE_PAGES) {
		if (!mem_make_huge(big_vaddr(big, first)))
			SKIP(return, "no huge page to be had");
		page = first + kvm_random_u32(&random) % HUGE_PAGES;
		guest_mark(rig->guest, page);
		guest_touch(rig->guest, BIG_IOVA + page * MEM_PAGE_SIZE);
	}
	big_bracket_all(big);
	EXPECT_EQ(stat_get("held"), 2 * HUGE_PAGES);
	EXPECT_EQ(stat_get("late_pins"), 2);
	EXPECT_GE(stat_get("over_budget_zaps"), BIG_HUGE_PAGES - 2);
	EXPECT_EQ(stat_get("over_limit_zaps"), 0);

	/*
	 * A huge page that was swapped comes back as small ones, of which the
	 * worker may get the marked one in: below the budget.
	 */
	resident = reclaim_down_to(big->mem.vaddr, BIG_SIZE,
				   2 * HUGE_PAGES + BIG_HUGE_PAGES - 2);
	EXPECT_GE(resident, 2 * HUGE_PAGES);
	EXPECT_LE(resident, 2 * HUGE_PAGES + BIG_HUGE_PAGES - 2 + SWAP_CACHE);
	EXPECT_LE(stat_get("held_peak"), HUGE_BUDGET);
	unmark_all(rig);
	EXPECT_EQ(stat_wait("late_pins", 0), 0);
	EXPECT_LE(reclaim_down_to(big->mem.vaddr, BIG_SIZE, 0), SWAP_CACHE);
}

/*
 * Two processes in one memory cgroup: one with a device and all pages marked,
 * one that minds its own business. The host wants the memory of both.
 */
FIXTURE(neighbours) {
	struct rig rig;
	struct kernel_counts before;
	char *cgroup;		/* of both */
	char *vmm_cgroup;
	char *other_cgroup;
	struct child vmm, other;
};

FIXTURE_VARIANT(neighbours) {
	u64 limit;
};

FIXTURE_VARIANT_ADD(neighbours, limited) {
	.limit = BIG_LIMIT,
};

/* It is due to the limit that the host gets it. */
FIXTURE_VARIANT_ADD(neighbours, no_limit) {
	.limit = BIG_PAGES,
};

#define OTHER_SIZE	(4UL << 20)

/* Go over all the memory twice; 0 if all is right. */
static int mind_own_business(void *cgroup)
{
	u64 n, *vaddr, wrong = 0;
	struct mem mem;

	memcg_enter(cgroup);
	mem_alloc(&mem, MEM_ANON, OTHER_SIZE);
	vaddr = mem.vaddr;
	for (n = 0; n < OTHER_SIZE / sizeof(*vaddr); n++)
		vaddr[n] = n;
	say('r');
	wait_for_go();
	for (n = 0; n < OTHER_SIZE / sizeof(*vaddr); n++)
		wrong += vaddr[n] != n;
	return !!wrong;
}

struct vmm {
	const char *cgroup;
	u64 limit;
};

/* In a child: 0 if it gets to the end. */
static int run_all_marked(void *data)
{
	struct vmm *vmm = data;
	struct big big;

	memcg_enter(vmm->cgroup);
	if (big_init(&big, MEM_ANON, vmm->limit, 0))
		return 1;
	mark_all(&big.rig);
	big_touch_all(&big);
	say('r');
	wait_for_go();
	big_touch_all(&big);
	big_cleanup(&big);
	return 0;
}

FIXTURE_SETUP(neighbours)
{
	struct vmm vmm = { .limit = variant->limit };
	const char *missing = rig_init(&self->rig, MEM_ANON);

	if (missing)
		SKIP(return, "%s", missing);
	/* The child wants the device. */
	rig_cleanup(&self->rig);
	self->cgroup = memcg_create(NULL, "vfio-selftest");
	if (!self->cgroup)
		SKIP(return, NO_MEMCG);
	if (!mem_can_pageout())
		SKIP(return, NO_SWAP);
	self->before = kernel_counts();
	self->vmm_cgroup = memcg_create(self->cgroup, "vmm");
	vmm.cgroup = self->vmm_cgroup;
	self->other_cgroup = memcg_create(self->cgroup, "other");
	child_start(&self->other, mind_own_business, self->other_cgroup);
	child_start(&self->vmm, run_all_marked, &vmm);
	ASSERT_EQ(child_hear(&self->other), 'r');
	ASSERT_EQ(child_hear(&self->vmm), 'r');
}

FIXTURE_TEARDOWN(neighbours)
{
	memcg_destroy(self->vmm_cgroup);
	memcg_destroy(self->other_cgroup);
	memcg_destroy(self->cgroup);
}

/*
 * All that the host can get of both. Returns what the VMM keeps.
 *
 * The VMM's pages are all active. Without MGLRU, reclaim deactivates them if the
 * counters of the cgroup say that there are too many, and these lag behind: they are
 * zero at first, and then no try gets a page. Reading memory.stat updates them if
 * enough has changed for the number of CPUs, else the kernel does every 2 seconds.
 */
static u64 reclaim_both(const char *both, const char *vmm, u64 expected)
{
	u64 kept;
	int n = 0;

	do {
		if (n)
			usleep(MEMCG_RECLAIM_INTERVAL_US);
		memcg_reclaim(both, BIG_SIZE + OTHER_SIZE);
		kept = memcg_get_key(vmm, "memory.stat", "anon");
	} while (++n < RECLAIM_TRIES ||
		 (n < MEMCG_RECLAIM_TRIES && kept > expected));
	return kept;
}

/* What libraries and the guest's own page tables take, and what is in flight */
#define VMM_SIZE	(2UL << 20)

TEST_F_TIMEOUT(neighbours, all_ones, 2 * RIG_TIMEOUT_S)
{
	u64 pinned = BIG_PINS(variant->limit) * MEM_PAGE_SIZE;
	u64 expected = pinned + VMM_SIZE;
	u64 kept = reclaim_both(self->cgroup, self->vmm_cgroup, expected);
	struct kernel_counts left;

	EXPECT_GE(kept, pinned);
	EXPECT_LE(kept, expected);
	/* The other one can be had whole. */
	EXPECT_LE(memcg_get_key(self->other_cgroup, "memory.stat", "anon"),
		  OTHER_SIZE / 2);
	EXPECT_EQ(child_wait(&self->vmm), 0);
	EXPECT_EQ(child_wait(&self->other), 0);
	EXPECT_EQ(memcg_get_key(self->cgroup, "memory.events", "oom_kill"), 0);
	left = kernel_counts_left(&self->before);
	EXPECT_EQ(left.pins, 0);
	EXPECT_EQ(left.iommu_pages, 0);
}

/* Address space that nobody has memory for; no guest. */
FIXTURE(space) {
	struct kernel_counts before;
	struct iommu *iommu;
	struct vfio_pci_device *device;
};

FIXTURE_SETUP(space)
{
	const char *missing = device_missing(0, true);

	if (missing)
		SKIP(return, "%s", missing);
	self->before = kernel_counts();
	self->iommu = iommu_init(MODE_VFIO_TYPE1V2_IOMMU);
	self->device = vfio_pci_device_init(device_bdf[0], self->iommu);
	missing = unpinned_missing(self->iommu);
	if (missing)
		SKIP(return, "%s", missing);
}

FIXTURE_TEARDOWN(space)
{
	struct kernel_counts left;

	vfio_pci_device_cleanup(self->device);
	iommu_cleanup(self->iommu);
	left = kernel_counts_left(&self->before);
	VFIO_ASSERT_TRUE(!left.pins && !left.iommu_pages,
			 "%ld pins and %ld tables are left", left.pins,
			 left.iommu_pages);
}

#define SPACE_IOVA	(512UL << 30)	/* above are tables of its own */
#define SPACE_LOW_IOVA	(64UL << 30)	/* for units with 39 bits */
#define SPACE_ALIASES	3

static void *space_mmap(void *addr, u64 size)
{
	return mmap(addr, size, PROT_READ | PROT_WRITE, (addr ? MAP_FIXED : 0) |
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

/* The longest range of IOVAs from @iova on, up to @size. */
static u64 space_valid(struct iommu *iommu, iova_t iova, u64 size)
{
	u8 buf[1024];
	struct vfio_iommu_type1_info_cap_iova_range *cap = (void *)buf;
	u32 n;

	if (!type1_get_cap(iommu, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, buf,
			   sizeof(buf)))
		return 0;
	for (n = 0; n < cap->nr_iovas; n++) {
		if (cap->iova_ranges[n].start <= iova &&
		    cap->iova_ranges[n].end >= iova)
			return min_t(u64, size,
				     cap->iova_ranges[n].end - iova + 1);
	}
	return 0;
}

/* What is in the way of a bracket, and what a bracket is for. */
static void space_disturb(struct __test_metadata *_metadata, void *vaddr, u64 size)
{
	u64 offset;

	for (offset = 0; offset < size; offset += size / 64)
		WRITE_ONCE(*(u8 *)(vaddr + offset), 1);
	EXPECT_EQ(madvise(vaddr, size, MADV_DONTNEED), 0);
	EXPECT_EQ(mprotect(vaddr, size / 2, PROT_NONE), 0);
	EXPECT_EQ(munmap(vaddr + size / 2, size / 2), 0);
	EXPECT_NE(space_mmap(vaddr, size), MAP_FAILED);
}

TEST_F_TIMEOUT(space, churn, 10 * RIG_TIMEOUT_S)
{
	u64 size = env_number("VFIO_SELFTESTS_NORESERVE_GIB", 2) << 30;
	u64 rounds = env_number("VFIO_SELFTESTS_ROUNDS", 3);
	void *vaddr = space_mmap(NULL, size);
	u64 tables = size / MEM_HUGE_SIZE;
	struct kernel_counts first = {}, left;
	u64 round, n, locked = status_kib("VmLck");
	iova_t base = SPACE_IOVA;

	if (space_valid(self->iommu, base, SPACE_ALIASES * size) <
	    SPACE_ALIASES * size)
		base = SPACE_LOW_IOVA;
	ASSERT_NE(vaddr, MAP_FAILED);
	for (round = 0; round < rounds; round++) {
		struct dma_region region = { .vaddr = vaddr, .size = size };

		for (n = 0; n < SPACE_ALIASES; n++) {
			region.iova = base + n * size;
			type1_map_unpinned(self->iommu, &region);
		}
		EXPECT_GE(kernel_counts().iommu_pages - self->before.iommu_pages,
			  SPACE_ALIASES * tables);
		EXPECT_GE((status_kib("VmLck") - locked) * 1024,
			  2 * SPACE_ALIASES * tables * MEM_PAGE_SIZE);
		space_disturb(_metadata, vaddr, size);
		for (n = 0; n < SPACE_ALIASES; n++) {
			region.iova = base + n * size;
			type1_unmap(self->iommu, &region);
		}
		EXPECT_EQ(status_kib("VmLck"), locked);
		/* Tables of a higher level stay until the domain goes. */
		if (!round)
			first = kernel_counts();
		left = kernel_counts_left(&first);
		EXPECT_EQ(left.iommu_pages, 0);
	}
	EXPECT_LE(first.iommu_pages - self->before.iommu_pages, 16);
}

#define HUGE_SPACE	(64UL << 40)

/* The result of an attempt to map all that can be addressed. */
static int map_huge_space(struct iommu *iommu)
{
	struct dma_region region = {
		.iova = SPACE_IOVA,
		.size = space_valid(iommu, SPACE_IOVA, HUGE_SPACE),
	};

	if (!region.size) {
		region.iova = SPACE_LOW_IOVA;
		region.size = space_valid(iommu, SPACE_LOW_IOVA, HUGE_SPACE);
	}
	printf("# %lu GiB\n", region.size >> 30);
	region.vaddr = space_mmap(NULL, region.size);
	VFIO_ASSERT_NE(region.vaddr, MAP_FAILED);
	return __type1_map_unpinned(iommu, &region);
}

/* RLIMIT_MEMLOCK is there before the first table is made. */
TEST_F_TIMEOUT(space, huge_and_rlimit, RIG_TIMEOUT_S)
{
	struct kernel_counts before = kernel_counts(), left;
	u64 locked = status_kib("VmLck");

	limit_memlock(64 * 1024);
	EXPECT_EQ(map_huge_space(self->iommu), -ENOMEM);
	EXPECT_EQ(status_kib("VmLck"), locked);
	left = kernel_counts_left(&before);
	EXPECT_EQ(left.iommu_pages, 0);
}

#define SPACE_MEMORY	(32UL << 20)

struct space_user {
	const char *cgroup;
	struct iommu *iommu;
};

static int map_huge_space_in_cgroup(void *data)
{
	struct space_user *user = data;

	memcg_enter(user->cgroup);
	return -map_huge_space(user->iommu);
}

/* Who may lock what he likes is bounded by his memory cgroup. */
TEST_F_TIMEOUT(space, huge_and_memcg, RIG_TIMEOUT_S)
{
	struct kernel_counts before = kernel_counts(), left;
	char *cgroup = memcg_create(NULL, "vfio-selftest");
	s64 charged, killed;
	struct space_user user = { .cgroup = cgroup, .iommu = self->iommu };
	struct child child;
	int status;

	if (!cgroup)
		SKIP(return, NO_MEMCG);
	memcg_set(cgroup, "memory.max", SPACE_MEMORY);
	child_start(&child, map_huge_space_in_cgroup, &user);
	status = child_wait(&child);
	killed = memcg_get_key(cgroup, "memory.events", "oom_kill");
	charged = memcg_get(cgroup, "memory.peak");
	/* Killed for it, if the call has not failed before. */
	EXPECT_EQ(status, killed ? -SIGKILL : ENOMEM);
	/* It was the limit that has ended it. */
	EXPECT_GT(charged, SPACE_MEMORY - (1 << 20));
	EXPECT_LE(charged, SPACE_MEMORY);
	left = kernel_counts_left(&before);
	EXPECT_EQ(left.iommu_pages, 0);
	EXPECT_LT(memcg_kernel_left(cgroup, 1 << 20), 1 << 20);
	memcg_destroy(cgroup);
}

#define ALIAS_MAX	16
#define ALIAS_PAGES	64UL
#define ALIAS_TRIES	400

FIXTURE(random) {
	struct rig rig;
	struct kvm_random_state random;
	u64 rounds;
	bool stop;
	u64 limit;
};

FIXTURE_SETUP(random)
{
	const char *missing = rig_init(&self->rig, MEM_ANON);

	if (missing)
		SKIP(return, "%s", missing);
	if (!stats_available())
		SKIP(return, NO_STATS);
	self->random = new_kvm_random_state(env_seed());
	self->rounds = env_number("VFIO_SELFTESTS_ROUNDS", 3);
}

FIXTURE_TEARDOWN(random)
{
	rig_cleanup(&self->rig);
}

/* Would one more mapping of [start, start + len) cover a page too often? */
static bool too_many_aliases(const u8 *count, u64 start, u64 len)
{
	u64 page;

	for (page = start; page < start + len; page++) {
		if (count[page] == ALIAS_MAX)
			return true;
	}
	return false;
}

/* Does the device get to @page through the first and the last mapping of it? */
static void expect_aliases(struct __test_metadata *_metadata, struct rig *rig,
			   const struct dma_region *first,
			   const struct dma_region *last, u64 page, bool works)
{
	void *vaddr = rig_vaddr(rig, page);

	EXPECT_EQ(dma_works(rig->device, first->iova + (vaddr - first->vaddr),
			    vaddr), works);
	EXPECT_EQ(dma_works(rig->device, last->iova + (vaddr - last->vaddr),
			    vaddr), works);
}

/* Mappings of all lengths, of which none may be the 17th of any page. */
TEST_F_TIMEOUT(random, aliases, RIG_TIMEOUT_S)
{
	struct dma_region region[ALIAS_TRIES], *first = NULL, *last = NULL;
	struct rig *rig = &self->rig;
	u64 n, page, start, len, mapped = 0;
	u8 count[ALIAS_PAGES] = {};

	for (n = 0; n < ALIAS_TRIES; n++) {
		start = kvm_random_u32(&self->random) % ALIAS_PAGES;
		len = kvm_random_u32(&self->random) % (ALIAS_PAGES - start) + 1;
		region[mapped] = (struct dma_region) {
			.vaddr = rig_vaddr(rig, start),
			.iova = rig_iova(n * ALIAS_PAGES + start),
			.size = len * MEM_PAGE_SIZE,
		};
		if (too_many_aliases(count, start, len)) {
			ASSERT_EQ(__type1_map_unpinned(rig->iommu,
						       &region[mapped]), -ENOSPC);
			continue;
		}
		type1_map_unpinned(rig->iommu, &region[mapped++]);
		for (page = start; page < start + len; page++)
			count[page]++;
	}
	EXPECT_LT(mapped, ALIAS_TRIES);

	for (page = 0; count[page] < ALIAS_MAX;)
		ASSERT_LT(++page, ALIAS_PAGES);
	for (n = 0; n < mapped; n++) {
		if (rig_vaddr(rig, page) < region[n].vaddr ||
		    rig_vaddr(rig, page) >= region[n].vaddr + region[n].size)
			continue;
		last = &region[n];
		first = first ?: last;
	}
	guest_touch(rig->guest, rig_iova(page));
	expect_aliases(_metadata, rig, first, last, page, true);
	mem_bracket(rig_vaddr(rig, page));
	expect_aliases(_metadata, rig, first, last, page, false);
}

#define OWN_BIT(word)	(1UL << ((word) * 5 % 64))	/* not for the thread */
#define BITMAP_WORDS	(RIG_PAGES / 64)
#define PATTERN_OFFSET	64

/* Marks come and go, with no relation to what the guest does. */
static void *flip_marks(void *data)
{
	FIXTURE_DATA(random) * self = data;
	struct kvm_random_state random = new_kvm_random_state(~env_seed());
	u64 *bitmap = self->rig.bitmap.vaddr;

	while (!READ_ONCE(self->stop)) {
		u32 word = kvm_random_u32(&random) % BITMAP_WORDS;

		__atomic_fetch_xor(&bitmap[word], kvm_random_u64(&random) &
				   ~OWN_BIT(word), __ATOMIC_SEQ_CST);
	}
	return NULL;
}

static void *bracket_randomly(void *data)
{
	FIXTURE_DATA(random) * self = data;
	struct kvm_random_state random = new_kvm_random_state(env_seed() + 1);
	void *vaddr = self->rig.mem.vaddr;

	while (!READ_ONCE(self->stop)) {
		u64 page = kvm_random_u32(&random) % RIG_PAGES;
		u64 len = kvm_random_u32(&random) % (RIG_PAGES - page) + 1;

		mem_bracket(rig_vaddr(&self->rig, page));
		madvise(rig_vaddr(&self->rig, page), len * MEM_PAGE_SIZE,
			kvm_random_bool(&random) ? MADV_PAGEOUT : MADV_COLD);
		/* Split and collapse huge pages: the pages move. */
		madvise(vaddr, RIG_SIZE, kvm_random_bool(&random) ?
			MADV_HUGEPAGE : MADV_NOHUGEPAGE);
		if (kvm_random_u32(&random) % 8 == 0)
			madvise(vaddr, RIG_SIZE, MADV_COLLAPSE);
	}
	return NULL;
}

/* A page that stays marked works all the time, whatever the others do. */
static void check_own_page(struct __test_metadata *_metadata, struct rig *rig,
			   u64 page)
{
	u32 value;

	guest_mark(rig->guest, page);
	value = rig_guest_write(rig, page);
	EXPECT_FALSE(rig_dma_read_blocked(rig, page, value));
	value = unique_value();
	dma_write(rig->device, rig_iova(page), &value, sizeof(value));
	guest_unmark(rig->guest, page);
	EXPECT_EQ(guest_read(rig->guest, rig_iova(page)), value);
}

TEST_F_TIMEOUT(random, marks, 10 * RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	pthread_t flip, bracket;
	u64 n, page;

	for (page = 0; page < RIG_PAGES; page++)
		*(u64 *)(rig_vaddr(rig, page) + PATTERN_OFFSET) = page;
	rig_map(rig);
	rig_register(rig, RIG_PAGES);
	rig_enable_marks(rig);
	ASSERT_EQ(pthread_create(&flip, NULL, flip_marks, self), 0);
	ASSERT_EQ(pthread_create(&bracket, NULL, bracket_randomly, self), 0);
	for (n = 0; n < self->rounds; n++) {
		u64 word = kvm_random_u32(&self->random) % BITMAP_WORDS;

		for (page = 0; page < 64; page++)
			guest_touch(rig->guest,
				    rig_iova(kvm_random_u32(&self->random) %
					     RIG_PAGES));
		check_own_page(_metadata, rig,
			       word * 64 + __builtin_ctzl(OWN_BIT(word)));
	}
	WRITE_ONCE(self->stop, true);
	ASSERT_EQ(pthread_join(flip, NULL), 0);
	ASSERT_EQ(pthread_join(bracket, NULL), 0);
	EXPECT_GT(stat_get("pin_events"), 0);
	EXPECT_GT(stat_get("zaps"), 0);
	EXPECT_LE(stat_get("late_pins_peak"), RIG_PAGES);

	unmark_all(rig);
	EXPECT_EQ(stat_wait("late_pins", 0), 0);
	for (page = 0; page < RIG_PAGES; page++)
		ASSERT_EQ(*(u64 *)(rig_vaddr(rig, page) + PATTERN_OFFSET), page);
}

#define RACERS		8
#define RACE_LIMIT	37
#define RACE_PINS	(2 * RACE_LIMIT)

struct racer {
	struct rig *rig;
	pthread_barrier_t *barrier;
	pthread_t thread;
	u64 first;	/* of its own pages */
};

/* One page after the other, which takes no lock that another racer has. */
static void *race_for_limit(void *data)
{
	struct racer *racer = data;
	u64 page;

	pthread_barrier_wait(racer->barrier);
	for (page = 0; page < RIG_PAGES / RACERS; page++)
		madvise(rig_vaddr(racer->rig, racer->first + page),
			MEM_PAGE_SIZE, MADV_PAGEOUT);
	mem_bracket(rig_vaddr(racer->rig, racer->first));
	return NULL;
}

static void race(struct rig *rig)
{
	struct racer racers[RACERS];
	pthread_barrier_t barrier;
	int n;

	pthread_barrier_init(&barrier, NULL, RACERS);
	for (n = 0; n < RACERS; n++) {
		racers[n] = (struct racer) {
			.rig = rig,
			.barrier = &barrier,
			.first = n * RIG_PAGES / RACERS,
		};
		VFIO_ASSERT_TRUE(!pthread_create(&racers[n].thread, NULL,
						 race_for_limit, &racers[n]),
				 "pthread_create");
	}
	for (n = 0; n < RACERS; n++)
		pthread_join(racers[n].thread, NULL);
	pthread_barrier_destroy(&barrier);
}

/* Who comes first gets a pin, and there are never more than twice the limit. */
TEST_F_TIMEOUT(random, limit_raced, 10 * RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	u64 n, page;

	rig_map(rig);
	rig_register(rig, RACE_LIMIT);
	rig_enable_marks(rig);
	for (n = 0; n < self->rounds; n++) {
		mark_all(rig);
		for (page = 0; page < RIG_PAGES; page++)
			guest_touch(rig->guest, rig_iova(page));
		race(rig);
		EXPECT_EQ(stat_get("late_pins"), RACE_PINS);
		EXPECT_EQ(vmstat_pins() - rig->pins, RACE_PINS + OTHER_PINS);
		unmark_all(rig);
		EXPECT_EQ(stat_wait("late_pins", 0), 0);
		EXPECT_EQ(vmstat_pins() - rig->pins, OTHER_PINS);
	}
	EXPECT_EQ(stat_get("late_pins_peak"), RACE_PINS);
	EXPECT_GE(stat_get("over_limit_zaps"), RIG_PAGES - RACE_PINS);
}

int main(int argc, char *argv[])
{
	get_device_bdfs(&argc, argv);
	return test_harness_run(argc, argv);
}
