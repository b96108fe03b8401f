// SPDX-License-Identifier: GPL-2.0
/*
 * Fills memory with a pattern, then writes and reads back an NVMe with checks,
 * then verifies the memory. Settings: seed; fill and io in MiB, the latter
 * counting both directions; buffers in MiB: the I/O goes round a pool, so that
 * the host has time to take a buffer before it is used again. Waits for "fill",
 * "go" before the I/O, and "end".
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <linux/fs.h>
#include <unistd.h>

#include "guest.h"

#define DISK "/dev/nvme0n1"
#define SECOND_DISK "/dev/nvme1n1"
#define CHUNK (128ul << 10)
#define CHUNK_PAGES (CHUNK / PAGE)

struct disk {
	int fd;
	uint64_t chunks;	/* that fit on it */
	uint64_t seed;
	char *pool;
	size_t buffers, next;	/* of CHUNK bytes each */
	uint64_t bytes, mismatches;
};

static int open_disk(const char *path)
{
	int fd = -1;

	for (int i = 0; i < 300 && fd < 0; i++) {
		fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
		if (fd < 0)
			usleep(100000);
	}
	if (fd < 0)
		die("open_nvme");
	return fd;
}

static char *next_buffer(struct disk *disk)
{
	disk->next = (disk->next + 1) % disk->buffers;
	return disk->pool + disk->next * CHUNK;
}

static void write_chunk(struct disk *disk, uint64_t n)
{
	char *buffer = next_buffer(disk);

	pattern_fill(buffer, CHUNK_PAGES, disk->seed, n * CHUNK_PAGES);
	if (pwrite(disk->fd, buffer, CHUNK, n % disk->chunks * CHUNK) != (ssize_t)CHUNK)
		die("write");
	disk->bytes += CHUNK;
}

/* The first word of each page is spoilt before: an old content is no success. */
static void read_chunk(struct disk *disk, uint64_t n)
{
	char *buffer = next_buffer(disk);

	for (size_t page = 0; page < CHUNK_PAGES; page++)
		memset(buffer + page * PAGE, 0x5a, sizeof(uint64_t));
	if (pread(disk->fd, buffer, CHUNK, n % disk->chunks * CHUNK) != (ssize_t)CHUNK)
		die("read");
	disk->mismatches += pattern_mismatches(buffer, CHUNK_PAGES, disk->seed,
					       n * CHUNK_PAGES);
	disk->bytes += CHUNK;
}

/* Writes a stretch of 16 chunks, then reads it back, until io MiB have moved. */
static void exercise(struct disk *disk, uint64_t io)
{
	uint64_t n = 0, end;
	uint64_t shown = 0;

	while (disk->bytes < io) {
		end = n + 16;
		for (uint64_t i = n; i < end; i++)
			write_chunk(disk, i);
		for (uint64_t i = n; i < end; i++)
			read_chunk(disk, i);
		n = end;
		if (disk->bytes / (32 * MIB) != shown) {
			shown = disk->bytes / (32 * MIB);
			report("dma_bytes=%lu disk_mismatches=%lu", disk->bytes,
			       disk->mismatches);
		}
	}
}

static void prepare(struct disk *disk, const char *path, size_t buffers)
{
	uint64_t size;

	disk->seed = setting("seed", 1);
	disk->fd = open_disk(path);
	if (ioctl(disk->fd, BLKGETSIZE64, &size) || size < 16 * CHUNK)
		die("disk_size");
	disk->chunks = size / CHUNK;
	disk->buffers = buffers;
	disk->pool = new_memory(disk->buffers * CHUNK);
}

void work_disk(void)
{
	struct disk disk = { };
	size_t pages = setting("fill", 64) * MIB / PAGE;
	void *memory = new_memory(pages * PAGE);

	prepare(&disk, DISK, setting("buffers", 32) * MIB / CHUNK);
	report("phase=ready");
	wait_for("fill");
	report("phase=fill");
	pattern_fill(memory, pages, disk.seed, 1ull << 32);
	report("phase=filled");
	wait_for("go");
	report("phase=io");
	exercise(&disk, setting("io", 64) * MIB);
	report("phase=verify dma_bytes=%lu disk_mismatches=%lu", disk.bytes,
	       disk.mismatches);
	report("phase=verified memory_pages=%lu memory_mismatches=%lu", pages,
	       pattern_mismatches(memory, pages, disk.seed, 1ull << 32));
	wait_for("end");
}

/* From now on through the page cache. */
static void stop_direct_io(struct disk *disk)
{
	int flags = fcntl(disk->fd, F_GETFL);

	if (flags < 0 || fcntl(disk->fd, F_SETFL, flags & ~O_DIRECT))
		die("stop_direct_io");
}

/*
 * Reads into buffers that no CPU has touched since the host took them: "go" says
 * that it has. Each page of a read then needs the touch. With fresh=1, the buffers
 * are memory that nobody has used; with buffered=1, the page cache is between.
 */
void work_cold(void)
{
	size_t n = setting("chunks", 64), errors = 0;
	struct disk disk = { };

	prepare(&disk, DISK, 2 * n);
	if (!setting("fresh", 0))
		memset(disk.pool, 0, disk.buffers * CHUNK);
	for (size_t i = 0; i < n; i++)
		write_chunk(&disk, i);
	if (setting("buffered", 0))
		stop_direct_io(&disk);
	report("phase=ready");
	wait_for("go");
	for (size_t i = 0; i < n; i++) {
		char *buffer = next_buffer(&disk);

		if (pread(disk.fd, buffer, CHUNK, i * CHUNK) != (ssize_t)CHUNK)
			errors++;
		else
			disk.mismatches += pattern_mismatches(buffer, CHUNK_PAGES,
							      disk.seed, i * CHUNK_PAGES);
	}
	report("phase=checked reads=%zu read_errors=%zu disk_mismatches=%lu", n,
	       errors, disk.mismatches);
	wait_for("end");
}

/* disk_exchange() of any disk */
static uint64_t exchange(const char *path, uint64_t before, uint64_t after)
{
	size_t n = setting("chunks", 32);
	struct disk disk = { };

	prepare(&disk, path, n);
	disk.seed = before;
	for (size_t i = 0; before && i < n; i++)
		read_chunk(&disk, i);
	disk.seed = after;
	for (size_t i = 0; i < n; i++)
		write_chunk(&disk, i);
	for (size_t i = 0; i < n; i++)
		read_chunk(&disk, i);
	close(disk.fd);
	munmap(disk.pool, disk.buffers * CHUNK);
	return disk.mismatches;
}

uint64_t disk_exchange(uint64_t before, uint64_t after)
{
	return exchange(DISK, before, after);
}

/* Until the disk is gone. */
static void wait_for_removal(const char *path)
{
	for (int i = 0; i < 300 && !access(path, F_OK); i++)
		usleep(100000);
	if (!access(path, F_OK))
		die("removal");
}

/*
 * Uses two disks, of which the second one comes and goes as often as rounds says:
 * "added" says that it has come. Each time it holds what was written the last time.
 */
void work_hotplug(void)
{
	uint64_t rounds = setting("rounds", 2), mismatches;

	mismatches = exchange(DISK, 0, 1);
	report("phase=ready disk_mismatches=%lu", mismatches);
	for (uint64_t n = 1; n <= rounds; n++) {
		wait_for("added");
		mismatches += exchange(SECOND_DISK, n > 1 ? 100 + n - 1 : 0, 100 + n);
		mismatches += exchange(DISK, n, n + 1);
		report("phase=used%lu disk_mismatches=%lu", n, mismatches);
		wait_for_removal(SECOND_DISK);
		mismatches += exchange(DISK, n + 1, n + 1);
		report("phase=removed%lu disk_mismatches=%lu", n, mismatches);
	}
	wait_for("end");
}
