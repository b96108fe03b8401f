// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <libvfio/settings.h>
#include <libvfio/unpinned.h>

#define SEPARATE_DOMAINS "/sys/module/vfio_unpinned/parameters/separate_domains"

#define ASLEEP_TRIES		10000

const char *device_bdf[2];

void get_device_bdfs(int *argc, char *argv[])
{
	int nr;
	char **bdfs = vfio_selftests_get_bdfs(argc, argv, &nr);

	device_bdf[0] = bdfs[0];
	device_bdf[1] = nr > 1 ? bdfs[1] : NULL;
}

const char *device_missing(int n, bool any_device)
{
	const char *missing = NULL;
	char *driver;

	if (!device_bdf[n])
		return "no second device: name it after the first one";
	driver = sysfs_driver_get(device_bdf[n]);
	if (!driver || strcmp(driver, "vfio-pci"))
		missing = "the device is not bound to vfio-pci";
	else if (!any_device && !dma_can_drive(device_bdf[n]))
		missing = "the device is not QEMU's edu";
	free(driver);
	return missing;
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
	rig->iommu = iommu_init(MODE_VFIO_TYPE1V2_IOMMU);
	rig->device = vfio_pci_device_init(device_bdf[0], rig->iommu);
	dma_init(rig->device, RIG_EDU_IOVA);
	return unpinned_missing(rig->iommu);
}

void rig_cleanup(struct rig *rig)
{
	dma_cleanup(rig->device);
	vfio_pci_device_cleanup(rig->device);
	iommu_cleanup(rig->iommu);
	guest_cleanup(rig->guest);
	mem_free(&rig->bitmap);
	mem_free(&rig->mem);
	if (stats_available())
		VFIO_ASSERT_TRUE(stat_wait("leaves", -1) == -1,
				 "the kernel keeps state of a closed container");
	VFIO_ASSERT_TRUE(status_kib("VmLck") == rig->locked, "%lu KiB stay locked",
			 status_kib("VmLck") - rig->locked);
	VFIO_ASSERT_TRUE(vmstat_line("nr_iommu_pages") == rig->tables,
			 "%ld table pages of the IOMMU are left",
			 vmstat_line("nr_iommu_pages") - rig->tables);
	VFIO_ASSERT_TRUE(vmstat_pins() == rig->pins, "%ld pins are left",
			 vmstat_pins() - rig->pins);
}

void rig_map_bar(struct vfio_pci_device *device, void *vaddr)
{
	struct vfio_region_info *info = &device->bars[0].info;

	VFIO_ASSERT_TRUE(info->flags & VFIO_REGION_INFO_FLAG_MMAP);
	VFIO_ASSERT_NE(mmap(vaddr, MEM_PAGE_SIZE, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_FIXED, device->fd, info->offset),
		       MAP_FAILED);
}

void rig_map(struct rig *rig)
{
	type1_map_unpinned(rig->iommu, &rig->region);
}

void rig_unmap(struct rig *rig)
{
	type1_unmap(rig->iommu, &rig->region);
}

void rig_register(struct rig *rig, u64 limit)
{
	rig_register_budget(rig, limit, 0);
}

void rig_register_budget(struct rig *rig, u64 limit, u64 budget)
{
	type1_register_budget(rig->iommu, rig->bitmap.vaddr, &rig->region,
			      limit, budget);
}

void rig_enable_marks(struct rig *rig)
{
	type1_pin_bitmap(rig->iommu, VFIO_PIN_BITMAP_FLAG_ENABLE_MARKS);
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

	type1_dirty_get(rig->iommu, &rig->region, &dirty);
	return dirty;
}

void separate_domains(bool on)
{
	int err = setting_write(SEPARATE_DOMAINS, on ? "1" : "0");

	VFIO_ASSERT_TRUE(!err || err == -ENOENT || err == -EACCES, "%s: %s",
			 SEPARATE_DOMAINS, strerror(-err));
}

void wait_until_asleep(pid_t tid)
{
	char path[64], state = 0;
	FILE *file;
	int n, found;

	snprintf(path, sizeof(path), "/proc/%d/stat", tid);
	for (n = 0; n < ASLEEP_TRIES && state != 'D'; n++) {
		file = fopen(path, "r");
		VFIO_ASSERT_NOT_NULL(file, "open of %s", path);
		found = fscanf(file, "%*d (%*[^)]) %c", &state);
		VFIO_ASSERT_EQ(found, 1, "read of %s", path);
		fclose(file);
	}
	VFIO_ASSERT_EQ(state, 'D', "thread %d does not sleep", tid);
}
