// SPDX-License-Identifier: GPL-2.0
/*
 * Starts another kernel from two more disks, which the host has filled: its image
 * and its initramfs. Setting: crash=1, for when this kernel has crashed, which it
 * then does; next=WORD, for the other's command line.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/kexec.h>
#include <linux/reboot.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "guest.h"

#define WRITTEN_BEFORE 1
#define WRITTEN_AFTER 2

/* The kernel takes regular files only, and none that is open for writing. */
static int file_of(const char *disk, const char *path)
{
	int in = open(disk, O_RDONLY | O_CLOEXEC);
	int out = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	ssize_t n;

	if (in < 0 || out < 0)
		die(disk);
	while ((n = sendfile(out, in, NULL, MIB)) > 0)
		;
	if (n < 0)
		die(path);
	close(in);
	close(out);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static void load_next(unsigned long flags)
{
	const char *word = getenv("next");
	char line[256];
	int n;

	n = snprintf(line, sizeof(line),
		     "console=ttyS0 loglevel=5 panic=-1 "
		     "nvme_core.admin_timeout=10 work=after %s",
		     word ? word : "");
	if (syscall(SYS_kexec_file_load, file_of("/dev/vda", "/kernel"),
		    file_of("/dev/vdb", "/initrd"), n + 1, line, flags))
		die("kexec_file_load");
}

void work_kexec(void)
{
	unsigned long crash = setting("crash", 0);

	report("phase=ready disk_mismatches=%lu", disk_exchange(0, WRITTEN_BEFORE));
	load_next(crash ? KEXEC_FILE_ON_CRASH : 0);
	report("phase=loaded");
	wait_for("go");
	if (crash)
		_exit(0);	/* of the first process: a panic */
	reboot(RB_KEXEC);
	die("kexec");
}

/* Pages that this kernel keeps marked for the first one; 0 without the service. */
static unsigned long inherited(void)
{
	unsigned long pages = 0;
	char line[64];
	FILE *stats;

	if (mount("debug", "/sys/kernel/debug", "debugfs", 0, NULL))
		die("debugfs");
	stats = fopen("/sys/kernel/debug/dma_pinning/stats", "re");
	while (stats && fgets(line, sizeof(line), stats))
		sscanf(line, "inherited: %lu", &pages);
	if (stats)
		fclose(stats);
	return pages;
}

/* What the other kernel does: the disk has what the first one has written. */
void work_after(void)
{
	report("phase=after disk_mismatches=%lu inherited=%lu",
	       disk_exchange(WRITTEN_BEFORE, WRITTEN_AFTER), inherited());
	wait_for("end");
}
