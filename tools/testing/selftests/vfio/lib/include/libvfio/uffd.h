/* SPDX-License-Identifier: GPL-2.0-only */
/* userfaultfd, with a thread that resolves what the guest or the process meet. */
#ifndef SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_UFFD_H
#define SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_UFFD_H

#include <linux/types.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdbool.h>

struct uffd {
	int fd;			/* 0 if there is none */
	int stop[2];		/* a pipe: closed to stop the thread */
	pthread_t thread;
	bool running;
	u64 resolved;
	/* Content of the page at @vaddr, for one that is missing. */
	void (*content)(void *page, u64 vaddr, void *data);
	void *data;
};

/* False if the kernel does not have all of these features. */
bool uffd_open(struct uffd *uffd, u64 features);
/* Return 0 or -errno. */
int uffd_register(struct uffd *uffd, void *vaddr, u64 size, u64 mode);
int uffd_write_protect(struct uffd *uffd, void *vaddr, u64 size, bool protect);
int uffd_move(struct uffd *uffd, void *to, void *from, u64 size);
/* Resolve events from now on. */
void uffd_start(struct uffd *uffd);
/* Ends the thread, if there is one, and the registration. */
void uffd_close(struct uffd *uffd);

#endif /* SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_UFFD_H */
