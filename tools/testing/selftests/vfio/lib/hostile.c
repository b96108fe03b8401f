// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <libvfio/hostile.h>
#include <libvfio/unpinned.h>

#include "cgroup_util.h"

#define COUNTS_TRIES		50
#define COUNTS_INTERVAL_US	(200 * 1000)

u64 env_number(const char *name, u64 value)
{
	const char *text = getenv(name);

	if (text)
		value = strtoull(text, NULL, 0);
	printf("# %s=%lu\n", name, value);
	return value;
}

u32 env_seed(void)
{
	return env_number("VFIO_SELFTESTS_SEED", 0x5eed);
}

void limit_memlock(u64 pages)
{
	struct rlimit limit = {
		.rlim_cur = pages * MEM_PAGE_SIZE,
		.rlim_max = pages * MEM_PAGE_SIZE,
	};
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2];

	VFIO_ASSERT_EQ(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
	VFIO_ASSERT_EQ(syscall(SYS_capget, &header, data), 0);
	data[CAP_IPC_LOCK / 32].effective &= ~(1U << (CAP_IPC_LOCK % 32));
	VFIO_ASSERT_EQ(syscall(SYS_capset, &header, data), 0);
}

struct user_state user_state(struct iommu *iommu)
{
	return (struct user_state) {
		.dma_avail = type1_dma_avail(iommu),
		.locked = status_kib("VmLck"),
		.pins = vmstat_pins(),
		.leaves = stat_get("leaves"),
	};
}

struct kernel_counts kernel_counts(void)
{
	return (struct kernel_counts) {
		.pins = vmstat_pins(),
		.iommu_pages = vmstat_line("nr_iommu_pages"),
	};
}

struct kernel_counts kernel_counts_left(const struct kernel_counts *before)
{
	struct kernel_counts left = {};
	int n;

	for (n = 0; n < COUNTS_TRIES; n++) {
		left = kernel_counts();
		left.pins -= before->pins;
		left.iommu_pages -= before->iommu_pages;
		if (!left.pins && !left.iommu_pages)
			break;
		usleep(COUNTS_INTERVAL_US);
	}
	return left;
}

static s64 meminfo_kib(const char *name)
{
	char buf[8192], *line;

	VFIO_ASSERT_TRUE(read_text("/proc/meminfo", buf, sizeof(buf)) > 0,
			 "read of meminfo");
	line = strstr(buf, name);
	VFIO_ASSERT_NOT_NULL(line, "no %s in meminfo", name);
	return atol(line + strlen(name));
}

s64 meminfo_kernel_kib(void)
{
	return meminfo_kib("SUnreclaim:") + meminfo_kib("Percpu:") +
	       meminfo_kib("VmallocUsed:");
}
