// SPDX-License-Identifier: GPL-2.0
/*
 * Driver for the host's service "dma-pinning": accepts the offer, so that the
 * direct mapping marks the pages that devices may access (kernel/dma/pinning.c),
 * and asks the host which devices need no marks because it emulates them.
 *
 * State of the service, which changes once, at fs_initcall:
 *
 *   UNDECIDED	PCI drivers wait if the firmware announces the service
 *   ACTIVE	the host relies on our marks
 *   INACTIVE	no service, or not one that we can use; nothing is marked
 *
 * A mapping that began uncounted must not end as a counted one. So the decision
 * comes before any PCI driver is bound, a service that appears later is refused,
 * and each PCI device gets its answer, exempt or not, before each probe. Neither
 * changes while a driver is bound.
 *
 * Devices on other buses are never exempt, as they may belong to a passed-through
 * device; none that does DMA has a driver before fs_initcall.
 *
 * The host must not rely on marks that nobody makes, and it remembers what a former
 * kernel has requested. So beside READY, we request
 *
 *   OFF	whenever we find a service that we do not use, and before the next
 *		kernel starts, after all devices are shut down: no marks
 *   FROZEN	before a crash kernel starts: devices may still access what is
 *		marked, so the marks stay; and when we find READY, because the former
 *		kernel has ended without a request
 *
 * A kernel that becomes READY from FROZEN inherits the marks and keeps them.
 *
 * Locks: service.lock serializes requests to the host, which has one result
 * register; nothing else is taken inside it. The last words, OFF and FROZEN,
 * neither wait for it nor read the result. service.state is written by the driver's
 * probe and by its initcalls, which do not run at the same time, and is read
 * without a lock. The mappings of registers and bitmap stay when the state is
 * ACTIVE, even if the firmware takes the device away.
 */
#define pr_fmt(fmt) "dma-pinning: " fmt

#include <kunit/static_stub.h>
#include <linux/acpi.h>
#include <linux/bitfield.h>
#include <linux/console.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/dma-pinning.h>
#include <linux/dma-pinning-service.h>
#include <linux/init.h>
#include <linux/io.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/platform_device.h>
#include <linux/seq_file.h>
#include <linux/string.h>
#include <linux/syscore_ops.h>
#include <asm/dma-pinning.h>
#include <uapi/linux/dma-pinning.h>

/* The host limits the rate of requests; it does not stay busy for long. */
#define BUSY_TRIES	200
#define BUSY_WAIT_MS	10

enum service_state {
	SERVICE_UNDECIDED,
	SERVICE_ACTIVE,
	SERVICE_INACTIVE,
};

static struct service {
	struct mutex		lock;	/* serializes requests */
	enum service_state	state;
	bool			declined;
	void __iomem		*regs;
	u64			features;
	u64			npages;
	u64			limit;
	void			*marks;
	struct dma_pinning	*pinning;
} service = {
	.lock	= __MUTEX_INITIALIZER(service.lock),
};

static int __init dma_pinning_param(char *arg)
{
	if (!arg || strcmp(arg, "off"))
		return -EINVAL;
	service.declined = true;
	return 0;
}
early_param("dma_pinning", dma_pinning_param);

/*
 * Registers and requests
 */

static u32 reg_read32(unsigned int reg)
{
	KUNIT_STATIC_STUB_REDIRECT(reg_read32, reg);
	return readl(service.regs + reg);
}

static u64 reg_read64(unsigned int reg)
{
	KUNIT_STATIC_STUB_REDIRECT(reg_read64, reg);
	return readq(service.regs + reg);
}

static void reg_write64(unsigned int reg, u64 value)
{
	KUNIT_STATIC_STUB_REDIRECT(reg_write64, reg, value);
	writeq(value, service.regs + reg);
}

static int code_to_errno(unsigned int code)
{
	switch (code) {
	case DMA_PINNING_CODE_OK:
		return 0;
	case DMA_PINNING_CODE_OPCODE:
		return -EOPNOTSUPP;
	case DMA_PINNING_CODE_ARGUMENT:
		return -EINVAL;
	case DMA_PINNING_CODE_STATE:
		return -EPERM;
	case DMA_PINNING_CODE_BUSY:
		return -EBUSY;
	default:
		return -EIO;
	}
}

static int request_once(u64 request, u16 *value)
{
	const u64 echo = DMA_PINNING_MASK_OPCODE | DMA_PINNING_MASK_ARGUMENT;
	u64 result;

	lockdep_assert_held(&service.lock);

	reg_write64(DMA_PINNING_REG_REQUEST, request);
	result = reg_read64(DMA_PINNING_REG_RESULT);
	if ((result & echo) != request)
		return -EPROTO;

	*value = FIELD_GET(DMA_PINNING_MASK_VALUE, result);
	return code_to_errno(FIELD_GET(DMA_PINNING_MASK_CODE, result));
}

/* Return: as code_to_errno(), or -EPROTO if another request was answered */
static int request(u8 opcode, u32 argument, u16 *value)
{
	u64 request = FIELD_PREP(DMA_PINNING_MASK_OPCODE, opcode) |
		      FIELD_PREP(DMA_PINNING_MASK_ARGUMENT, argument);
	int tries, ret;

	mutex_lock(&service.lock);
	for (tries = 0; tries < BUSY_TRIES; tries++) {
		ret = request_once(request, value);
		if (ret != -EBUSY)
			break;
		msleep(BUSY_WAIT_MS);
	}
	mutex_unlock(&service.lock);
	return ret;
}

/*
 * A request that takes no lock, does not sleep and needs no answer: OFF and FROZEN
 * are never refused by a host that is in READY.
 */
static void last_words(u8 opcode)
{
	reg_write64(DMA_PINNING_REG_REQUEST,
		    FIELD_PREP(DMA_PINNING_MASK_OPCODE, opcode));
}

/*
 * PCI devices
 */

/* Only a clear answer makes a device exempt: a needless mark does no harm. */
static bool host_emulates(struct pci_dev *pdev)
{
	int segment = pci_domain_nr(pdev->bus);
	u32 argument;
	u16 value;

	if (!(service.features & DMA_PINNING_FEATURE_QUERY))
		return false;
	if (segment > U16_MAX)
		return false;
	argument = segment << DMA_PINNING_SHIFT_SEGMENT | pci_dev_id(pdev);
	if (request(DMA_PINNING_OP_QUERY, argument, &value))
		return false;
	return value == DMA_PINNING_QUERY_EXEMPT;
}

static bool service_announced(void)
{
	return acpi_dev_present(DMA_PINNING_ACPI_CID, NULL, -1);
}

/**
 * dma_pinning_pci_configure() - prepare a PCI device before a driver's probe
 * @pdev: the device
 *
 * Asks the host whether the pages that @pdev accesses need marks.
 *
 * Context: process, with the device locked. May sleep.
 * Return: 0, or -EPROBE_DEFER while it is undecided whether the service is used.
 */
int dma_pinning_pci_configure(struct pci_dev *pdev)
{
	/* Pairs with the release in service_decide(). Litmus: ready-configure */
	switch (smp_load_acquire(&service.state)) {
	case SERVICE_UNDECIDED:
		return service_announced() ? -EPROBE_DEFER : 0;
	case SERVICE_ACTIVE:
		dev_assign_dma_pinning_exempt(&pdev->dev, host_emulates(pdev));
		return 0;
	default:
		return 0;
	}
}

static void service_decide(enum service_state state)
{
	/* Pairs with the acquire in dma_pinning_pci_configure(). Litmus: ready-state */
	smp_store_release(&service.state, state);
}

/*
 * The end of this kernel
 */

/**
 * dma_pinning_service_active() - does the host rely on our marks?
 *
 * If so, hibernation must not replace memory by an image of another boot: its
 * counters would not match the marks.
 *
 * Context: any.
 * Return: %true if it does.
 */
bool dma_pinning_service_active(void)
{
	if (READ_ONCE(service.state) != SERVICE_ACTIVE)
		return false;
	pr_info_once("hibernation is not possible while the host relies on marks\n");
	return true;
}

/**
 * dma_pinning_crash() - a crash kernel is about to be started
 *
 * Devices have not been shut down, so the host is to keep what is marked.
 *
 * Context: any, on the last CPU that runs.
 */
void dma_pinning_crash(void)
{
	if (READ_ONCE(service.state) == SERVICE_ACTIVE)
		last_words(DMA_PINNING_OP_FROZEN);
}

/* Devices are shut down. A kernel that kexec starts may not know of marks. */
static void service_shutdown(void *data)
{
	last_words(DMA_PINNING_OP_OFF);
}

static const struct syscore_ops service_syscore_ops = {
	.shutdown = service_shutdown,
};

static struct syscore service_syscore = {
	.ops = &service_syscore_ops,
};

/*
 * The handshake
 */

static int service_show(struct seq_file *m, void *unused)
{
	seq_printf(m, "state: %u\n", reg_read32(DMA_PINNING_REG_STATE));
	seq_printf(m, "generation: %llu\n",
		   reg_read64(DMA_PINNING_REG_GENERATION));
	dma_pinning_show(service.pinning, m);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(service);

/* The debug port of xHCI does DMA without the DMA API, from early boot on. */
static bool early_xdbc_active(void)
{
	struct console *con;
	bool found = false;

	KUNIT_STATIC_STUB_REDIRECT(early_xdbc_active);

	console_list_lock();
	for_each_console(con)
		found |= !strcmp(con->name, "earlyxdbc");
	console_list_unlock();
	return found;
}

/* Any version but 0 has what we know: later ones only add registers. */
static int check_registers(struct device *dev)
{
	u32 version = reg_read32(DMA_PINNING_REG_VERSION);
	u32 size = reg_read32(DMA_PINNING_REG_SIZE);
	u32 granule = reg_read32(DMA_PINNING_REG_GRANULE);

	if (!version || size < DMA_PINNING_REGS_SIZE || granule != PAGE_SIZE) {
		dev_err(dev, "unknown service: version %u size %u granule %u\n",
			version, size, granule);
		return -ENODEV;
	}

	service.features = reg_read64(DMA_PINNING_REG_OFFERED) &
			   (DMA_PINNING_FEATURE_MARKS | DMA_PINNING_FEATURE_QUERY);
	if (!(service.features & DMA_PINNING_FEATURE_MARKS)) {
		dev_err(dev, "the host does not offer marks\n");
		return -ENODEV;
	}

	service.npages = reg_read64(DMA_PINNING_REG_NPAGES);
	service.limit = reg_read64(DMA_PINNING_REG_LIMIT);
	if (!service.npages || service.npages > PHYS_PFN(PHYS_ADDR_MAX) ||
	    !service.limit) {
		dev_err(dev, "%llu pages, of which %llu may be marked, cannot be covered\n",
			service.npages, service.limit);
		return -EINVAL;
	}
	return 0;
}

/* Return: the mapping, or NULL after an error message */
static void *map_marks(struct device *dev, struct resource *res)
{
	void *marks;

	KUNIT_STATIC_STUB_REDIRECT(map_marks, dev, res);

	if (!res || !IS_ALIGNED(res->start, PAGE_SIZE) ||
	    resource_size(res) < DIV_ROUND_UP(service.npages, BITS_PER_BYTE)) {
		dev_err(dev, "no bitmap for %llu pages: %pR\n", service.npages, res);
		return NULL;
	}

	marks = memremap(res->start, resource_size(res), MEMREMAP_WB);
	if (!marks) {
		dev_err(dev, "cannot map the bitmap %pR\n", res);
		return NULL;
	}
	if (!arch_dma_pinning_write_back(marks)) {
		dev_err(dev, "the bitmap %pR is not cached (MTRRs?), marking refused\n",
			res);
		memunmap(marks);
		return NULL;
	}
	return marks;
}

static void unmap_marks(void *marks)
{
	KUNIT_STATIC_STUB_REDIRECT(unmap_marks, marks);
	memunmap(marks);
}

/*
 * Freeze the marks that a former kernel has left in READY, so that the host keeps
 * them: its devices may still be at work.
 */
static int take_over(struct device *dev)
{
	unsigned long inherited;
	u16 value;
	int ret;

	if (reg_read32(DMA_PINNING_REG_STATE) == DMA_PINNING_STATE_OFF)
		return 0;

	ret = request(DMA_PINNING_OP_FROZEN, 0, &value);
	if (ret) {
		dev_err(dev, "cannot freeze the marks of a former kernel: %d\n", ret);
		return ret;
	}
	inherited = dma_pinning_adopt(service.pinning);
	dev_info(dev, "%lu pages stay marked as a former kernel has left them\n",
		 inherited);
	if (inherited >= service.limit)
		dev_warn(dev, "that is the limit: other mappings will be refused\n");
	return 0;
}

static int accept_offer(struct device *dev)
{
	u16 value;
	int ret;

	ret = take_over(dev);
	if (ret)
		return ret;
	ret = request(DMA_PINNING_OP_READY, service.features, &value);
	if (ret)
		dev_err(dev, "the host has refused: %d\n", ret);
	return ret;
}

/*
 * From OFF, the host clears the bitmap before it answers READY, so marks may be set
 * only after the answer; and from the answer on it relies on them. Nothing can fail
 * or map in between, as no PCI device has a driver yet. Litmus: ready-clear
 */
static int start_marking(struct device *dev)
{
	int ret;

	service.pinning = dma_pinning_create(service.marks, service.npages,
					     service.limit);
	if (!service.pinning) {
		dev_err(dev, "not enough memory for the counters\n");
		return -ENOMEM;
	}
	ret = accept_offer(dev);
	if (ret) {
		dma_pinning_destroy(service.pinning);
		service.pinning = NULL;
		return ret;
	}
	dma_pinning_enable(service.pinning);
	return 0;
}

static int try_service(struct device *dev, struct resource *bitmap)
{
	int ret;

	if (service.declined) {
		dev_info(dev, "declined on the command line\n");
		return -ENODEV;
	}
	ret = check_registers(dev);
	if (ret)
		return ret;
	if (early_xdbc_active()) {
		dev_err(dev, "the xHCI debug port is in use, marking refused\n");
		return -EBUSY;
	}

	service.marks = map_marks(dev, bitmap);
	if (!service.marks)
		return -EINVAL;
	ret = start_marking(dev);
	if (ret)
		unmap_marks(service.marks);
	return ret;
}

/* With the registers mapped. If it fails, the host is told to do without marks. */
static int start_service(struct device *dev, struct resource *bitmap)
{
	u32 magic = reg_read32(DMA_PINNING_REG_MAGIC);
	int ret;

	if (magic != DMA_PINNING_MAGIC) {
		dev_err(dev, "unknown service: magic %#x\n", magic);
		return -ENODEV;
	}

	/* A second service, or one from an ACPI table that was loaded later. */
	if (service.state != SERVICE_UNDECIDED) {
		dev_err(dev, "too late, devices are in use already\n");
		ret = -EBUSY;
	} else {
		ret = try_service(dev, bitmap);
	}
	if (ret)
		last_words(DMA_PINNING_OP_OFF);
	return ret;
}

static int dma_pinning_probe(struct platform_device *pdev)
{
	struct device *dev = &pdev->dev;
	struct resource *res;
	int ret;

	if (service.state == SERVICE_ACTIVE) {
		dev_err(dev, "there is another service, which is in use\n");
		return -EBUSY;
	}

	res = platform_get_resource(pdev, IORESOURCE_MEM, 0);
	if (!res || resource_size(res) < DMA_PINNING_REGS_SIZE)
		return dev_err_probe(dev, -EINVAL, "no registers: %pR\n", res);
	if (!devm_request_mem_region(dev, res->start, resource_size(res),
				     dev_name(dev)))
		return dev_err_probe(dev, -EBUSY, "registers in use: %pR\n", res);
	service.regs = ioremap(res->start, resource_size(res));
	if (!service.regs)
		return dev_err_probe(dev, -ENOMEM, "cannot map %pR\n", res);

	ret = start_service(dev, platform_get_resource(pdev, IORESOURCE_MEM, 1));
	if (ret) {
		iounmap(service.regs);
		return ret;
	}
	service_decide(SERVICE_ACTIVE);
	register_syscore(&service_syscore);
	dev_info(dev, "pages that devices may access are marked: %llu covered, %llu at a time\n",
		 service.npages, service.limit);
	debugfs_create_file("stats", 0400, debugfs_create_dir("dma_pinning", NULL),
			    NULL, &service_fops);
	return 0;
}

/*
 * The firmware has taken the device away. There is no way back while devices have
 * mappings, so marking goes on, in the bitmap that the host has.
 */
static void dma_pinning_remove(struct platform_device *pdev)
{
	dev_warn(&pdev->dev, "removed while in use, marking goes on\n");
}

static const struct acpi_device_id dma_pinning_acpi_ids[] = {
	{ DMA_PINNING_ACPI_CID, 0 },
	{ }
};

static struct platform_driver dma_pinning_driver = {
	.probe	= dma_pinning_probe,
	.remove	= dma_pinning_remove,
	.driver	= {
		.name			= "dma-pinning",
		.acpi_match_table	= dma_pinning_acpi_ids,
		.probe_type		= PROBE_FORCE_SYNCHRONOUS,
		.suppress_bind_attrs	= true,
	},
};

/* After ACPI has found its devices, before drivers of PCI devices register. */
static int __init dma_pinning_init(void)
{
	return platform_driver_register(&dma_pinning_driver);
}
fs_initcall(dma_pinning_init);

/*
 * A separate initcall, so that PCI drivers do not wait forever when the one above
 * is blacklisted.
 */
static int __init dma_pinning_decide(void)
{
	if (service.state != SERVICE_UNDECIDED)
		return 0;
	if (service_announced())
		pr_warn("the host's offer is not accepted: devices that it passes through can't do DMA\n");
	service_decide(SERVICE_INACTIVE);
	return 0;
}
fs_initcall_sync(dma_pinning_decide);

#ifdef CONFIG_DMA_PINNING_KUNIT_TEST
#include "dma_pinning_test.c"
#endif
