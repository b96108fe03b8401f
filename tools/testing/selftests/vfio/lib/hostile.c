// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <libvfio/hostile.h>
#include <libvfio/unpinned.h>

#include "cgroup_util.h"
#include "test_util.h"

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

	TEST_ASSERT(!setrlimit(RLIMIT_MEMLOCK, &limit), "setrlimit");
	TEST_ASSERT(!syscall(SYS_capget, &header, data), "capget");
	data[CAP_IPC_LOCK / 32].effective &= ~(1U << (CAP_IPC_LOCK % 32));
	TEST_ASSERT(!syscall(SYS_capset, &header, data), "capset");
}

struct user_state user_state(struct iommu *iommu)
{
	return (struct user_state) {
		.dma_avail = iommu_dma_avail(iommu),
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

	TEST_ASSERT(read_text("/proc/meminfo", buf, sizeof(buf)) > 0,
		    "read of meminfo");
	line = strstr(buf, name);
	TEST_ASSERT(line, "no %s in meminfo", name);
	return atol(line + strlen(name));
}

s64 meminfo_kernel_kib(void)
{
	return meminfo_kib("SUnreclaim:") + meminfo_kib("Percpu:") +
	       meminfo_kib("VmallocUsed:");
}

char *memcg_create(const char *parent, const char *name)
{
	char root[PATH_MAX], *cgroup;

	if (!parent) {
		if (cg_find_unified_root(root, sizeof(root), NULL))
			return NULL;
		parent = root;
	}
	if (cg_write(parent, "cgroup.subtree_control", "+memory"))
		return NULL;
	cgroup = cg_name(parent, name);
	/* A run that was killed may have left it. */
	cg_destroy(cgroup);
	TEST_ASSERT(!cg_create(cgroup), "mkdir %s", cgroup);
	return cgroup;
}

void memcg_destroy(char *cgroup)
{
	TEST_ASSERT(!cg_destroy(cgroup), "rmdir %s", cgroup);
	free(cgroup);
}

void memcg_enter(const char *cgroup)
{
	TEST_ASSERT(!cg_enter_current(cgroup), "write to cgroup.procs of %s",
		    cgroup);
}

void memcg_set(const char *cgroup, const char *control, s64 value)
{
	TEST_ASSERT(!cg_write_numeric(cgroup, control, value), "write to %s/%s",
		    cgroup, control);
}

void memcg_reclaim(const char *cgroup, s64 bytes)
{
	/* Fails if there is not that much, or if it takes another attempt. */
	cg_write_numeric(cgroup, "memory.reclaim", bytes);
}

s64 memcg_get(const char *cgroup, const char *control)
{
	s64 value = cg_read_long(cgroup, control);

	TEST_ASSERT(value >= 0, "read of %s/%s", cgroup, control);
	return value;
}

s64 memcg_get_key(const char *cgroup, const char *control, const char *key)
{
	char *prefix, buf[8192], *line;
	s64 value;

	TEST_ASSERT(!cg_read(cgroup, control, buf, sizeof(buf)) &&
		    asprintf(&prefix, "%s ", key) > 0, "read of %s/%s", cgroup,
		    control);
	for (line = buf; line && strncmp(line, prefix, strlen(prefix));) {
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	TEST_ASSERT(line, "no %s in %s/%s", key, cgroup, control);
	value = atol(line + strlen(prefix));
	free(prefix);
	return value;
}

int wait_for(pid_t pid)
{
	int status;

	TEST_ASSERT(waitpid(pid, &status, 0) == pid, "waitpid");
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}
