// SPDX-License-Identifier: GPL-2.0
/*
 * Tests for the driver of a host's DMA pinning service. The test plays the host,
 * by its registers. Included by dma_pinning.c.
 *
 * Each test checks in which state the host ends up, whatever happens.
 */
#include <kunit/device.h>
#include <kunit/static_stub.h>
#include <kunit/test.h>
#include <kunit/test-bug.h>
#include <linux/memblock.h> /* for max_pfn */
#include <linux/slab.h>
#include <linux/suspend.h>

#define MAX_REQUESTS	8

struct service_test {
	struct service	saved;
	struct device	*dev;
	void		*marks;		/* NULL: there is no bitmap */
	bool		xdbc;
	bool		enabled;

	/* the host's side */
	u32		magic, version, size, granule, state;
	u64		offered, npages, limit, result;
	bool		refuses;
	unsigned int	query_code;
	u16		query_value;
	u64		requests[MAX_REQUESTS];
	int		nr_requests;
};

static struct service_test *the_test(void)
{
	return kunit_get_current_test()->priv;
}

static u32 fake_read32(unsigned int reg)
{
	struct service_test *t = the_test();

	switch (reg) {
	case DMA_PINNING_REG_MAGIC:
		return t->magic;
	case DMA_PINNING_REG_VERSION:
		return t->version;
	case DMA_PINNING_REG_SIZE:
		return t->size;
	case DMA_PINNING_REG_GRANULE:
		return t->granule;
	case DMA_PINNING_REG_STATE:
		return t->state;
	default:
		return 0;
	}
}

static u64 fake_read64(unsigned int reg)
{
	struct service_test *t = the_test();

	switch (reg) {
	case DMA_PINNING_REG_OFFERED:
		return t->offered;
	case DMA_PINNING_REG_NPAGES:
		return t->npages;
	case DMA_PINNING_REG_LIMIT:
		return t->limit;
	case DMA_PINNING_REG_RESULT:
		return t->result;
	default:
		return 0;
	}
}

/* Return: the code that the contract requires */
static unsigned int fake_request(struct service_test *t, u64 opcode)
{
	switch (opcode) {
	case DMA_PINNING_OP_READY:
		if (t->state == DMA_PINNING_STATE_READY)
			return DMA_PINNING_CODE_STATE;
		if (t->refuses)
			return DMA_PINNING_CODE_HOST;
		if (t->state == DMA_PINNING_STATE_OFF && t->marks)
			memset(t->marks, 0, BITS_TO_BYTES(max_pfn));
		t->state = DMA_PINNING_STATE_READY;
		return DMA_PINNING_CODE_OK;
	case DMA_PINNING_OP_OFF:
		if (t->state != DMA_PINNING_STATE_OFF && t->marks)
			memset(t->marks, 0, BITS_TO_BYTES(max_pfn));
		t->state = DMA_PINNING_STATE_OFF;
		return DMA_PINNING_CODE_OK;
	case DMA_PINNING_OP_FROZEN:
		if (t->state == DMA_PINNING_STATE_OFF)
			return DMA_PINNING_CODE_STATE;
		t->state = DMA_PINNING_STATE_FROZEN;
		return DMA_PINNING_CODE_OK;
	case DMA_PINNING_OP_QUERY:
		return t->query_code;
	default:
		return DMA_PINNING_CODE_OPCODE;
	}
}

static void fake_write64(unsigned int reg, u64 value)
{
	struct service_test *t = the_test();
	u64 opcode = FIELD_GET(DMA_PINNING_MASK_OPCODE, value);

	if (reg != DMA_PINNING_REG_REQUEST || t->nr_requests == MAX_REQUESTS) {
		kunit_fail_current_test("unexpected write to register %#x", reg);
		return;
	}
	t->requests[t->nr_requests++] = opcode;
	t->result = value | FIELD_PREP(DMA_PINNING_MASK_CODE, fake_request(t, opcode));
	if (opcode == DMA_PINNING_OP_QUERY)
		t->result |= FIELD_PREP(DMA_PINNING_MASK_VALUE, t->query_value);
}

static bool fake_xdbc(void)
{
	return the_test()->xdbc;
}

static void *fake_map(struct device *dev, struct resource *res)
{
	return the_test()->marks;
}

static void fake_unmap(void *marks)
{
}

static void fake_enable(struct dma_pinning *dp)
{
	the_test()->enabled = true;
}

/* A service as it should be, and a driver that has not seen it yet. */
static int service_test_init(struct kunit *test)
{
	struct service_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, t);
	if (service.state == SERVICE_ACTIVE)
		kunit_skip(test, "this machine's host relies on marks");
	test->priv = t;
	t->saved = service;
	service.state = SERVICE_UNDECIDED;
	service.declined = false;
	service.pinning = NULL;

	t->dev = kunit_device_register(test, "dma-pinning-service");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, t->dev);
	t->magic = DMA_PINNING_MAGIC;
	t->version = DMA_PINNING_VERSION;
	t->size = DMA_PINNING_REGS_SIZE;
	t->granule = PAGE_SIZE;
	t->offered = DMA_PINNING_FEATURE_MARKS | DMA_PINNING_FEATURE_QUERY;
	t->npages = max_pfn;
	t->limit = 1024;
	t->marks = kvcalloc(BITS_TO_LONGS(max_pfn), sizeof(long), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, t->marks);

	kunit_activate_static_stub(test, reg_read32, fake_read32);
	kunit_activate_static_stub(test, reg_read64, fake_read64);
	kunit_activate_static_stub(test, reg_write64, fake_write64);
	kunit_activate_static_stub(test, early_xdbc_active, fake_xdbc);
	kunit_activate_static_stub(test, map_marks, fake_map);
	kunit_activate_static_stub(test, unmap_marks, fake_unmap);
	kunit_activate_static_stub(test, dma_pinning_enable, fake_enable);
	return 0;
}

static void service_test_exit(struct kunit *test)
{
	struct service_test *t = test->priv;

	if (!t)
		return;
	if (t->enabled)
		dma_pinning_destroy(service.pinning);
	kvfree(t->marks);
	service = t->saved;
}

static void expect_requests(struct kunit *test, int n, const u8 *opcodes)
{
	struct service_test *t = test->priv;
	int i;

	KUNIT_ASSERT_EQ(test, t->nr_requests, n);
	for (i = 0; i < n; i++)
		KUNIT_EXPECT_EQ_MSG(test, t->requests[i], opcodes[i], "request %d", i);
}

#define EXPECT_REQUESTS(test, ...) do {					\
	static const u8 opcodes[] = { __VA_ARGS__ };			\
	expect_requests(test, ARRAY_SIZE(opcodes), opcodes);		\
} while (0)

static void test_accepted(struct kunit *test)
{
	struct service_test *t = test->priv;

	KUNIT_EXPECT_EQ(test, start_service(t->dev, NULL), 0);
	KUNIT_EXPECT_TRUE(test, t->enabled);
	KUNIT_EXPECT_EQ(test, t->state, DMA_PINNING_STATE_READY);
	EXPECT_REQUESTS(test, DMA_PINNING_OP_READY);
}

/* Later versions have all that this one has. */
static void test_later_version(struct kunit *test)
{
	struct service_test *t = test->priv;

	t->version = 7;
	t->size = DMA_PINNING_REGS_SIZE + 64;
	t->offered |= BIT_ULL(40);
	KUNIT_EXPECT_EQ(test, start_service(t->dev, NULL), 0);
	KUNIT_EXPECT_TRUE(test, t->enabled);
	EXPECT_REQUESTS(test, DMA_PINNING_OP_READY);
}

static void decline(struct service_test *t)
{
	service.declined = true;
}

static void too_late(struct service_test *t)
{
	service.state = SERVICE_INACTIVE;
}

static void version_0(struct service_test *t)
{
	t->version = 0;
}

static void small_size(struct service_test *t)
{
	t->size = DMA_PINNING_REGS_SIZE - 8;
}

static void large_granule(struct service_test *t)
{
	t->granule = 2 * PAGE_SIZE;
}

static void no_marks(struct service_test *t)
{
	t->offered = DMA_PINNING_FEATURE_QUERY;
}

static void no_pages(struct service_test *t)
{
	t->npages = 0;
}

static void no_limit(struct service_test *t)
{
	t->limit = 0;
}

static void xdbc(struct service_test *t)
{
	t->xdbc = true;
}

static void refusal(struct service_test *t)
{
	t->refuses = true;
}

static void no_bitmap(struct service_test *t)
{
	kvfree(t->marks);
	t->marks = NULL;
}

/* So many that there is not enough memory for the counters. */
static void no_memory(struct service_test *t)
{
	t->npages = PHYS_PFN(PHYS_ADDR_MAX);
}

static const struct unused_case {
	const char	*name;
	void		(*set_up)(struct service_test *t);
} unused_cases[] = {
	{ "declined", decline },
	{ "too late", too_late },
	{ "version 0", version_0 },
	{ "size", small_size },
	{ "granule", large_granule },
	{ "no marks", no_marks },
	{ "no pages", no_pages },
	{ "no limit", no_limit },
	{ "debug port", xdbc },
	{ "no bitmap", no_bitmap },
	{ "no memory", no_memory },
	{ "refused", refusal },
};

KUNIT_ARRAY_PARAM_DESC(unused, unused_cases, name);

/* Whatever the reason for which we do not mark, the host is told. */
static void test_unused(struct kunit *test)
{
	const struct unused_case *c = test->param_value;
	struct service_test *t = test->priv;

	c->set_up(t);
	t->state = DMA_PINNING_STATE_READY;
	KUNIT_EXPECT_NE(test, start_service(t->dev, NULL), 0);
	KUNIT_EXPECT_FALSE(test, t->enabled);
	KUNIT_EXPECT_EQ(test, t->state, DMA_PINNING_STATE_OFF);
	KUNIT_ASSERT_GE(test, t->nr_requests, 1);
	KUNIT_EXPECT_EQ(test, t->requests[t->nr_requests - 1], DMA_PINNING_OP_OFF);
}

/* A device that is something else is not written to. */
static void test_wrong_magic(struct kunit *test)
{
	struct service_test *t = test->priv;

	t->magic++;
	KUNIT_EXPECT_EQ(test, start_service(t->dev, NULL), -ENODEV);
	KUNIT_EXPECT_EQ(test, t->nr_requests, 0);
}

static const struct takeover_case {
	const char	*name;
	u32		state;
} takeover_cases[] = {
	{ "frozen", DMA_PINNING_STATE_FROZEN },
	{ "ready", DMA_PINNING_STATE_READY },
};

KUNIT_ARRAY_PARAM_DESC(takeover, takeover_cases, name);

/* Nobody has reset the devices of the former kernel: its marks stay. */
static void test_takeover(struct kunit *test)
{
	const struct takeover_case *c = test->param_value;
	struct service_test *t = test->priv;

	t->state = c->state;
	set_bit_le(1, t->marks);
	set_bit_le(max_pfn - 1, t->marks);
	KUNIT_EXPECT_EQ(test, start_service(t->dev, NULL), 0);
	KUNIT_EXPECT_TRUE(test, t->enabled);
	KUNIT_EXPECT_EQ(test, t->state, DMA_PINNING_STATE_READY);
	EXPECT_REQUESTS(test, DMA_PINNING_OP_FROZEN, DMA_PINNING_OP_READY);
	KUNIT_EXPECT_TRUE(test, test_bit_le(1, t->marks));
	KUNIT_EXPECT_TRUE(test, test_bit_le(max_pfn - 1, t->marks));
}

/* The last words do not wait for a CPU that was stopped within a request. */
static void test_last_words(struct kunit *test)
{
	struct service_test *t = test->priv;

	KUNIT_ASSERT_EQ(test, start_service(t->dev, NULL), 0);
	service_decide(SERVICE_ACTIVE);
	set_bit_le(1, t->marks);

	mutex_lock(&service.lock);
	dma_pinning_crash();
	KUNIT_EXPECT_EQ(test, t->state, DMA_PINNING_STATE_FROZEN);
	KUNIT_EXPECT_TRUE(test, test_bit_le(1, t->marks));
	service_shutdown(NULL);
	KUNIT_EXPECT_EQ(test, t->state, DMA_PINNING_STATE_OFF);
	mutex_unlock(&service.lock);
	EXPECT_REQUESTS(test, DMA_PINNING_OP_READY, DMA_PINNING_OP_FROZEN,
			DMA_PINNING_OP_OFF);
}

/* Without a service in use, a crash requests nothing. */
static void test_silent_crash(struct kunit *test)
{
	struct service_test *t = test->priv;

	dma_pinning_crash();
	service_decide(SERVICE_INACTIVE);
	dma_pinning_crash();
	KUNIT_EXPECT_EQ(test, t->nr_requests, 0);
}

static void test_hibernation(struct kunit *test)
{
	bool available = hibernation_available();

	KUNIT_EXPECT_FALSE(test, dma_pinning_service_active());
	service_decide(SERVICE_ACTIVE);
	KUNIT_EXPECT_TRUE(test, dma_pinning_service_active());
	KUNIT_EXPECT_FALSE(test, hibernation_available());
	service_decide(SERVICE_INACTIVE);
	KUNIT_EXPECT_EQ(test, hibernation_available(), available);
	if (IS_ENABLED(CONFIG_HIBERNATION))
		KUNIT_EXPECT_TRUE(test, available);
}

static const struct query_case {
	const char	*name;
	u64		features;
	unsigned int	code;
	u16		value;
	bool		exempt;
} query_cases[] = {
	{ "emulated", DMA_PINNING_FEATURE_QUERY, DMA_PINNING_CODE_OK,
	  DMA_PINNING_QUERY_EXEMPT, true },
	{ "passed through", DMA_PINNING_FEATURE_QUERY, DMA_PINNING_CODE_OK, 0, false },
	{ "unknown answer", DMA_PINNING_FEATURE_QUERY, DMA_PINNING_CODE_OK,
	  DMA_PINNING_QUERY_EXEMPT + 1, false },
	{ "no answer", DMA_PINNING_FEATURE_QUERY, DMA_PINNING_CODE_HOST,
	  DMA_PINNING_QUERY_EXEMPT, false },
	{ "not offered", 0, DMA_PINNING_CODE_OK, DMA_PINNING_QUERY_EXEMPT, false },
};

KUNIT_ARRAY_PARAM_DESC(query, query_cases, name);

/* Not registered, in segment 0 of whatever the architecture has at a bus. */
static struct pci_dev *fake_pci_dev(struct kunit *test)
{
	struct pci_dev *pdev = kunit_kzalloc(test, sizeof(*pdev), GFP_KERNEL);
	struct pci_bus *bus = kunit_kzalloc(test, sizeof(*bus), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, pdev);
	KUNIT_ASSERT_NOT_NULL(test, bus);
	bus->sysdata = kunit_kzalloc(test, PAGE_SIZE, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, bus->sysdata);
	pdev->bus = bus;
	return pdev;
}

/* A device is exempt only if the host says so, and what it was before is no matter. */
static void test_query(struct kunit *test)
{
	const struct query_case *c = test->param_value;
	struct pci_dev *pdev = fake_pci_dev(test);
	struct service_test *t = test->priv;

	service.features = c->features;
	service_decide(SERVICE_ACTIVE);
	t->query_code = c->code;
	t->query_value = c->value;
	dev_assign_dma_pinning_exempt(&pdev->dev, !c->exempt);
	KUNIT_EXPECT_EQ(test, dma_pinning_pci_configure(pdev), 0);
	KUNIT_EXPECT_EQ(test, dev_dma_pinning_exempt(&pdev->dev), c->exempt);
	KUNIT_EXPECT_EQ(test, t->nr_requests, !!c->features);
}

static struct kunit_case service_cases[] = {
	KUNIT_CASE(test_accepted),
	KUNIT_CASE(test_later_version),
	KUNIT_CASE_PARAM(test_unused, unused_gen_params),
	KUNIT_CASE(test_wrong_magic),
	KUNIT_CASE_PARAM(test_takeover, takeover_gen_params),
	KUNIT_CASE(test_last_words),
	KUNIT_CASE(test_silent_crash),
	KUNIT_CASE_PARAM(test_query, query_gen_params),
	KUNIT_CASE(test_hibernation),
	{}
};

static struct kunit_suite service_suite = {
	.name		= "dma_pinning_service",
	.init		= service_test_init,
	.exit		= service_test_exit,
	.test_cases	= service_cases,
};

kunit_test_suite(service_suite);
