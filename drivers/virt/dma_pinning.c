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
 * A mapping that was made uncounted must not end as a counted one. So the decision
 * comes before any PCI driver is bound, a service that appears later is refused,
 * and each PCI device gets its answer, exempt or not, before each probe. Both
 * hold while a driver is bound.
 *
 * Devices on other buses are always marked, as they may belong to a passed-
 * through device; none that does DMA has a driver before fs_initcall.
 *
 * Locks: service.lock serializes requests to the host, which has one result
 * register; nothing else is taken inside it. service.state is written by the
 * driver's probe and by its initcall, which do not run at the same time, and is
 * read without a lock.
 */
#define pr_fmt(fmt) "dma-pinning: " fmt

#include <linux/acpi.h>
#include <linux/bitfield.h>
#include <linux/console.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/dma-pinning.h>
#include <linux/dma-pinning-service.h>
#include <linux/init.h>
#include <linux/io.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/platform_device.h>
#include <linux/seq_file.h>
#include <linux/string.h>
#include <asm/dma-pinning.h>

/* The host limits the rate of requests; it does not stay busy for long. */
#define BUSY_TRIES	200
#define BUSY_WAIT_MS	10

#define ACPI_ID		"DMAPIN"

enum service_state {
	SERVICE_UNDECIDED,
	SERVICE_ACTIVE,
	SERVICE_INACTIVE,
};

static struct {
	struct mutex		lock;	/* serializes requests */
	enum service_state	state;
	bool			declined;
	void __iomem		*regs;
	u64			features;
	struct dma_pinning	*pinning;
} service = {
	.lock	= __MUTEX_INITIALIZER(service.lock),
};

#ifdef CONFIG_DMA_PINNING_TEST
static bool mark_all;
module_param(mark_all, bool, 0444);
MODULE_PARM_DESC(mark_all, "Mark for emulated devices too");
#else
static const bool mark_all;
#endif

static int __init dma_pinning_param(char *arg)
{
	if (!arg || strcmp(arg, "off"))
		return -EINVAL;
	service.declined = true;
	return 0;
}
early_param("dma_pinning", dma_pinning_param);

static int code_to_errno(unsigned int code)
{
	switch (code) {
	case DMA_PINNING_CODE_OK:
		return 0;
	case DMA_PINNING_CODE_UNKNOWN:
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

	writeq(request, service.regs + DMA_PINNING_REG_REQUEST);
	result = readq(service.regs + DMA_PINNING_REG_RESULT);
	if ((result & echo) != request)
		return -EPROTO;

	*value = FIELD_GET(DMA_PINNING_MASK_VALUE, result);
	return code_to_errno(FIELD_GET(DMA_PINNING_MASK_CODE, result));
}

/* Errors: those of code_to_errno(), or -EPROTO if another request was answered. */
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

/* Only a clear answer makes a device exempt: a needless mark does no harm. */
static bool host_emulates(struct pci_dev *pdev)
{
	int segment = pci_domain_nr(pdev->bus);
	u16 emulated;

	if (mark_all || !(service.features & DMA_PINNING_FEATURE_QUERY))
		return false;
	if (segment > U16_MAX)
		return false;
	if (request(DMA_PINNING_OP_QUERY, segment << 16 | pci_dev_id(pdev),
		    &emulated))
		return false;
	return emulated == 1;
}

static bool service_announced(void)
{
	return !service.declined && acpi_dev_present(ACPI_ID, NULL, -1);
}

/**
 * dma_pinning_pci_configure() - prepare a PCI device before a driver's probe
 * @pdev: the device
 *
 * Asks the host whether the pages that @pdev accesses need marks.
 *
 * Context: process, with the device locked. May sleep.
 * Return: 0, or -EPROBE_DEFER while it is not known whether anything is to be
 * marked at all.
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

static int service_show(struct seq_file *m, void *unused)
{
	seq_printf(m, "state: %u\n",
		   readl(service.regs + DMA_PINNING_REG_STATE));
	seq_printf(m, "generation: %llu\n",
		   readq(service.regs + DMA_PINNING_REG_GENERATION));
	seq_printf(m, "limit: %llu\n",
		   readq(service.regs + DMA_PINNING_REG_LIMIT));
	dma_pinning_show(service.pinning, m);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(service);

/* The debug port of xHCI does DMA without the DMA API, from early boot on. */
static bool early_xdbc_active(void)
{
	struct console *con;
	bool found = false;

	console_list_lock();
	for_each_console(con)
		found |= !strcmp(con->name, "earlyxdbc");
	console_list_unlock();
	return found;
}

static int check_registers(struct device *dev, u64 *npages)
{
	u32 magic = readl(service.regs + DMA_PINNING_REG_MAGIC);
	u32 version = readl(service.regs + DMA_PINNING_REG_VERSION);
	u32 size = readl(service.regs + DMA_PINNING_REG_SIZE);
	u32 granule = readl(service.regs + DMA_PINNING_REG_GRANULE);

	if (magic != DMA_PINNING_MAGIC || version != DMA_PINNING_VERSION ||
	    size < DMA_PINNING_REG_END || granule != PAGE_SIZE) {
		dev_err(dev, "unknown service: magic %#x version %u size %u granule %u\n",
			magic, version, size, granule);
		return -ENODEV;
	}

	service.features = readq(service.regs + DMA_PINNING_REG_OFFERED) &
			   (DMA_PINNING_FEATURE_MARKS | DMA_PINNING_FEATURE_QUERY);
	if (!(service.features & DMA_PINNING_FEATURE_MARKS)) {
		dev_err(dev, "the host does not offer marks\n");
		return -ENODEV;
	}

	*npages = readq(service.regs + DMA_PINNING_REG_NPAGES);
	if (!*npages || *npages > PHYS_PFN(PHYS_ADDR_MAX)) {
		dev_err(dev, "%llu pages cannot be covered\n", *npages);
		return -EINVAL;
	}
	return 0;
}

static void *map_marks(struct platform_device *pdev, u64 npages)
{
	struct device *dev = &pdev->dev;
	struct resource *res;
	void *marks;

	res = platform_get_resource(pdev, IORESOURCE_MEM, 1);
	if (!res || resource_size(res) < DIV_ROUND_UP(npages, BITS_PER_BYTE) ||
	    !IS_ALIGNED(res->start, PAGE_SIZE)) {
		dev_err(dev, "no bitmap for %llu pages: %pR\n", npages, res);
		return ERR_PTR(-EINVAL);
	}

	marks = devm_memremap(dev, res->start, resource_size(res), MEMREMAP_WB);
	if (IS_ERR(marks)) {
		dev_err(dev, "cannot map the bitmap %pR\n", res);
		return marks;
	}
	if (!arch_dma_pinning_write_back(marks)) {
		dev_err(dev, "the bitmap %pR is not cached (MTRRs?), marking refused\n",
			res);
		return ERR_PTR(-EOPNOTSUPP);
	}
	return marks;
}

static int accept_offer(struct device *dev)
{
	u16 value;
	int ret;

	/* An earlier kernel has left the service on: its marks mean nothing. */
	if (readl(service.regs + DMA_PINNING_REG_STATE) != DMA_PINNING_STATE_OFF) {
		ret = request(DMA_PINNING_OP_OFF, 0, &value);
		if (ret) {
			dev_err(dev, "cannot reset the service: %d\n", ret);
			return ret;
		}
	}

	ret = request(DMA_PINNING_OP_READY, service.features, &value);
	if (ret)
		dev_err(dev, "the host has refused: %d\n", ret);
	return ret;
}

/*
 * The host clears the bitmap before it answers READY, so marks may be set only
 * after the answer; and from the answer on it relies on them. Nothing can fail
 * or map in between, as no PCI device has a driver yet. Litmus: ready-clear
 */
static int start_service(struct platform_device *pdev)
{
	struct device *dev = &pdev->dev;
	void *marks;
	u64 npages;
	int ret;

	service.regs = devm_platform_ioremap_resource(pdev, 0);
	if (IS_ERR(service.regs))
		return dev_err_probe(dev, PTR_ERR(service.regs), "no registers\n");

	ret = check_registers(dev, &npages);
	if (ret)
		return ret;
	if (early_xdbc_active()) {
		dev_err(dev, "the xHCI debug port is in use, marking refused\n");
		return -EBUSY;
	}

	marks = map_marks(pdev, npages);
	if (IS_ERR(marks))
		return PTR_ERR(marks);

	service.pinning = dma_pinning_create(marks, npages);
	if (!service.pinning)
		return -ENOMEM;
	ret = accept_offer(dev);
	if (ret) {
		dma_pinning_destroy(service.pinning);
		return ret;
	}
	dma_pinning_enable(service.pinning);
	dev_info(dev, "pages that devices may access are marked, %llu covered\n",
		 npages);
	return 0;
}

static int dma_pinning_probe(struct platform_device *pdev)
{
	int ret;

	/* A second service, or one from an ACPI table that was loaded later. */
	if (service.state != SERVICE_UNDECIDED) {
		dev_err(&pdev->dev, "too late, devices are in use already\n");
		return -EBUSY;
	}
	if (service.declined) {
		dev_info(&pdev->dev, "declined on the command line\n");
		return -ENODEV;
	}

	ret = start_service(pdev);
	if (ret)
		return ret;
	service_decide(SERVICE_ACTIVE);
	debugfs_create_file("stats", 0400, debugfs_create_dir("dma_pinning", NULL),
			    NULL, &service_fops);
	return 0;
}

static const struct acpi_device_id dma_pinning_acpi_ids[] = {
	{ ACPI_ID, 0 },
	{ }
};

/* There is no way back while devices have mappings, hence no remove. */
static struct platform_driver dma_pinning_driver = {
	.probe	= dma_pinning_probe,
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
	int ret = platform_driver_register(&dma_pinning_driver);

	if (service.state == SERVICE_UNDECIDED) {
		if (service_announced())
			pr_warn("the host's offer was not accepted\n");
		service_decide(SERVICE_INACTIVE);
	}
	return ret;
}
fs_initcall(dma_pinning_init);
