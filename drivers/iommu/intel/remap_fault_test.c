// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for what becomes of the requests that a unit has blocked
 *
 * The unit's registers are memory, where a bit that is cleared by writing 1 stays
 * set: a unit that has a new fault whenever one is handled.
 */

#include <kunit/test.h>
#include <linux/iommu.h>
#include <linux/ratelimit.h>

#include "iommu.h"

#define FAULT_SEGMENT	0xfffe	/* no device of the machine is there */
#define FAULT_BUS	0x12
#define FAULT_DEVFN	0x34
#define FAULT_RID	0x1234
#define FAULT_IOVA	0x123456789000ULL
#define FAULT_REGS	0x200
#define REASON_WRITE	5
#define REASON_INTR	0x25

/**
 * struct fault_fixture - A unit, a device behind it, and what is reported of it
 *
 * @iommu: The unit
 * @regs: Its registers
 * @info: The device
 * @dev: The device
 * @domain: What it is attached to
 * @faults: Calls of the domain's handler
 * @iova: In the last one
 * @flags: In the last one
 */
struct fault_fixture {
	struct intel_iommu *iommu;
	u32 *regs;
	struct device_domain_info info;
	struct device dev;
	struct dmar_domain domain;
	unsigned int faults;
	unsigned long iova;
	int flags;
};

static int count_fault(struct iommu_domain *domain, struct device *dev,
		       unsigned long iova, int flags, void *token)
{
	struct fault_fixture *f = token;

	if (domain != &f->domain.domain || dev != &f->dev)
		return -EINVAL;
	f->faults++;
	f->iova = iova;
	f->flags = flags;
	return -EOPNOTSUPP;
}

static void record(struct fault_fixture *f, u8 reason, bool read)
{
	u32 *frcd = &f->regs[FAULT_REGS / 4];

	frcd[0] = lower_32_bits(FAULT_IOVA);
	frcd[1] = upper_32_bits(FAULT_IOVA);
	frcd[2] = FAULT_RID;
	frcd[3] = DMA_FRCD_F | reason | (read ? BIT(30) : 0);
	f->regs[DMAR_FSTS_REG / 4] = DMA_FSTS_PPF;
}

static int fault_test_init(struct kunit *test)
{
	struct fault_fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, f);
	f->iommu = kunit_kzalloc(test, sizeof(*f->iommu), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, f->iommu);
	f->regs = kunit_kzalloc(test, PAGE_SIZE, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, f->regs);
	f->iommu->reg = (void __iomem *)f->regs;
	f->iommu->cap = (u64)(FAULT_REGS / 16) << 24;
	f->iommu->segment = FAULT_SEGMENT;
	raw_spin_lock_init(&f->iommu->register_lock);

	f->dev.init_name = "kunit-fault";
	f->info.dev = &f->dev;
	f->info.segment = FAULT_SEGMENT;
	f->info.bus = FAULT_BUS;
	f->info.devfn = FAULT_DEVFN;
	intel_remap_add_device(&f->info);
	iommu_set_fault_handler(&f->domain.domain, count_fault, f);
	intel_remap_attach(&f->domain, &f->info);
	test->priv = f;
	return 0;
}

static void fault_test_exit(struct kunit *test)
{
	struct fault_fixture *f = test->priv;

	if (f)
		intel_remap_del_device(&f->info);
}

static bool report(struct fault_fixture *f, u16 rid, u8 reason, bool read)
{
	return intel_remap_report_fault(f->iommu, rid, reason, FAULT_IOVA, read);
}

/* The handler hears of what the domain's devices do, while they are its. */
static void test_report(struct kunit *test)
{
	struct fault_fixture *f = test->priv;

	report(f, FAULT_RID, REASON_WRITE, false);
	KUNIT_EXPECT_EQ(test, f->faults, 1);
	KUNIT_EXPECT_EQ(test, f->iova, FAULT_IOVA);
	KUNIT_EXPECT_EQ(test, f->flags, IOMMU_FAULT_WRITE);
	report(f, FAULT_RID, REASON_WRITE, true);
	KUNIT_EXPECT_EQ(test, f->faults, 2);
	KUNIT_EXPECT_EQ(test, f->flags, IOMMU_FAULT_READ);

	report(f, FAULT_RID, REASON_INTR, false);
	report(f, FAULT_RID + 1, REASON_WRITE, false);
	f->iommu->segment--;
	report(f, FAULT_RID, REASON_WRITE, false);
	f->iommu->segment++;
	KUNIT_EXPECT_EQ(test, f->faults, 2);

	intel_remap_detach(&f->info);
	report(f, FAULT_RID, REASON_WRITE, false);
	KUNIT_EXPECT_EQ(test, f->faults, 2);
	intel_remap_attach(&f->domain, &f->info);
	report(f, FAULT_RID, REASON_WRITE, false);
	KUNIT_EXPECT_EQ(test, f->faults, 3);
}

/* Nobody but those who wanted to know before the device came. */
static void test_report_no_handler(struct kunit *test)
{
	struct fault_fixture *f = test->priv;

	intel_remap_detach(&f->info);
	f->domain.domain.cookie_type = IOMMU_COOKIE_NONE;
	intel_remap_attach(&f->domain, &f->info);
	KUNIT_EXPECT_NULL(test, f->info.fault_domain);
	report(f, FAULT_RID, REASON_WRITE, false);
	KUNIT_EXPECT_EQ(test, f->faults, 0);
}

/* Who takes a device from its domain ends that: the domain may be freed then. */
static void test_report_blocked(struct kunit *test)
{
	struct fault_fixture *f = test->priv;
	struct dev_iommu *param = kunit_kzalloc(test, sizeof(*param), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, param);
	/* No context table, so that there is nothing to flush. */
	f->iommu->root_entry = kunit_kzalloc(test, VTD_PAGE_SIZE, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, f->iommu->root_entry);
	spin_lock_init(&f->iommu->lock);
	param->priv = &f->info;
	f->dev.iommu = param;
	f->info.iommu = f->iommu;
	f->info.domain_attached = true;
	device_block_translation(&f->dev);
	f->dev.iommu = NULL;
	KUNIT_EXPECT_NULL(test, f->info.fault_domain);
	report(f, FAULT_RID, REASON_WRITE, false);
	KUNIT_EXPECT_EQ(test, f->faults, 0);
}

/* A device uses up its own messages, and no other's. */
static void test_messages(struct kunit *test)
{
	struct fault_fixture *f = test->priv;
	unsigned int i, messages = 0;

	for (i = 0; i < 1000; i++)
		messages += report(f, FAULT_RID, REASON_WRITE, false);
	KUNIT_EXPECT_EQ(test, f->faults, 1000);
	KUNIT_EXPECT_GE(test, messages, 1);
	KUNIT_EXPECT_LE(test, messages, 100);
	KUNIT_EXPECT_TRUE(test, report(f, FAULT_RID + 1, REASON_WRITE, false));
	KUNIT_EXPECT_TRUE(test, report(f, FAULT_RID, REASON_INTR, false));
}

/* One interrupt handles no more than a number of records, and no other comes. */
static void test_storm(struct kunit *test)
{
	struct fault_fixture *f = test->priv;
	unsigned int handled;

	dmar_storm_init(f->iommu);
	record(f, REASON_WRITE, false);
	KUNIT_EXPECT_EQ(test, dmar_fault(0, f->iommu), IRQ_HANDLED);
	handled = f->faults;
	KUNIT_EXPECT_GE(test, handled, 2);
	KUNIT_EXPECT_LE(test, handled, 256);
	KUNIT_EXPECT_EQ(test, f->iova, FAULT_IOVA);
	KUNIT_EXPECT_EQ(test, f->flags, IOMMU_FAULT_WRITE);
	KUNIT_EXPECT_EQ(test, f->regs[DMAR_FECTL_REG / 4], DMA_FECTL_IM);

	/* The storm is over: the next look finds nothing, and stops looking */
	f->regs[FAULT_REGS / 4 + 3] = 0;
	flush_delayed_work(&f->iommu->fault_work);
	KUNIT_EXPECT_EQ(test, f->regs[DMAR_FECTL_REG / 4], 0);
	KUNIT_EXPECT_FALSE(test, delayed_work_pending(&f->iommu->fault_work));
	KUNIT_EXPECT_EQ(test, f->faults, handled);

	/* The next one */
	record(f, REASON_WRITE, false);
	dmar_fault(0, f->iommu);
	KUNIT_EXPECT_GT(test, f->faults, handled);
	KUNIT_EXPECT_LE(test, f->faults, handled + 256);
	KUNIT_EXPECT_EQ(test, f->regs[DMAR_FECTL_REG / 4], DMA_FECTL_IM);
	KUNIT_EXPECT_TRUE(test, delayed_work_pending(&f->iommu->fault_work));
	dmar_storm_exit(f->iommu);
}

/* The bound holds as well where each interrupt handles few records. */
static void test_storm_in_small_parts(struct kunit *test)
{
	struct fault_fixture *f = test->priv;
	unsigned int records = 0;
	unsigned long flags;
	bool masked = false;

	dmar_storm_init(f->iommu);
	raw_spin_lock_irqsave(&f->iommu->register_lock, flags);
	while (!masked && records < 1000) {
		dmar_storm_begin(f->iommu);
		masked = dmar_storm_record(f->iommu);
		records++;
	}
	raw_spin_unlock_irqrestore(&f->iommu->register_lock, flags);
	KUNIT_EXPECT_TRUE(test, masked);
	KUNIT_EXPECT_LE(test, records, 256);
	KUNIT_EXPECT_EQ(test, f->regs[DMAR_FECTL_REG / 4], DMA_FECTL_IM);
	dmar_storm_exit(f->iommu);
}

static struct kunit_case fault_test_cases[] = {
	KUNIT_CASE(test_report),
	KUNIT_CASE(test_report_no_handler),
	KUNIT_CASE(test_report_blocked),
	KUNIT_CASE(test_messages),
	KUNIT_CASE(test_storm),
	KUNIT_CASE(test_storm_in_small_parts),
	{}
};

static struct kunit_suite fault_test_suite = {
	.name = "intel-iommu-remap-fault",
	.init = fault_test_init,
	.exit = fault_test_exit,
	.test_cases = fault_test_cases,
};

kunit_test_suite(fault_test_suite);
