/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The protocol of unpinned DMA mappings: who may set and zap a leaf, and when.
 *
 * A guest maps, uses and unmaps buffers (kernel/dma/pinning.c), KVM faults pages
 * in and drops them, core mm takes pages away in brackets, and VFIO
 * (drivers/vfio/vfio_unpinned_notifier.c, vfio_unpinned_release.c,
 * vfio_unpinned_worker.c, vfio_unpinned_map.c) makes the leaves of the IOMMU
 * follow. SPIN looks at every order of their steps. Names follow the code.
 *
 * A step is what one lock covers, or one access to memory where no lock is held.
 * These are steps of the model that are several accesses in the code:
 *
 *	unp->lock	the look at a mark and the change of the leaf; the flush
 *			that follows is a step of its own, before which the lock
 *			is not given away (unp_lock)
 *	mmu_lock	KVM's zap with its flush; staleness check, gate and SPTE
 *	PTL		a change of the user's page table entry
 *
 * Broken variants (-DBREAK_...) are one change away each; models/README.md lists
 * them. Sizes and parts (-DNP=..., -DDROP, ...) are chosen by the runner,
 * harness/lib/models.sh.
 *
 * State of a page, see vfio_unpinned_priv.h for the word:
 *
 *	pte	0 not present, or its frame; ZERO is the zero page, read-only
 *	spte	0, or the frame that KVM maps; spte_w: writable
 *	leaf	0, or the frame, one for each domain (device); iotlb is its cache
 *
 * Frames 1..NF belong to one page each: frame f is in use while pte is f or while it
 * is pinned, and freed in the step in which that ends. To be given to another
 * page at once could not be worse than to be freed, which is checked.
 */
#ifndef NP
#define NP	2	/* pages */
#endif
#ifndef NV
#define NV	2	/* virtual CPUs */
#endif
#ifndef NM
#define NM	2	/* movers: brackets at the same time */
#endif
#ifndef ND
#define ND	1	/* containers: an IOMMU domain and a device each */
#endif
#ifndef NF
#define NF	3	/* frames for each page */
#endif
#ifndef LIMIT
#define LIMIT	NP	/* of late pins: twice that of marks */
#endif
#ifdef BREAK_PER_CONTAINER
#define NC	ND	/* states of a page */
#else
#define NC	1
#endif

#define ZERO	7
#define BUSY	3

#define dp(d, p)	((d) * NP + (p))
#define pf(p, f)	((p) * NF + (f) - 1)

/* core mm */
byte pte[NP];
byte pins[NP * NF];		/* FOLL_PIN references */
#define in_use(p, f)	(pte[p] == (f) || pins[pf(p, f)])

/* KVM */
byte spte[NP];
bool spte_w[NP];
byte in_progress[NP];		/* exact ranges; KVM's may be wider */
bool in_fault[NV];
bool stale[NV];			/* mmu_invalidate_seq has moved since */

/* VFIO: a word is one of these for each page; PRESENT is pfn != 0 */
byte word_pfn[NC * NP];
bool word_gated[NC * NP];
bool word_pinned[NC * NP];
bool word_populate[NC * NP];
bool unp_lock;
byte late_pins;
bool marks_enabled = true;
bool published, map_dying;
byte domain[ND];		/* GONE, LIVE or DYING */
#define GONE	0
#define LIVE	1
#define DYING	2
byte leaf[ND * NP];
byte iotlb[ND * NP];

#ifdef BREAK_TEST_EARLY
bool sampled;			/* for one mover only */
#endif

/* guest */
bool mark[NP];
byte count[NP];
byte store_buffer[NV];		/* page + 1 whose mark is on its way */

bool guest_ready = true;	/* READY has been answered */
bool reset_wanted;
byte parked;			/* virtual CPUs that wait for the end of a reset */

/* For the invariants only */
byte busy[NP];			/* buffers that a device may use now */
bool excused[NP];		/* over the limit, or the user dropped the memory */
bool mapped;			/* MAP_DMA_UNPINNED has returned */
bool ready[ND];			/* the attach has returned */

byte i, d, c, new;		/* scratch within one step */

#if NC > 1
/* Only the first container has registered a bitmap, and each sees its leaves. */
#define marked(c, p)	((c) == 0 && mark[p])
#define sees(c, d)	((c) == (d))
#else
#define marked(c, p)	(!marks_enabled || mark[p])
#define sees(c, d)	true
#endif

/* ---- core mm ---- */

inline alloc_frame(p)
{
	new = 1;
	do
	:: in_use(p, new) -> new++
	:: else -> break
	od;
	assert(new <= NF)	/* else the model has too few frames */
}

inline pin_frame(p, f)
{
	pins[pf(p, f)]++
}

inline unpin_frame(p, f)
{
	pins[pf(p, f)]--
}

/* ---- KVM ---- */

inline kvm_invalidate_start(p)
{
	in_progress[p]++;
	spte[p] = 0;
	spte_w[p] = false
}

inline kvm_invalidate_end(p)
{
#ifndef BREAK_END
	in_progress[p]--;
#endif
	for (i : 0 .. NV - 1) {
		if
		:: in_fault[i] -> stale[i] = true
		:: else
		fi
	}
}

/* ---- VFIO: leaves ---- */

inline write_leaves(c, p, f)
{
	for (d : 0 .. ND - 1) {
		if
		:: domain[d] == GONE || !sees(c, d)
		:: domain[d] == DYING -> leaf[dp(d, p)] = 0
		:: else -> leaf[dp(d, p)] = f
		fi
	}
}

inline flush(p)
{
	skip;
#ifndef BREAK_FLUSH
	for (d : 0 .. ND - 1) {
		iotlb[dp(d, p)] = 0
	}
#endif
}

/*
 * Clear the leaves, under the lock that is kept for the flush. @put receives
 * the frame, with UNPIN if a late pin goes with it.
 */
#define UNPIN	16

inline zap(c, p, put)
{
	put = word_pfn[dp(c, p)] + (word_pinned[dp(c, p)] -> UNPIN : 0);
	late_pins = late_pins - word_pinned[dp(c, p)];
	write_leaves(c, p, 0);
	word_pfn[dp(c, p)] = 0;
	word_gated[dp(c, p)] = false;
	word_pinned[dp(c, p)] = false
}

/* vfio_unpinned_commit() */
inline commit(p, put)
{
	flush(p);
	if
	:: put > UNPIN -> unpin_frame(p, put - UNPIN)
	:: else
	fi;
	put = 0
}

/* vfio_unpinned_set(), with the commit: all of it under mmu_lock or a new leaf */
inline set_leaf(c, p, f, put)
{
	zap(c, p, put);
	write_leaves(c, p, f);
	word_pfn[dp(c, p)] = f;
	commit(p, put)
}

/* unp_gate_page() */
inline gate(c, p, f, w, put)
{
	word_populate[dp(c, p)] = false;
	if
	:: !published || map_dying
	:: else ->
		if
		:: word_pfn[dp(c, p)] == f ->
			word_gated[dp(c, p)] = word_gated[dp(c, p)] || w
		:: word_pfn[dp(c, p)] != f && w ->
			set_leaf(c, p, f, put);
			word_gated[dp(c, p)] = true;
			excused[p] = false
		:: word_pfn[dp(c, p)] != f && !w ->
#ifndef BREAK_RO_GATE
			zap(c, p, put);
			commit(p, put)
#endif
			skip
		fi
	fi
}

/*
 * unp_late_page(), unp_keep_marked(). Where the limit is in the way, a pin whose mark
 * is clear goes first, by the rule that release() has.
 */
#define other(p)	(NP - 1 - (p))
#ifdef BREAK_RELEASE
#define unneeded(c, q)	false
#else
#define unneeded(c, q)	(word_pinned[dp(c, q)] && !marked(c, q))
#endif

inline late_page(c, p, seen, put)
{
	if
	:: seen && word_pinned[dp(c, p)] ->
		word_gated[dp(c, p)] = false
#ifdef BREAK_LIMIT
	:: seen && !word_pinned[dp(c, p)] ->
#else
	:: seen && !word_pinned[dp(c, p)] && late_pins < LIMIT ->
#endif
		pin_frame(p, word_pfn[dp(c, p)]);
		word_pinned[dp(c, p)] = true;
		late_pins++;
		word_gated[dp(c, p)] = false;
		printf("STEP late pass keeps page %d with a pin\n", p)
#ifndef BREAK_LIMIT
	:: seen && !word_pinned[dp(c, p)] && late_pins >= LIMIT &&
	   unneeded(c, other(p)) ->
		if
		:: word_gated[dp(c, other(p))] ->
			unpin_frame(other(p), word_pfn[dp(c, other(p))]);
			word_pinned[dp(c, other(p))] = false;
			late_pins--
		:: else ->
			zap(c, other(p), put);
			commit(other(p), put)
		fi;
		pin_frame(p, word_pfn[dp(c, p)]);
		word_pinned[dp(c, p)] = true;
		late_pins++;
		word_gated[dp(c, p)] = false;
		printf("STEP late pass keeps page %d with the pin of page %d\n",
		       p, other(p))
	:: seen && !word_pinned[dp(c, p)] && late_pins >= LIMIT &&
	   !unneeded(c, other(p)) ->
#ifdef WITHIN
		printf("I6: a guest within its limit loses page %d\n", p);
		assert(false);
#endif
		excused[p] = true;
		zap(c, p, put);
		printf("STEP late pass zaps page %d over the limit\n", p)
#endif
	:: !seen ->
		zap(c, p, put);
		printf("STEP late pass zaps page %d\n", p)
	fi
}

/* The late pass over one page; the lock is dropped after each. */
inline late_pass(p, own, put)
{
	atomic {
		!unp_lock;
		for (c : 0 .. NC - 1) {
			if
			:: word_pfn[dp(c, p)] && own ->
				word_gated[dp(c, p)] = false
			:: word_pfn[dp(c, p)] && !own ->
#ifdef BREAK_TEST_EARLY
				late_page(c, p, sampled, put)
#else
				late_page(c, p, marked(c, p), put)
#endif
			:: else
			fi
		}
#ifndef BREAK_FLUSH_LATE
		unp_lock = (put != 0)
#endif
	}
#ifndef BREAK_FLUSH_LATE
	if
	:: put -> atomic { commit(p, put); unp_lock = false }
	:: else
	fi
#endif
}

/* ---- VFIO: late pins and marked pages without a leaf ---- */

/* unp_release_page(), by worker or shrinker */
inline release(p, put)
{
	atomic {
		!unp_lock && word_pinned[p] && !marked(0, p);
		if
#ifdef BREAK_KEEP_UNGATED
		:: true ->
#elif defined(BREAK_ZAP_GATED)
		:: false ->
#else
		:: word_gated[p] ->
#endif
			unpin_frame(p, word_pfn[p]);
			word_pinned[p] = false;
			late_pins--;
			printf("STEP release of page %d keeps the leaf\n", p)
		:: else ->
			zap(0, p, put);
			unp_lock = true;
			printf("STEP release of page %d zaps the leaf\n", p)
		fi
	}
	if
	:: put -> atomic { commit(p, put); unp_lock = false }
	:: else
	fi
}

#define wants_leaf(p)	(published && !map_dying && marks_enabled && mark[p] && \
			 !word_pfn[p] && late_pins < LIMIT)

/* unp_populate_page(): reserve, pin by GUP, adopt */
inline populate(p, put, f)
{
	atomic {
		!unp_lock && wants_leaf(p);
		word_populate[p] = true
	}
	do
	:: atomic {
		pte[p] != 0 && pte[p] != ZERO ->
		f = pte[p];
#ifndef BREAK_POPULATE_PIN
		pin_frame(p, f);
#endif
		printf("STEP populate gets frame %d of page %d\n", f, p)
	   };
	   break
	:: else -> gup_write(p, put)
	od;
	atomic {
		!unp_lock;
		if
#ifdef BREAK_POPULATE_GATE
		:: wants_leaf(p) ->
#else
		:: wants_leaf(p) && word_populate[p] ->
#endif
			set_leaf(0, p, f, put);
#ifdef BREAK_POPULATE_PIN
			if
			:: !in_use(p, f) ->
				printf("I3: populate takes a freed frame of page %d\n", p);
				assert(false)
			:: else
			fi;
			pin_frame(p, f);
#endif
			word_pinned[p] = true;
			late_pins++;
			printf("STEP populate sets the leaf of page %d\n", p)
		:: else ->
#ifndef BREAK_POPULATE_PIN
			unpin_frame(p, f)
#endif
			skip
		fi;
		word_populate[p] = false;
		f = 0
	}
}

/* ---- brackets ---- */

/* A write through the user's page table: swap in, or copy the zero page. */
inline gup_write(p, put)
{
	if
	:: atomic { pte[p] == 0 -> alloc_frame(p); pte[p] = new; new = 0 }
	:: atomic { pte[p] == ZERO -> kvm_invalidate_start(p) };
		late_pass(p, false, put);
		atomic {
			if
			:: pte[p] == ZERO -> alloc_frame(p); pte[p] = new; new = 0
			:: else
			fi
		};
		atomic { kvm_invalidate_end(p) }
	:: pte[p] != 0 && pte[p] != ZERO
	fi
}

/* No device reaches the frame when the entry changes, or a late pin holds it. */
#ifdef BREAK_PER_CONTAINER
#define check_I3(p)	skip
#else
#define check_I3(p) \
	for (d : 0 .. ND - 1) { \
		if \
		:: pte[p] != 0 && pte[p] != ZERO && \
		   (leaf[dp(d, p)] == pte[p] || iotlb[dp(d, p)] == pte[p]) -> \
			if \
			:: !pins[pf(p, pte[p])] -> \
				printf("I3: the entry of page %d changes under a leaf\n", p); \
				assert(false) \
			:: else \
			fi \
		:: else \
		fi \
	}
#endif

#ifdef BREAK_FOLL_GET
#define maybe_pinned(p)	false
#else
#define maybe_pinned(p)	pins[pf(p, pte[p])]
#endif

/* What core mm does with the entry, under the page table lock */
inline change_entry(p)
{
	if
	/* Nothing, or put back: any operation may fail. */
	:: true
	/* Reclaim and everything that backs off from a pinned page. */
	:: pte[p] != 0 && pte[p] != ZERO && !maybe_pinned(p) ->
		check_I3(p);
		pte[p] = 0;
		printf("STEP page %d is reclaimed\n", p)
#ifdef MIGRATE
	:: pte[p] != 0 && pte[p] != ZERO && !maybe_pinned(p) ->
		check_I3(p);
		alloc_frame(p);
		pte[p] = new;
		printf("STEP page %d is migrated to frame %d\n", p, new);
		new = 0
#endif
#ifdef DROP
	/* MADV_DONTNEED and the like do not ask for pins. */
	:: pte[p] != 0 ->
		check_I3(p);
		pte[p] = 0;
		excused[p] = true;
		printf("STEP page %d is dropped\n", p)
#endif
	fi
}

proctype mover()
{
	byte p, first, last, put;
#ifdef ROUNDS
	byte round;
#define more_rounds	round < ROUNDS
#else
#define more_rounds	true
#endif

	do
	:: atomic {
		more_rounds ->
#ifdef ROUNDS
		round++;
#endif
		if
		:: first = 0
#if NP > 1
		:: first = 1
#endif
		fi;
		last = first;
#ifdef RANGE
		if
		:: first == 0 -> last = NP - 1
		:: true
		fi;
#endif
		p = first
	   };
#ifdef BREAK_TEST_EARLY
		sampled = marked(0, first);
#endif
#ifdef BREAK_LIST_ORDER
		late_pass(first, false, put);
#endif
		atomic {
			for (p : first .. last) {
				kvm_invalidate_start(p)
			}
			p = first;
			printf("STEP bracket: KVM drops the SPTEs of pages %d to %d\n",
			       first, last)
		};
#ifndef BREAK_LIST_ORDER
next_late:	late_pass(p, false, put);
#ifdef RANGE
		if
		:: p < last -> p++; goto next_late
		:: else -> p = first
		fi;
#endif
#endif
#ifdef BREAK_END_ORDER
		atomic {
			for (p : first .. last) {
				kvm_invalidate_end(p)
			}
			p = first;
			printf("STEP end of the bracket\n")
		};
#endif
next_change:	atomic { change_entry(p) };
#ifdef RANGE
		if
		:: p < last -> p++; goto next_change
		:: else
		fi;
#endif
#ifdef BREAK_FLUSH_LATE
		atomic {
			if
			:: put -> commit(first, put)
			:: else
			fi
		};
#endif
		atomic {
#ifndef BREAK_END_ORDER
			for (p : first .. last) {
				kvm_invalidate_end(p)
			}
#endif
			p = 0; first = 0; last = 0
		}
#ifdef ROUNDS
	:: round == ROUNDS -> break
#endif
	od
}

/* ---- guest ---- */

/*
 * A KVM fault of virtual CPU @v on page @p: once through, may have to be retried.
 * The caller has set in_fault: mmu_seq = kvm->mmu_invalidate_seq.
 */
inline kvm_fault(v, p, w, f, put)
{
	if
	:: atomic { w && pte[p] != 0 && pte[p] != ZERO -> f = pte[p] }
	:: atomic { w && pte[p] == 0 ->
		alloc_frame(p); pte[p] = new; f = new; new = 0 }
#ifdef DROP
	:: atomic { w && pte[p] == ZERO -> skip };
		gup_write(p, put)
	:: atomic { !w && pte[p] == 0 -> pte[p] = ZERO; f = ZERO }
	:: atomic { !w && pte[p] != 0 -> f = pte[p] }
#endif
	fi;
	/* mmu_lock: is_page_fault_stale(), the gate, the SPTE */
	atomic {
		!unp_lock;
		if
		:: f == 0	/* copied the zero page, look again */
#ifndef BREAK_RETRY
		:: f != 0 && (in_progress[p] || stale[v])
		:: f != 0 && !in_progress[p] && !stale[v] ->
#else
		:: f != 0 ->
#endif
			for (c : 0 .. NC - 1) {
				gate(c, p, f, (f != ZERO), put)
			}
			spte[p] = f;
			spte_w[p] = (f != ZERO);
			printf("STEP vCPU %d: gate and SPTE for page %d, frame %d\n",
			       v, p, f)
		fi;
		in_fault[v] = false;
		stale[v] = false;
		f = 0
	}
}

/* The touch, until it gets through */
inline touch(v, p, f, put)
{
	do
	:: atomic {
		spte_w[p] ->
#ifndef BREAK_TOUCH_FIRST
		busy[p]++;
#endif
		printf("STEP vCPU %d touches page %d\n", v, p)
	   };
	   break
	:: atomic { !spte_w[p] -> in_fault[v] = true };
	   kvm_fault(v, p, true, f, put)
#ifdef RESET
	:: reset_wanted -> goto park
#endif
	od
}

/* count_pin() */
inline count_pin(p)
{
	if
	:: count[0] != BUSY -> p = 0
#if NP > 1
	:: count[1] != BUSY -> p = 1
#endif
	fi;
	count[p]++
}

/* set_mark(), whose store may be delayed; smp_mb() waits for it */
inline set_mark(v, p)
{
	store_buffer[v] = p + 1
}

#ifdef BREAK_BARRIER
#define smp_mb(v)	true
#else
#define smp_mb(v)	store_buffer[v] == 0
#endif

/*
 * count_unpin(): locked operations, so the store buffer is empty. The caller's
 * last step comes with the first.
 */
inline count_unpin(v, p)
{
	atomic {
		store_buffer[v] == 0 ->
#ifndef BREAK_CLEAR_EARLY
		busy[p]--;
#endif
		if
		:: count[p] > 1 -> count[p]--; goto out
#ifdef BREAK_BUSY
		:: count[p] == 1 -> count[p] = 0
#else
		:: count[p] == 1 -> count[p] = BUSY
#endif
		fi
	};
	mark[p] = false;
#ifndef BREAK_BUSY
	count[p] = 0;
#endif
out:
	skip
}

proctype vcpu(byte v)
{
	byte p, f, put;
#ifdef LIVENESS
	byte round;
#endif

	do
	:: atomic {
		mapped && guest_ready ->
#ifdef LIVENESS
		/* The second one must not starve the first by its own progress. */
		v == 0 || round < ROUNDS;
		round = (v == 0 -> 0 : round + 1);
#endif
		count_pin(p)
	   };
#ifdef BREAK_TOUCH_FIRST
		touch(v, p, f, put);
#endif
		set_mark(v, p);
#ifdef BREAK_TOUCH_FIRST
		atomic {
			smp_mb(v);
			busy[p]++;
			printf("STEP vCPU %d has marked page %d\n", v, p)
		};
#else
		atomic { smp_mb(v); printf("STEP vCPU %d marks page %d\n", v, p) };
		touch(v, p, f, put);
#endif
#ifdef LIVENESS
		if
		:: v == 0 ->
progress:		skip
		:: else
		fi;
#endif
#ifdef RESET
		if
		:: reset_wanted -> goto park
		:: true
		fi;
#endif
		count_unpin(v, p);
#ifdef BREAK_CLEAR_EARLY
		atomic { busy[p]--; p = 0 }
#else
		p = 0
#endif
#ifdef DROP
	/* The guest just reads. */
	:: atomic {
		if
		:: spte[0] == 0 -> p = 0
#if NP > 1
		:: spte[1] == 0 -> p = 1
#endif
		fi;
		in_fault[v] = true
	   };
	   kvm_fault(v, p, false, f, put);
	   p = 0
#endif
#ifdef RESET
	/* Stopped wherever it was, its mappings are left behind. */
	:: reset_wanted ->
park:		atomic { store_buffer[v] == 0 -> parked++; p = 0 };
		atomic { !reset_wanted -> parked-- }
#endif
	od
}

/* A device accesses something, be it allowed to or not. */
#define device_access(n, p) \
	atomic { \
		iotlb[dp(n, p)] == 0 && leaf[dp(n, p)] != 0 && ready[n] -> \
		iotlb[dp(n, p)] = leaf[dp(n, p)]; \
		printf("STEP device %d accesses page %d\n", n, p) \
	}

/* The mark that a virtual CPU has set becomes visible. */
#define drain(v) \
	atomic { \
		store_buffer[v] != 0 -> \
		mark[store_buffer[v] - 1] = true; \
		printf("STEP the mark of page %d is visible\n", store_buffer[v] - 1); \
		store_buffer[v] = 0 \
	}

proctype hardware()
{
	do
	:: device_access(0, 0)
#if NP > 1
	:: device_access(0, 1)
#endif
#if ND > 1
	:: device_access(1, 0)
#endif
	:: drain(0)
#if NV > 1
	:: drain(1)
#endif
	od
}

proctype worker()
{
	byte f, put;

	do
	:: release(0, put)
#if NP > 1
	:: release(1, put)
#endif
#ifdef POPULATE
	:: populate(0, put, f)
#if NP > 1
	:: populate(1, put, f)
#endif
#endif
	od
}

/* ---- life of mapping, domain and VM ---- */

/*
 * CONVERT: a pinned mapping becomes an unpinned one, then it stays. Otherwise
 * vfio_unpinned_map_publish() and _destroy() in turn. KVM may have SPTEs before.
 */
proctype mapper()
{
	byte put;

	do
#ifdef CONVERT
	:: !published ->
		atomic {
			!unp_lock;
			published = true;
			word_pfn[0] = leaf[0];
#ifdef BREAK_CONVERT
			unpin_frame(0, leaf[0]);
#else
			word_pinned[0] = true;
			late_pins++;
#endif
			printf("STEP conversion takes the leaves over\n")
		};
#else
	:: atomic {
		!published && !unp_lock ->
		published = true;
		printf("STEP the mapping is published\n")
	   };
#endif
#ifdef BREAK_MAP_PTES
		atomic {
			!unp_lock && pte[0] != 0 && pte[0] != ZERO;
			if
			:: word_pfn[0] == 0 -> set_leaf(0, 0, pte[0], put)
			:: else
			fi;
			printf("STEP a leaf is made from the page table\n")
		};
#endif
#ifndef BREAK_OWN_BRACKET
		atomic { kvm_invalidate_start(0) };
		late_pass(0, true, put);
		atomic { kvm_invalidate_end(0) };
#endif
		mapped = true
#ifndef CONVERT
	:: atomic {
		mapped && !unp_lock ->
		mapped = false;
		map_dying = true;
		excused[0] = true;
		if
		:: word_pfn[0] -> zap(0, 0, put); unp_lock = true
		:: else
		fi;
		printf("STEP the mapping is destroyed\n")
	   };
		if
		:: put -> atomic { commit(0, put); unp_lock = false }
		:: else
		fi;
		atomic { !unp_lock; published = false; map_dying = false }
#endif
	od
}

/* vfio_unpinned_add_domain() and vfio_unpinned_del_domain() for the second one */
proctype attacher()
{
	do
	:: atomic { !unp_lock && domain[1] == GONE -> domain[1] = LIVE };
		atomic {
			!unp_lock;
			leaf[dp(1, 0)] = word_pfn[0];
			printf("STEP the second domain has copies of the leaves\n")
		};
		ready[1] = true
	/* The device leaves its domain first. */
	:: atomic { ready[1] -> ready[1] = false; iotlb[dp(1, 0)] = 0 };
#ifdef BREAK_DETACH
		atomic {
			!unp_lock;
			domain[1] = GONE;
			printf("STEP the second domain is forgotten\n")
		};
		leaf[dp(1, 0)] = 0
#else
		atomic {
			!unp_lock;
			domain[1] = DYING;
			leaf[dp(1, 0)] = 0;
			unp_lock = true
		};
		atomic { iotlb[dp(1, 0)] = 0; unp_lock = false; domain[1] = GONE }
#endif
	od
}

/* The VM is reset by its VMM, then its guest says READY again. */
proctype resetter()
{
	do
	:: reset_wanted = true;
		/* Hold phase: the virtual CPUs are stopped, devices may not be. */
		parked == NV;
#ifndef BREAK_RESET
		atomic {
			for (i : 0 .. NP - 1) {
				busy[i] = 0
			}
		};
#endif
		/* Exit phase: OFF, every leaf counts as marked */
		atomic { !unp_lock; marks_enabled = false };
		atomic {
			for (i : 0 .. NP - 1) {
				mark[i] = false;
				count[i] = 0
			}
			guest_ready = false;
			printf("STEP the bitmap is cleared by a reset\n")
		};
#ifdef BREAK_RESET
		/* the whole of it, with READY, before the devices are stopped */
		atomic { !unp_lock; marks_enabled = true };
		atomic {
			for (i : 0 .. NP - 1) {
				busy[i] = 0
			}
		};
#endif
		reset_wanted = false;
		parked == 0;
		/* READY: the bitmap is clear, ENABLE_MARKS, then the answer */
		atomic { !unp_lock; marks_enabled = true };
		guest_ready = true
	od
}

init
{
	atomic {
#ifdef LIFE
		pte[0] = 1;
#ifdef CONVERT
		pins[pf(0, 1)] = 1;
		leaf[0] = 1;
#endif
		run mapper();
#else
		published = true;
		mapped = true;
#endif
		for (d : 0 .. ND - 1) {
			domain[d] = LIVE;
			ready[d] = true
		}
#ifdef ATTACH
		domain[1] = GONE;
		ready[1] = false;
		run attacher();
#endif
#ifdef RESET
		run resetter();
#endif
		run hardware();
		run worker();
		for (i : 1 .. NM) {
			run mover()
		}
		for (i : 0 .. NV - 1) {
			run vcpu(i)
		}
		run invariants()
	}
}

/*
 * The invariants of design and documentation, looked at after each step. A
 * guard is true only when one is broken.
 */
#define bad_I1(n, p)	(mapped && ready[n] && spte_w[p] && leaf[dp(n, p)] != spte[p])
#define bad_I2(n, p)	(mapped && ready[n] && busy[p] && !excused[p] && \
			 (leaf[dp(n, p)] == 0 || leaf[dp(n, p)] != pte[p]))
#define freed(p, f)	((f) != 0 && !in_use(p, f))
#define bad_I3(n, p)	(freed(p, leaf[dp(n, p)]) || freed(p, iotlb[dp(n, p)]))
#define bad_I5(n, p)	(mapped && ready[n] && spte[p] != 0 && \
			 (iotlb[dp(n, p)] != 0 && iotlb[dp(n, p)] != spte[p] || \
			  leaf[dp(n, p)] != 0 && leaf[dp(n, p)] != spte[p]))

proctype invariants()
{
	do
	:: atomic {
		bad_I1(0, 0) || bad_I1(0, NP - 1) || bad_I1(ND - 1, 0) ->
		printf("I1: a writable SPTE without the leaf\n"); assert(false) }
	:: atomic {
		bad_I2(0, 0) || bad_I2(0, NP - 1) || bad_I2(ND - 1, 0) ->
		printf("I2: a marked and touched page lost its leaf or its frame\n");
		assert(false) }
	:: atomic {
		bad_I3(0, 0) || bad_I3(0, NP - 1) || bad_I3(ND - 1, 0) ->
		printf("I3: a freed frame that a device reaches\n"); assert(false) }
	:: atomic {
		late_pins > LIMIT ->
		printf("I4: late pins over the limit\n"); assert(false) }
	:: atomic {
		bad_I5(0, 0) || bad_I5(0, NP - 1) || bad_I5(ND - 1, 0) ->
		printf("I5: a device and the guest see different memory\n");
		assert(false) }
	od
}
