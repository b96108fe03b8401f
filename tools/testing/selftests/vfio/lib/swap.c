// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/swap.h>

#include <libvfio/assert.h>
#include <libvfio/memory.h>
#include <libvfio/swap.h>

static char swap[64];		/* in use, the first one */
static char other_swap[64];	/* in use before swap_to_file(), or empty */
static bool disabled;		/* by swap_disable() */

const char *swap_find(void)
{
	FILE *file = fopen("/proc/swaps", "r");
	char line[256];

	while (file && !swap[0] && fgets(line, sizeof(line), file)) {
		if (line[0] == '/')
			sscanf(line, "%63s", swap);
	}
	if (file)
		fclose(file);
	return swap[0] && mem_can_pageout() ? NULL : NO_SWAP;
}

/* For a test that ends by a failed assertion. */
static void restore_at_exit(void)
{
	static bool done;

	if (!done)
		atexit(swap_restore);
	done = true;
}

int swap_disable(void)
{
	if (swapoff(swap))
		return -errno;
	disabled = true;
	restore_at_exit();
	return 0;
}

int swap_enable(void)
{
	if (swapon(swap, 0))
		return -errno;
	disabled = false;
	return 0;
}

static void exchange(const char *on, const char *off)
{
	VFIO_ASSERT_EQ(swapon(on, 0), 0, "swapon of %s: %s", on, strerror(errno));
	VFIO_ASSERT_EQ(swapoff(off), 0, "swapoff of %s: %s", off, strerror(errno));
}

const char *swap_to_file(void)
{
	const char *path = getenv("VFIO_SELFTESTS_SWAP_FILE");
	const char *missing = swap_find();

	if (!path)
		return "no swap file: set VFIO_SELFTESTS_SWAP_FILE";
	if (missing)
		return missing;
	exchange(path, swap);
	snprintf(other_swap, sizeof(other_swap), "%s", swap);
	snprintf(swap, sizeof(swap), "%s", path);
	restore_at_exit();
	return NULL;
}

void swap_restore(void)
{
	if (disabled)
		swap_enable();
	if (!other_swap[0])
		return;
	exchange(other_swap, swap);
	snprintf(swap, sizeof(swap), "%s", other_swap);
	other_swap[0] = 0;
}
