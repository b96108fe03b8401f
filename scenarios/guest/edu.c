// SPDX-License-Identifier: GPL-2.0
/*
 * Drives an edu device from user space, past the DMA API: nobody marks or
 * touches the pages that the device accesses. Copies page after page through
 * the device's buffer and looks whether the data arrived.
 *
 * Waits for "go" before the DMA. Setting: dma_pages.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest.h"

#define DEVICES "/sys/bus/pci/devices"
#define EDU_ID 0x11e81234u
#define EDU_BUFFER 0x40000ul
#define EDU_SOURCE 0x80
#define EDU_TARGET 0x88
#define EDU_COUNT 0x90
#define EDU_COMMAND 0x98
#define EDU_RUN 1
#define EDU_TO_MEMORY 2

static int open_file(const char *device, const char *file)
{
	char path[300];
	int fd;

	snprintf(path, sizeof(path), DEVICES "/%s/%s", device, file);
	fd = open(path, O_RDWR | O_CLOEXEC | O_SYNC);
	if (fd < 0)
		die(file);
	return fd;
}

/* Lets the device decode its BAR and do DMA: no driver does it here. */
static int enable_device(const char *name, uint32_t *id)
{
	int fd = open_file(name, "config");
	uint16_t command;

	if (pread(fd, id, 4, 0) != 4 || pread(fd, &command, 2, 4) != 2)
		die("config");
	if (*id == EDU_ID) {
		command |= 6;
		if (pwrite(fd, &command, 2, 4) != 2)
			die("config");
	}
	close(fd);
	return *id == EDU_ID;
}

static volatile void *find_edu(void)
{
	DIR *dir = opendir(DEVICES);
	struct dirent *entry;
	uint32_t id;
	void *bar;

	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.' || !enable_device(entry->d_name, &id))
			continue;
		bar = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
			   open_file(entry->d_name, "resource0"), 0);
		if (bar == MAP_FAILED)
			die("resource0");
		closedir(dir);
		return bar;
	}
	die("no_edu");
	return NULL;
}

static uint64_t guest_physical(const void *address)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry;

	if (fd < 0 || pread(fd, &entry, 8, (uintptr_t)address / PAGE * 8) != 8 ||
	    !(entry & (1ull << 63)))
		die("pagemap");
	close(fd);
	return (entry & ((1ull << 55) - 1)) * PAGE;
}

/* One transfer of a page; the device takes 100 ms for each. */
static void transfer(volatile void *bar, uint64_t source, uint64_t target,
		     uint32_t direction)
{
	*(volatile uint64_t *)(bar + EDU_SOURCE) = source;
	*(volatile uint64_t *)(bar + EDU_TARGET) = target;
	*(volatile uint64_t *)(bar + EDU_COUNT) = PAGE;
	*(volatile uint32_t *)(bar + EDU_COMMAND) = EDU_RUN | direction;
	while (*(volatile uint32_t *)(bar + EDU_COMMAND) & EDU_RUN)
		usleep(20000);
}

void work_edu(void)
{
	volatile void *bar = find_edu();
	size_t pages = setting("dma_pages", 8);
	char *source = new_memory(pages * PAGE);
	char *target = new_memory(pages * PAGE);
	uint64_t from[pages], to[pages];

	pattern_fill(source, pages, 1, 0);
	memset(target, 0, pages * PAGE);
	mlock(source, pages * PAGE);
	mlock(target, pages * PAGE);
	for (size_t i = 0; i < pages; i++) {
		from[i] = guest_physical(source + i * PAGE);
		to[i] = guest_physical(target + i * PAGE);
	}
	report("phase=ready");
	wait_for("go");
	for (size_t i = 0; i < pages; i++) {
		transfer(bar, from[i], EDU_BUFFER, 0);
		transfer(bar, EDU_BUFFER, to[i], EDU_TO_MEMORY);
	}
	report("phase=checked dma_pages=%lu dma_mismatches=%lu own_mismatches=%lu",
	       pages, pattern_mismatches(target, pages, 1, 0),
	       pattern_mismatches(source, pages, 1, 0));
	wait_for("end");
}
