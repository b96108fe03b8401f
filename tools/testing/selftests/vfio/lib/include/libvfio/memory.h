/* SPDX-License-Identifier: GPL-2.0-only */
/* Memory of the kinds that VMs have, and what the kernel does with it. */
#ifndef SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_MEMORY_H
#define SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_MEMORY_H

#include <linux/types.h>
#include <stdbool.h>

#define MEM_PAGE_SIZE	4096UL
#define MEM_HUGE_SIZE	(2UL << 20)
#define MEM_GIGANTIC_SIZE (1024UL << 20)

enum mem_kind {
	MEM_ANON,
	MEM_MEMFD,
	MEM_SEALED_MEMFD,	/* its size can't change */
	MEM_PRIVATE_MEMFD,	/* a private mapping, of which each page is a copy */
	MEM_SHARED_ANON,
	MEM_HUGETLB,		/* a file of hugetlb pages of MEM_HUGE_SIZE */
	MEM_PRIVATE_HUGETLB,
	MEM_GIGANTIC,		/* and of MEM_GIGANTIC_SIZE */
};

struct mem {
	enum mem_kind kind;
	void *vaddr;	/* aligned as huge pages are, mapped without THP */
	u64 size;
	int fd;		/* of a memfd, or -1 */
};

/* @size is rounded up to whole pages of the kind. */
void mem_alloc(struct mem *mem, enum mem_kind kind, u64 size);
/* Bytes of a page of this kind */
u64 mem_page_size(enum mem_kind kind);
/* Hugetlb pages of this kind that nobody uses or has reserved */
s64 mem_free_pages(enum mem_kind kind);
void mem_free(struct mem *mem);

/*
 * Have the range use memory of these nodes only (a mask), or of any with 0. @flags are
 * those of mbind(). Returns 0 or -errno.
 */
int mem_bind(void *vaddr, u64 size, unsigned long nodes, unsigned int flags);

/* Drop the content: what is read next are zeroes in other frames. */
void mem_discard(struct mem *mem, void *vaddr, u64 size);

/* Number of pages that are in memory. */
u64 mem_resident(void *vaddr, u64 size);
/* Frame number of the page at @vaddr, which is read first. */
u64 mem_frame(void *vaddr);
/* The same without reading it: 0 if the page table has no page there. */
u64 mem_frame_now(void *vaddr);
void mem_frames_now(void *vaddr, u64 pages, u64 *frames);
/*
 * Bring a huge page in at @vaddr, for which the kernel may have to make room.
 * False if it does not; memory of MEM_ANON only, whose content is lost.
 */
bool mem_make_huge(void *vaddr);

/* Is @vaddr in a mapping that has huge pages, of either kind of memory? */
bool mem_is_huge(void *vaddr);

/*
 * Invalidate the MEM_HUGE_SIZE of memory around @vaddr in secondary MMUs, without
 * any change to the content, the frames or the permission to write. For less, the
 * kernel splits the mapping, which invalidates as much in any case.
 */
void mem_bracket(void *vaddr);

/* Is there swap space for mem_pageout()? */
bool mem_can_pageout(void);
/* Reason for SKIP() */
#define NO_SWAP		"no swap space"
/* Ask for reclaim of the range once. */
void mem_reclaim(void *vaddr, u64 size);
/* Reclaim until nothing of the range is in memory: false if some of it stays. */
bool mem_pageout(void *vaddr, u64 size);

/*
 * Inject a memory failure into the page at @vaddr, or into the hugetlb page that it
 * is in. Returns 0 or -errno: -EINVAL if the kernel can't. From then on, SIGBUS
 * does nothing but count.
 */
int mem_poison(void *vaddr);
/* How often there was a SIGBUS since the last call. */
int mem_bus_errors(void);

/* A line of /proc/vmstat, up to date. */
s64 vmstat_line(const char *name);
/* FOLL_PIN references that exist in the system. */
s64 vmstat_pins(void);
/* A "Name: n kB" line of /proc/self/status, in KiB. */
u64 status_kib(const char *name);

#endif /* SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_MEMORY_H */
