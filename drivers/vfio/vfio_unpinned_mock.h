/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * VFIO: unpinned DMA mappings without hardware, for KUnit
 *
 * vfio_unpinned_mock.c has an IOMMU domain that is an array, page frames that are
 * in no page table, and a model of what the user's page table and KVM hold. The
 * core is driven by its own interface: mmu notifiers of a user address space, and
 * the functions that a container calls.
 */
#ifndef VFIO_UNPINNED_MOCK_H
#define VFIO_UNPINNED_MOCK_H

#include <kunit/test.h>
#include <linux/generic_pt/iommu.h>
#include <linux/iommu.h>
#include <linux/mm.h>
#include "vfio_unpinned_priv.h"

/* User memory: chunk 0 is of small pages, chunk 1 is a huge page. */
#define MOCK_SMALL		0
#define MOCK_HUGE		1
/* Pages of the small chunk's only user page, and of the huge page */
#define MOCK_PAGE_Q		0	/* can be populated by the host, too */
#define MOCK_PAGE_O		20	/* outside of the partial mapping */
#define MOCK_PAGE_P		150	/* inside */
#define MOCK_PAGE_REST		400

/* The mappings, see mock_layout */
enum mock_map {
	MOCK_MAIN,
	MOCK_ALIAS,
	MOCK_PARTIAL,
	MOCK_LARGE,
	MOCK_NR_MAPS,
};

/* The limit of marks, in pages */
#define MOCK_LIMIT		8192

/* Chunks of the large mapping, above the huge page */
#define MOCK_LARGE_FIRST	2
#define MOCK_LARGE_CHUNKS	16

/* IOVA space of a domain, in pages: a part of it for each mapping */
#define MOCK_SLOT_PAGES		(20 * UNP_CHUNK_WORDS)
#define MOCK_IOVA_PAGES		(MOCK_NR_MAPS * MOCK_SLOT_PAGES)
#define MOCK_BITMAP_SIZE	PAGE_ALIGN(MOCK_IOVA_PAGES / BITS_PER_BYTE)

/* Memory that the huge page's address has, one after the other */
enum mock_frame {
	MOCK_HUGETLB_1,
	MOCK_THP,
	MOCK_HUGETLB_2,
	MOCK_NR_FRAMES,
};

/* ... and page Q's address */
#define MOCK_NR_SMALL		2
#define MOCK_NR_FOLIOS		(MOCK_NR_FRAMES + MOCK_NR_SMALL)

/**
 * struct mock_domain - An IOMMU domain whose page table is an array
 * @domain: what the core sees
 * @pt: the same as a page table
 * @mock: whose it is
 * @npages: of its IOVA space
 * @leaf: page frame number by page of IOVA, or 0
 * @stale: the same for what an IOTLB may still hold
 * @nr_leaves: how many leaves there are
 * @nr_stale: how many stale ones
 * @unsynced: leaves that were set and iotlb_sync_map was not told of
 * @remaps: calls of remap_range
 * @syncs: calls of iotlb_sync
 */
struct mock_domain {
	union {
		struct iommu_domain domain;
		struct pt_iommu pt;
	};
	struct vfio_unpinned_mock *mock;
	unsigned long npages;
	unsigned long *leaf;
	unsigned long *stale;
	unsigned long nr_leaves;
	unsigned long nr_stale;
	long unsynced;
	unsigned long remaps;
	unsigned long syncs;
};

/**
 * struct vfio_unpinned_mock - An address space with all that belongs to it
 * @test: the test
 * @mm: its address space
 * @vaddr: where the user memory is
 * @size: of it
 * @bitmap: where the pin bitmap is
 * @registered: slot of the container that has registered the bitmap
 * @unp: the object under test
 * @domain: the first has large leaves, the second has not
 * @map: the mappings that there are now
 * @frame: what can be at the huge page's address
 * @small: what can be at page Q; the first is also in the user's page table
 * @gigantic: held as well, or NULL
 * @at_huge: index of the frame that is there
 * @at_small: the same
 * @spte_p: KVM has a writable SPTE of page P
 * @spte_o: the same, of page O
 * @spte_rest: of page REST
 * @spte_q: of page Q
 * @spte_huge: those of the huge page are one SPTE
 * @marks: marks count
 * @mark_p: page P is marked, at each IOVA
 * @mark_q: page Q is marked, at each IOVA
 * @tight: the limit is as small as it gets
 * @written: pages whose leaves were written in this hold of the lock, if the test
 *	resets it
 * @written_max: the most in one hold
 * @error: what is wrong, for the test's report
 */
struct vfio_unpinned_mock {
	struct kunit *test;
	struct mm_struct *mm;
	unsigned long vaddr;
	unsigned long size;
	unsigned long bitmap;
	struct vfio_unpinned_mm *registered;
	struct vfio_unpinned_mm *unp;
	struct mock_domain domain[2];
	struct vfio_unpinned_map *map[MOCK_NR_MAPS];
	struct folio *frame[MOCK_NR_FRAMES];
	struct folio *small[MOCK_NR_SMALL];
	struct folio *gigantic;
	unsigned int at_huge;
	unsigned int at_small;
	bool spte_p;
	bool spte_o;
	bool spte_rest;
	bool spte_q;
	bool spte_huge;
	bool marks;
	bool mark_p;
	bool mark_q;
	bool tight;
	unsigned long written;
	unsigned long written_max;
	char error[128];
};

int mock_domain_init(struct vfio_unpinned_mock *mock, struct mock_domain *d,
		     unsigned long npages, unsigned long sizes);
void mock_domain_exit(struct mock_domain *d);
int mock_charge(struct mm_struct *mm, long npages);
int mock_init(struct kunit *test);
void mock_exit(struct kunit *test);
unsigned long mock_vaddr(struct vfio_unpinned_mock *mock, unsigned int chunk,
			 unsigned long page);
void mock_map(struct vfio_unpinned_mock *mock, enum mock_map which);
void mock_unmap(struct vfio_unpinned_mock *mock, enum mock_map which);
void mock_enable_marks(struct vfio_unpinned_mock *mock, bool enable);
void mock_mark(struct vfio_unpinned_mock *mock, unsigned long vaddr, bool set);
void mock_gate(struct vfio_unpinned_mock *mock, unsigned long vaddr,
	       unsigned long pages);
void mock_bracket(struct vfio_unpinned_mock *mock, unsigned long vaddr,
		  unsigned long size, bool may_sleep,
		  void (*change)(struct vfio_unpinned_mock *mock));
void mock_settle(struct vfio_unpinned_mock *mock, bool run);
unsigned long mock_pfn(struct vfio_unpinned_mock *mock, unsigned long vaddr);
unsigned long mock_word(struct vfio_unpinned_mock *mock, unsigned int chunk,
			unsigned long page);
bool __printf(2, 3)
mock_fail(struct vfio_unpinned_mock *mock, const char *fmt, ...);
bool mock_check(struct vfio_unpinned_mock *mock);
u64 mock_state(struct vfio_unpinned_mock *mock);

#endif /* VFIO_UNPINNED_MOCK_H */
