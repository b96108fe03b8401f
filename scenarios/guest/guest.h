/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The guest's only process. Its work and its numbers are variables of the
 * kernel's command line (the kernel hands unknown "key=value" words to its first
 * process as environment); it reports key=value words on the second serial port.
 */
#ifndef GUEST_H
#define GUEST_H

#include <stddef.h>
#include <stdint.h>

#define PAGE 4096ul
#define MIB (1ul << 20)

/* init.c */
void report(const char *format, ...) __attribute__((format(printf, 1, 2)));
void die(const char *what);
void wait_for(const char *word);
unsigned long setting(const char *name, unsigned long otherwise);
void *new_memory(size_t size);

/*
 * pattern.c: a page of pattern is made from (seed, index) alone, differs from
 * every other page in all of its 512 words and compresses about eightfold, so
 * that swap on compressed memory has room for it.
 */
void pattern_fill(void *memory, size_t pages, uint64_t seed, uint64_t first);
size_t pattern_mismatches(const void *memory, size_t pages, uint64_t seed,
			  uint64_t first);

/*
 * disk.c: reads what was written to the disk with the seed @before, unless that is 0,
 * then writes with the seed @after and reads that. Returns the pages with wrong data.
 */
uint64_t disk_exchange(uint64_t before, uint64_t after);

/* The works: each reports its phases and returns when it is done. */
void work_disk(void);
void work_cold(void);
void work_hotplug(void);
void work_net(void);
void work_kexec(void);
void work_after(void);

#endif
