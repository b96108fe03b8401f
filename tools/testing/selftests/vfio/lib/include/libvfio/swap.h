/* SPDX-License-Identifier: GPL-2.0-only */
/* The swap space of the machine, which a test can take away and exchange. */
#ifndef SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_SWAP_H
#define SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_SWAP_H

/*
 * Find the swap space that is in use: the functions below are about the first one.
 * Returns NULL, or why there is none: a line for SKIP().
 */
const char *swap_find(void);

/* Return 0 or -errno. */
int swap_disable(void);
int swap_enable(void);

/*
 * From now on the file VFIO_SELFTESTS_SWAP_FILE, which mkswap has seen, is all swap
 * space that there is. Returns as swap_find(), which it calls.
 */
const char *swap_to_file(void);
/* Undo swap_disable() and swap_to_file(); at exit as well. */
void swap_restore(void);

#endif /* SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_SWAP_H */
