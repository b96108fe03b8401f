/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A file of one page whose server never answers a read: who faults on it waits,
 * with all locks that it holds, until the server is gone.
 */
#ifndef SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_FUSE_H
#define SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_FUSE_H

#include <stdbool.h>

#include <libvfio/child.h>

struct fuse_file {
	int fd;
	struct child server;
};

/*
 * Start the server. What the caller has open then stays open in the server, so it
 * comes before devices. Returns NULL, or why there can't be one: a line for SKIP().
 */
const char *fuse_open(struct fuse_file *file);
/* Has somebody read within @ms? Each read is reported once. */
bool fuse_asked(struct fuse_file *file, int ms);
/* End the server: reads fail. */
void fuse_close(struct fuse_file *file);

#endif /* SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_FUSE_H */
