// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <linux/align.h>
#include <linux/bits.h>
#include <linux/compiler.h>
#include <linux/kernel.h>
#include <linux/memfd.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <libvfio/assert.h>
#include <libvfio/memory.h>
#include <libvfio/settings.h>

#define PAGEMAP_PRESENT		BIT_ULL(63)
#define PAGEMAP_FRAME_MASK	(BIT_ULL(55) - 1)

#define RECLAIM_TRIES		40
#define RECLAIM_INTERVAL_US	(50 * 1000)
#define HUGE_TRIES		10

u64 mem_page_size(enum mem_kind kind)
{
	switch (kind) {
	case MEM_HUGETLB:
	case MEM_PRIVATE_HUGETLB:
		return MEM_HUGE_SIZE;
	case MEM_GIGANTIC:
		return MEM_GIGANTIC_SIZE;
	default:
		return MEM_PAGE_SIZE;
	}
}

/* Reserve address space with the alignment that huge pages need. */
static void *reserve(enum mem_kind kind, u64 size)
{
	u64 align = max(mem_page_size(kind), MEM_HUGE_SIZE);
	void *vaddr = mmap(NULL, size + align, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	VFIO_ASSERT_NE(vaddr, MAP_FAILED);
	return (void *)ALIGN((u64)vaddr, align);
}

static unsigned int mem_fd_flags(enum mem_kind kind)
{
	switch (mem_page_size(kind)) {
	case MEM_HUGE_SIZE:
		return MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB;
	case MEM_GIGANTIC_SIZE:
		return MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_1GB;
	default:
		return MFD_CLOEXEC | MFD_ALLOW_SEALING;
	}
}

static int mem_fd(enum mem_kind kind, u64 size)
{
	int fd;

	if (kind == MEM_ANON || kind == MEM_SHARED_ANON)
		return -1;
	fd = memfd_create("vfio selftest", mem_fd_flags(kind));
	VFIO_ASSERT_TRUE(fd >= 0 && !ftruncate(fd, size), "memfd");
	if (kind == MEM_SEALED_MEMFD)
		VFIO_ASSERT_TRUE(!fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW |
					F_SEAL_SEAL), "F_ADD_SEALS");
	return fd;
}

static bool mem_is_private(enum mem_kind kind)
{
	return kind == MEM_ANON || kind == MEM_PRIVATE_MEMFD ||
	       kind == MEM_PRIVATE_HUGETLB;
}

void mem_alloc(struct mem *mem, enum mem_kind kind, u64 size)
{
	int flags = MAP_FIXED;

	size = ALIGN(size, mem_page_size(kind));
	mem->kind = kind;
	mem->size = size;
	mem->fd = mem_fd(kind, size);
	flags |= mem_is_private(kind) ? MAP_PRIVATE : MAP_SHARED;
	if (mem->fd < 0)
		flags |= MAP_ANONYMOUS;
	mem->vaddr = mmap(reserve(kind, size), size, PROT_READ | PROT_WRITE, flags,
			  mem->fd, 0);
	VFIO_ASSERT_NE(mem->vaddr, MAP_FAILED);
	/* Fails where there are no huge pages, which is as good. */
	madvise(mem->vaddr, size, MADV_NOHUGEPAGE);
}

void mem_free(struct mem *mem)
{
	munmap(mem->vaddr, mem->size);
	if (mem->fd >= 0)
		close(mem->fd);
}

/* MADV_REMOVE punches a hole in the file that is mapped. */
void mem_discard(struct mem *mem, void *vaddr, u64 size)
{
	VFIO_ASSERT_TRUE(!madvise(vaddr, size, mem_is_private(mem->kind) ?
				  MADV_DONTNEED : MADV_REMOVE), "madvise");
}

int mem_bind(void *vaddr, u64 size, unsigned long nodes, unsigned int flags)
{
	long failed;

	if (nodes)
		failed = syscall(SYS_mbind, vaddr, size, MPOL_BIND, &nodes,
				 8 * sizeof(nodes), flags);
	else
		failed = syscall(SYS_mbind, vaddr, size, MPOL_DEFAULT, NULL, 0, flags);
	return failed ? -errno : 0;
}

s64 mem_free_pages(enum mem_kind kind)
{
	char path[128];
	s64 unused, reserved;

	snprintf(path, sizeof(path),
		 "/sys/kernel/mm/hugepages/hugepages-%lukB/free_hugepages",
		 mem_page_size(kind) / 1024);
	unused = setting_number(path);
	snprintf(path, sizeof(path),
		 "/sys/kernel/mm/hugepages/hugepages-%lukB/resv_hugepages",
		 mem_page_size(kind) / 1024);
	reserved = setting_number(path);
	return unused < 0 || reserved < 0 ? 0 : unused - reserved;
}

u64 mem_resident(void *vaddr, u64 size)
{
	u64 n, resident = 0, pages = size / MEM_PAGE_SIZE;
	unsigned char *vec = malloc(pages);

	VFIO_ASSERT_TRUE(vec && !mincore(vaddr, size, vec), "mincore");
	for (n = 0; n < pages; n++)
		resident += vec[n] & 1;
	free(vec);
	return resident;
}

void mem_frames_now(void *vaddr, u64 pages, u64 *frames)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	off_t offset = (u64)vaddr / MEM_PAGE_SIZE * sizeof(u64);
	ssize_t size = pages * sizeof(u64);
	u64 n;

	VFIO_ASSERT_GE(fd, 0, "open of pagemap");
	VFIO_ASSERT_EQ(pread(fd, frames, size, offset), size, "read of pagemap");
	close(fd);
	for (n = 0; n < pages; n++) {
		if (!(frames[n] & PAGEMAP_PRESENT)) {
			frames[n] = 0;
			continue;
		}
		frames[n] &= PAGEMAP_FRAME_MASK;
		VFIO_ASSERT_TRUE(frames[n],
				 "pagemap shows no frame, CAP_SYS_ADMIN is needed");
	}
}

u64 mem_frame_now(void *vaddr)
{
	u64 frame;

	mem_frames_now(vaddr, 1, &frame);
	return frame;
}

u64 mem_frame(void *vaddr)
{
	u64 frame;

	(void)READ_ONCE(*(u8 *)vaddr);
	frame = mem_frame_now(vaddr);
	VFIO_ASSERT_TRUE(frame, "a page that was just read is gone");
	return frame;
}

/* Read the number in a line "@name@sep@format" of a file. */
static bool read_line(const char *path, const char *name, char sep, s64 *value)
{
	FILE *file = fopen(path, "r");
	size_t len = strlen(name);
	bool found = false;
	char line[256];

	VFIO_ASSERT_NOT_NULL(file, "open %s", path);
	while (!found && fgets(line, sizeof(line), file)) {
		found = !strncmp(line, name, len) && line[len] == sep;
		if (found)
			*value = strtoll(line + len + 1, NULL, 0);
	}
	fclose(file);
	return found;
}

bool mem_is_huge(void *vaddr)
{
	FILE *file = fopen("/proc/self/smaps", "r");
	u64 start, end, kib, sum = 0;
	bool within = false;
	char line[512];

	VFIO_ASSERT_NOT_NULL(file, "open of smaps");
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			within = (u64)vaddr >= start && (u64)vaddr < end;
		else if (within &&
			 (sscanf(line, "AnonHugePages: %lu", &kib) == 1 ||
			  sscanf(line, "ShmemPmdMapped: %lu", &kib) == 1))
			sum += kib;
	}
	fclose(file);
	return sum;
}

bool mem_make_huge(void *vaddr)
{
	int fd = open("/proc/sys/vm/compact_memory", O_WRONLY);
	bool huge = false;
	int n;

	if (madvise(vaddr, MEM_HUGE_SIZE, MADV_HUGEPAGE))
		return false;
	for (n = 0; n < HUGE_TRIES && !huge; n++) {
		VFIO_ASSERT_TRUE(!madvise(vaddr, MEM_HUGE_SIZE, MADV_DONTNEED) &&
				 (fd < 0 || write(fd, "1", 1) == 1),
				 "discard and compaction");
		WRITE_ONCE(*(u8 *)vaddr, 0);
		huge = mem_is_huge(vaddr);
	}
	if (fd >= 0)
		close(fd);
	return huge;
}

void mem_bracket(void *vaddr)
{
	void *start = (void *)ALIGN_DOWN((u64)vaddr, MEM_HUGE_SIZE);
	int prot = PROT_READ | PROT_WRITE;

	VFIO_ASSERT_TRUE(!mprotect(start, MEM_HUGE_SIZE, prot | PROT_EXEC) &&
			 !mprotect(start, MEM_HUGE_SIZE, prot), "mprotect");
}

bool mem_can_pageout(void)
{
	s64 kib = 0;

	return read_line("/proc/meminfo", "SwapFree", ':', &kib) && kib > 0;
}

/*
 * The page may be in the LRU batch of any CPU, where reclaim can't reach it, and
 * the call drains that of the CPU that it runs on.
 */
void mem_reclaim(void *vaddr, u64 size)
{
	cpu_set_t all, one;
	int cpu;

	VFIO_ASSERT_EQ(sched_getaffinity(0, sizeof(all), &all), 0);
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &all))
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		VFIO_ASSERT_TRUE(!sched_setaffinity(0, sizeof(one), &one),
				 "sched_setaffinity");
		VFIO_ASSERT_EQ(madvise(vaddr, size, MADV_PAGEOUT), 0);
	}
	VFIO_ASSERT_TRUE(!sched_setaffinity(0, sizeof(all), &all),
			 "sched_setaffinity");
}

bool mem_pageout(void *vaddr, u64 size)
{
	int n;

	for (n = 0; n < RECLAIM_TRIES; n++) {
		mem_reclaim(vaddr, size);
		if (!mem_resident(vaddr, size))
			return true;
		usleep(RECLAIM_INTERVAL_US);
	}
	return false;
}

static int bus_errors;

static void count_bus_error(int signal)
{
	WRITE_ONCE(bus_errors, bus_errors + 1);
}

int mem_poison(void *vaddr)
{
	struct sigaction action = { .sa_handler = count_bus_error };

	VFIO_ASSERT_EQ(sigaction(SIGBUS, &action, NULL), 0);
	return madvise(vaddr, MEM_PAGE_SIZE, MADV_HWPOISON) ? -errno : 0;
}

int mem_bus_errors(void)
{
	int errors = READ_ONCE(bus_errors);

	WRITE_ONCE(bus_errors, 0);
	return errors;
}

s64 vmstat_line(const char *name)
{
	int fd = open("/proc/sys/vm/stat_refresh", O_WRONLY);
	s64 value;

	VFIO_ASSERT_TRUE(fd >= 0 && write(fd, "1", 1) == 1, "stat_refresh");
	close(fd);
	VFIO_ASSERT_TRUE(read_line("/proc/vmstat", name, ' ', &value),
			 "no %s in /proc/vmstat", name);
	return value;
}

s64 vmstat_pins(void)
{
	return vmstat_line("nr_foll_pin_acquired") -
	       vmstat_line("nr_foll_pin_released");
}

u64 status_kib(const char *name)
{
	s64 value;

	VFIO_ASSERT_TRUE(read_line("/proc/self/status", name, ':', &value),
			 "no %s in /proc/self/status", name);
	return value;
}
