// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for remap_pte.c: which domains and devices may
 *
 * The replacing of leaves itself is tested for all page table formats, see
 * drivers/iommu/generic_pt/kunit_iommu_remap.h.
 */
#include <kunit/test.h>
#include <linux/generic_pt/iommu.h>
#include <linux/iommu.h>
#include <linux/list.h>
#include <linux/sizes.h>

#include "iommu.h"

/* What a unit says that drains reads and writes */
#define CAP_DRD		BIT_ULL(55)
#define CAP_DWD		BIT_ULL(54)
/* ... and one that has large leaves, tables for 48 bits of IOVA, and snoops them */
#define CAP_1G		BIT_ULL(35)
#define CAP_2M		BIT_ULL(34)
#define CAP_MGAW_48	(47ULL << 16)
#define CAP_SAGAW_4	BIT_ULL(10)
#define ECAP_COHERENT	BIT_ULL(0)
#define CAP_ALL		(CAP_DRD | CAP_DWD | CAP_1G | CAP_2M | CAP_MGAW_48 | \
			 CAP_SAGAW_4)

/**
 * struct remap_fixture - A domain with two devices behind two units
 *
 * @domain: The domain, of the second stage
 * @units: The units, which can do all
 * @tags: One for the IOTLB of each unit, in the domain's list
 * @info: A device behind the first unit, not attached
 * @dev: The device
 */
struct remap_fixture {
	struct dmar_domain domain;
	struct intel_iommu *units[2];
	struct cache_tag tags[2];
	struct device_domain_info info;
	struct device *dev;
};

static int remap_test_init(struct kunit *test)
{
	struct pt_iommu_vtdss_cfg cfg = {
		.common.features = BIT(PT_FEAT_FLUSH_RANGE),
		.common.hw_max_vasz_lg2 = 48,
		.common.hw_max_oasz_lg2 = 52,
		.top_level = 3,
	};
	struct remap_fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);
	int i;

	KUNIT_ASSERT_NOT_NULL(test, f);
	f->domain.domain.ops = &intel_ss_paging_domain_ops;
	f->domain.iommu.nid = NUMA_NO_NODE;
	KUNIT_ASSERT_EQ(test, pt_iommu_vtdss_init(&f->domain.sspt, &cfg,
						  GFP_KERNEL), 0);
	spin_lock_init(&f->domain.cache_lock);
	INIT_LIST_HEAD(&f->domain.cache_tags);
	for (i = 0; i < ARRAY_SIZE(f->units); i++) {
		f->units[i] = kunit_kzalloc(test, sizeof(*f->units[i]),
					    GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, f->units[i]);
		f->units[i]->cap = CAP_ALL;
		f->units[i]->ecap = ECAP_COHERENT;
		f->tags[i].type = CACHE_TAG_IOTLB;
		f->tags[i].iommu = f->units[i];
		list_add(&f->tags[i].node, &f->domain.cache_tags);
	}
	f->info.iommu = f->units[0];

	f->dev = kunit_kzalloc(test, sizeof(*f->dev), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, f->dev);
	f->dev->iommu = kunit_kzalloc(test, sizeof(*f->dev->iommu), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, f->dev->iommu);
	f->dev->iommu->priv = &f->info;
	test->priv = f;
	return 0;
}

static void remap_test_exit(struct kunit *test)
{
	struct remap_fixture *f = test->priv;

	if (f)
		pt_iommu_deinit(&f->domain.iommu);
}

static bool supported(struct remap_fixture *f)
{
	return intel_iommu_remap_supported(&f->domain.domain);
}

/* Only what is in the unit itself may cache translations. */
static void test_supported(struct kunit *test)
{
	static const enum cache_tag_type refused[] = {
		CACHE_TAG_DEVTLB, CACHE_TAG_NESTING_DEVTLB,
		CACHE_TAG_NESTING_IOTLB,
	};
	struct remap_fixture *f = test->priv;
	int i;

	KUNIT_EXPECT_TRUE(test, supported(f));
	for (i = 0; i < ARRAY_SIZE(refused); i++) {
		f->tags[i % 2].type = refused[i];
		KUNIT_EXPECT_FALSE(test, supported(f));
		f->tags[i % 2].type = CACHE_TAG_IOTLB;
	}
	KUNIT_EXPECT_TRUE(test, supported(f));
	f->domain.nested_parent = true;
	KUNIT_EXPECT_FALSE(test, supported(f));
}

/* A unit that can't drain reads or writes spoils it, also for others. */
static void test_draining(struct kunit *test)
{
	static const u64 refused[] = { 0, CAP_DRD, CAP_DWD };
	struct remap_fixture *f = test->priv;
	int i;

	for (i = 0; i < ARRAY_SIZE(refused); i++) {
		f->units[i % 2]->cap = (CAP_ALL & ~(CAP_DRD | CAP_DWD)) | refused[i];
		KUNIT_EXPECT_FALSE(test, supported(f));
		f->units[i % 2]->cap = CAP_ALL;
	}
	KUNIT_EXPECT_TRUE(test, supported(f));
}

static int attach(struct remap_fixture *f)
{
	return paging_domain_compatible(&f->domain.domain, f->dev);
}

/* Any device with the same tables, until a range was prepared; then not all. */
static void test_attach(struct kunit *test)
{
	static const u64 needed[] = {
		CAP_DRD, CAP_DWD, CAP_1G, CAP_2M, CAP_SAGAW_4,
	};
	struct remap_fixture *f = test->priv;
	int i;

	f->info.ats_supported = 1;
	KUNIT_EXPECT_EQ(test, attach(f), 0);
	f->units[0]->cap = CAP_ALL & ~CAP_DWD;
	KUNIT_EXPECT_EQ(test, attach(f), 0);
	f->units[0]->cap = CAP_ALL;

	KUNIT_ASSERT_EQ(test, iommu_remap_prepare(&f->domain.domain, 0, SZ_2M,
						  GFP_KERNEL), 0);
	KUNIT_EXPECT_EQ(test, attach(f), -EINVAL);
	f->info.ats_supported = 0;
	KUNIT_EXPECT_EQ(test, attach(f), 0);
	for (i = 0; i < ARRAY_SIZE(needed); i++) {
		f->units[0]->cap = CAP_ALL & ~needed[i];
		KUNIT_EXPECT_EQ(test, attach(f), -EINVAL);
	}
	f->units[0]->cap = CAP_ALL;
	f->units[0]->ecap = 0;
	KUNIT_EXPECT_EQ(test, attach(f), -EINVAL);
}

static struct kunit_case remap_test_cases[] = {
	KUNIT_CASE(test_supported),
	KUNIT_CASE(test_draining),
	KUNIT_CASE(test_attach),
	{}
};

static struct kunit_suite remap_test_suite = {
	.name = "intel-iommu-remap",
	.init = remap_test_init,
	.exit = remap_test_exit,
	.test_cases = remap_test_cases,
};

kunit_test_suite(remap_test_suite);
