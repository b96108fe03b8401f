// SPDX-License-Identifier: GPL-2.0-only
/*
 * Ioctls with random arguments, checked against a model of the container: a
 * call succeeds if and only if no documented reason for a failure applies, it
 * fails with the errno of one of the reasons that do, and then nothing has
 * changed.
 *
 * Arguments are good ones for the most part, with one of them broken now and
 * then: what is random in all bits never gets beyond the first check.
 *
 * VFIO_SELFTESTS_SEED and _IOCTLS (how many) can be set.
 */
#include <linux/bits.h>
#include <sys/resource.h>

#include <libvfio/hostile.h>
#include <libvfio/unpinned.h>

#include "kselftest_harness.h"

#define ARENA_PAGES	512UL
#define ARENA_SIZE	(ARENA_PAGES * MEM_PAGE_SIZE)
#define WINDOW_PAGES	4096UL		/* of IOVAs that most calls are about */
#define MAX_PAGES	16UL		/* of one mapping, for the most part */
#define MAX_MAPS	2048
#define ALIAS_MAX	16
#define MEMLOCK_PAGES	512UL
#define CHUNK_SIZE	MEM_HUGE_SIZE	/* of tables and bookkeeping */
#define BITMAP_PAGES	4UL

#define CHECK_EVERY	64		/* calls between checks of all state */
#define PHASE		1024		/* calls, mappings become more or fewer */
#define PROBES		4		/* checks by DMA, which is slow */

#define RW	(VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE)

/* Reasons why a call may fail, as a set of errnos; some are above 64. */
#define MAY(err)	(1UL << (err) % 64)

enum call {
	CALL_MAP_UNPINNED,
	CALL_MAP,
	CALL_UNMAP,
	CALL_PIN_BITMAP,
	CALL_GET_INFO,
	CALL_CHECK_EXTENSION,
	CALL_DIRTY_PAGES,
	NR_CALLS,
};

static const char * const call_name[] = {
	[CALL_MAP_UNPINNED] = "MAP_DMA_UNPINNED",
	[CALL_MAP] = "MAP_DMA",
	[CALL_UNMAP] = "UNMAP_DMA",
	[CALL_PIN_BITMAP] = "PIN_BITMAP",
	[CALL_GET_INFO] = "GET_INFO",
	[CALL_CHECK_EXTENSION] = "CHECK_EXTENSION",
	[CALL_DIRTY_PAGES] = "DIRTY_PAGES",
};

/* What must have been seen when all is over; the rest has tests of its own. */
static const u64 interesting[] = {
	[CALL_MAP_UNPINNED] = MAY(0) | MAY(EINVAL) | MAY(EEXIST) | MAY(EFAULT) |
			      MAY(EOPNOTSUPP) | MAY(ENOSPC) | MAY(ENOMEM),
	[CALL_MAP] = MAY(0) | MAY(EINVAL) | MAY(EEXIST) | MAY(EFAULT) | MAY(ENOMEM),
	[CALL_UNMAP] = MAY(0) | MAY(EINVAL) | MAY(EBUSY) | MAY(EFAULT),
	[CALL_PIN_BITMAP] = MAY(0) | MAY(EINVAL) | MAY(EEXIST) | MAY(ENOENT) |
			    MAY(EFAULT) | MAY(ENOMEM),
	[CALL_GET_INFO] = MAY(0) | MAY(EINVAL) | MAY(EFAULT),
	[CALL_CHECK_EXTENSION] = MAY(0),
	[CALL_DIRTY_PAGES] = MAY(0) | MAY(EINVAL) | MAY(EFAULT),
};

struct model_map {
	u64 iova;
	u64 vaddr;
	u64 size;
	bool unpinned;
};

/* What the container and the process should be like now. */
struct model {
	struct model_map map[MAX_MAPS];
	u32 nr_maps;
	u32 nr_unpinned;
	u64 locked;		/* pages */
	u64 limit;		/* of locked */
	u32 dma_avail;
	bool dirty_tracking;
	struct vfio_iommu_type1_pin_bitmap bitmap;	/* npages is 0 if none */
	struct vfio_iova_range ranges[16];		/* valid IOVAs */
	u32 nr_ranges;
};

FIXTURE(fuzz) {
	struct rig rig;
	struct mem arena;
	void *bitmap;		/* BITMAP_PAGES, and a hole */
	void *scratch;		/* for dirty bitmaps */
	struct model model;
	struct kvm_random_state random;
	u64 seen[NR_CALLS];
	u64 done[NR_CALLS];	/* calls, and those that failed */
	u64 failed[NR_CALLS];
	u64 number;		/* of the call under way */
	bool populated;		/* the kernel has followed a mark */
};

/* Parts of the arena that are of another kind than the rest, in pages */
#define HOLE_FIRST	128UL
#define HOLE_END	136UL
#define RO_FIRST	256UL
#define RO_END		264UL

static void alloc_arena(struct mem *arena)
{
	u64 page;

	mem_alloc(arena, MEM_ANON, ARENA_SIZE);
	for (page = 0; page < ARENA_PAGES; page++)
		WRITE_ONCE(*(u64 *)(arena->vaddr + page * MEM_PAGE_SIZE), page);
	VFIO_ASSERT_TRUE(!munmap(arena->vaddr + HOLE_FIRST * MEM_PAGE_SIZE,
				 (HOLE_END - HOLE_FIRST) * MEM_PAGE_SIZE) &&
			 !mprotect(arena->vaddr + RO_FIRST * MEM_PAGE_SIZE,
				   (RO_END - RO_FIRST) * MEM_PAGE_SIZE, PROT_READ),
			 "munmap, mprotect");
}

static void read_ranges(struct model *model, struct iommu *iommu)
{
	u8 buf[1024];
	struct vfio_iommu_type1_info_cap_iova_range *cap = (void *)buf;

	VFIO_ASSERT_TRUE(type1_get_cap(iommu, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE,
				       buf, sizeof(buf)), "no IOVA ranges");
	VFIO_ASSERT_LE(cap->nr_iovas, ARRAY_SIZE(model->ranges), "too many");
	model->nr_ranges = cap->nr_iovas;
	memcpy(model->ranges, cap->iova_ranges,
	       cap->nr_iovas * sizeof(model->ranges[0]));
}

/* A number below @n. */
static u64 below(struct kvm_random_state *random, u64 n)
{
	return kvm_random_u64(random) % n;
}

static bool one_in(struct kvm_random_state *random, u64 n)
{
	return !below(random, n);
}

FIXTURE_SETUP(fuzz)
{
	struct rig *rig = &self->rig;
	const char *missing = rig_init(rig, MEM_ANON);
	u64 n;

	if (missing)
		SKIP(return, "%s", missing);
	alloc_arena(&self->arena);
	self->bitmap = mmap(NULL, (BITMAP_PAGES + 1) * MEM_PAGE_SIZE,
			    PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	self->scratch = malloc(1 << 20);
	ASSERT_EQ(munmap(self->bitmap + BITMAP_PAGES * MEM_PAGE_SIZE,
			 MEM_PAGE_SIZE), 0);
	self->model.locked = status_kib("VmLck") * 1024 / MEM_PAGE_SIZE;
	self->model.limit = MEMLOCK_PAGES;
	limit_memlock(MEMLOCK_PAGES);
	self->model.dma_avail = type1_dma_avail(rig->iommu);
	read_ranges(&self->model, rig->iommu);
	/* The page of edu's driver, which no call may take away. */
	self->model.map[self->model.nr_maps++] = (struct model_map) {
		.iova = rig->device->driver.region.iova,
		.vaddr = (u64)rig->device->driver.region.vaddr,
		.size = rig->device->driver.region.size,
	};
	self->random = new_kvm_random_state(env_seed());
	/* Marked pages are populated whenever they are mapped. */
	for (n = 0; n < BITMAP_PAGES * MEM_PAGE_SIZE; n++)
		*(u8 *)(self->bitmap + n) = 1 << below(&self->random, 64);
}

FIXTURE_TEARDOWN(fuzz)
{
	rig_cleanup(&self->rig);
	mem_free(&self->arena);
}

/* A value that code is likely to get wrong. */
static u64 edge(struct kvm_random_state *random)
{
	static const u64 values[] = {
		0, 1, 7, 4095, 4096, 4097, 1UL << 21, 0xfee00000, 1UL << 31,
		(1UL << 32) - 1, 1UL << 32, 1UL << 39, 1UL << 47, 1UL << 48,
		1UL << 62, 1UL << 63, -1UL, -4096UL, -4095UL, -(1UL << 21),
		-(1UL << 30),
	};

	if (one_in(random, 4))
		return kvm_random_u64(random);
	return values[below(random, ARRAY_SIZE(values))];
}

/* --- the model --------------------------------------------------------------- */

static bool overlaps(const struct model_map *map, u64 iova, u64 last)
{
	return map->iova <= last && map->iova + map->size - 1 >= iova;
}

static struct model_map *find_map(struct model *model, u64 iova, u64 last)
{
	u32 n;

	for (n = 0; n < model->nr_maps; n++) {
		if (overlaps(&model->map[n], iova, last))
			return &model->map[n];
	}
	return NULL;
}

static bool iova_valid(struct model *model, u64 iova, u64 last)
{
	u32 n;

	for (n = 0; n < model->nr_ranges; n++) {
		if (iova >= model->ranges[n].start && last <= model->ranges[n].end)
			return true;
	}
	return false;
}

static bool in_part(u64 page, u64 last_page, u64 first, u64 end)
{
	return page < end && last_page >= first;
}

/*
 * Errnos that the memory at a range which does not wrap gives reason for. What
 * is not in the arena is taken for unmapped.
 */
static u64 memory_errnos(const struct mem *arena, u64 vaddr, u64 size,
			 bool unpinned, bool write)
{
	u64 start = (u64)arena->vaddr, page, last, may = 0;

	/* Around it is address space that is reserved. */
	if (vaddr < start || vaddr >= start + ARENA_SIZE)
		return MAY(EFAULT) | (unpinned ? MAY(EOPNOTSUPP) : 0);
	page = (vaddr - start) / MEM_PAGE_SIZE;
	last = page + size / MEM_PAGE_SIZE - 1;
	if (last >= ARENA_PAGES)
		may |= MAY(EFAULT) | (unpinned ? MAY(EOPNOTSUPP) : 0);
	if (in_part(page, last, HOLE_FIRST, HOLE_END))
		may |= MAY(EFAULT);
	if (write && in_part(page, last, RO_FIRST, RO_END))
		may |= MAY(unpinned ? EOPNOTSUPP : EFAULT);
	return may;
}

static bool too_many_aliases(struct model *model, u64 vaddr, u64 size)
{
	u32 n, count;
	u64 at;

	for (at = vaddr; at < vaddr + size; at += MEM_PAGE_SIZE) {
		count = 0;
		for (n = 0; n < model->nr_maps; n++)
			count += model->map[n].unpinned &&
				 at - model->map[n].vaddr < model->map[n].size;
		if (count >= ALIAS_MAX)
			return true;
	}
	return false;
}

/* Pages that a mapping is charged for */
static u64 map_charge(u64 vaddr, u64 size, bool unpinned)
{
	if (!unpinned)
		return size / MEM_PAGE_SIZE;
	return 2 * ((vaddr + size - 1) / CHUNK_SIZE - vaddr / CHUNK_SIZE + 1);
}

static u64 map_errnos(struct model *model, const struct mem *arena,
		      const struct vfio_iommu_type1_dma_map *map, bool unpinned)
{
	u64 last = map->iova + map->size - 1, may = 0;

	if (map->argsz < sizeof(*map) || map->flags & ~RW || !map->size)
		return MAY(EINVAL);
	if (unpinned ? map->flags != RW : !map->flags)
		may |= MAY(EINVAL);
	if (last < map->iova || map->vaddr + map->size - 1 < map->vaddr)
		may |= MAY(EOVERFLOW);
	else if ((map->size | map->iova | map->vaddr) % MEM_PAGE_SIZE)
		may |= MAY(EINVAL);
	if (may)
		return may;
	if (find_map(model, map->iova, last))
		may |= MAY(EEXIST);
	if (!iova_valid(model, map->iova, last))
		may |= MAY(EINVAL);
	may |= memory_errnos(arena, map->vaddr, map->size, unpinned,
			     map->flags & VFIO_DMA_MAP_FLAG_WRITE);
	if (model->locked + map_charge(map->vaddr, map->size, unpinned) >
	    model->limit)
		may |= MAY(ENOMEM);
	if (unpinned && !(may & MAY(EFAULT)) &&
	    too_many_aliases(model, map->vaddr, map->size))
		may |= MAY(ENOSPC);
	return may;
}

static void model_add(struct model *model,
		      const struct vfio_iommu_type1_dma_map *map, bool unpinned)
{
	VFIO_ASSERT_LT(model->nr_maps, MAX_MAPS, "the model is full");
	model->map[model->nr_maps++] = (struct model_map) {
		.iova = map->iova,
		.vaddr = map->vaddr,
		.size = map->size,
		.unpinned = unpinned,
	};
	model->nr_unpinned += unpinned;
	model->locked += map_charge(map->vaddr, map->size, unpinned);
	model->dma_avail--;
}

static void model_remove(struct model *model, struct model_map *map)
{
	model->nr_unpinned -= map->unpinned;
	model->locked -= map_charge(map->vaddr, map->size, map->unpinned);
	model->dma_avail++;
	*map = model->map[--model->nr_maps];
}

/* Remove all that is within; returns how many bytes. */
static u64 model_unmap(struct model *model, u64 iova, u64 last)
{
	struct model_map *map;
	u64 unmapped = 0;

	while ((map = find_map(model, iova, last))) {
		unmapped += map->size;
		model_remove(model, map);
	}
	return unmapped;
}

static bool bisects(struct model *model, u64 iova, u64 last)
{
	struct model_map *map = find_map(model, iova, iova);

	if (map && map->iova != iova)
		return true;
	map = find_map(model, last, last);
	return map && map->iova + map->size - 1 != last;
}

static u64 bitmap_charge(const struct vfio_iommu_type1_pin_bitmap *arg)
{
	u64 bytes = DIV_ROUND_UP(arg->npages, 8);

	return 2 * arg->limit + DIV_ROUND_UP(bytes, MEM_PAGE_SIZE);
}

static u64 register_errnos(struct model *model, void *bitmap,
			   const struct vfio_iommu_type1_pin_bitmap *arg)
{
	u64 bytes = DIV_ROUND_UP(arg->npages, 8), may = 0;

	if (!arg->npages || arg->npages > INT_MAX || !arg->limit ||
	    arg->limit > arg->npages ||
	    (arg->budget && arg->budget < 2 * arg->limit))
		return MAY(EINVAL);
	if ((arg->vaddr | arg->iova) % MEM_PAGE_SIZE ||
	    arg->vaddr + bytes - 1 < arg->vaddr ||
	    arg->iova + arg->npages * MEM_PAGE_SIZE - 1 < arg->iova)
		return MAY(EINVAL);
	if (model->bitmap.npages)
		may |= MAY(EEXIST);
	if (arg->vaddr != (u64)bitmap || bytes > BITMAP_PAGES * MEM_PAGE_SIZE)
		may |= MAY(EFAULT);
	if (model->locked + bitmap_charge(arg) > model->limit)
		may |= MAY(ENOMEM);
	return may;
}

static u64 bitmap_errnos(struct model *model, void *bitmap,
			 const struct vfio_iommu_type1_pin_bitmap *arg)
{
	if (arg->argsz < sizeof(*arg))
		return MAY(EINVAL);
	if (arg->flags == VFIO_PIN_BITMAP_FLAG_REGISTER)
		return register_errnos(model, bitmap, arg);
	if (arg->flags != VFIO_PIN_BITMAP_FLAG_UNREGISTER &&
	    arg->flags != VFIO_PIN_BITMAP_FLAG_ENABLE_MARKS &&
	    arg->flags != VFIO_PIN_BITMAP_FLAG_DISABLE_MARKS)
		return MAY(EINVAL);
	if (arg->vaddr || arg->iova || arg->npages || arg->limit || arg->budget)
		return MAY(EINVAL);
	return model->bitmap.npages ? 0 : MAY(ENOENT);
}

/* --- the calls --------------------------------------------------------------- */

/*
 * Do it. What it returns must be success if @may is empty, and one of the errnos
 * in it otherwise. Returns whether it was a success.
 */
static bool do_call(FIXTURE_DATA(fuzz) * self, enum call call, unsigned long cmd,
		    void *arg, u64 may)
{
	int ret = ioctl(self->rig.iommu->container_fd, cmd, arg);
	int err = ret < 0 ? errno : 0;
	bool expected;

	self->seen[call] |= MAY(err);
	self->done[call]++;
	self->failed[call] += !!err;
	expected = may ? err && (may & MAY(err)) : !err;
	VFIO_ASSERT_TRUE(expected,
			 "call %lu, %s: %s, reasons for a failure: 0x%lx",
			 self->number, call_name[call], strerror(err), may);
	return !err;
}

static u64 random_pages(struct kvm_random_state *random)
{
	return below(random, one_in(random, 8) ? ARENA_PAGES : MAX_PAGES) + 1;
}

static void call_map(FIXTURE_DATA(fuzz) * self, bool unpinned)
{
	struct kvm_random_state *random = &self->random;
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = RW,
		/* Some memory is more popular. */
		.vaddr = (u64)self->arena.vaddr + MEM_PAGE_SIZE *
			 below(random, one_in(random, 4) ? ARENA_PAGES : 32),
		.iova = rig_iova(below(random, WINDOW_PAGES)),
		.size = random_pages(random) * MEM_PAGE_SIZE,
	};
	enum call call = unpinned ? CALL_MAP_UNPINNED : CALL_MAP;
	unsigned long cmd = unpinned ? VFIO_IOMMU_MAP_DMA_UNPINNED :
				       VFIO_IOMMU_MAP_DMA;

	switch (below(random, 24)) {
	case 0:
		map.argsz = edge(random);
		break;
	case 1:
		map.flags = below(random, 16);
		break;
	case 2:
		map.flags = edge(random);
		break;
	case 3:
		map.vaddr = edge(random);
		break;
	case 4:
		map.iova = edge(random);
		break;
	case 5:
		map.size = edge(random);
		break;
	case 6:
		do_call(self, call, cmd, (void *)8, MAY(EFAULT));
		return;
	}
	/* Needs what UNMAP with this flag does, which unpinned ones forbid. */
	if (!unpinned)
		map.flags &= ~VFIO_DMA_MAP_FLAG_VADDR;
	if (do_call(self, call, cmd, &map,
		    map_errnos(&self->model, &self->arena, &map, unpinned)))
		model_add(&self->model, &map, unpinned);
}

/* Most of the time, exactly what one call has mapped */
static void pick_range(FIXTURE_DATA(fuzz) * self, __u64 *iova, __u64 *size)
{
	struct kvm_random_state *random = &self->random;
	struct model *model = &self->model;

	if (model->nr_maps > 1 && !one_in(random, 4)) {
		struct model_map *map =
			&model->map[1 + below(random, model->nr_maps - 1)];

		*iova = map->iova;
		*size = map->size;
		return;
	}
	*iova = rig_iova(below(random, WINDOW_PAGES));
	*size = random_pages(random) * MEM_PAGE_SIZE;
}

static void call_unmap(FIXTURE_DATA(fuzz) * self)
{
	struct kvm_random_state *random = &self->random;
	struct model *model = &self->model;
	struct vfio_iommu_type1_dma_unmap unmap = { .argsz = sizeof(unmap) };
	u64 last, may = 0;

	pick_range(self, &unmap.iova, &unmap.size);
	switch (below(random, 16)) {
	case 0:
		unmap.argsz = below(random, sizeof(unmap));
		break;
	case 1:
		unmap.flags = ~0U << below(random, 32);
		break;
	case 2:
		unmap.size = edge(random);
		break;
	case 3:
		unmap.iova = edge(random);
		break;
	case 4:
		/* Without an unpinned mapping it succeeds, and all is different. */
		if (model->nr_unpinned)
			unmap.flags = VFIO_DMA_UNMAP_FLAG_VADDR;
		break;
	case 5:
		do_call(self, CALL_UNMAP, VFIO_IOMMU_UNMAP_DMA, (void *)8,
			MAY(EFAULT));
		return;
	}
	last = unmap.iova + unmap.size - 1;
	if (unmap.argsz < sizeof(unmap) ||
	    unmap.flags & ~VFIO_DMA_UNMAP_FLAG_VADDR)
		may = MAY(EINVAL);
	else if (unmap.flags)
		may = MAY(EBUSY);
	else if (!unmap.size || (unmap.size | unmap.iova) % MEM_PAGE_SIZE)
		may = MAY(EINVAL);
	else if (last < unmap.iova)
		may = MAY(EOVERFLOW);
	else if (bisects(model, unmap.iova, last))
		may = MAY(EINVAL);
	else if (overlaps(&model->map[0], unmap.iova, last))
		return;
	if (do_call(self, CALL_UNMAP, VFIO_IOMMU_UNMAP_DMA, &unmap, may))
		VFIO_ASSERT_TRUE(unmap.size == model_unmap(model, unmap.iova, last),
				 "call %lu has unmapped 0x%llx bytes", self->number,
				 unmap.size);
}

static void call_pin_bitmap(FIXTURE_DATA(fuzz) * self)
{
	struct kvm_random_state *random = &self->random;
	struct model *model = &self->model;
	struct vfio_iommu_type1_pin_bitmap arg = {
		.argsz = sizeof(arg),
		.flags = 1U << below(random, 4),
	};

	if (arg.flags == VFIO_PIN_BITMAP_FLAG_REGISTER) {
		arg.vaddr = (u64)self->bitmap;
		arg.iova = rig_iova(below(random, WINDOW_PAGES));
		arg.npages = below(random, one_in(random, 4) ? 1 << 18 :
						WINDOW_PAGES) + 1;
		arg.limit = below(random, min(arg.npages, 256ULL)) + 1;
		if (one_in(random, 2))
			arg.budget = 2 * arg.limit + below(random, 1024);
	}
	switch (below(random, 24)) {
	case 0:
		arg.argsz = below(random, sizeof(arg));
		break;
	case 1:
		arg.flags = edge(random);
		break;
	case 2:
		arg.vaddr = edge(random);
		break;
	case 3:
		arg.iova = edge(random);
		break;
	case 4:
		arg.npages = edge(random);
		break;
	case 5:
		arg.limit = edge(random);
		break;
	case 6:
		arg.budget = edge(random);
		break;
	case 7:
		do_call(self, CALL_PIN_BITMAP, VFIO_IOMMU_PIN_BITMAP, (void *)8,
			MAY(EFAULT));
		return;
	}
	if (!do_call(self, CALL_PIN_BITMAP, VFIO_IOMMU_PIN_BITMAP, &arg,
		     bitmap_errnos(model, self->bitmap, &arg)))
		return;
	if (arg.flags == VFIO_PIN_BITMAP_FLAG_REGISTER) {
		model->bitmap = arg;
		model->locked += bitmap_charge(&arg);
	} else if (arg.flags == VFIO_PIN_BITMAP_FLAG_UNREGISTER) {
		model->locked -= bitmap_charge(&model->bitmap);
		model->bitmap.npages = 0;
	}
}

static void call_get_info(FIXTURE_DATA(fuzz) * self)
{
	struct kvm_random_state *random = &self->random;
	u8 buf[4096];
	struct vfio_iommu_type1_info *info = (void *)buf;
	const u32 minsz = offsetof(struct vfio_iommu_type1_info, cap_offset);

	if (one_in(random, 16)) {
		do_call(self, CALL_GET_INFO, VFIO_IOMMU_GET_INFO, (void *)8,
			MAY(EFAULT));
		return;
	}
	info->argsz = below(random, one_in(random, 4) ? 2 * minsz : sizeof(buf));
	do_call(self, CALL_GET_INFO, VFIO_IOMMU_GET_INFO, buf,
		info->argsz < minsz ? MAY(EINVAL) : 0);
}

static void call_check_extension(FIXTURE_DATA(fuzz) * self)
{
	u64 extension = one_in(&self->random, 2) ? VFIO_TYPE1_UNPINNED_IOMMU :
						   edge(&self->random);

	do_call(self, CALL_CHECK_EXTENSION, VFIO_CHECK_EXTENSION,
		(void *)extension, 0);
}

/* Never 0, of which VFIO has always taken the lowest bit that is set. */
static u64 dirty_pgsize(struct kvm_random_state *random)
{
	return one_in(random, 4) ? 1UL << below(random, 64) : MEM_PAGE_SIZE;
}

static u64 dirty_get_errnos(struct model *model,
			    const struct vfio_iommu_type1_dirty_bitmap_get *get)
{
	u64 last = get->iova + get->size - 1;
	u64 pages = get->size / get->bitmap.pgsize;

	if (!get->size)
		return MAY(EINVAL);
	if (last < get->iova)
		return MAY(EOVERFLOW);
	if (!model->dirty_tracking || get->bitmap.pgsize != MEM_PAGE_SIZE ||
	    (get->iova | get->size) % MEM_PAGE_SIZE ||
	    get->bitmap.size < DIV_ROUND_UP(pages, 64) * 8 ||
	    bisects(model, get->iova, last))
		return MAY(EINVAL);
	return 0;
}

static void call_dirty_pages(FIXTURE_DATA(fuzz) * self)
{
	struct kvm_random_state *random = &self->random;
	struct model *model = &self->model;
	struct {
		struct vfio_iommu_type1_dirty_bitmap dirty;
		struct vfio_iommu_type1_dirty_bitmap_get get;
	} arg = {
		.dirty.argsz = sizeof(arg),
		.dirty.flags = 1U << below(random, 3),
		.get.bitmap.pgsize = dirty_pgsize(random),
		.get.bitmap.size = 1 << 16,
		.get.bitmap.data = self->scratch,
	};
	u64 may = 0;

	pick_range(self, &arg.get.iova, &arg.get.size);
	switch (below(random, 16)) {
	case 0:
		arg.dirty.argsz = below(random, sizeof(arg.dirty));
		may = MAY(EINVAL);
		break;
	case 1:
		arg.dirty.flags = 8U << below(random, 29);
		may = MAY(EINVAL);
		break;
	case 2:
		arg.get.bitmap.size = below(random, 8);
		break;
	case 3:
		do_call(self, CALL_DIRTY_PAGES, VFIO_IOMMU_DIRTY_PAGES,
			(void *)8, MAY(EFAULT));
		return;
	}
	if (!may && arg.dirty.flags == VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP)
		may = dirty_get_errnos(model, &arg.get);
	if (!do_call(self, CALL_DIRTY_PAGES, VFIO_IOMMU_DIRTY_PAGES, &arg, may))
		return;
	if (arg.dirty.flags != VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP)
		model->dirty_tracking = arg.dirty.flags ==
					VFIO_IOMMU_DIRTY_PAGES_FLAG_START;
}

static void call_any(FIXTURE_DATA(fuzz) * self)
{
	bool fewer = self->number / PHASE % 2;
	u64 n = below(&self->random, 100);

	if (n < 30)
		call_map(self, true);
	else if (n < 40)
		call_map(self, false);
	else if (n < (fewer ? 72 : 45))
		call_unmap(self);
	else if (n < 72)
		call_map(self, true);
	else if (n < 87)
		call_pin_bitmap(self);
	else if (n < 91)
		call_get_info(self);
	else if (n < 94)
		call_check_extension(self);
	else
		call_dirty_pages(self);
}

/* All that can be seen of the container and the process is what the model says. */
static void check_state(FIXTURE_DATA(fuzz) * self)
{
	struct model *model = &self->model;
	u64 locked = status_kib("VmLck") * 1024 / MEM_PAGE_SIZE;
	u32 avail = type1_dma_avail(self->rig.iommu);
	bool object = model->nr_unpinned || model->bitmap.npages;

	VFIO_ASSERT_TRUE(locked == model->locked, "call %lu: %lu pages locked, not %lu",
			 self->number, locked, model->locked);
	VFIO_ASSERT_TRUE(avail == model->dma_avail, "call %lu: %u mappings left, not %u",
			 self->number, avail, model->dma_avail);
	if (stats_available()) {
		VFIO_ASSERT_TRUE((stat_get("leaves") >= 0) == object,
				 "call %lu: counters without a reason, or none",
				 self->number);
		VFIO_ASSERT_TRUE(!object || stat_get("limit") ==
				 (model->bitmap.npages ? model->bitmap.limit : 0),
				 "call %lu: limit", self->number);
		VFIO_ASSERT_TRUE(!object ||
				 stat_get("late_pins") <= 2 * stat_get("limit"),
				 "call %lu: more late pins than allowed",
				 self->number);
		self->populated |= stat_get("worker_populates") > 0;
	}
}

/*
 * The device gets where the model says that it gets, and nowhere else: without
 * a guest and without marks, through pinned mappings only.
 */
static void probe(FIXTURE_DATA(fuzz) * self)
{
	u64 page = below(&self->random, WINDOW_PAGES);
	struct model_map *map = find_map(&self->model, rig_iova(page),
					 rig_iova(page));
	u32 value = unique_value(), *vaddr;

	if (map && map->unpinned && self->model.bitmap.npages)
		return;
	if (!map || map->unpinned) {
		vaddr = map ? (void *)(map->vaddr + rig_iova(page) - map->iova) :
			      self->arena.vaddr;
		VFIO_ASSERT_TRUE(dma_write_blocked(self->rig.device, rig_iova(page),
						   vaddr), "call %lu: DMA to %lx",
				 self->number, page);
		return;
	}
	/* Some are for reading only, some for writing only. */
	vaddr = (u32 *)(map->vaddr + rig_iova(page) - map->iova);
	dma_write(self->rig.device, rig_iova(page), &value, sizeof(value));
	VFIO_ASSERT_TRUE(READ_ONCE(*vaddr) == value ||
			 !dma_read_blocked(self->rig.device, rig_iova(page), *vaddr),
			 "call %lu: no DMA to %lx", self->number, page);
}

static const char *errno_name(int bit)
{
	if (!bit)
		return "ok";
	if (bit == EOPNOTSUPP % 64)
		return strerrorname_np(EOPNOTSUPP);
	if (bit == EOVERFLOW % 64)
		return strerrorname_np(EOVERFLOW);
	return strerrorname_np(bit);
}

static void print_seen(FIXTURE_DATA(fuzz) * self)
{
	int call, bit;

	for (call = 0; call < NR_CALLS; call++) {
		printf("# count: %8lu times %-16s %8lu failed:",
		       self->done[call], call_name[call], self->failed[call]);
		for (bit = 0; bit < 64; bit++) {
			if (self->seen[call] >> bit & 1)
				printf(" %s", errno_name(bit));
		}
		printf("\n");
	}
}

TEST_F_TIMEOUT(fuzz, ioctls, 60 * RIG_TIMEOUT_S)
{
	u64 calls = env_number("VFIO_SELFTESTS_IOCTLS", 50000);
	struct vfio_iommu_type1_dma_unmap all = {
		.argsz = sizeof(all),
		.flags = VFIO_DMA_UNMAP_FLAG_ALL,
	};
	int call;

	for (self->number = 1; self->number <= calls; self->number++) {
		call_any(self);
		if (self->number % CHECK_EVERY == 0)
			check_state(self);
		if (self->number % (calls / PROBES + 1) == 0)
			probe(self);
	}
	check_state(self);
	print_seen(self);
	EXPECT_TRUE(self->populated || !stats_available());
	for (call = 0; call < NR_CALLS; call++)
		EXPECT_EQ(interesting[call] & ~self->seen[call], 0);

	/* All but the driver's page, in pieces, since it is in the middle. */
	EXPECT_EQ(ioctl(self->rig.iommu->container_fd, VFIO_IOMMU_UNMAP_DMA,
			&all), 0);
	type1_map(self->rig.iommu, &self->rig.device->driver.region);
	if (self->model.bitmap.npages)
		type1_pin_bitmap(self->rig.iommu,
				 VFIO_PIN_BITMAP_FLAG_UNREGISTER);
	if (stats_available())
		EXPECT_EQ(stat_get("leaves"), -1);
	EXPECT_EQ(status_kib("VmLck") * 1024, MEM_PAGE_SIZE);
}

int main(int argc, char *argv[])
{
	get_device_bdfs(&argc, argv);
	return test_harness_run(argc, argv);
}
