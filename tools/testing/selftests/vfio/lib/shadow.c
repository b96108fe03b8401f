// SPDX-License-Identifier: GPL-2.0-only
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <libvfio/settings.h>
#include <libvfio/shadow.h>

#define HALF_WORDS	(DMA_MAX_SIZE / 2 / sizeof(u32))
#define PAIR_OFFSET	(MEM_PAGE_SIZE / 2)	/* of what a DMA covers */

#define MOVE_TIMEOUT_S	20
#define MOVE_POLL_US	(20 * 1000)

static u64 environment(const char *name, u64 value)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : value;
}

u64 shadow_seed(void)
{
	return environment("VFIO_SELFTESTS_SEED", 1);
}

int shadow_rounds(void)
{
	return environment("VFIO_SELFTESTS_ROUNDS", 1);
}

u64 shadow_patience(void)
{
	return environment("VFIO_SELFTESTS_PATIENCE", 1);
}

/* xorshift64* */
u64 shadow_random(struct shadow *shadow, u64 below)
{
	u64 x = shadow->random;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	shadow->random = x;
	return (x * 0x2545f4914f6cdd1dULL >> 32) % below;
}

void shadow_advise(struct shadow *shadow, int advice)
{
	VFIO_ASSERT_TRUE(!madvise(shadow_memory(shadow), RIG_SIZE, advice),
			 "madvise %d: %s", advice, strerror(errno));
}

static void fill_half(u32 *half, u32 value)
{
	size_t n;

	for (n = 0; n < HALF_WORDS; n++)
		WRITE_ONCE(half[n], value);
}

static bool half_is(const u32 *half, u32 value)
{
	size_t n;

	for (n = 0; n < HALF_WORDS; n++) {
		if (READ_ONCE(half[n]) != value)
			return false;
	}
	return true;
}

static u32 *half_of(struct shadow *shadow, u64 page, int half)
{
	return (u32 *)shadow_vaddr(shadow, page) + half * HALF_WORDS;
}

static iova_t pair_iova(u64 pair)
{
	return rig_iova(pair) + PAIR_OFFSET;
}

/* New content for what a DMA to the pair covers: in the model, and for the DMA. */
static void renew_pair(struct shadow *shadow, u64 pair, u32 *content)
{
	shadow->value[pair][1] = unique_value();
	shadow->value[pair + 1][0] = unique_value();
	fill_half(content, shadow->value[pair][1]);
	fill_half(content + HALF_WORDS, shadow->value[pair + 1][0]);
}

static bool pair_is(struct shadow *shadow, u64 pair, const u32 *content)
{
	return half_is(content, shadow->value[pair][1]) &&
	       half_is(content + HALF_WORDS, shadow->value[pair + 1][0]);
}

/* The device writes to one pair and reads another one. */
static void transfer(struct shadow *shadow, u64 to, u64 from)
{
	u32 sent[2 * HALF_WORDS], got[2 * HALF_WORDS];
	struct vfio_pci_device *device = shadow->rig->device;

	if (shadow->same) {
		dma_read(device, pair_iova(from), got, sizeof(got));
	} else {
		renew_pair(shadow, to, sent);
		dma_write(device, pair_iova(to), sent, sizeof(sent));
		dma_read(device, pair_iova(from), got, sizeof(got));
	}
	shadow->transfers++;
	shadow->mismatches += !pair_is(shadow, from, got);
}

static void *transfer_thread(void *data)
{
	struct shadow *shadow = data;
	u64 n = shadow_random(shadow, SHADOW_MARKED);

	do {
		transfer(shadow, shadow->marked[n % SHADOW_MARKED],
			 shadow->marked[(n + 1) % SHADOW_MARKED]);
		n++;
	} while (!READ_ONCE(shadow->stop));
	return NULL;
}

static bool is_chosen(const u64 *pairs, int nr, u64 pair)
{
	while (nr--) {
		if (pairs[nr] == pair)
			return true;
	}
	return false;
}

/* Choose @nr pairs among the pages from @first on, none of them twice. */
static void choose(struct shadow *shadow, u64 *pairs, int nr, u64 first)
{
	u64 pair;
	int n;

	for (n = 0; n < nr; n++) {
		do {
			pair = first + 2 * shadow_random(shadow, SHADOW_HALF / 2);
		} while (is_chosen(shadow->marked, SHADOW_MARKED, pair) ||
			 is_chosen(shadow->unmarked, SHADOW_UNMARKED, pair));
		pairs[n] = pair;
	}
}

/* Content, then the touch. */
static void fill_page(struct shadow *shadow, u64 page)
{
	u32 *value = shadow->value[page];
	int half;

	for (half = 0; half < 2; half++) {
		value[half] = shadow->same ?: unique_value();
		fill_half(half_of(shadow, page, half), value[half]);
	}
	guest_touch(shadow->rig->guest, rig_iova(page));
	shadow->frames[page] = mem_frame(shadow_vaddr(shadow, page));
}

static s64 leaves(struct shadow *shadow)
{
	return stat_get("leaves");
}

/* Choose, mark, fill and touch. The device writes to an unmarked pair, too. */
static void begin_round(struct shadow *shadow)
{
	u64 pair = shadow_random(shadow, SHADOW_UNMARKED);
	u32 sent[2 * HALF_WORDS];
	int n;

	memset(shadow->value, 0, sizeof(shadow->value));
	memset(shadow->marked, -1, sizeof(shadow->marked));
	memset(shadow->unmarked, -1, sizeof(shadow->unmarked));
	choose(shadow, shadow->marked, SHADOW_MARKED, 0);
	choose(shadow, shadow->unmarked, SHADOW_UNMARKED / 2, 0);
	choose(shadow, shadow->unmarked + SHADOW_UNMARKED / 2,
	       SHADOW_UNMARKED / 2, SHADOW_HALF);

	for (n = 0; n < SHADOW_MARKED_PAGES; n++)
		guest_mark(shadow->rig->guest, shadow->marked[n / 2] + n % 2);
	for (n = 0; n < SHADOW_MARKED_PAGES; n++)
		fill_page(shadow, shadow->marked[n / 2] + n % 2);
	for (n = 0; n < SHADOW_UNMARKED_PAGES; n++)
		fill_page(shadow, shadow_unmarked_page(shadow, n));
	VFIO_ASSERT_TRUE(leaves(shadow) == SHADOW_MARKED_PAGES + SHADOW_UNMARKED_PAGES,
			 "%ld leaves after all touches", leaves(shadow));
	if (shadow->same)
		return;
	renew_pair(shadow, shadow->unmarked[pair], sent);
	dma_write(shadow->rig->device, pair_iova(shadow->unmarked[pair]), sent,
		  sizeof(sent));
}

static void step_under_dma(struct shadow *shadow)
{
	WRITE_ONCE(shadow->stop, false);
	VFIO_ASSERT_TRUE(!pthread_create(&shadow->thread, NULL, transfer_thread,
					 shadow), "pthread_create");
	shadow->mover->step(shadow);
	WRITE_ONCE(shadow->stop, true);
	VFIO_ASSERT_EQ(pthread_join(shadow->thread, NULL), 0);
}

u64 shadow_moved(struct shadow *shadow)
{
	u64 page, moved = 0;
	int n;

	for (n = 0; n < SHADOW_UNMARKED_PAGES; n++) {
		page = shadow_unmarked_page(shadow, n);
		moved += mem_frame_now(shadow_vaddr(shadow, page)) !=
			 shadow->frames[page];
	}
	return moved;
}

s64 shadow_kept(struct shadow *shadow)
{
	return leaves(shadow) - SHADOW_MARKED_PAGES;
}

bool shadow_taken(struct shadow *shadow)
{
	return shadow_moved(shadow) >= shadow->mover->moved &&
	       shadow_kept(shadow) <= (s64)shadow->mover->keeps;
}

void shadow_until_taken(struct shadow *shadow,
			void (*fn)(struct shadow *shadow))
{
	time_t end = time(NULL) + MOVE_TIMEOUT_S * shadow_patience();

	do {
		if (fn)
			fn(shadow);
		if (shadow_taken(shadow))
			return;
		usleep(MOVE_POLL_US);
	} while (time(NULL) < end);
}

/* What the mover was to take is gone, for the device as well. */
static void check_taken(struct shadow *shadow, struct mover_result *result,
			s64 marks_found)
{
	const struct mover *mover = shadow->mover;
	u64 page = shadow_unmarked_page(shadow,
					shadow_random(shadow,
						      SHADOW_UNMARKED_PAGES));
	u64 moved = shadow_moved(shadow);
	s64 kept = shadow_kept(shadow);

	if (moved < mover->moved)
		result->unmoved += mover->moved - moved;
	result->unmet += !mover->spares_marked &&
			 stat_get("marks_found") == marks_found;
	if (kept > (s64)mover->keeps)
		result->kept += kept - mover->keeps;
	/* The counter says so; one page is asked. */
	if (!kept && !rig_dma_read_blocked(shadow->rig, page,
					   shadow->value[page][0]))
		result->kept++;
}

/* Is a half of a page as it should be, or discarded if that may be? */
static bool half_is_right(struct shadow *shadow, u64 page, int half,
			  bool discards)
{
	u32 *content = half_of(shadow, page, half);

	return half_is(content, shadow->value[page][half]) ||
	       (discards && half_is(content, 0));
}

static void check_unmarked(struct shadow *shadow, struct mover_result *result)
{
	bool discards = shadow->mover->discards;
	s64 kept;
	u64 page;
	int n;

	for (n = 0; n < SHADOW_UNMARKED_PAGES; n++) {
		page = shadow_unmarked_page(shadow, n);
		guest_touch(shadow->rig->guest, rig_iova(page));
		result->lost += !half_is_right(shadow, page, 0, discards) ||
				!half_is_right(shadow, page, 1, discards);
	}
	/* More, if KVM maps a huge page. */
	kept = shadow_kept(shadow);
	if (kept < SHADOW_UNMARKED_PAGES)
		result->unmapped += SHADOW_UNMARKED_PAGES - kept;
}

/* For the device, for the guest, and for the process. */
static void check_marked(struct shadow *shadow, struct mover_result *result)
{
	u32 value;
	u64 page;
	int n;

	for (n = 0; n < SHADOW_MARKED; n++)
		transfer(shadow, shadow->marked[n],
			 shadow->marked[(n + 1) % SHADOW_MARKED]);
	for (n = 0; n < SHADOW_MARKED_PAGES; n++) {
		page = shadow->marked[n / 2] + n % 2;
		value = guest_read(shadow->rig->guest, rig_iova(page));
		shadow->mismatches += value != shadow->value[page][0] ||
				      !half_is_right(shadow, page, 0, false) ||
				      !half_is_right(shadow, page, 1, false);
		result->strayed += mem_frame(shadow_vaddr(shadow, page)) !=
				   shadow->frames[page];
	}
}

/* Clear the marks and let go of everything. */
static void end_round(struct shadow *shadow, struct mover_result *result)
{
	int n;

	for (n = 0; n < SHADOW_MARKED_PAGES; n++)
		guest_unmark(shadow->rig->guest, shadow->marked[n / 2] + n % 2);
	mem_discard(&shadow->rig->mem, shadow->rig->mem.vaddr, RIG_SIZE);
	result->leaked += leaves(shadow) + stat_get("late_pins");
}

static void run_round(struct shadow *shadow, struct mover_result *result)
{
	const struct mover *mover = shadow->mover;
	s64 marks_found;

	if (mover->prepare)
		mover->prepare(shadow);
	begin_round(shadow);
	marks_found = stat_get("marks_found");
	step_under_dma(shadow);
	check_taken(shadow, result, marks_found);
	if (mover->restore)
		mover->restore(shadow);
	check_unmarked(shadow, result);
	check_marked(shadow, result);
	end_round(shadow, result);
}

const char *mover_run(struct rig *rig, const struct mover *mover,
		      struct mover_result *result)
{
	struct shadow *shadow = calloc_assert(1, sizeof(*shadow));
	const char *missing = NULL;
	int n;

	shadow->rig = rig;
	shadow->mover = mover;
	shadow->random = shadow_seed() ?: 1;
	shadow->same = mover->same ? unique_value() : 0;
	memset(result, 0, sizeof(*result));
	/* One mover at a time: this one would be at work in any of the tests. */
	setting_change("/proc/sys/kernel/numa_balancing", "0");
	if (mover->setup)
		missing = mover->setup(shadow);
	for (n = 0; !missing && n < shadow_rounds(); n++)
		run_round(shadow, result);
	if (mover->cleanup)
		mover->cleanup(shadow);
	result->transfers = shadow->transfers;
	result->mismatches = shadow->mismatches;
	free(shadow);
	return missing;
}

bool mover_passed(const struct mover_result *result)
{
	s64 zapped = stat_get("over_limit_zaps") +
		     stat_get("failed_pin_zaps") + stat_get("forced_zaps");

	if (result->transfers && !result->mismatches && !result->strayed &&
	    !result->unmet && !result->lost && !result->unmapped &&
	    !result->kept && !result->unmoved && !result->leaked && !zapped)
		return true;
	printf("# marked: %lu transfers, %lu mismatches, %lu strayed, %ld zapped, %lu unmet\n",
	       result->transfers, result->mismatches, result->strayed, zapped,
	       result->unmet);
	printf("# unmarked: %lu lost, %lu unmapped, %lu kept, %lu unmoved; %lu leaked\n",
	       result->lost, result->unmapped, result->kept, result->unmoved,
	       result->leaked);
	printf("# seed %lu, %d rounds\n", shadow_seed(), shadow_rounds());
	return false;
}
