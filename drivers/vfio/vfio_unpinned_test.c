// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of unpinned DMA mappings, without hardware
 *
 * The search applies each event in each state that up to search_depth events lead
 * to, from an address space without mapping on, and has mock_check() compare what
 * the core says with what is there. Two sequences that lead to the same words,
 * mappings and marks are one state. It walks: from each state it goes on with an
 * event that was not tried there, or on the shortest way to the nearest state that
 * has one. After a difference it says by which events it gets there.
 *
 * Cases that it has found, and what it can't see, have tests of their own.
 */
#include <kunit/static_stub.h>
#include <kunit/test-bug.h>
#include <linux/gfp.h>
#include <linux/hugetlb.h>
#include <linux/mman.h>
#include <linux/moduleparam.h>
#include <linux/sched/coredump.h>
#include <linux/vmalloc.h>
#include "vfio_unpinned_mock.h"

static unsigned int search_depth = 4;
module_param(search_depth, uint, 0444);
MODULE_PARM_DESC(search_depth, "TEST: length of the sequences of events that are tried");

/* --- events --------------------------------------------------------------------- */

/* KVM's first pass: it drops what it has of the huge page, and of page Q. */
static void drop_sptes(struct vfio_unpinned_mock *mock, bool huge, bool small)
{
	if (huge) {
		mock->spte_p = false;
		mock->spte_o = false;
		mock->spte_rest = false;
		mock->spte_huge = false;
	}
	if (small)
		mock->spte_q = false;
}

static void gate_huge(struct vfio_unpinned_mock *mock)
{
	mock_gate(mock, mock_vaddr(mock, MOCK_HUGE, 0), UNP_CHUNK_WORDS);
	mock->spte_p = true;
	mock->spte_o = true;
	mock->spte_rest = true;
	mock->spte_huge = true;
}

/* While it logs dirty pages, for example */
static void gate_p(struct vfio_unpinned_mock *mock)
{
	mock_gate(mock, mock_vaddr(mock, MOCK_HUGE, MOCK_PAGE_P), 1);
	mock->spte_p = true;
	mock->spte_huge = false;
}

static void gate_o(struct vfio_unpinned_mock *mock)
{
	mock_gate(mock, mock_vaddr(mock, MOCK_HUGE, MOCK_PAGE_O), 1);
	mock->spte_o = true;
	mock->spte_huge = false;
}

static void gate_q(struct vfio_unpinned_mock *mock)
{
	mock_gate(mock, mock_vaddr(mock, MOCK_SMALL, MOCK_PAGE_Q), 1);
	mock->spte_q = true;
}

/* A page that had @before has come through a bracket: I2, I3 and I6. */
static void judge(struct vfio_unpinned_mock *mock, unsigned int chunk,
		  unsigned long page, unsigned long before, bool marked)
{
	unsigned long after = mock_word(mock, chunk, page);

	if (!mock->marks || mock->tight || !(before & UNP_PRESENT))
		return;
	if (!marked && (after & UNP_PRESENT))
		mock_fail(mock, "a page without mark has its leaf, %lx", after);
	if (marked && (!(after & UNP_PINNED) || unp_pfn(after) != unp_pfn(before)))
		mock_fail(mock, "a marked page has lost its leaf, %lx", before);
}

/* A bracket over one or both of the chunks */
static void run_bracket(struct vfio_unpinned_mock *mock, bool huge, bool small,
			void (*change)(struct vfio_unpinned_mock *mock))
{
	unsigned long p = mock_word(mock, MOCK_HUGE, MOCK_PAGE_P);
	unsigned long q = mock_word(mock, MOCK_SMALL, MOCK_PAGE_Q);

	drop_sptes(mock, huge, small);
	mock_bracket(mock, mock_vaddr(mock, small ? MOCK_SMALL : MOCK_HUGE, 0),
		     (small + huge) * UNP_CHUNK_SIZE, true, change);
	if (huge)
		judge(mock, MOCK_HUGE, MOCK_PAGE_P, p, mock->mark_p);
	if (small)
		judge(mock, MOCK_SMALL, MOCK_PAGE_Q, q, mock->mark_q);
}

/* The process does not change it after all, or just who may write. */
static void bracket_all(struct vfio_unpinned_mock *mock)
{
	run_bracket(mock, true, true, NULL);
}

static void bracket_p(struct vfio_unpinned_mock *mock)
{
	if (mock->spte_huge)
		drop_sptes(mock, true, false);
	mock->spte_p = false;
	mock_bracket(mock, mock_vaddr(mock, MOCK_HUGE, MOCK_PAGE_P), PAGE_SIZE,
		     true, NULL);
}

static void next_huge(struct vfio_unpinned_mock *mock)
{
	mock->at_huge = (mock->at_huge + 1) % MOCK_NR_FRAMES;
}

static void replace_huge(struct vfio_unpinned_mock *mock)
{
	run_bracket(mock, true, false, next_huge);
}

static void next_small(struct vfio_unpinned_mock *mock)
{
	mock->at_small = (mock->at_small + 1) % MOCK_NR_SMALL;
}

static void replace_q(struct vfio_unpinned_mock *mock)
{
	run_bracket(mock, false, true, next_small);
}

static void next_both(struct vfio_unpinned_mock *mock)
{
	next_huge(mock);
	next_small(mock);
}

/* The OOM reaper takes all. */
static void reap(struct vfio_unpinned_mock *mock)
{
	drop_sptes(mock, true, true);
	mm_flags_set(MMF_UNSTABLE, mock->mm);
	mock_bracket(mock, mock->vaddr, mock->size, false, next_both);
	mm_flags_clear(MMF_UNSTABLE, mock->mm);
	if ((mock_word(mock, MOCK_HUGE, MOCK_PAGE_P) |
	     mock_word(mock, MOCK_SMALL, MOCK_PAGE_Q)) & UNP_PRESENT)
		mock_fail(mock, "a leaf has survived the OOM reaper");
}

/* VFIO's own bracket, as another mapping of the same memory makes it */
static void own_bracket(struct vfio_unpinned_mock *mock)
{
	drop_sptes(mock, true, true);
	mmu_notifier_zap_secondary(mock->mm, mock->vaddr,
				   mock->vaddr + mock->size, mock->unp);
}

static void toggle_mark_p(struct vfio_unpinned_mock *mock)
{
	mock->mark_p = !mock->mark_p;
	mock_mark(mock, mock_vaddr(mock, MOCK_HUGE, MOCK_PAGE_P), mock->mark_p);
}

static void toggle_mark_q(struct vfio_unpinned_mock *mock)
{
	mock->mark_q = !mock->mark_q;
	mock_mark(mock, mock_vaddr(mock, MOCK_SMALL, MOCK_PAGE_Q), mock->mark_q);
}

static void toggle_marks(struct vfio_unpinned_mock *mock)
{
	mock->marks = !mock->marks;
	mock_enable_marks(mock, mock->marks);
	/* That calls the worker. */
	mock_settle(mock, true);
}

static void toggle_limit(struct vfio_unpinned_mock *mock)
{
	mock->tight = !mock->tight;
	spin_lock(&mock->unp->lock);
	mock->unp->bitmap->limit = mock->tight ? 1 : MOCK_LIMIT;
	spin_unlock(&mock->unp->lock);
}

static void run_worker(struct vfio_unpinned_mock *mock)
{
	mock_settle(mock, true);
}

/* Whoever maps drops KVM's SPTEs of the range in a bracket of its own. */
static void toggle_map(struct vfio_unpinned_mock *mock, enum mock_map which,
		       bool small)
{
	if (mock->map[which]) {
		mock_unmap(mock, which);
		return;
	}
	if (small || mock->spte_huge)
		drop_sptes(mock, true, small);
	mock->spte_p = false;
	mock_map(mock, which);
}

static void toggle_main(struct vfio_unpinned_mock *mock)
{
	toggle_map(mock, MOCK_MAIN, true);
}

static void toggle_alias(struct vfio_unpinned_mock *mock)
{
	toggle_map(mock, MOCK_ALIAS, true);
}

static void toggle_partial(struct vfio_unpinned_mock *mock)
{
	toggle_map(mock, MOCK_PARTIAL, false);
}

/* Back to the first state; not one of the events that are searched. */
static void reset(struct vfio_unpinned_mock *mock)
{
	enum mock_map which;

	drop_sptes(mock, true, true);
	for (which = 0; which < MOCK_NR_MAPS; which++)
		mock_unmap(mock, which);
	if (mock->mark_p)
		toggle_mark_p(mock);
	if (mock->mark_q)
		toggle_mark_q(mock);
	if (mock->marks)
		toggle_marks(mock);
	if (mock->tight)
		toggle_limit(mock);
	mock->at_huge = 0;
	mock->at_small = 0;
	mock_settle(mock, true);
}

static const struct event {
	const char *name;
	void (*fn)(struct vfio_unpinned_mock *mock);
} events[] = {
	{ "map main", toggle_main },
	{ "map alias", toggle_alias },
	{ "map partial", toggle_partial },
	{ "gate huge", gate_huge },
	{ "gate P", gate_p },
	{ "gate O", gate_o },
	{ "gate Q", gate_q },
	{ "bracket", bracket_all },
	{ "bracket P", bracket_p },
	{ "replace huge", replace_huge },
	{ "replace Q", replace_q },
	{ "reap", reap },
	{ "own bracket", own_bracket },
	{ "marks", toggle_marks },
	{ "mark P", toggle_mark_p },
	{ "mark Q", toggle_mark_q },
	{ "limit", toggle_limit },
	{ "worker", run_worker },
};

/* --- the search ----------------------------------------------------------------- */

#define NR_EVENTS	ARRAY_SIZE(events)
#define RESET		NR_EVENTS
#define MAX_STATES	32768
#define UNKNOWN		U16_MAX

/**
 * struct state - What some sequence of events leads to
 * @hash: see mock_state()
 * @depth: how many events, at least
 * @from: the state before the last of them
 * @by: that event
 * @next: states that the events lead to from here, UNKNOWN if it was not tried
 */
struct state {
	u64 hash;
	u16 depth;
	u16 from;
	u16 by;
	u16 next[NR_EVENTS];
};

struct search {
	struct kunit *test;
	struct vfio_unpinned_mock *mock;
	struct state *states;
	unsigned int nr_states;
	u16 *way;		/* event that leads to each state, for pick() */
	u16 *queue;
	unsigned long applied;
};

static unsigned int find_state(struct search *s, u64 hash)
{
	unsigned int i;

	for (i = 0; i < s->nr_states && s->states[i].hash != hash; i++)
		;
	if (i < s->nr_states || i == MAX_STATES - 1)
		return i;
	s->states[i].hash = hash;
	s->states[i].depth = U16_MAX;
	memset(s->states[i].next, 0xff, sizeof(s->states[i].next));
	s->nr_states++;
	return i;
}

/* An event leads from one state to another: is that a shorter way to it? */
static bool is_shorter(struct search *s, unsigned int from, unsigned int event)
{
	struct state *to = &s->states[s->states[from].next[event]];

	if (s->states[from].depth + 1 >= to->depth)
		return false;
	to->depth = s->states[from].depth + 1;
	to->from = from;
	to->by = event;
	return true;
}

static void shorten(struct search *s)
{
	unsigned int i, event;
	bool again;

	do {
		again = false;
		for (i = 0; i < s->nr_states; i++) {
			for (event = 0; event < NR_EVENTS; event++) {
				if (s->states[i].next[event] != UNKNOWN &&
				    s->states[i].depth != U16_MAX)
					again |= is_shorter(s, i, event);
			}
		}
	} while (again);
}

/* An event that was not tried in a state, or NR_EVENTS */
static unsigned int untried(const struct state *state)
{
	unsigned int event;

	if (state->depth >= search_depth)
		return NR_EVENTS;
	for (event = 0; event < NR_EVENTS; event++) {
		if (state->next[event] == UNKNOWN)
			break;
	}
	return event;
}

/* The first event of the way to the nearest state with an event to try */
static unsigned int pick(struct search *s, unsigned int at)
{
	unsigned int head = 0, tail = 0, event, to;

	event = untried(&s->states[at]);
	if (event < NR_EVENTS)
		return event;
	memset(s->way, 0xff, s->nr_states * sizeof(*s->way));
	s->way[at] = RESET;
	s->queue[tail++] = at;
	while (head < tail) {
		const struct state *state = &s->states[s->queue[head++]];

		for (event = 0; event <= NR_EVENTS; event++) {
			to = event < NR_EVENTS ? state->next[event] : 0;
			if (to == UNKNOWN || s->way[to] != UNKNOWN)
				continue;
			s->way[to] = head == 1 ? event :
						 s->way[s->queue[head - 1]];
			if (untried(&s->states[to]) < NR_EVENTS)
				return s->way[to];
			s->queue[tail++] = to;
		}
	}
	return UNKNOWN;
}

static void report(struct search *s, unsigned int at, unsigned int event)
{
	const char *name = event < NR_EVENTS ? events[event].name : "unmap all";
	struct state *state = &s->states[at];

	if (state->depth && state->depth != U16_MAX)
		report(s, state->from, state->by);
	kunit_err(s->test, "  %s\n", name);
}

/* Returns the state that it leads to, or UNKNOWN if something is wrong. */
static unsigned int apply(struct search *s, unsigned int at, unsigned int event)
{
	unsigned int to;

	if (event < NR_EVENTS)
		events[event].fn(s->mock);
	else
		reset(s->mock);
	mock_settle(s->mock, false);
	s->applied++;
	if (!mock_check(s->mock)) {
		KUNIT_FAIL(s->test, "%s, after these events:", s->mock->error);
		report(s, at, event);
		return UNKNOWN;
	}
	to = find_state(s, mock_state(s->mock));
	if (to == MAX_STATES - 1) {
		KUNIT_FAIL(s->test, "too many states");
		return UNKNOWN;
	}
	if (event < NR_EVENTS && s->states[at].next[event] != to) {
		s->states[at].next[event] = to;
		if (is_shorter(s, at, event))
			shorten(s);
	}
	return to;
}

static void test_search(struct kunit *test)
{
	struct search s = {
		.test = test,
		.mock = test->priv,
		.states = vcalloc(MAX_STATES, sizeof(*s.states)),
		.way = vcalloc(MAX_STATES, sizeof(*s.way)),
		.queue = vcalloc(MAX_STATES, sizeof(*s.queue)),
	};
	unsigned int at = UNKNOWN, event;

	if (s.states && s.way && s.queue) {
		reset(s.mock);
		at = find_state(&s, mock_state(s.mock));
		s.states[at].depth = 0;
	}
	KUNIT_EXPECT_NE(test, at, UNKNOWN);
	while (at != UNKNOWN) {
		cond_resched();
		event = pick(&s, at);
		if (event == UNKNOWN)
			break;
		at = apply(&s, at, event);
	}
	/* After the last unmapping all is zero: mock_check() has said so. */
	if (at != UNKNOWN)
		KUNIT_EXPECT_EQ(test, apply(&s, at, RESET), 0);
	kunit_info(test, "%u states, %lu events", s.nr_states, s.applied);
	vfree(s.states);
	vfree(s.way);
	vfree(s.queue);
}

/* --- cases ---------------------------------------------------------------------- */

static void check(struct vfio_unpinned_mock *mock)
{
	KUNIT_EXPECT_TRUE_MSG(mock->test, mock_check(mock), "%s", mock->error);
}

/* Since no bracket has passed but VFIO's own, there is no pin to be shared. */
static void test_split_not_pinned(struct kunit *test)
{
	struct vfio_unpinned_mock *mock = test->priv;

	toggle_main(mock);
	gate_huge(mock);
	toggle_alias(mock);
	check(mock);
	gate_p(mock);
	check(mock);
	reset(mock);
	check(mock);
}

/* Pages outside of a mapping of the middle get neither word nor pin. */
static void test_split_partial(struct kunit *test)
{
	struct vfio_unpinned_mock *mock = test->priv;

	toggle_partial(mock);
	gate_huge(mock);
	bracket_all(mock);
	check(mock);
	gate_p(mock);
	check(mock);
	reset(mock);
	check(mock);
}

/* One flush for UNP_BATCH_WORDS pages that a bracket is over. */
static void test_flush_batches(struct kunit *test)
{
	struct vfio_unpinned_mock *mock = test->priv;
	unsigned long vaddr = mock_vaddr(mock, MOCK_LARGE_FIRST, 0);
	unsigned int i;

	mock->at_huge = MOCK_THP;
	toggle_marks(mock);
	mock_map(mock, MOCK_LARGE);
	for (i = 0; i < MOCK_LARGE_CHUNKS; i++)
		mock_gate(mock, vaddr + i * UNP_CHUNK_SIZE, 1);
	check(mock);
	KUNIT_EXPECT_EQ(test, mock->domain[0].nr_leaves, MOCK_LARGE_CHUNKS);

	mock->domain[0].syncs = 0;
	mock_bracket(mock, vaddr, MOCK_LARGE_CHUNKS * UNP_CHUNK_SIZE, true, NULL);
	KUNIT_EXPECT_EQ(test, mock->domain[0].syncs,
			MOCK_LARGE_CHUNKS * UNP_CHUNK_WORDS / UNP_BATCH_WORDS);
	KUNIT_EXPECT_EQ(test, mock->domain[0].nr_leaves, 0);
	check(mock);
	mock_unmap(mock, MOCK_LARGE);
}

/* Who drops the lock has flushed before. */
static void test_yield_flushes(struct kunit *test)
{
	struct vfio_unpinned_mock *mock = test->priv;
	struct vfio_unpinned_mm *unp = mock->unp;
	unsigned long before, after;

	toggle_main(mock);
	gate_q(mock);
	drop_sptes(mock, false, true);
	spin_lock(&unp->lock);
	vfio_unpinned_zap(unp, mock_vaddr(mock, MOCK_SMALL, MOCK_PAGE_Q),
			  UNP_ZAP_UNMARKED);
	before = mock->domain[0].nr_stale;
	vfio_unpinned_yield(unp, false);
	after = mock->domain[0].nr_stale;
	spin_unlock(&unp->lock);
	KUNIT_EXPECT_EQ(test, before, 1);
	KUNIT_EXPECT_EQ(test, after, 0);
	check(mock);
	reset(mock);
}

/**
 * struct subscriber - Another secondary MMU of the address space, as KVM's
 * @mn: its subscription
 * @mock: the address space
 * @ret: what its first pass returns
 * @leaves: how many there were then in the first domain
 */
struct subscriber {
	struct mmu_notifier mn;
	struct vfio_unpinned_mock *mock;
	int ret;
	unsigned long leaves;
};

static int subscriber_start(struct mmu_notifier *mn,
			    const struct mmu_notifier_range *range)
{
	struct subscriber *s = container_of(mn, struct subscriber, mn);

	s->leaves = s->mock->domain[0].nr_leaves;
	return s->ret;
}

static const struct mmu_notifier_ops subscriber_ops = {
	.invalidate_range_start = subscriber_start,
};

/* A leaf that is not marked is there until the first pass is through. */
static void test_late_pass_is_last(struct kunit *test)
{
	struct vfio_unpinned_mock *mock = test->priv;
	struct subscriber s = { .mn.ops = &subscriber_ops, .mock = mock };

	toggle_marks(mock);
	toggle_main(mock);
	gate_q(mock);
	KUNIT_ASSERT_EQ(test, 0, mmu_notifier_register(&s.mn, mock->mm));
	bracket_all(mock);
	mmu_notifier_unregister(&s.mn, mock->mm);
	KUNIT_EXPECT_EQ(test, s.leaves, 1);
	KUNIT_EXPECT_EQ(test, mock->domain[0].nr_leaves, 0);
	check(mock);
	reset(mock);
}

/* A bracket that one of the subscribers refuses takes nothing. */
static void test_no_late_pass_after_failure(struct kunit *test)
{
	struct vfio_unpinned_mock *mock = test->priv;
	struct subscriber s = {
		.mn.ops = &subscriber_ops,
		.mock = mock,
		.ret = -EAGAIN,
	};
	struct mmu_notifier_range range;
	int ret;

	toggle_marks(mock);
	toggle_main(mock);
	gate_q(mock);
	KUNIT_ASSERT_EQ(test, 0, mmu_notifier_register(&s.mn, mock->mm));
	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, mock->mm,
				mock->vaddr, mock->vaddr + mock->size);
	mmap_read_lock(mock->mm);
	ret = mmu_notifier_invalidate_range_start_nonblock(&range);
	mmap_read_unlock(mock->mm);
	mmu_notifier_unregister(&s.mn, mock->mm);
	KUNIT_EXPECT_EQ(test, ret, -EAGAIN);
	KUNIT_EXPECT_EQ(test, mock->domain[0].nr_leaves, 1);
	check(mock);
	reset(mock);
}

/* What a bracket over all does: calls of remap_pte in each domain, leaves left */
static void expect_bracket(struct vfio_unpinned_mock *mock,
			   void (*bracket)(struct vfio_unpinned_mock *mock),
			   unsigned long remaps, unsigned long leaves)
{
	unsigned int i;

	mock->at_huge = MOCK_THP;
	gate_huge(mock);
	check(mock);
	for (i = 0; i < ARRAY_SIZE(mock->domain); i++) {
		KUNIT_EXPECT_EQ(mock->test, mock->domain[i].nr_leaves,
				UNP_CHUNK_WORDS);
		mock->domain[i].remaps = 0;
	}
	bracket(mock);
	check(mock);
	for (i = 0; i < ARRAY_SIZE(mock->domain); i++) {
		KUNIT_EXPECT_EQ(mock->test, mock->domain[i].remaps, remaps);
		KUNIT_EXPECT_EQ(mock->test, mock->domain[i].nr_leaves, leaves);
	}
}

/* Leaves side by side go by one call. */
static void test_zap_runs(struct kunit *test)
{
	struct vfio_unpinned_mock *mock = test->priv;
	u64 forced;

	toggle_main(mock);
	toggle_alias(mock);
	forced = mock->unp->stats.forced_zaps;
	expect_bracket(mock, reap, 1, 0);
	KUNIT_EXPECT_EQ(test, mock->unp->stats.forced_zaps,
			forced + UNP_CHUNK_WORDS);

	toggle_marks(mock);
	expect_bracket(mock, bracket_all, 1, 0);
	toggle_mark_p(mock);
	expect_bracket(mock, bracket_all, 2, 1);
	/* The late pin goes with it; the mark is at two IOVAs. */
	forced = mock->unp->stats.forced_zaps;
	expect_bracket(mock, reap, 1, 0);
	KUNIT_EXPECT_EQ(test, mock->unp->stats.forced_zaps, forced + 2);
	reset(mock);
	check(mock);
}

/* --- gigantic pages ------------------------------------------------------------- */

#define GIGANTIC_VADDR		(2UL * SZ_1G)
#define GIGANTIC_ALIASES	(UNP_MAX_GIGANTIC + 1)

struct gigantic {
	struct vfio_unpinned_mock *mock;
	struct folio *folio;
	struct mock_domain domain;
	struct vfio_unpinned_map *map[GIGANTIC_ALIASES];
};

/* The lock is dropped: what is written from here on is in another hold. */
static void count_yield(struct vfio_unpinned_mm *unp, bool may_sleep)
{
	struct vfio_unpinned_mock *mock = kunit_get_current_test()->priv;

	vfio_unpinned_commit(unp);
	unp->written = 0;
	mock->written = 0;
}

static void gigantic_map(struct gigantic *g, unsigned int i)
{
	struct kunit *test = g->mock->test;

	g->map[i] = vfio_unpinned_map_create((dma_addr_t)i * SZ_1G,
					     GIGANTIC_VADDR, SZ_1G, NULL,
					     mock_charge);
	KUNIT_ASSERT_FALSE(test, IS_ERR(g->map[i]));
	KUNIT_ASSERT_EQ(test, 0, vfio_unpinned_add_domain(g->map[i],
							  &g->domain.domain));
	KUNIT_ASSERT_EQ(test, 0, vfio_unpinned_map_publish(g->map[i]));
}

/* Set all and zap all. Returns the number of calls that set it. */
static unsigned long gigantic_fault(struct gigantic *g, unsigned int aliases)
{
	struct vfio_unpinned_mock *mock = g->mock;
	struct kunit *test = mock->test;
	unsigned long remaps;

	g->domain.remaps = 0;
	mock->written = 0;
	mock->written_max = 0;
	mmu_notifier_change_pte(mock->mm, GIGANTIC_VADDR, folio_pfn(g->folio),
				PHYS_PFN(SZ_1G), true);
	remaps = g->domain.remaps;
	KUNIT_EXPECT_EQ(test, g->domain.nr_leaves, aliases * PHYS_PFN(SZ_1G));
	KUNIT_EXPECT_EQ(test, mock->unp->stats.leaves, SZ_1G / UNP_CHUNK_SIZE);
	if (aliases <= UNP_MAX_GIGANTIC)
		mock->written_max = 0;
	mock->written = 0;
	mock_bracket(mock, GIGANTIC_VADDR, SZ_1G, true, NULL);
	KUNIT_EXPECT_EQ(test, g->domain.nr_leaves, 0);
	KUNIT_EXPECT_EQ(test, g->domain.nr_stale, 0);
	KUNIT_EXPECT_LT(test, mock->written_max,
			UNP_BATCH_LEAVES + aliases * UNP_CHUNK_WORDS);
	return remaps;
}

static void gigantic_test(struct gigantic *g)
{
	struct kunit *test = g->mock->test;
	unsigned int i;

	KUNIT_ASSERT_EQ(test, GIGANTIC_VADDR,
			kunit_vm_mmap(test, NULL, GIGANTIC_VADDR, SZ_1G,
				      PROT_READ | PROT_WRITE, MAP_FIXED |
				      MAP_PRIVATE | MAP_ANONYMOUS, 0));
	kunit_activate_static_stub(test, vfio_unpinned_yield, count_yield);
	toggle_marks(g->mock);
	gigantic_map(g, 0);
	KUNIT_EXPECT_EQ(test, gigantic_fault(g, 1), 1);
	for (i = 1; i < GIGANTIC_ALIASES; i++)
		gigantic_map(g, i);
	KUNIT_EXPECT_EQ(test, gigantic_fault(g, GIGANTIC_ALIASES),
			GIGANTIC_ALIASES * (SZ_1G / UNP_CHUNK_SIZE));
	kunit_deactivate_static_stub(test, vfio_unpinned_yield);
	for (i = 0; i < GIGANTIC_ALIASES; i++)
		vfio_unpinned_map_destroy(g->map[i]);
	toggle_marks(g->mock);
	check(g->mock);
}

/* A gigantic page with many aliases, in one fault: nobody waits for all of it. */
static void test_gigantic(struct kunit *test)
{
	struct gigantic g = { .mock = test->priv };
	struct page *page;

	/* It walks its records of pages past the end of a memory section. */
	if (IS_ENABLED(CONFIG_PAGE_TABLE_CHECK))
		kunit_skip(test, "page_table_check can't take 1 GiB");
	page = alloc_contig_frozen_pages(PHYS_PFN(SZ_1G), GFP_KERNEL | __GFP_COMP,
					 first_online_node, NULL);
	if (!page)
		kunit_skip(test, "no 1 GiB of memory in one piece");
	init_page_count(page);
	g.folio = page_folio(page);
	g.mock->gigantic = g.folio;
	__folio_set_swapbacked(g.folio);
	__folio_set_hugetlb(g.folio);
	if (mock_domain_init(g.mock, &g.domain,
			     GIGANTIC_ALIASES * PHYS_PFN(SZ_1G),
			     SZ_4K | SZ_2M | SZ_1G))
		KUNIT_FAIL(test, "no memory");
	else
		gigantic_test(&g);
	mock_domain_exit(&g.domain);
	g.mock->gigantic = NULL;
	__folio_clear_hugetlb(g.folio);
	__folio_clear_swapbacked(g.folio);
	if (folio_put_testzero(g.folio))
		free_contig_frozen_range(folio_pfn(g.folio), PHYS_PFN(SZ_1G));
}

static struct kunit_case vfio_unpinned_cases[] = {
	KUNIT_CASE(test_split_not_pinned),
	KUNIT_CASE(test_split_partial),
	KUNIT_CASE(test_flush_batches),
	KUNIT_CASE(test_yield_flushes),
	KUNIT_CASE(test_late_pass_is_last),
	KUNIT_CASE(test_no_late_pass_after_failure),
	KUNIT_CASE(test_zap_runs),
	KUNIT_CASE_SLOW(test_gigantic),
	KUNIT_CASE_SLOW(test_search),
	{}
};

static struct kunit_suite vfio_unpinned_suite = {
	.name = "vfio_unpinned",
	.init = mock_init,
	.exit = mock_exit,
	.test_cases = vfio_unpinned_cases,
};

kunit_test_suite(vfio_unpinned_suite);
