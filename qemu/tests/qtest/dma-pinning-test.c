/*
 * QTest testcase for the DMA pinning device
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "libqtest.h"
#include "libqos/fw_cfg.h"
#include "libqos/malloc-pc.h"
#include "libqos/pci-pc.h"
#include "libqos/virtio-pci.h"
#include "qobject/qdict.h"
#include "standard-headers/linux/dma-pinning.h"
#include "standard-headers/linux/virtio_balloon.h"

#define FEATURES        (DMA_PINNING_FEATURE_MARKS | DMA_PINNING_FEATURE_QUERY)
#define LIMIT_PAGES     2048ULL
#define COMMAND_LINE    "-machine q35,dma-pinning=on -nodefaults -m 64M " \
                        "-device dma-pinning,id=dp,limit=8M "

/* QWord address space descriptor, ACPI 6.5 section 6.4.3.5.1 */
#define QWORD_DESC      "\x8a\x2b\x00"
#define QWORD_DESC_MIN  14
#define QWORD_DESC_LEN  38
#define QWORD_DESC_SIZE 46

typedef struct Fixture {
    QTestState *qts;
    uint64_t regs;
    uint64_t bitmap;
    uint64_t bitmap_size;
} Fixture;

static size_t find(const uint8_t *hay, size_t from, size_t len,
                   const char *needle, size_t needle_len)
{
    for (; from + needle_len <= len; from++) {
        if (!memcmp(hay + from, needle, needle_len)) {
            return from;
        }
    }
    g_assert_not_reached();
}

/* The resources come from the SSDT, as for a guest */
static void find_resources(Fixture *f, QTestState *qts)
{
    g_autofree uint8_t *tables = g_malloc(1 * MiB);
    QFWCFG *fw_cfg = pc_fw_cfg_init(qts);
    size_t len, at;

    len = qfw_cfg_get_file(fw_cfg, "etc/acpi/tables", tables, 1 * MiB);
    g_assert_cmpint(len, >, 0);
    at = find(tables, 0, len, "DMAPIN", 6) - 16;
    g_assert(!memcmp(tables + at, "SSDT", 4));
    len = at + ldl_le_p(tables + at + 4);
    find(tables, at, len, "QEMU0D50", 9);

    at = find(tables, at, len, QWORD_DESC, 3);
    g_assert_cmphex(ldq_le_p(tables + at + QWORD_DESC_LEN), ==, 0x1000);
    f->regs = ldq_le_p(tables + at + QWORD_DESC_MIN);

    at = find(tables, at + QWORD_DESC_SIZE, len, QWORD_DESC, 3);
    f->bitmap = ldq_le_p(tables + at + QWORD_DESC_MIN);
    f->bitmap_size = ldq_le_p(tables + at + QWORD_DESC_LEN);
    pc_fw_cfg_uninit(fw_cfg);
}

static Fixture resources;
static gconstpointer resources_extra;

static void setup(Fixture *f, gconstpointer extra)
{
    f->qts = qtest_initf(COMMAND_LINE "%s", (const char *)extra ?: "");
    /* Reading the tables takes seconds, and most machines are the same. */
    if (!resources.regs || extra != resources_extra) {
        find_resources(&resources, f->qts);
        resources_extra = extra;
    }
    f->regs = resources.regs;
    f->bitmap = resources.bitmap;
    f->bitmap_size = resources.bitmap_size;
}

static void teardown(Fixture *f, gconstpointer extra)
{
    qtest_quit(f->qts);
}

static uint32_t reg32(Fixture *f, unsigned reg)
{
    return qtest_readl(f->qts, f->regs + reg);
}

static uint64_t reg64(Fixture *f, unsigned reg)
{
    return qtest_readq(f->qts, f->regs + reg);
}

/* Returns code | value << 8, after checking the echo */
static uint32_t request(Fixture *f, uint8_t opcode, uint32_t argument)
{
    const uint64_t echo = DMA_PINNING_MASK_OPCODE | DMA_PINNING_MASK_ARGUMENT;
    uint64_t req = opcode | (uint64_t)argument << DMA_PINNING_SHIFT_ARGUMENT;
    uint64_t result;
    uint8_t code;

    qtest_writeq(f->qts, f->regs + DMA_PINNING_REG_REQUEST, req);
    result = reg64(f, DMA_PINNING_REG_RESULT);
    code = (result & DMA_PINNING_MASK_CODE) >> DMA_PINNING_SHIFT_CODE;
    g_assert_cmphex(result & echo, ==, req);
    g_assert_cmpint(reg32(f, DMA_PINNING_REG_ERROR), ==, code);
    return code | (result >> DMA_PINNING_SHIFT_VALUE) << 8;
}

static void request_ok(Fixture *f, uint8_t opcode, uint32_t argument)
{
    g_assert_cmpint(request(f, opcode, argument), ==, DMA_PINNING_CODE_OK);
}

static void be_ready(Fixture *f)
{
    request_ok(f, DMA_PINNING_OP_READY, FEATURES);
}

static uint64_t get_property(Fixture *f, const char *path, const char *name)
{
    QDict *rsp = qtest_qmp(f->qts, "{'execute': 'qom-get', 'arguments': "
                           "{'path': %s, 'property': %s}}", path, name);
    uint64_t val = qdict_get_int(rsp, "return");

    qobject_unref(rsp);
    return val;
}

static uint64_t get_stat(Fixture *f, const char *name)
{
    return get_property(f, "/machine/peripheral/dp", name);
}

static void assert_state(Fixture *f, uint32_t state, uint64_t generation)
{
    g_assert_cmpint(reg32(f, DMA_PINNING_REG_STATE), ==, state);
    g_assert_cmpint(reg64(f, DMA_PINNING_REG_GENERATION), ==, generation);
}

static void test_registers(Fixture *f, gconstpointer extra)
{
    uint64_t npages = reg64(f, DMA_PINNING_REG_NPAGES);

    g_assert_cmphex(reg32(f, DMA_PINNING_REG_MAGIC), ==, DMA_PINNING_MAGIC);
    g_assert_cmpint(reg32(f, DMA_PINNING_REG_VERSION), ==, 1);
    g_assert_cmphex(reg32(f, DMA_PINNING_REG_SIZE), ==, 0x50);
    g_assert_cmpint(reg32(f, DMA_PINNING_REG_GRANULE), ==, 4096);
    g_assert_cmphex(reg64(f, DMA_PINNING_REG_OFFERED), ==, 3);
    g_assert_cmphex(reg64(f, DMA_PINNING_REG_ACCEPTED), ==, 0);
    g_assert_cmpint(reg64(f, DMA_PINNING_REG_LIMIT), ==, LIMIT_PAGES);
    g_assert_cmpint(reg32(f, DMA_PINNING_REG_ERROR), ==, 0);
    g_assert_cmphex(reg64(f, DMA_PINNING_REG_RESULT), ==, 0);
    assert_state(f, DMA_PINNING_STATE_OFF,
                 reg64(f, DMA_PINNING_REG_GENERATION));

    /* All memory below the window is covered, by just enough bits */
    g_assert_cmphex(npages * 4096, ==, f->regs);
    g_assert_cmphex(f->bitmap, ==, f->regs + 0x1000);
    g_assert_cmphex(f->bitmap_size, ==, ROUND_UP(npages / 8, 4096));
    g_assert_cmpint(get_stat(f, "ignored-accesses"), ==, 0);
}

static void test_ignored_accesses(Fixture *f, gconstpointer extra)
{
    uint64_t generation = reg64(f, DMA_PINNING_REG_GENERATION);

    /* Wrong width, unaligned, write-only and undefined */
    g_assert_cmphex(reg64(f, DMA_PINNING_REG_MAGIC), ==, 0);
    g_assert_cmphex(reg32(f, DMA_PINNING_REG_OFFERED), ==, 0);
    g_assert_cmphex(reg32(f, DMA_PINNING_REG_MAGIC + 2), ==, 0);
    g_assert_cmphex(qtest_readb(f->qts, f->regs), ==, 0);
    g_assert_cmphex(reg64(f, DMA_PINNING_REG_REQUEST), ==, 0);
    g_assert_cmphex(reg64(f, DMA_PINNING_REGS_SIZE), ==, 0);
    g_assert_cmphex(reg32(f, 0xffc), ==, 0);

    /* Read-only, half a request, undefined */
    qtest_writel(f->qts, f->regs + DMA_PINNING_REG_STATE,
                 DMA_PINNING_STATE_READY);
    qtest_writel(f->qts, f->regs + DMA_PINNING_REG_REQUEST,
                 DMA_PINNING_OP_READY);
    qtest_writeq(f->qts, f->regs + 0xff8, ~0ULL);

    g_assert_cmpint(get_stat(f, "ignored-accesses"), ==, 10);
    g_assert_cmpint(get_stat(f, "requests"), ==, 0);
    assert_state(f, DMA_PINNING_STATE_OFF, generation);
}

static void test_handshake(Fixture *f, gconstpointer extra)
{
    uint64_t generation = reg64(f, DMA_PINNING_REG_GENERATION);
    uint64_t last = f->bitmap + f->bitmap_size - 8;

    qtest_writeq(f->qts, f->bitmap, ~0ULL);
    qtest_writeq(f->qts, last, 1);
    be_ready(f);
    assert_state(f, DMA_PINNING_STATE_READY, generation + 1);
    g_assert_cmphex(reg64(f, DMA_PINNING_REG_ACCEPTED), ==, FEATURES);
    g_assert_cmphex(qtest_readq(f->qts, f->bitmap), ==, 0);
    g_assert_cmphex(qtest_readq(f->qts, last), ==, 0);

    qtest_writeq(f->qts, f->bitmap, 0x18);
    g_assert_cmpint(get_stat(f, "marked-pages"), ==, 2);

    request_ok(f, DMA_PINNING_OP_OFF, 0);
    assert_state(f, DMA_PINNING_STATE_OFF, generation + 2);
    g_assert_cmphex(reg64(f, DMA_PINNING_REG_ACCEPTED), ==, 0);
    g_assert_cmphex(qtest_readq(f->qts, f->bitmap), ==, 0);

    request_ok(f, DMA_PINNING_OP_OFF, 0);
    assert_state(f, DMA_PINNING_STATE_OFF, generation + 2);
}

static void assert_refused(Fixture *f, uint64_t req, uint8_t code)
{
    uint32_t state = reg32(f, DMA_PINNING_REG_STATE);
    uint64_t generation = reg64(f, DMA_PINNING_REG_GENERATION);
    uint64_t refused = get_stat(f, "requests-refused");

    qtest_writeq(f->qts, f->regs + DMA_PINNING_REG_REQUEST, req);
    g_assert_cmpint(reg32(f, DMA_PINNING_REG_ERROR), ==, code);
    g_assert_cmpint(get_stat(f, "requests-refused"), ==, refused + 1);
    assert_state(f, state, generation);
}

static void test_refused(Fixture *f, gconstpointer extra)
{
    assert_refused(f, 0, DMA_PINNING_CODE_OPCODE);
    assert_refused(f, 5, DMA_PINNING_CODE_OPCODE);
    assert_refused(f, 0xff, DMA_PINNING_CODE_OPCODE);
    assert_refused(f, DMA_PINNING_OP_READY, DMA_PINNING_CODE_ARGUMENT);
    assert_refused(f, DMA_PINNING_OP_READY | 2 << 16,
                   DMA_PINNING_CODE_ARGUMENT);
    assert_refused(f, DMA_PINNING_OP_READY | 5 << 16,
                   DMA_PINNING_CODE_ARGUMENT);
    assert_refused(f, DMA_PINNING_OP_READY | 1 << 16 | 1 << 8,
                   DMA_PINNING_CODE_ARGUMENT);
    assert_refused(f, DMA_PINNING_OP_READY | 1 << 16 | 1ULL << 48,
                   DMA_PINNING_CODE_ARGUMENT);
    assert_refused(f, DMA_PINNING_OP_OFF | 1 << 16, DMA_PINNING_CODE_ARGUMENT);
    assert_refused(f, DMA_PINNING_OP_FROZEN | 1 << 16,
                   DMA_PINNING_CODE_ARGUMENT);
    assert_refused(f, DMA_PINNING_OP_FROZEN, DMA_PINNING_CODE_STATE);

    be_ready(f);
    assert_refused(f, DMA_PINNING_OP_READY | 1 << 16, DMA_PINNING_CODE_STATE);
    assert_refused(f, ~0ULL, DMA_PINNING_CODE_ARGUMENT);
}

static void test_rate_limit(Fixture *f, gconstpointer extra)
{
    const uint32_t busy = DMA_PINNING_CODE_BUSY;

    be_ready(f);
    qtest_clock_step(f->qts, 40 * 1000 * 1000);
    request(f, DMA_PINNING_OP_OFF, 0);
    g_assert_cmphex(request(f, DMA_PINNING_OP_READY, 1), ==, busy | 60 << 8);
    qtest_clock_step(f->qts, 59 * 1000 * 1000);
    g_assert_cmphex(request(f, DMA_PINNING_OP_READY, 1), ==, busy | 1 << 8);
    g_assert_cmpint(reg32(f, DMA_PINNING_REG_STATE), ==, DMA_PINNING_STATE_OFF);
    qtest_clock_step(f->qts, 1 * 1000 * 1000);
    be_ready(f);
}

static void test_frozen(Fixture *f, gconstpointer extra)
{
    uint64_t generation = reg64(f, DMA_PINNING_REG_GENERATION);

    be_ready(f);
    qtest_writeq(f->qts, f->bitmap, 0xabcd);
    request_ok(f, DMA_PINNING_OP_FROZEN, 0);
    request_ok(f, DMA_PINNING_OP_FROZEN, 0);
    assert_state(f, DMA_PINNING_STATE_FROZEN, generation + 2);

    qtest_clock_step(f->qts, 100 * 1000 * 1000);
    be_ready(f);
    assert_state(f, DMA_PINNING_STATE_READY, generation + 3);
    g_assert_cmphex(qtest_readq(f->qts, f->bitmap), ==, 0xabcd);
}

static void test_reset(Fixture *f, gconstpointer extra)
{
    uint64_t generation;

    be_ready(f);
    generation = reg64(f, DMA_PINNING_REG_GENERATION);
    qtest_writeq(f->qts, f->bitmap, ~0ULL);

    qtest_system_reset(f->qts);
    assert_state(f, DMA_PINNING_STATE_OFF, generation + 1);
    g_assert_cmphex(reg64(f, DMA_PINNING_REG_ACCEPTED), ==, 0);
    g_assert_cmphex(reg64(f, DMA_PINNING_REG_RESULT), ==, 0);
    g_assert_cmphex(qtest_readq(f->qts, f->bitmap), ==, 0);
    be_ready(f);
}

static void suspend_and_wake(QTestState *qts)
{
    const uint32_t lpc = 0x80000000 | 0x1f << 11;   /* 00:1f.0 */
    const uint16_t pmbase = 0x600;

    qtest_outl(qts, 0xcf8, lpc | 0x40);             /* PMBASE */
    qtest_outl(qts, 0xcfc, pmbase | 1);
    qtest_outl(qts, 0xcf8, lpc | 0x44);             /* ACPI_CNTL */
    qtest_outb(qts, 0xcfc, 0x80);
    qtest_outw(qts, pmbase + 4, 1 << 13 | 1 << 10); /* PM1_CNT: SLP_EN, S3 */
    qtest_qmp_eventwait(qts, "SUSPEND");
    qtest_qmp_assert_success(qts, "{'execute': 'system_wakeup'}");
    qtest_qmp_eventwait(qts, "WAKEUP");
}

static void test_wakeup(Fixture *f, gconstpointer extra)
{
    uint64_t generation;

    be_ready(f);
    generation = reg64(f, DMA_PINNING_REG_GENERATION);
    qtest_writeq(f->qts, f->bitmap, 0x11);

    suspend_and_wake(f->qts);
    assert_state(f, DMA_PINNING_STATE_READY, generation);
    g_assert_cmphex(qtest_readq(f->qts, f->bitmap), ==, 0x11);
}

static void wait_for_migration(QTestState *qts)
{
    g_autofree char *status = NULL;

    do {
        QDict *rsp = qtest_qmp_assert_success_ref(
            qts, "{'execute': 'query-migrate'}");

        g_usleep(1000);
        g_free(status);
        status = g_strdup(qdict_get_try_str(rsp, "status"));
        g_assert_cmpstr(status, !=, "failed");
        qobject_unref(rsp);
    } while (g_strcmp0(status, "completed"));
}

static void test_migration(Fixture *f, gconstpointer extra)
{
    g_autofree char *path = NULL, *uri = NULL;
    uint64_t generation;
    int fd = g_file_open_tmp("dma-pinning-XXXXXX", &path, NULL);

    g_assert_cmpint(fd, >=, 0);
    uri = g_strdup_printf("file:%s", path);

    be_ready(f);
    generation = reg64(f, DMA_PINNING_REG_GENERATION);
    qtest_writeq(f->qts, f->bitmap, 0x1234);
    qtest_qmp_assert_success(f->qts, "{'execute': 'migrate', "
                             "'arguments': {'uri': %s}}", uri);
    wait_for_migration(f->qts);
    qtest_quit(f->qts);

    f->qts = qtest_initf(COMMAND_LINE "-incoming %s", uri);
    wait_for_migration(f->qts);
    assert_state(f, DMA_PINNING_STATE_READY, generation);
    g_assert_cmphex(reg64(f, DMA_PINNING_REG_ACCEPTED), ==, FEATURES);
    g_assert_cmphex(qtest_readq(f->qts, f->bitmap), ==, 0x1234);

    close(fd);
    unlink(path);
}

static void test_query(Fixture *f, gconstpointer extra)
{
    const uint32_t exempt = DMA_PINNING_QUERY_EXEMPT << 8;

    /* The LPC bridge of q35, an empty slot, an empty bus, another segment */
    g_assert_cmphex(request(f, DMA_PINNING_OP_QUERY, 0x00f8), ==, exempt);
    g_assert_cmphex(request(f, DMA_PINNING_OP_QUERY, 0x0010), ==, 0);
    g_assert_cmphex(request(f, DMA_PINNING_OP_QUERY, 0x55f8), ==, 0);
    g_assert_cmphex(request(f, DMA_PINNING_OP_QUERY, 0x100f8), ==, 0);
}

/* Firmware keeps off the window: reserved memory, below the 64-bit hole */
static void test_window(Fixture *f, gconstpointer extra)
{
    struct { uint64_t addr, len; uint32_t type; } QEMU_PACKED e820[32];
    QFWCFG *fw_cfg = pc_fw_cfg_init(f->qts);
    uint64_t end = f->bitmap + f->bitmap_size, reserved_end;
    size_t len, i;

    len = qfw_cfg_get_file(fw_cfg, "etc/e820", e820, sizeof(e820));
    for (i = 0; i < len / sizeof(e820[0]); i++) {
        if (le64_to_cpu(e820[i].addr) == f->regs) {
            break;
        }
    }
    g_assert_cmpint(i, <, len / sizeof(e820[0]));
    g_assert_cmphex(le64_to_cpu(e820[i].len), ==, end - f->regs);
    g_assert_cmpint(le32_to_cpu(e820[i].type), ==, 2);

    len = qfw_cfg_get_file(fw_cfg, "etc/reserved-memory-end", &reserved_end,
                           sizeof(reserved_end));
    g_assert_cmpint(len, ==, sizeof(reserved_end));
    g_assert_cmphex(le64_to_cpu(reserved_end), >=, end);
    g_assert_cmphex(get_property(f, "/machine/q35", "pci-hole64-start"), >=,
                    end);
    g_assert_cmphex(f->regs, ==, extra ? 7 * GiB : 4 * GiB);
    pc_fw_cfg_uninit(fw_cfg);
}

static uint64_t default_limit(const char *ram)
{
    Fixture f = {
        .qts = qtest_initf("-machine q35,dma-pinning=on -nodefaults -m %s "
                           "-device dma-pinning,id=dp", ram),
    };
    uint64_t limit = get_stat(&f, "limit-pages");

    g_assert_cmpint(get_stat(&f, "budget-pages"), ==, 0);
    qtest_quit(f.qts);
    return limit;
}

/* 1/16 of the RAM, at least 64 MiB, at most half of the RAM */
static void test_default_limit(void)
{
    g_assert_cmpint(default_limit("2G"), ==, 128 * MiB / 4096);
    g_assert_cmpint(default_limit("512M"), ==, 64 * MiB / 4096);
    g_assert_cmpint(default_limit("96M"), ==, 48 * MiB / 4096);
}

static void test_budget(void)
{
    Fixture f = { .qts = qtest_initf(COMMAND_LINE "-global "
                                     "dma-pinning.budget=16M") };

    g_assert_cmpint(get_stat(&f, "limit-pages"), ==, LIMIT_PAGES);
    g_assert_cmpint(get_stat(&f, "budget-pages"), ==, 2 * LIMIT_PAGES);
    qtest_quit(f.qts);
}

typedef struct Balloon {
    QTestState *qts;
    QVirtioPCIDevice *dev;
    QGuestAllocator alloc;
    QVirtQueue *inflate;
    QVirtQueue *report;
} Balloon;

static void balloon_start(Balloon *b, QTestState *qts, QPCIBus *bus)
{
    QPCIAddress addr = { .devfn = QPCI_DEVFN(5, 0) };

    b->qts = qts;
    pc_alloc_init(&b->alloc, qts, ALLOC_NO_FLAGS);
    b->dev = virtio_pci_new(bus, &addr);
    g_assert_nonnull(b->dev);
    qvirtio_pci_device_enable(b->dev);
    qvirtio_start_device(&b->dev->vdev);
    qvirtio_set_features(&b->dev->vdev,
                         qvirtio_get_features(&b->dev->vdev) &
                         (1ull << VIRTIO_F_VERSION_1 |
                          1ull << VIRTIO_BALLOON_F_REPORTING));
    b->inflate = qvirtqueue_setup(&b->dev->vdev, &b->alloc, 0);
    b->report = qvirtqueue_setup(&b->dev->vdev, &b->alloc, 3);
    qvirtio_set_driver_ok(&b->dev->vdev);
}

static void balloon_send(Balloon *b, QVirtQueue *vq, uint64_t data,
                         uint32_t len, bool write)
{
    uint32_t head = qvirtqueue_add(b->qts, vq, data, len, write, false);

    qvirtqueue_kick(b->qts, &b->dev->vdev, vq, head);
    qvirtio_wait_used_elem(b->qts, &b->dev->vdev, vq, head, NULL,
                           30 * 1000 * 1000);
}

/* Gives the page to the host; returns true if the host has taken it */
static bool balloon_takes(Balloon *b, uint64_t page, bool report)
{
    uint64_t pfn = guest_alloc(&b->alloc, 4);

    qtest_writeq(b->qts, page, 0x1234);
    if (report) {
        balloon_send(b, b->report, page, 4096, true);
    } else {
        qtest_writel(b->qts, pfn, page / 4096);
        balloon_send(b, b->inflate, pfn, 4, false);
    }
    guest_free(&b->alloc, pfn);
    return qtest_readq(b->qts, page) != 0x1234;
}

/* The kernel reads the marks from these very pages: none may be discarded */
static void test_balloon(Fixture *f, gconstpointer extra)
{
    QPCIBus *bus = qpci_new_pc(f->qts, NULL);
    Balloon b;

    balloon_start(&b, f->qts, bus);
    g_assert_true(balloon_takes(&b, 32 * MiB, false));
    g_assert_true(balloon_takes(&b, 32 * MiB, true));
    g_assert_false(balloon_takes(&b, f->bitmap, false));
    g_assert_false(balloon_takes(&b, f->bitmap, true));

    qvirtqueue_cleanup(b.dev->vdev.bus, b.inflate, &b.alloc);
    qvirtqueue_cleanup(b.dev->vdev.bus, b.report, &b.alloc);
    qvirtio_pci_device_disable(b.dev);
    qos_object_destroy((QOSGraphObject *)b.dev);
    alloc_destroy(&b.alloc);
    qpci_free_pc(bus);
}

static void test_no_hotplug(Fixture *f, gconstpointer extra)
{
    QDict *rsp = qtest_qmp(f->qts, "{'execute': 'device_add', 'arguments': "
                           "{'driver': 'dma-pinning', 'id': 'dp2'}}");

    g_assert(qdict_haskey(rsp, "error"));
    qobject_unref(rsp);
    g_assert_cmphex(reg32(f, DMA_PINNING_REG_MAGIC), ==, DMA_PINNING_MAGIC);
}

static void add(const char *name, void (*test)(Fixture *, gconstpointer),
                const char *extra)
{
    g_autofree char *full = g_strdup_printf("dma-pinning/%s", name);

    qtest_add(full, Fixture, extra, setup, test, teardown);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    add("registers", test_registers, NULL);
    add("ignored-accesses", test_ignored_accesses, NULL);
    add("handshake", test_handshake, NULL);
    add("refused", test_refused, NULL);
    add("rate-limit", test_rate_limit, NULL);
    add("frozen", test_frozen, NULL);
    add("reset", test_reset, NULL);
    add("wakeup", test_wakeup, NULL);
    add("migration", test_migration, NULL);
    add("query", test_query, NULL);
    add("window", test_window, NULL);
    add("window-device-memory", test_window, "-m 64M,slots=1,maxmem=2112M");
    add("no-hotplug", test_no_hotplug, NULL);
    add("balloon", test_balloon,
        "-device virtio-balloon-pci,addr=5,free-page-reporting=on");
    qtest_add_func("dma-pinning/default-limit", test_default_limit);
    qtest_add_func("dma-pinning/budget", test_budget);

    return g_test_run();
}
