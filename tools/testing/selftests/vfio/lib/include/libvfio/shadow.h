/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A shadow model of a rig's memory, and the loop in which the kernel moves that
 * memory about under it.
 *
 * In each round some pages are marked and some others are not. All of them get
 * content that the model knows, and a leaf. While the mover does its work, a
 * thread makes the device transfer to and from the marked pages. Then
 *
 *   - each byte of the marked pages must be what the model has, for the device,
 *     the guest and the process, and they must have the frames that they had;
 *   - the unmarked pages must be taken from the device, all or almost all, so
 *     that a kernel that pins everything does not pass, and what the device had
 *     written there must be in what comes back.
 *
 * A unit is a pair of neighbours, of which one DMA covers half and half.
 */
#ifndef SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_SHADOW_H
#define SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_SHADOW_H

#include <pthread.h>

#include <libvfio/unpinned.h>

#define SHADOW_MARKED		3	/* pairs */
#define SHADOW_UNMARKED		12
#define SHADOW_MARKED_PAGES	(2 * SHADOW_MARKED)
#define SHADOW_UNMARKED_PAGES	(2 * SHADOW_UNMARKED)
#define SHADOW_HALF		(RIG_PAGES / 2)

/* For a test that waits for a mover once or several times, as patient as can be */
#define MOVER_TIMEOUT_S		900

struct mover;

struct shadow {
	struct rig *rig;
	const struct mover *mover;
	u64 random;			/* state of shadow_random() */
	/* First pages: the marked ones are below SHADOW_HALF, the others all over. */
	u64 marked[SHADOW_MARKED];
	u64 unmarked[SHADOW_UNMARKED];
	u64 frames[RIG_PAGES];		/* when the round began */
	u32 value[RIG_PAGES][2];	/* each word of the halves of a page */
	u32 same;			/* if not 0: in all pages, the device only reads */
	pthread_t thread;
	bool stop;
	u64 transfers;
	u64 mismatches;
};

/* What the kernel does to memory: one way of it. */
struct mover {
	enum mem_kind kind;
	/* Once, before the first round. Returns a line for SKIP(), or NULL. */
	const char *(*setup)(struct shadow *shadow);
	/* Before the memory of a round is there. */
	void (*prepare)(struct shadow *shadow);
	/* To all of the memory, or at least to all that is not marked. */
	void (*step)(struct shadow *shadow);
	/* After each step, so that guest and process can access all again. */
	void (*restore)(struct shadow *shadow);
	void (*cleanup)(struct shadow *shadow);
	u64 moved;		/* unmarked pages that must have left their frames */
	u64 keeps;		/* and those that the device may still have */
	bool spares_marked;	/* no bracket over marked pages */
	bool discards;		/* what is unmarked may be zeroes afterwards */
	bool same;		/* all pages have the same content */
};

/* Sums over all rounds */
struct mover_result {
	u64 transfers;
	u64 mismatches;		/* between marked pages and the model */
	u64 lost;		/* unmarked pages with another content */
	u64 strayed;		/* marked pages with another frame */
	u64 kept;		/* unmarked pages that the device has, above mover.keeps */
	u64 unmoved;		/* unmarked pages short of mover.moved */
	u64 unmapped;		/* unmarked pages that a touch does not bring back */
	u64 unmet;		/* rounds in which no marked page was met */
	u64 leaked;		/* leaves and late pins that are left */
};

/* From VFIO_SELFTESTS_SEED, _ROUNDS and _PATIENCE; all 1 by default. */
u64 shadow_seed(void);
int shadow_rounds(void);
/* A factor for times, for a kernel that is slow. */
u64 shadow_patience(void);
u64 shadow_random(struct shadow *shadow, u64 below);

static inline void *shadow_memory(struct shadow *shadow)
{
	return shadow->rig->mem.vaddr;
}

static inline void *shadow_vaddr(struct shadow *shadow, u64 page)
{
	return rig_vaddr(shadow->rig, page);
}

/* madvise() for all of the memory. */
void shadow_advise(struct shadow *shadow, int advice);

/* Unmarked page number @n. */
static inline u64 shadow_unmarked_page(struct shadow *shadow, u64 n)
{
	return shadow->unmarked[n / 2] + n % 2;
}

/* Unmarked pages that are not where they were when the round began. */
u64 shadow_moved(struct shadow *shadow);
/* Unmarked pages that the device still has. */
s64 shadow_kept(struct shadow *shadow);
/* Has the mover done what it must do to unmarked pages? */
bool shadow_taken(struct shadow *shadow);
/*
 * Wait until the mover has done what it must do, 20 seconds at most if the patience
 * is 1; call @fn.
 */
void shadow_until_taken(struct shadow *shadow,
			void (*fn)(struct shadow *shadow));

/*
 * Map, register, and all rounds of a mover. A line for SKIP(), or NULL: then
 * @result has what went wrong.
 */
const char *mover_run(struct rig *rig, const struct mover *mover,
		      struct mover_result *result);
/* Is all as it should be? Says what is not. */
bool mover_passed(const struct mover_result *result);

#endif /* SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_SHADOW_H */
