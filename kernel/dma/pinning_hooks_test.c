// SPDX-License-Identifier: GPL-2.0
/*
 * Tests for the hooks that mark pages: those of the DMA API, of virtio and of
 * ZONE_DEVICE memory. They are enabled for a device of the test only; all PCI
 * devices of the machine count as emulated meanwhile.
 */
#include <kunit/device.h>
#include <kunit/static_stub.h>
#include <kunit/test.h>
#include <linux/dma-mapping.h>
#include <linux/dma-pinning.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/pci.h>
#include <linux/pfn.h>
#include <linux/range.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/swiotlb.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include "pinning_test.h"

static struct device *hooks_device(struct kunit *test)
{
	struct device *dev = kunit_device_register(test, "dma-pinning-test");

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, dev);
	dev->dma_mask = &dev->coherent_dma_mask;
	dev->coherent_dma_mask = DMA_BIT_MASK(64);
	return dev;
}

/* While they are, the ends of mappings that they have already do not count. */
static void exempt_real_devices(bool exempt)
{
	struct pci_dev *pdev = NULL;

	for_each_pci_dev(pdev)
		dev_assign_dma_pinning_exempt(&pdev->dev, exempt);
}

static int hooks_test_init(struct kunit *test)
{
	struct pinning_test *ctx;
	int ret;

	if (static_key_enabled(&dma_pinning_key))
		kunit_skip(test, "this machine's host relies on marks");
	ret = pinning_test_init(test);
	if (ret)
		return ret;
	ctx = test->priv;
	exempt_real_devices(true);
	dma_pinning_enable(ctx->dp);
	return 0;
}

static void hooks_test_exit(struct kunit *test)
{
	if (!test->priv)
		return;
	static_branch_disable(&dma_pinning_key);
	exempt_real_devices(false);
	pinning_test_exit(test);
}

static void test_map_page(struct kunit *test)
{
	struct device *dev = hooks_device(test);
	struct pinning_test *ctx = test->priv;
	dma_addr_t addr;

	addr = dma_map_page(dev, ctx->page, PAGE_SIZE - 4, 8, DMA_TO_DEVICE);
	KUNIT_ASSERT_FALSE(test, dma_mapping_error(dev, addr));
	expect_marks(test, 0x3);
	dma_unmap_page(dev, addr, 8, DMA_TO_DEVICE);
	expect_marks(test, 0);
	expect_no_events(test);
}

/* MMIO is not memory: neither the mapping nor its end is counted. */
static void test_map_mmio(struct kunit *test)
{
	struct device *dev = hooks_device(test);
	struct pinning_test *ctx = test->priv;
	dma_addr_t addr, mmio;

	mmio = dma_map_phys(dev, ctx->phys, PAGE_SIZE, DMA_BIDIRECTIONAL,
			    DMA_ATTR_MMIO);
	KUNIT_ASSERT_FALSE(test, dma_mapping_error(dev, mmio));
	expect_marks(test, 0);

	addr = dma_map_page(dev, ctx->page, 0, PAGE_SIZE, DMA_BIDIRECTIONAL);
	KUNIT_ASSERT_FALSE(test, dma_mapping_error(dev, addr));
	dma_unmap_phys(dev, mmio, PAGE_SIZE, DMA_BIDIRECTIONAL, DMA_ATTR_MMIO);
	expect_marks(test, 0x1);
	dma_unmap_page(dev, addr, PAGE_SIZE, DMA_BIDIRECTIONAL);
	expect_marks(test, 0);
	expect_no_events(test);
}

/* There is nothing to sync in the end, but pages to uncount. */
static void test_map_coherent(struct kunit *test)
{
	static const unsigned long attrs[] = {
		DMA_ATTR_REQUIRE_COHERENT,
		DMA_ATTR_REQUIRE_COHERENT | DMA_ATTR_SKIP_CPU_SYNC,
	};
	struct device *dev = hooks_device(test);
	struct pinning_test *ctx = test->priv;
	struct scatterlist sg[2];
	dma_addr_t addr;
	int i, nents;

	sg_init_table(sg, 2);
	sg_set_page(&sg[0], ctx->page, PAGE_SIZE, 0);
	sg_set_page(&sg[1], ctx->page + 2, PAGE_SIZE, 0);
	for (i = 0; i < ARRAY_SIZE(attrs); i++) {
		addr = dma_map_phys(dev, ctx->phys, 2 * PAGE_SIZE,
				    DMA_FROM_DEVICE, attrs[i]);
		KUNIT_ASSERT_FALSE(test, dma_mapping_error(dev, addr));
		expect_marks(test, 0x3);
		dma_unmap_phys(dev, addr, 2 * PAGE_SIZE, DMA_FROM_DEVICE,
			       attrs[i]);
		expect_marks(test, 0);

		nents = dma_map_sg_attrs(dev, sg, 2, DMA_FROM_DEVICE, attrs[i]);
		KUNIT_ASSERT_EQ(test, nents, 2);
		expect_marks(test, 0x5);
		dma_unmap_sg_attrs(dev, sg, 2, DMA_FROM_DEVICE, attrs[i]);
		expect_marks(test, 0);
	}
	expect_no_events(test);
}

/* A driver must not leave the end of a mapping out, as it may without marks. */
static void test_need_unmap(struct kunit *test)
{
	struct device *dev = hooks_device(test);

	/* Also finds out that there is nothing to sync */
	KUNIT_ASSERT_EQ(test, dma_set_mask(dev, DMA_BIT_MASK(64)), 0);
	KUNIT_EXPECT_TRUE(test, dma_need_unmap(dev));
	dev_set_dma_pinning_exempt(dev);
	KUNIT_EXPECT_EQ(test, dma_need_unmap(dev),
			IS_ENABLED(CONFIG_DMA_API_DEBUG));
}

static void test_exempt_device(struct kunit *test)
{
	struct device *dev = hooks_device(test);
	struct pinning_test *ctx = test->priv;
	dma_addr_t addr;
	void *cpu;

	dev_set_dma_pinning_exempt(dev);
	addr = dma_map_page(dev, ctx->page, 0, PAGE_SIZE, DMA_FROM_DEVICE);
	KUNIT_ASSERT_FALSE(test, dma_mapping_error(dev, addr));
	expect_marks(test, 0);
	dma_unmap_page(dev, addr, PAGE_SIZE, DMA_FROM_DEVICE);

	cpu = dma_alloc_coherent(dev, PAGE_SIZE, &addr, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, cpu);
	expect_marks(test, 0);
	dma_free_coherent(dev, PAGE_SIZE, cpu, addr);
	expect_no_events(test);
}

static void test_map_sg(struct kunit *test)
{
	struct device *dev = hooks_device(test);
	struct pinning_test *ctx = test->priv;
	struct scatterlist sg[3];

	sg_init_table(sg, 3);
	sg_set_page(&sg[0], ctx->page, 16, 16);
	sg_set_page(&sg[1], ctx->page + 2, 2 * PAGE_SIZE, 0);
	sg_set_page(&sg[2], ctx->page + 5, PAGE_SIZE, PAGE_SIZE / 2);

	KUNIT_ASSERT_EQ(test, dma_map_sg(dev, sg, 3, DMA_BIDIRECTIONAL), 3);
	expect_marks(test, 0x6d);
	dma_unmap_sg(dev, sg, 3, DMA_BIDIRECTIONAL);
	expect_marks(test, 0);
	expect_no_events(test);
}

/* The third entry cannot be touched: the others are undone. */
static void test_map_sg_error(struct kunit *test)
{
	struct device *dev = hooks_device(test);
	struct pinning_test *ctx = test->priv;
	struct scatterlist sg[3];

	sg_init_table(sg, 3);
	sg_set_page(&sg[0], ctx->page, PAGE_SIZE, 0);
	sg_set_page(&sg[1], ctx->page + 1, PAGE_SIZE, 0);
	sg_set_page(&sg[2], ctx->page + 2, PAGE_SIZE, 0);

	ctx->bad_pfn = ctx->pfn + 2;
	kunit_activate_static_stub(test, dma_pinning_touch, touch_most);
	KUNIT_EXPECT_EQ(test, dma_map_sg(dev, sg, 3, DMA_TO_DEVICE), 0);
	expect_marks(test, 0);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_UNTOUCHABLE), 1);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_UNBALANCED), 0);
}

static void expect_allocation(struct kunit *test, dma_addr_t addr, size_t size)
{
	struct pinning_test *ctx = test->priv;
	unsigned long pfn;

	for (pfn = PHYS_PFN(addr); pfn < PFN_UP(addr + size); pfn++) {
		KUNIT_EXPECT_TRUE(test, test_bit_le(pfn, ctx->marks));
		KUNIT_EXPECT_EQ(test, count_of(ctx->dp, pfn), 1);
	}
	KUNIT_EXPECT_EQ(test, memweight(ctx->marks, marks_bytes()), PFN_UP(size));
}

#ifdef CONFIG_SWIOTLB
/* A device that does not reach the page gets a bounce buffer: that is marked. */
static void test_bounce(struct kunit *test)
{
	struct device *dev = hooks_device(test);
	struct pinning_test *ctx = test->priv;
	dma_addr_t addr;

	if (!is_swiotlb_active(dev) || ctx->phys <= DMA_BIT_MASK(32))
		kunit_skip(test, "no bounce buffers, or no memory above 4 GiB");
	dev->coherent_dma_mask = DMA_BIT_MASK(32);
	addr = dma_map_page(dev, ctx->page, 0, PAGE_SIZE, DMA_TO_DEVICE);
	KUNIT_ASSERT_FALSE(test, dma_mapping_error(dev, addr));
	KUNIT_EXPECT_LE(test, addr, DMA_BIT_MASK(32));
	expect_allocation(test, addr, PAGE_SIZE);
	dma_unmap_page(dev, addr, PAGE_SIZE, DMA_TO_DEVICE);
	expect_marks(test, 0);
	expect_no_events(test);
}
#endif

static void test_alloc(struct kunit *test)
{
	static const unsigned long attrs[] = { 0, DMA_ATTR_NO_KERNEL_MAPPING };
	const size_t size = 2 * PAGE_SIZE + 1;
	struct device *dev = hooks_device(test);
	dma_addr_t addr;
	void *cpu;
	int i;

	for (i = 0; i < ARRAY_SIZE(attrs); i++) {
		cpu = dma_alloc_attrs(dev, size, &addr, GFP_KERNEL, attrs[i]);
		KUNIT_ASSERT_NOT_NULL(test, cpu);
		expect_allocation(test, addr, size);
		dma_free_attrs(dev, size, cpu, addr, attrs[i]);
		expect_marks(test, 0);
	}
	expect_no_events(test);
}

/* Allocations that cannot be touched fail, and go back uncounted. */
static void test_alloc_error(struct kunit *test)
{
	struct device *dev = hooks_device(test);
	struct pinning_test *ctx = test->priv;
	dma_addr_t addr;

	kunit_activate_static_stub(test, dma_pinning_touch, touch_most);
	KUNIT_EXPECT_NULL(test, dma_alloc_coherent(dev, 2 * PAGE_SIZE, &addr,
						   GFP_KERNEL));
	KUNIT_EXPECT_NULL(test, dma_alloc_pages(dev, PAGE_SIZE, &addr,
						DMA_TO_DEVICE, GFP_KERNEL));
	KUNIT_EXPECT_NULL(test, dma_alloc_noncontiguous(dev, 2 * PAGE_SIZE,
							DMA_TO_DEVICE,
							GFP_KERNEL, 0));
	expect_marks(test, 0);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_UNTOUCHABLE), 3);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_UNBALANCED), 0);
}

static void test_alloc_pages(struct kunit *test)
{
	struct device *dev = hooks_device(test);
	struct sg_table *sgt;
	struct page *page;
	dma_addr_t addr;

	page = dma_alloc_pages(dev, PAGE_SIZE, &addr, DMA_TO_DEVICE, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, page);
	expect_allocation(test, addr, PAGE_SIZE);
	dma_free_pages(dev, PAGE_SIZE, page, addr, DMA_TO_DEVICE);
	expect_marks(test, 0);

	sgt = dma_alloc_noncontiguous(dev, 3 * PAGE_SIZE, DMA_TO_DEVICE,
				      GFP_KERNEL, 0);
	KUNIT_ASSERT_NOT_NULL(test, sgt);
	expect_allocation(test, sg_dma_address(sgt->sgl), 3 * PAGE_SIZE);
	dma_free_noncontiguous(dev, 3 * PAGE_SIZE, sgt, DMA_TO_DEVICE);
	expect_marks(test, 0);
	expect_no_events(test);
}

/* A driver sees the limit as an error of the DMA API. */
static void test_over_limit(struct kunit *test)
{
	struct device *dev = hooks_device(test);
	struct pinning_test *ctx = test->priv;
	struct scatterlist sg[2];
	dma_addr_t addr;

	pinning_test_set_limit(test, 2);
	addr = dma_map_page(dev, ctx->page, 0, 3 * PAGE_SIZE, DMA_TO_DEVICE);
	KUNIT_EXPECT_TRUE(test, dma_mapping_error(dev, addr));

	sg_init_table(sg, 2);
	sg_set_page(&sg[0], ctx->page, PAGE_SIZE, 0);
	sg_set_page(&sg[1], ctx->page + 2, 2 * PAGE_SIZE, 0);
	KUNIT_EXPECT_EQ(test, dma_map_sg(dev, sg, 2, DMA_TO_DEVICE), 0);
	KUNIT_EXPECT_NULL(test, dma_alloc_coherent(dev, 3 * PAGE_SIZE, &addr,
						   GFP_KERNEL));
	expect_marks(test, 0);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_OVER_LIMIT), 3);
	KUNIT_EXPECT_EQ(test, events(ctx, DMA_PINNING_UNBALANCED), 0);

	addr = dma_map_page(dev, ctx->page, 0, 2 * PAGE_SIZE, DMA_TO_DEVICE);
	KUNIT_EXPECT_FALSE(test, dma_mapping_error(dev, addr));
	dma_unmap_page(dev, addr, 2 * PAGE_SIZE, DMA_TO_DEVICE);
	expect_marks(test, 0);
}

/* Of the types of ZONE_DEVICE memory, those that are memory get counters. */
static void test_zone_device(struct kunit *test)
{
	static const struct {
		enum memory_type type;
		bool counted;
	} cases[] = {
		{ MEMORY_DEVICE_FS_DAX, true },
		{ MEMORY_DEVICE_GENERIC, true },
		{ MEMORY_DEVICE_COHERENT, true },
		{ MEMORY_DEVICE_PRIVATE, false },
		{ MEMORY_DEVICE_PCI_P2PDMA, false },
	};
	struct range range = { .end = PFN_PHYS(4) - 1 };
	struct pinning_test *ctx = test->priv;
	int i;

	/* As if the buffer were not there yet. */
	range.start += ctx->phys;
	range.end += ctx->phys;
	dma_pinning_counters_remove(ctx->dp, ctx->pfn, 4);
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		struct dev_pagemap pgmap = { .type = cases[i].type };
		u16 fresh = 0;

		if (!cases[i].counted)
			fresh = DMA_PINNING_NOT_RAM;
		KUNIT_EXPECT_EQ(test, dma_pinning_add_pgmap(&pgmap, &range), 0);
		KUNIT_EXPECT_EQ_MSG(test, *counter(ctx, 3), fresh, "type %d",
				    cases[i].type);
		KUNIT_EXPECT_EQ(test, *counter(ctx, 4), 0);
		dma_pinning_remove_pgmap(&pgmap, &range);
		KUNIT_EXPECT_EQ(test, *counter(ctx, 3), DMA_PINNING_NOT_RAM);
	}
	KUNIT_EXPECT_EQ(test, dma_pinning_counters_add(ctx->dp, ctx->pfn, 4), 0);
}

#ifdef CONFIG_VIRTIO
/*
 * Virtio: a device without VIRTIO_F_ACCESS_PLATFORM gets physical addresses, unless
 * it is not emulated.
 */

static bool no_notify(struct virtqueue *vq)
{
	return true;
}

static struct virtio_device *fake_virtio(struct kunit *test)
{
	struct virtio_device *vdev = kunit_kzalloc(test, sizeof(*vdev), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, vdev);
	vdev->dev.parent = hooks_device(test);
	vdev->features = BIT_ULL(VIRTIO_F_VERSION_1);
	INIT_LIST_HEAD(&vdev->vqs);
	spin_lock_init(&vdev->vqs_list_lock);
	return vdev;
}

/* Sends one buffer of @ctx. Return: pages marked for it, beside those of the ring */
static unsigned long send_by_virtio(struct kunit *test, struct virtio_device *vdev,
				    unsigned long *ring)
{
	struct pinning_test *ctx = test->priv;
	unsigned long sent;
	struct scatterlist sg;
	struct virtqueue *vq;

	vq = vring_create_virtqueue(0, 16, PAGE_SIZE, vdev, true, false, false,
				    no_notify, NULL, "test");
	KUNIT_ASSERT_NOT_NULL(test, vq);
	*ring = used(ctx);
	sg_init_one(&sg, ctx->buf + PAGE_SIZE, 2 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, virtqueue_add_outbuf(vq, &sg, 1, ctx, GFP_KERNEL), 0);
	sent = used(ctx) - *ring;
	if (sent)
		KUNIT_EXPECT_TRUE(test, marked(ctx, 1) && marked(ctx, 2));
	KUNIT_EXPECT_PTR_EQ(test, virtqueue_detach_unused_buf(vq), (void *)ctx);
	vring_del_virtqueue(vq);
	expect_marks(test, 0);
	return sent;
}

static void test_virtio(struct kunit *test)
{
	static const u64 formats[] = { 0, BIT_ULL(VIRTIO_F_RING_PACKED) };
	struct virtio_device *vdev = fake_virtio(test);
	unsigned long ring;
	int i;

	for (i = 0; i < ARRAY_SIZE(formats); i++) {
		vdev->features = BIT_ULL(VIRTIO_F_VERSION_1) | formats[i];
		KUNIT_EXPECT_EQ(test, send_by_virtio(test, vdev, &ring), 2);
		KUNIT_EXPECT_GE(test, ring, 1);
		KUNIT_EXPECT_FALSE(test, virtio_has_dma_quirk(vdev));

		vdev->features |= BIT_ULL(VIRTIO_F_ACCESS_PLATFORM);
		KUNIT_EXPECT_EQ(test, send_by_virtio(test, vdev, &ring), 2);
	}
	expect_no_events(test);
}

static void test_virtio_exempt(struct kunit *test)
{
	struct virtio_device *vdev = fake_virtio(test);
	unsigned long ring;

	dev_set_dma_pinning_exempt(vdev->dev.parent);
	KUNIT_EXPECT_EQ(test, send_by_virtio(test, vdev, &ring), 0);
	KUNIT_EXPECT_EQ(test, ring, 0);
	KUNIT_EXPECT_TRUE(test, virtio_has_dma_quirk(vdev));

	vdev->features |= BIT_ULL(VIRTIO_F_ACCESS_PLATFORM);
	KUNIT_EXPECT_EQ(test, send_by_virtio(test, vdev, &ring), 0);
	KUNIT_EXPECT_FALSE(test, virtio_has_dma_quirk(vdev));
	expect_no_events(test);
}
#endif /* CONFIG_VIRTIO */

static struct kunit_case hooks_cases[] = {
	KUNIT_CASE(test_map_page),
	KUNIT_CASE(test_map_mmio),
	KUNIT_CASE(test_map_coherent),
	KUNIT_CASE(test_need_unmap),
	KUNIT_CASE(test_exempt_device),
	KUNIT_CASE(test_map_sg),
	KUNIT_CASE(test_map_sg_error),
#ifdef CONFIG_SWIOTLB
	KUNIT_CASE(test_bounce),
#endif
	KUNIT_CASE(test_alloc),
	KUNIT_CASE(test_alloc_error),
	KUNIT_CASE(test_alloc_pages),
	KUNIT_CASE(test_over_limit),
	KUNIT_CASE(test_zone_device),
#ifdef CONFIG_VIRTIO
	KUNIT_CASE(test_virtio),
	KUNIT_CASE(test_virtio_exempt),
#endif
	{}
};

static struct kunit_suite hooks_suite = {
	.name		= "dma_pinning_hooks",
	.init		= hooks_test_init,
	.exit		= hooks_test_exit,
	.test_cases	= hooks_cases,
};

kunit_test_suite(hooks_suite);
