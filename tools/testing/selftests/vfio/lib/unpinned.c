// SPDX-License-Identifier: GPL-2.0-only
#include <dirent.h>
#include <fcntl.h>
#include <glob.h>
#include <libgen.h>
#include <limits.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <libvfio/settings.h>
#include <libvfio/unpinned.h>

#define DEBUGFS		"/sys/kernel/debug"
#define STATS_DIR	DEBUGFS "/vfio/unpinned"

#define SEPARATE_DOMAINS "/sys/module/vfio_unpinned/parameters/separate_domains"

#define STAT_TRIES		300
#define ASLEEP_TRIES		10000
#define STAT_INTERVAL_US	(100 * 1000)

const char *device_bdf[2];

void get_device_bdfs(int *argc, char *argv[])
{
	int n, found = 0;

	device_bdf[0] = getenv("VFIO_SELFTESTS_BDF");
	device_bdf[1] = getenv("VFIO_SELFTESTS_BDF2");
	/* The last arguments, if they look like it: the rest is the harness's. */
	while (found < 2 && found + 1 < *argc &&
	       strchr(argv[*argc - found - 1], ':'))
		found++;
	for (n = 0; n < found; n++)
		device_bdf[n] = argv[*argc - found + n];
	*argc -= found;
	argv[*argc] = NULL;
}

static unsigned long sysfs_id(const char *bdf, const char *name)
{
	char path[PATH_MAX], line[32] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", bdf, name);
	file = fopen(path, "r");
	if (!file)
		return 0;
	if (!fgets(line, sizeof(line), file))
		line[0] = 0;
	fclose(file);
	return strtoul(line, NULL, 16);
}

const char *device_missing(int n, bool any_device)
{
	char path[PATH_MAX], target[PATH_MAX] = "";

	if (!device_bdf[n])
		return n ? "no second device: set VFIO_SELFTESTS_BDF2" :
			   "no device: set VFIO_SELFTESTS_BDF";
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver",
		 device_bdf[n]);
	if (readlink(path, target, sizeof(target) - 1) < 0 ||
	    strcmp(basename(target), "vfio-pci"))
		return "the device is not bound to vfio-pci";
	if (any_device ||
	    edu_match(sysfs_id(device_bdf[n], "vendor"),
		      sysfs_id(device_bdf[n], "device")))
		return NULL;
	return "the device is not QEMU's edu";
}

const char *unpinned_missing(struct iommu *iommu)
{
	if (ioctl(iommu->container_fd, VFIO_CHECK_EXTENSION,
		  VFIO_TYPE1_UNPINNED_IOMMU) > 0)
		return NULL;
	return "the kernel can't map unpinned for this device";
}

const char *rig_init(struct rig *rig, enum mem_kind kind)
{
	const char *missing = device_missing(0, false);
	bool hugetlb = mem_page_size(kind) > MEM_PAGE_SIZE;

	if (missing)
		return missing;
	if (hugetlb && mem_free_pages(kind) * mem_page_size(kind) < RIG_SIZE)
		return "no hugetlb pages of this size: see nr_hugepages";
	rig->pins = vmstat_pins();
	rig->tables = vmstat_line("nr_iommu_pages");
	rig->locked = status_kib("VmLck");
	mem_alloc(&rig->mem, kind, RIG_SIZE);
	mem_alloc(&rig->bitmap, hugetlb ? MEM_MEMFD : kind,
		  align_up(rig->mem.size / MEM_PAGE_SIZE / 8, MEM_PAGE_SIZE));
	rig->region = (struct dma_region) {
		.vaddr = rig->mem.vaddr,
		.iova = RIG_IOVA,
		.size = rig->mem.size,
	};
	rig->guest = guest_init();
	guest_map(rig->guest, RIG_IOVA, rig->mem.vaddr, rig->mem.size);
	guest_map(rig->guest, RIG_BITMAP_GPA, rig->bitmap.vaddr,
		  rig->bitmap.size);
	rig->guest->bitmap = RIG_BITMAP_GPA;
	rig->iommu = iommu_init(VFIO_TYPE1v2_IOMMU);
	rig->device = vfio_pci_device_init(device_bdf[0], rig->iommu);
	edu_init(&rig->edu, rig->device, RIG_EDU_IOVA);
	return unpinned_missing(rig->iommu);
}

void rig_cleanup(struct rig *rig)
{
	edu_cleanup(&rig->edu);
	vfio_pci_device_cleanup(rig->device);
	iommu_cleanup(rig->iommu);
	guest_cleanup(rig->guest);
	mem_free(&rig->bitmap);
	mem_free(&rig->mem);
	if (stats_available())
		TEST_ASSERT(stat_wait("leaves", -1) == -1,
			    "the kernel keeps state of a closed container");
	TEST_ASSERT(status_kib("VmLck") == rig->locked, "%lu KiB stay locked",
		    status_kib("VmLck") - rig->locked);
	TEST_ASSERT(vmstat_line("nr_iommu_pages") == rig->tables,
		    "%ld table pages of the IOMMU are left",
		    vmstat_line("nr_iommu_pages") - rig->tables);
	TEST_ASSERT(vmstat_pins() == rig->pins, "%ld pins are left",
		    vmstat_pins() - rig->pins);
}

void rig_map(struct rig *rig)
{
	iommu_map_unpinned(rig->iommu, &rig->region);
}

void rig_unmap(struct rig *rig)
{
	iommu_unmap(rig->iommu, &rig->region);
}

void rig_register(struct rig *rig, u64 limit)
{
	rig_register_budget(rig, limit, 0);
}

void rig_register_budget(struct rig *rig, u64 limit, u64 budget)
{
	iommu_register_budget(rig->iommu, rig->bitmap.vaddr, &rig->region,
			      limit, budget);
}

void rig_enable_marks(struct rig *rig)
{
	iommu_pin_bitmap(rig->iommu, VFIO_PIN_BITMAP_FLAG_ENABLE_MARKS);
}

const char *rig_init_marks(struct rig *rig, enum mem_kind kind)
{
	const char *missing = rig_init(rig, kind);

	if (missing)
		return missing;
	rig_map(rig);
	rig_register(rig, RIG_PAGES);
	rig_enable_marks(rig);
	return NULL;
}

u32 rig_guest_write(struct rig *rig, u64 page)
{
	u32 value = unique_value();

	guest_write(rig->guest, rig_iova(page), value);
	return value;
}

void rig_pin(struct rig *rig, u64 page)
{
	guest_mark(rig->guest, page);
	guest_touch(rig->guest, rig_iova(page));
}

void rig_late_pin(struct rig *rig, u64 page)
{
	rig_pin(rig, page);
	mem_bracket(rig_vaddr(rig, page));
}

bool dirty_is(const struct dirty *dirty, const u64 *pages, size_t count)
{
	struct dirty expected = {};
	bool same = true;
	size_t n;
	u64 page;

	for (n = 0; n < count; n++)
		expected.bits[pages[n] / 64] |= 1UL << pages[n] % 64;
	for (page = 0; page < RIG_PAGES; page++) {
		u64 bit = 1UL << page % 64;

		if (!((dirty->bits[page / 64] ^ expected.bits[page / 64]) & bit))
			continue;
		same = false;
		printf("# page %lu is %sreported\n", page,
		       dirty->bits[page / 64] & bit ? "" : "not ");
	}
	return same;
}

struct dirty rig_dirty(struct rig *rig)
{
	struct dirty dirty = {};

	iommu_dirty_get(rig->iommu, &rig->region, &dirty);
	return dirty;
}

void separate_domains(bool on)
{
	int err = setting_write(SEPARATE_DOMAINS, on ? "1" : "0");

	TEST_ASSERT(!err || err == ENOENT || err == EACCES, "%s: %s",
		    SEPARATE_DOMAINS, strerror(err));
}

void wait_until_asleep(pid_t tid)
{
	char path[64], state = 0;
	FILE *file;
	int n;

	snprintf(path, sizeof(path), "/proc/%d/stat", tid);
	for (n = 0; n < ASLEEP_TRIES && state != 'D'; n++) {
		file = fopen(path, "r");
		TEST_ASSERT(file && fscanf(file, "%*d (%*[^)]) %c", &state) == 1,
			    "read of %s", path);
		fclose(file);
	}
	TEST_ASSERT(state == 'D', "thread %d does not sleep", tid);
}

u32 unique_value(void)
{
	static u32 last = 0x5eed0000;

	return ++last;
}

static u32 edu_read32(struct edu *edu, iova_t iova)
{
	u32 value;

	edu_read(edu, iova, &value, sizeof(value));
	return value;
}

static void edu_write32(struct edu *edu, iova_t iova, u32 value)
{
	edu_write(edu, iova, &value, sizeof(value));
}

bool dma_works(struct edu *edu, iova_t iova, void *vaddr)
{
	u32 out = unique_value(), in = unique_value();

	edu_write32(edu, iova, in);
	if (READ_ONCE(*(u32 *)vaddr) != in)
		return false;
	WRITE_ONCE(*(u32 *)vaddr, out);
	return edu_read32(edu, iova) == out;
}

bool dma_read_blocked(struct edu *edu, iova_t iova, u32 content)
{
	return edu_read32(edu, iova) != content;
}

bool dma_write_blocked(struct edu *edu, iova_t iova, void *vaddr)
{
	u32 value = unique_value();

	edu_write32(edu, iova, value);
	return READ_ONCE(*(u32 *)vaddr) != value;
}

bool stats_available(void)
{
	static int available = -1;

	if (available < 0) {
		if (access(DEBUGFS "/vfio", F_OK))
			mount("debugfs", DEBUGFS, "debugfs", 0, NULL);
		available = !access(DEBUGFS "/vfio", F_OK);
	}
	return available;
}

/* The value in "@name: value" of one file, 0 if the directory is gone by now. */
static s64 stat_read(const char *dir, const char *base, const char *name)
{
	char path[PATH_MAX], line[128];
	size_t len = strlen(name);
	FILE *file;
	bool gone;

	snprintf(path, sizeof(path), STATS_DIR "/%s/%s", dir, base);
	file = fopen(path, "r");
	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file)) {
		if (strncmp(line, name, len) || line[len] != ':')
			continue;
		fclose(file);
		return strtoll(line + len + 1, NULL, 0);
	}
	gone = ferror(file);
	fclose(file);
	TEST_ASSERT(gone, "no %s in %s", name, path);
	return 0;
}

static s64 file_stat_of(pid_t pid, const char *base, const char *name)
{
	char prefix[16];
	struct dirent *entry;
	s64 value = -1;
	DIR *dir;

	snprintf(prefix, sizeof(prefix), "%d-", pid);
	dir = opendir(STATS_DIR);
	if (!dir)
		return value;
	while ((entry = readdir(dir))) {
		if (strncmp(entry->d_name, prefix, strlen(prefix)))
			continue;
		if (value < 0)
			value = 0;
		value += stat_read(entry->d_name, base, name);
	}
	closedir(dir);
	return value;
}

s64 stat_of(pid_t pid, const char *name)
{
	return file_stat_of(pid, "stats", name);
}

s64 late_pass_get_of(pid_t pid, const char *name)
{
	return file_stat_of(pid, "late_pass_ns", name);
}

s64 late_pass_get(const char *name)
{
	return late_pass_get_of(getpid(), name);
}

/*
 * The file of each address space of this process; to be freed by globfree() if
 * this returns 0.
 */
static int find_late_pass_files(glob_t *found)
{
	char pattern[PATH_MAX];

	snprintf(pattern, sizeof(pattern), STATS_DIR "/%d-*/late_pass_ns",
		 getpid());
	return glob(pattern, 0, NULL, found);
}

int __late_pass_measure(const char *value)
{
	glob_t found;
	int err = ENOENT;
	size_t n;

	if (find_late_pass_files(&found))
		return err;
	err = 0;
	for (n = 0; n < found.gl_pathc && !err; n++)
		err = setting_write(found.gl_pathv[n], value);
	globfree(&found);
	return err;
}

void late_pass_measure(bool on)
{
	int err = __late_pass_measure(on ? "1" : "0");

	TEST_ASSERT(!err, "write to late_pass_ns: %s", strerror(err));
}

static s64 sum_lines(FILE *file, u64 below)
{
	char line[128];
	u64 limit, passes;
	s64 sum = 0;

	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lu: %lu", &limit, &passes) == 2 &&
		    limit <= below)
			sum += passes;
		else if (sscanf(line, "more: %lu", &passes) == 1 && !~below)
			sum += passes;
	}
	return sum;
}

s64 late_pass_sum(u64 below)
{
	glob_t found;
	s64 sum = 0;
	FILE *file;
	size_t n;

	TEST_ASSERT(!find_late_pass_files(&found), "no late_pass_ns");
	for (n = 0; n < found.gl_pathc; n++) {
		file = fopen(found.gl_pathv[n], "r");
		TEST_ASSERT(file, "open of %s", found.gl_pathv[n]);
		sum += sum_lines(file, below);
		fclose(file);
	}
	globfree(&found);
	return sum;
}

s64 stat_wait_of(pid_t pid, const char *name, s64 value)
{
	int n;

	for (n = 0; n < STAT_TRIES && stat_of(pid, name) != value; n++)
		usleep(STAT_INTERVAL_US);
	return stat_of(pid, name);
}

s64 stat_wait(const char *name, s64 value)
{
	return stat_wait_of(getpid(), name, value);
}
