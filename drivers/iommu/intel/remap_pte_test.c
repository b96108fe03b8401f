// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for remap_pte.c: which domains and devices may
 *
 * The replacing of leaves itself is tested for all page table formats, see
 * drivers/iommu/generic_pt/kunit_iommu_remap.h.
 */
#include <kunit/test.h>
#include <linux/iommu.h>
#include <linux/list.h>

#include "iommu.h"

/* What a unit says that drains reads and writes */
#define CAP_DRD		BIT_ULL(55)
#define CAP_DWD		BIT_ULL(54)

/**
 * struct remap_fixture - A domain with two devices behind two units
 *
 * @domain: The domain
 * @units: The units, which drain
 * @tags: One for the IOTLB of each unit, in the domain's list
 * @info: A device behind the first unit, not attached
 */
struct remap_fixture {
	struct dmar_domain domain;
	struct intel_iommu *units[2];
	struct cache_tag tags[2];
	struct device_domain_info info;
};

static int remap_test_init(struct kunit *test)
{
	struct remap_fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);
	int i;

	KUNIT_ASSERT_NOT_NULL(test, f);
	spin_lock_init(&f->domain.cache_lock);
	INIT_LIST_HEAD(&f->domain.cache_tags);
	for (i = 0; i < ARRAY_SIZE(f->units); i++) {
		f->units[i] = kunit_kzalloc(test, sizeof(*f->units[i]),
					    GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, f->units[i]);
		f->units[i]->cap = CAP_DRD | CAP_DWD;
		f->tags[i].type = CACHE_TAG_IOTLB;
		f->tags[i].iommu = f->units[i];
		list_add(&f->tags[i].node, &f->domain.cache_tags);
	}
	f->info.iommu = f->units[0];
	test->priv = f;
	return 0;
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
		f->units[i % 2]->cap = refused[i];
		KUNIT_EXPECT_FALSE(test, supported(f));
		f->units[i % 2]->cap = CAP_DRD | CAP_DWD;
	}
	KUNIT_EXPECT_TRUE(test, supported(f));
}

/* Any device, until a range was prepared; then only what will do. */
static void test_attach(struct kunit *test)
{
	struct remap_fixture *f = test->priv;

	f->info.ats_supported = 1;
	f->units[0]->cap = 0;
	KUNIT_EXPECT_TRUE(test, intel_remap_may_attach(&f->domain, &f->info));
	f->domain.iommu.has_remap = true;
	KUNIT_EXPECT_FALSE(test, intel_remap_may_attach(&f->domain, &f->info));
	f->info.ats_supported = 0;
	KUNIT_EXPECT_FALSE(test, intel_remap_may_attach(&f->domain, &f->info));
	f->units[0]->cap = CAP_DRD | CAP_DWD;
	KUNIT_EXPECT_TRUE(test, intel_remap_may_attach(&f->domain, &f->info));
	f->info.ats_supported = 1;
	KUNIT_EXPECT_FALSE(test, intel_remap_may_attach(&f->domain, &f->info));
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
	.test_cases = remap_test_cases,
};

kunit_test_suite(remap_test_suite);
