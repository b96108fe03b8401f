// SPDX-License-Identifier: GPL-2.0-only
/*
 * The gate: which translations of KVM bring a leaf, and which take one away. KVM
 * makes them in several places, of which the TDP MMU uses one: these tests are to
 * be run with kvm.tdp_mmu=0 and with kvm_amd.npt=0 or kvm_intel.ept=0 as well.
 */
#include <linux/mman.h>

#include <libvfio/child.h>
#include <libvfio/settings.h>
#include <libvfio/unpinned.h>

#include "kselftest_harness.h"
#include "processor.h"

#define KSM_DIR		"/sys/kernel/mm/ksm/"
#define PARAMETER(module, name)	"/sys/module/" module "/parameters/" name

#define MERGE_TRIES		400
#define MERGE_INTERVAL_US	(50 * 1000)

/* Is this parameter of a module there, and off? */
static bool is_off(const char *path)
{
	char value[8];

	return !setting_read(path, value, sizeof(value)) &&
	       (value[0] == 'N' || value[0] == '0');
}

/* Does KVM shadow the page tables of its guests? */
static bool kvm_shadows(void)
{
	return is_off(PARAMETER("kvm_amd", "npt")) ||
	       is_off(PARAMETER("kvm_intel", "ept"));
}

/* The TDP MMU never maps more than what a vCPU has accessed. */
static bool kvm_prefetches(void)
{
	return is_off(PARAMETER("kvm", "tdp_mmu")) &&
	       (kvm_shadows() || !is_off(PARAMETER("kvm_intel", "eptad")));
}

static int do_nothing(void *unused)
{
	wait_for_go();
	return 0;
}

/* A process that shares all private memory, until end_child() */
static void start_child(struct child *child)
{
	child_start(child, do_nothing, NULL);
}

static void end_child(struct child *child)
{
	if (child->running)
		VFIO_ASSERT_EQ(child_wait(child), 0);
}

FIXTURE(gate) {
	struct rig rig;
};

FIXTURE_VARIANT(gate) {
	enum mem_kind kind;
};

FIXTURE_VARIANT_ADD(gate, anon) {
	.kind = MEM_ANON,
};

FIXTURE_VARIANT_ADD(gate, memfd) {
	.kind = MEM_MEMFD,
};

FIXTURE_SETUP(gate)
{
	const char *missing = rig_init_marks(&self->rig, variant->kind);

	if (missing)
		SKIP(return, "%s", missing);
}

FIXTURE_TEARDOWN(gate)
{
	rig_cleanup(&self->rig);
}

static void process_write(struct rig *rig, u64 page)
{
	WRITE_ONCE(*(u32 *)rig_vaddr(rig, page), unique_value());
}

/* What KVM maps around a fault, if it is there and the guest has accessed it. */
#define PREFETCHED	8UL

/* The guest's touch of a page that KVM has mapped beforehand does not fault. */
TEST_F_TIMEOUT(gate, neighbours, RIG_TIMEOUT_S)
{
	u64 page, first = 2 * PREFETCHED, end = first + PREFETCHED;
	struct rig *rig = &self->rig;

	/* A guest's page table says which pages were accessed. */
	for (page = first; page < end; page++)
		guest_touch(rig->guest, rig_iova(page));
	mem_bracket(rig->mem.vaddr);
	EXPECT_STAT("leaves", 0);

	for (page = first; page < end; page++)
		process_write(rig, page);
	guest_touch(rig->guest, rig_iova(first));
	EXPECT_STAT("leaves", kvm_prefetches() ? PREFETCHED : 1);
	for (page = first; page < end; page++)
		guest_touch(rig->guest, rig_iova(page));
	EXPECT_STAT("leaves", PREFETCHED);
	for (page = first; page < end; page++)
		EXPECT_TRUE(rig_dma_works(rig, page));
}

/*
 * What the process can write, KVM may map as writable when the guest only reads:
 * the touch that follows does not fault.
 */
TEST_F_TIMEOUT(gate, read_before_touch, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	u32 value = unique_value();

	WRITE_ONCE(*(u32 *)rig_vaddr(rig, 3), value);
	EXPECT_EQ(guest_read(rig->guest, rig_iova(3)), value);
	guest_touch(rig->guest, rig_iova(3));
	EXPECT_STAT("leaves", 1);
	EXPECT_TRUE(rig_dma_works(rig, 3));
}

/* Another mapping of memory that the guest has touched has its leaves at once. */
TEST_F_TIMEOUT(gate, alias_of_touched_memory, RIG_TIMEOUT_S)
{
	struct dma_region alias = self->rig.region;
	struct rig *rig = &self->rig;

	guest_touch(rig->guest, rig_iova(3));
	alias.iova += RIG_SIZE;
	type1_map_unpinned(rig->iommu, &alias);
	EXPECT_STAT("leaves", 1);
	EXPECT_STAT("zaps", 0);
	EXPECT_TRUE(rig_dma_works(rig, 3));
	EXPECT_TRUE(dma_works(rig->device, alias.iova + 3 * MEM_PAGE_SIZE,
			      rig_vaddr(rig, 3)));
}

/*
 * A late pin holds a page that is nowhere else by now, and a BAR is where it was. KVM
 * maps that as writable even for a read: then the device must not keep the page.
 */
TEST_F_TIMEOUT(gate, bar_over_an_orphan, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	u32 old;

	rig_pin(rig, 9);
	old = rig_guest_write(rig, 9);
	rig_map_bar(rig->device, rig_vaddr(rig, 9));
	EXPECT_STAT("late_pins", 1);
	EXPECT_FALSE(rig_dma_read_blocked(rig, 9, old));

	EXPECT_EQ(guest_read(rig->guest, rig_iova(9)), EDU_ID);
	EXPECT_STAT("orphan_zaps", 1);
	EXPECT_STAT("late_pins", 0);
	EXPECT_STAT("leaves", 0);
	EXPECT_TRUE(rig_dma_read_blocked(rig, 9, old));
}

/* --- what KVM may not write where a late-pinned page was --------------------------- */

#define ORPHAN	6UL

FIXTURE(orphan) {
	struct rig rig;
	struct child child;
};

FIXTURE_VARIANT(orphan) {
	enum mem_kind kind;
	bool write;		/* new memory, before ... */
	bool fork;
	bool merge;
};

/* The page that the file has, until it is written. */
FIXTURE_VARIANT_ADD(orphan, private_memfd) {
	.kind = MEM_PRIVATE_MEMFD,
};

FIXTURE_VARIANT_ADD(orphan, fork) {
	.kind = MEM_ANON,
	.write = true,
	.fork = true,
};

FIXTURE_VARIANT_ADD(orphan, ksm) {
	.kind = MEM_ANON,
	.write = true,
	.merge = true,
};

FIXTURE_SETUP(orphan)
{
	const char *missing = rig_init_marks(&self->rig, variant->kind);

	if (missing)
		SKIP(return, "%s", missing);
}

FIXTURE_TEARDOWN(orphan)
{
	end_child(&self->child);
	settings_restore();
	rig_cleanup(&self->rig);
}

/* Have KSM make one page of a page and the next one, which have the same content. */
static bool merge_pages(struct rig *rig, u64 page)
{
	void *vaddr = rig_vaddr(rig, page);
	u64 frame[2];
	int n;

	memcpy(vaddr + MEM_PAGE_SIZE, vaddr, MEM_PAGE_SIZE);
	if (setting_change(KSM_DIR "sleep_millisecs", "10") ||
	    setting_change(KSM_DIR "pages_to_scan", "4096") ||
	    setting_change(KSM_DIR "run", "1") ||
	    madvise(vaddr, 2 * MEM_PAGE_SIZE, MADV_MERGEABLE))
		return false;
	for (n = 0; n < MERGE_TRIES; n++) {
		mem_frames_now(vaddr, 2, frame);
		if (frame[0] && frame[0] == frame[1])
			return true;
		usleep(MERGE_INTERVAL_US);
	}
	VFIO_FAIL("KSM does not merge two pages");
	return false;
}

TEST_F_TIMEOUT(orphan, read, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	void *vaddr = rig_vaddr(rig, ORPHAN);
	u32 old, new = 0;

	rig_pin(rig, ORPHAN);
	old = rig_guest_write(rig, ORPHAN);
	mem_discard(&rig->mem, vaddr, MEM_PAGE_SIZE);
	if (variant->write) {
		process_write(rig, ORPHAN);
		new = READ_ONCE(*(u32 *)vaddr);
	}
	if (variant->fork)
		start_child(&self->child);
	if (variant->merge && !merge_pages(rig, ORPHAN))
		SKIP(return, "no KSM in this kernel");
	EXPECT_STAT("late_pins", 1);
	EXPECT_FALSE(rig_dma_read_blocked(rig, ORPHAN, old));

	/* Of a page that may have a leaf, if only it could be written. */
	EXPECT_EQ(guest_read(rig->guest, rig_iova(ORPHAN)), new);
	EXPECT_STAT("refused_pages", 0);
	EXPECT_STAT("orphan_zaps", 1);
	EXPECT_STAT("late_pins", 0);
	EXPECT_STAT("leaves", 0);
	EXPECT_TRUE(rig_dma_read_blocked(rig, ORPHAN, old));
	EXPECT_TRUE(rig_dma_write_blocked(rig, ORPHAN));
	EXPECT_EQ(READ_ONCE(*(u32 *)vaddr), new);

	guest_touch(rig->guest, rig_iova(ORPHAN));
	EXPECT_TRUE(rig_dma_works(rig, ORPHAN));
}

/* --- writes that KVM emulates ------------------------------------------------------ */

#define TABLE_GVA	0x60000000UL
#define TABLE_IOVA	0x60000000UL

FIXTURE(shadowed) {
	struct rig rig;
	struct dma_region table;	/* of the guest's root page table */
	struct child child;
};

FIXTURE_SETUP(shadowed)
{
	struct rig *rig = &self->rig;
	const char *missing;
	u64 table;

	if (!kvm_shadows())
		SKIP(return, "KVM shadows no page tables: set npt=0 or ept=0");
	missing = rig_init(rig, MEM_ANON);
	if (missing)
		SKIP(return, "%s", missing);
	/* The guest gets at the root of its own page tables. */
	table = rig->guest->vm->mmu.pgd;
	virt_map(rig->guest->vm, TABLE_GVA, table, 1);
	self->table = (struct dma_region) {
		.vaddr = addr_gpa2hva(rig->guest->vm, table),
		.iova = TABLE_IOVA,
		.size = MEM_PAGE_SIZE,
	};
	type1_map_unpinned(rig->iommu, &self->table);
}

FIXTURE_TEARDOWN(shadowed)
{
	end_child(&self->child);
	rig_cleanup(&self->rig);
}

/*
 * KVM emulates the guest's writes to page tables that it shadows, by the address that
 * the process has. If that is a copy of the page that was there, the device has to
 * get the copy, too.
 */
TEST_F_TIMEOUT(shadowed, write_to_a_page_table, RIG_TIMEOUT_S)
{
	struct rig *rig = &self->rig;
	u64 frame;
	u32 entry;

	/* So that the walk of the page tables has nothing to set in them. */
	guest_touch(rig->guest, TABLE_GVA);
	entry = READ_ONCE(*(u32 *)self->table.vaddr);
	start_child(&self->child);
	EXPECT_EQ(guest_read(rig->guest, TABLE_GVA), entry);
	frame = mem_frame(self->table.vaddr);
	EXPECT_STAT("leaves", 0);
	EXPECT_TRUE(dma_read_blocked(rig->device, TABLE_IOVA, entry));

	guest_touch(rig->guest, TABLE_GVA);
	EXPECT_NE(mem_frame(self->table.vaddr), frame);
	EXPECT_STAT("leaves", 1);
	EXPECT_FALSE(dma_read_blocked(rig->device, TABLE_IOVA, entry));
}

int main(int argc, char *argv[])
{
	get_device_bdfs(&argc, argv);
	return test_harness_run(argc, argv);
}
