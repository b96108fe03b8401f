/* SPDX-License-Identifier: GPL-2.0-only */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM vfio_unpinned

#if !defined(VFIO_UNPINNED_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define VFIO_UNPINNED_TRACE_H

#include <linux/tracepoint.h>

#define show_unp_flags(flags)				\
	__print_flags(flags, "|",			\
		      { BIT(0), "PRESENT" },		\
		      { BIT(1), "GATED" },		\
		      { BIT(2), "PINNED" })

#define show_unp_reason(reason)				\
	__print_symbolic(reason,			\
			 { 0, "UNMARKED" },		\
			 { 1, "LIMIT" },		\
			 { 2, "FORCED" },		\
			 { 3, "ORPHAN" },		\
			 { 4, "RELEASE" },		\
			 { 5, "UNMAP" },		\
			 { 6, "BUDGET" },		\
			 { 7, "NOT_PINNED" })

DECLARE_EVENT_CLASS(vfio_unpinned_leaf,
		    TP_PROTO(unsigned long vaddr, unsigned long word),
		    TP_ARGS(vaddr, word),
		    TP_STRUCT__entry(__field(unsigned long, vaddr)
				     __field(unsigned long, word)),
		    TP_fast_assign(__entry->vaddr = vaddr;
				   __entry->word = word;),
		    TP_printk("vaddr=%#lx pfn=%#lx flags=%s", __entry->vaddr,
			      __entry->word >> PAGE_SHIFT,
			      show_unp_flags(__entry->word & ~PAGE_MASK))
);

/* A leaf was set, by the gate or by the host for a marked page. */
DEFINE_EVENT(vfio_unpinned_leaf, unpinned_populate,
	     TP_PROTO(unsigned long vaddr, unsigned long word),
	     TP_ARGS(vaddr, word)
);

/* A bracket took a late pin instead of the leaf. */
DEFINE_EVENT(vfio_unpinned_leaf, unpinned_late_pin,
	     TP_PROTO(unsigned long vaddr, unsigned long word),
	     TP_ARGS(vaddr, word)
);

/* A late pin is dropped, the leaf stays. */
DEFINE_EVENT(vfio_unpinned_leaf, unpinned_release,
	     TP_PROTO(unsigned long vaddr, unsigned long word),
	     TP_ARGS(vaddr, word)
);

/* Leaves go, in one chunk: @vaddr and @word are those of the first. */
TRACE_EVENT(unpinned_zap,
	    TP_PROTO(unsigned long vaddr, unsigned long word,
		     unsigned long leaves, int reason),
	    TP_ARGS(vaddr, word, leaves, reason),
	    TP_STRUCT__entry(__field(unsigned long, vaddr)
			     __field(unsigned long, word)
			     __field(unsigned long, leaves)
			     __field(int, reason)),
	    TP_fast_assign(__entry->vaddr = vaddr;
			   __entry->word = word;
			   __entry->leaves = leaves;
			   __entry->reason = reason;),
	    TP_printk("vaddr=%#lx pfn=%#lx flags=%s leaves=%lu reason=%s",
		      __entry->vaddr, __entry->word >> PAGE_SHIFT,
		      show_unp_flags(__entry->word & ~PAGE_MASK),
		      __entry->leaves, show_unp_reason(__entry->reason))
);

/* A marked page can't be held: @cost pages more are over the limit or the budget. */
TRACE_EVENT(unpinned_limit,
	    TP_PROTO(unsigned long vaddr, unsigned long cost,
		     const struct vfio_unpinned_stats *stats,
		     const struct vfio_unpinned_bitmap *bm),
	    TP_ARGS(vaddr, cost, stats, bm),
	    TP_STRUCT__entry(__field(unsigned long, vaddr)
			     __field(unsigned long, cost)
			     __field(unsigned long, late_pins)
			     __field(unsigned long, limit)
			     __field(unsigned long, held)
			     __field(unsigned long, budget)),
	    TP_fast_assign(__entry->vaddr = vaddr;
			   __entry->cost = cost;
			   __entry->late_pins = stats->late_pins;
			   __entry->limit = bm->limit;
			   __entry->held = stats->held;
			   __entry->budget = bm->budget;),
	    TP_printk("vaddr=%#lx cost=%lu late_pins=%lu limit=%lu held=%lu budget=%lu",
		      __entry->vaddr, __entry->cost, __entry->late_pins,
		      __entry->limit, __entry->held, __entry->budget)
);

/* Memory that gets no leaf: the devices will fault there. */
TRACE_EVENT(unpinned_refuse,
	    TP_PROTO(unsigned long vaddr, unsigned long pfn),
	    TP_ARGS(vaddr, pfn),
	    TP_STRUCT__entry(__field(unsigned long, vaddr)
			     __field(unsigned long, pfn)),
	    TP_fast_assign(__entry->vaddr = vaddr;
			   __entry->pfn = pfn;),
	    TP_printk("vaddr=%#lx pfn=%#lx", __entry->vaddr, __entry->pfn)
);

#endif /* VFIO_UNPINNED_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE vfio_unpinned_trace

#include <trace/define_trace.h>
