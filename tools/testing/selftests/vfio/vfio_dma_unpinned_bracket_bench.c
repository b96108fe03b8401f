// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a bracket over a whole address space costs that has GIB of unpinned memory,
 * all of it with a leaf:
 *
 *	vfio_dma_unpinned_bracket_bench GIB [irqs-off|reaped]
 *
 * The memory is one memfd of huge pages, mapped again and again. The guest has
 * touched it, so that KVM has SPTEs in each case. The bracket is the one of
 * "echo 4 > /proc/self/clear_refs". Each line of the output is for one case, with
 * the fields that column_names has.
 *
 * Counts are checked: leaves, pins, and how many leaves a batch has at most, which
 * is what bounds the time for which the lock is held. Times are just shown. With
 * irqs-off, the tracer of that name (CONFIG_IRQSOFF_TRACER) looks for the longest
 * time with interrupts off; all else takes longer then.
 *
 * With reaped, the bracket is that of the OOM reaper, by process_mrelease(), over
 * GIB of anonymous memory. It may not sleep: its pass is the longest time without a
 * reschedule. The memory that is unmapped has to be there, once.
 */
#include <linux/bits.h>
#include <linux/mman.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <libvfio/settings.h>
#include <libvfio/trace.h>
#include <libvfio/unpinned.h>

#include "processor.h"

#define TRACING		"/sys/kernel/tracing/"
#define SHMEM_HUGE	"/sys/kernel/mm/transparent_hugepage/shmem_enabled"
#define FLUSH_EVENT	"intel_iommu:cache_tag_flush_range"

#define GIB		BIT(30)
#define FILE_SIZE	(512UL << 20)
#define BENCH_IOVA	(4 * GIB)
#define BATCH_LEAVES	4096	/* documented: UNP_BATCH_WORDS */

static const char column_names[] =
	"GiB|case|leaves|pins|bracket ms|ratio|pass ms|hold us|longest|flushes|batch|irqs off|in";

struct bench {
	u64 size;
	u64 pages;
	void *memory;
	u8 *bitmap;
	struct guest *guest;
	struct iommu *iommu;
	struct vfio_pci_device *device;
	struct dma_region region;
	bool irqs_off;		/* trace them */
	double plain_ms;	/* of a bracket without unpinned mapping */
};

/* One bracket */
struct bracket {
	double ms;
	u64 flushes;		/* by the bracket, and by the worker meanwhile */
	u64 traced;		/* and those that the trace has kept */
	u64 largest;		/* leaves in one of the traced */
	long long irqs_off_us;	/* the longest section, of all CPUs */
	char irqs_off_in[96];	/* function that has ended it */
};

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void make_memory(struct bench *bench)
{
	int fd = memfd_create("vfio bench", MFD_CLOEXEC);
	void *at;

	VFIO_ASSERT_TRUE(fd >= 0 && !ftruncate(fd, FILE_SIZE), "memfd");
	VFIO_ASSERT_EQ(setting_change(SHMEM_HUGE, "advise"), 0, "no huge pages");
	at = mmap(NULL, bench->size + MEM_HUGE_SIZE, PROT_NONE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	VFIO_ASSERT_NE(at, MAP_FAILED);
	bench->memory = (void *)align_up((u64)at, MEM_HUGE_SIZE);
	for (at = bench->memory; at < bench->memory + bench->size;
	     at += FILE_SIZE) {
		VFIO_ASSERT_TRUE(mmap(at, FILE_SIZE, PROT_READ | PROT_WRITE,
				      MAP_SHARED | MAP_FIXED, fd, 0) == at, "mmap");
		VFIO_ASSERT_TRUE(!madvise(at, FILE_SIZE, MADV_HUGEPAGE) &&
				 !madvise(at, FILE_SIZE, MADV_POPULATE_WRITE),
				 "madvise: %s", strerror(errno));
	}
	VFIO_ASSERT_TRUE(mem_is_huge(bench->memory), "no huge pages");
}

static void make_anonymous_memory(struct bench *bench)
{
	void *at = mmap(NULL, bench->size + MEM_HUGE_SIZE,
			PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			-1, 0);

	VFIO_ASSERT_NE(at, MAP_FAILED);
	bench->memory = (void *)align_up((u64)at, MEM_HUGE_SIZE);
	VFIO_ASSERT_TRUE(!madvise(bench->memory, bench->size, MADV_HUGEPAGE) &&
			 !madvise(bench->memory, bench->size, MADV_POPULATE_WRITE),
			 "madvise: %s", strerror(errno));
	VFIO_ASSERT_TRUE(mem_is_huge(bench->memory), "no huge pages");
}

static void make_bitmap(struct bench *bench)
{
	bench->bitmap = mmap(NULL, bench->pages / 8, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	VFIO_ASSERT_NE(bench->bitmap, MAP_FAILED);
}

static void make_guest(struct bench *bench)
{
	u64 gpa;

	bench->guest = guest_init();
	vm_set_user_memory_region(bench->guest->vm, 1, 0, BENCH_IOVA, bench->size,
				  bench->memory);
	for (gpa = BENCH_IOVA; gpa < BENCH_IOVA + bench->size;
	     gpa += MEM_HUGE_SIZE)
		__virt_pg_map(bench->guest->vm, &bench->guest->vm->mmu, gpa, gpa,
			      PG_LEVEL_2M);
}

/* One access in each huge page: KVM maps all of it. */
static void touch_all(struct bench *bench)
{
	u64 gpa;

	for (gpa = BENCH_IOVA; gpa < BENCH_IOVA + bench->size;
	     gpa += MEM_HUGE_SIZE)
		guest_touch(bench->guest, gpa);
}

static void map_all(struct bench *bench)
{
	bench->region = (struct dma_region) {
		.vaddr = bench->memory,
		.iova = BENCH_IOVA,
		.size = bench->size,
	};
	type1_map_unpinned(bench->iommu, &bench->region);
	type1_register_bitmap(bench->iommu, bench->bitmap, &bench->region,
			      bench->pages);
	type1_pin_bitmap(bench->iommu, VFIO_PIN_BITMAP_FLAG_ENABLE_MARKS);
}

/* --- what is measured ---------------------------------------------------------- */

static void watch_irqs_off(void)
{
	VFIO_ASSERT_TRUE(!setting_write(TRACING "current_tracer", "irqsoff") &&
			 !setting_write(TRACING "tracing_max_latency", "0") &&
			 !setting_write(TRACING "tracing_on", "1"),
			 "no tracer of interrupts that are off");
}

/* The stack when interrupts came on again, without locks and the tracer. */
static bool is_caller(const char *line)
{
	return !strncmp(line, " => ", 4) && !strstr(line, "_raw_") &&
	       !strstr(line, "trace");
}

static void read_irqs_off(struct bracket *bracket)
{
	char line[256];
	FILE *file;

	setting_write(TRACING "tracing_on", "0");
	bracket->irqs_off_us = setting_number(TRACING "tracing_max_latency");
	file = fopen(TRACING "trace", "r");
	while (file && !bracket->irqs_off_in[0] &&
	       fgets(line, sizeof(line), file)) {
		if (is_caller(line))
			sscanf(line, " => %95s", bracket->irqs_off_in);
	}
	if (file)
		fclose(file);
	setting_write(TRACING "current_tracer", "nop");
}

static void look_at_flush(const char *line, void *data)
{
	struct bracket *bracket = data;
	u64 start, end, leaves;
	const char *range = strstr(line, " [0x");

	if (!range || sscanf(range, " [0x%lx-0x%lx]", &start, &end) != 2)
		return;
	leaves = (end - start) / MEM_PAGE_SIZE + 1;
	bracket->traced++;
	if (leaves > bracket->largest)
		bracket->largest = leaves;
}

static void run_bracket(struct bench *bench, struct bracket *bracket)
{
	bool traced = trace_start(FLUSH_EVENT);
	s64 flushes = bench->region.size ? stat_get("flushes") : 0;
	double began;

	memset(bracket, 0, sizeof(*bracket));
	if (bench->irqs_off)
		watch_irqs_off();
	began = now_ms();
	VFIO_ASSERT_EQ(setting_write("/proc/self/clear_refs", "4"), 0);
	bracket->ms = now_ms() - began;
	if (bench->irqs_off)
		read_irqs_off(bracket);
	if (bench->region.size)
		bracket->flushes = stat_get("flushes") - flushes;
	if (traced)
		trace_each(look_at_flush, bracket);
	trace_stop();
}

/* Leaves and pins are those after it. On average a batch takes the mean hold. */
static void show(struct bench *bench, const char *name, struct bracket *bracket)
{
	bool mapped = bench->region.size;
	s64 pass_ns = mapped ? late_pass_get("late_pass_max") : 0;

	printf("%lu|%s|%ld|%ld|%.1f|%.2f|%.1f|%.0f|%.0f|%lu|%lu|%lld|%s\n",
	       bench->size / GIB, name, mapped ? stat_get("leaves") : 0,
	       mapped ? stat_get("late_pins") : 0, bracket->ms,
	       bracket->ms / bench->plain_ms, pass_ns / 1e6,
	       pass_ns / 1e3 / (bench->pages / BATCH_LEAVES),
	       mapped ? late_pass_get("hold_max") / 1e3 : 0,
	       bracket->flushes, bracket->largest, bracket->irqs_off_us,
	       bracket->irqs_off_in);
	fflush(stdout);
}

/* --- the cases ----------------------------------------------------------------- */

static void without_mapping(struct bench *bench)
{
	struct bracket bracket;

	touch_all(bench);
	run_bracket(bench, &bracket);
	bench->plain_ms = bracket.ms;
	show(bench, "no unpinned mapping", &bracket);
}

static void all_have_leaves(struct bench *bench)
{
	touch_all(bench);
	VFIO_ASSERT_TRUE(stat_get("leaves") == (s64)bench->pages, "%ld leaves",
			 stat_get("leaves"));
	late_pass_measure(true);
}

static void none_marked(struct bench *bench)
{
	struct bracket bracket;

	all_have_leaves(bench);
	run_bracket(bench, &bracket);
	show(bench, "none marked", &bracket);
	VFIO_ASSERT_EQ(stat_get("leaves"), 0, "%ld leaves", stat_get("leaves"));
	VFIO_ASSERT_TRUE(bracket.flushes == bench->pages / BATCH_LEAVES,
			 "%lu flushes", bracket.flushes);
	VFIO_ASSERT_TRUE(bracket.traced == bracket.flushes &&
			 bracket.largest == BATCH_LEAVES,
			 "%lu flushes traced, the largest for %lu leaves",
			 bracket.traced, bracket.largest);
}

static void all_marked(struct bench *bench, const char *name)
{
	struct bracket bracket;

	all_have_leaves(bench);
	memset(bench->bitmap, 0xff, bench->pages / 8);
	run_bracket(bench, &bracket);
	show(bench, name, &bracket);
	VFIO_ASSERT_TRUE(stat_get("leaves") == (s64)bench->pages &&
			 stat_get("late_pins") == (s64)bench->pages && !bracket.flushes,
			 "%ld leaves, %ld pins", stat_get("leaves"),
			 stat_get("late_pins"));
}

static void marks_cleared(struct bench *bench)
{
	struct bracket bracket;

	all_have_leaves(bench);
	memset(bench->bitmap, 0, bench->pages / 8);
	run_bracket(bench, &bracket);
	show(bench, "marks cleared", &bracket);
	VFIO_ASSERT_TRUE(stat_wait("late_pins", 0) == 0 && !stat_get("leaves"),
			 "%ld pins, %ld leaves", stat_get("late_pins"),
			 stat_get("leaves"));
}

/* --- the OOM reaper -------------------------------------------------------------- */

/* The process that is reaped; @mapped: with an unpinned mapping. */
static void be_reaped(struct bench *bench, bool mapped, int ready)
{
	make_anonymous_memory(bench);
	make_bitmap(bench);
	make_guest(bench);
	if (mapped) {
		bench->iommu = iommu_init(MODE_VFIO_TYPE1V2_IOMMU);
		bench->device = vfio_pci_device_init(device_bdf[0], bench->iommu);
		map_all(bench);
		memset(bench->bitmap, 0xff, bench->pages / 8);
		all_have_leaves(bench);
	} else {
		touch_all(bench);
	}
	VFIO_ASSERT_EQ(write(ready, "r", 1), 1);
	pause();
}

/* Returns how long it takes. Ahead of the victim on their CPU: it must not exit. */
static double reap(pid_t pid)
{
	struct sched_param param = { .sched_priority = 1 };
	int pidfd = syscall(SYS_pidfd_open, pid, 0);
	double began;

	VFIO_ASSERT_TRUE(pidfd >= 0 && !sched_setscheduler(0, SCHED_FIFO, &param) &&
			 !kill(pid, SIGKILL), "kill");
	began = now_ms();
	VFIO_ASSERT_TRUE(!syscall(SYS_process_mrelease, pidfd, 0),
			 "process_mrelease: %s", strerror(errno));
	began = now_ms() - began;
	close(pidfd);
	return began;
}

static void reaped(struct bench *bench, bool mapped)
{
	struct sched_param param = { .sched_priority = 0 };
	int ready[2];
	double ms;
	pid_t pid;
	char byte;

	VFIO_ASSERT_EQ(pipe(ready), 0);
	pid = fork();
	VFIO_ASSERT_GE(pid, 0);
	if (!pid)
		be_reaped(bench, mapped, ready[1]);
	close(ready[1]);
	VFIO_ASSERT_EQ(read(ready[0], &byte, 1), 1, "the process has ended");
	close(ready[0]);
	ms = reap(pid);
	if (!mapped)
		bench->plain_ms = ms;
	printf("%lu|%s|%ld|%ld|%.1f|%.2f|%.1f|-|%.0f|%ld|-|-|\n",
	       bench->size / GIB,
	       mapped ? "OOM reaper, all marked" : "OOM reaper, no mapping",
	       mapped ? stat_of(pid, "leaves") : 0,
	       mapped ? stat_of(pid, "late_pins") : 0, ms, ms / bench->plain_ms,
	       mapped ? late_pass_get_of(pid, "late_pass_max") / 1e6 : 0,
	       mapped ? late_pass_get_of(pid, "hold_max") / 1e3 : 0,
	       mapped ? stat_of(pid, "flushes") : 0);
	fflush(stdout);
	if (mapped)
		VFIO_ASSERT_TRUE(stat_of(pid, "leaves") == 0 &&
				 stat_of(pid, "forced_zaps") == (s64)bench->pages,
				 "%ld leaves, %ld forced zaps", stat_of(pid, "leaves"),
				 stat_of(pid, "forced_zaps"));
	sched_setscheduler(0, SCHED_OTHER, &param);
	VFIO_ASSERT_EQ(waitpid(pid, NULL, 0), pid);
}

static void reap_both(struct bench *bench)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	VFIO_ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
	puts(column_names);
	reaped(bench, false);
	reaped(bench, true);
}

int main(int argc, char *argv[])
{
	bool is_reaped;
	struct bench bench = {};

	get_device_bdfs(&argc, argv);
	bench.irqs_off = argc == 3 && !strcmp(argv[2], "irqs-off");
	is_reaped = argc == 3 && !strcmp(argv[2], "reaped");
	VFIO_ASSERT_TRUE(argc - bench.irqs_off - is_reaped == 2 && atoi(argv[1]) > 0,
			 "usage: %s GIB [irqs-off|reaped]", argv[0]);
	VFIO_ASSERT_TRUE(!device_missing(0, true) && stats_available(),
			 "no device or no debugfs");
	bench.size = atoi(argv[1]) * GIB;
	bench.pages = bench.size / MEM_PAGE_SIZE;
	if (is_reaped) {
		reap_both(&bench);
		return 0;
	}
	make_memory(&bench);
	make_bitmap(&bench);
	make_guest(&bench);
	bench.iommu = iommu_init(MODE_VFIO_TYPE1V2_IOMMU);
	bench.device = vfio_pci_device_init(device_bdf[0], bench.iommu);

	puts(column_names);
	without_mapping(&bench);
	map_all(&bench);
	none_marked(&bench);
	all_marked(&bench, "all marked");
	all_marked(&bench, "all marked, pinned already");
	marks_cleared(&bench);

	vfio_pci_device_cleanup(bench.device);
	iommu_cleanup(bench.iommu);
	guest_cleanup(bench.guest);
	settings_restore();
	return 0;
}
