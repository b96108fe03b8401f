// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <libvfio/assert.h>
#include <libvfio/memory.h>
#include <libvfio/uffd.h>

bool uffd_open(struct uffd *uffd, u64 features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };

	uffd->fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (uffd->fd >= 0 && !ioctl(uffd->fd, UFFDIO_API, &api))
		return true;
	if (uffd->fd >= 0)
		close(uffd->fd);
	uffd->fd = 0;
	return false;
}

int uffd_register(struct uffd *uffd, void *vaddr, u64 size, u64 mode)
{
	struct uffdio_register reg = {
		.range = { .start = (u64)vaddr, .len = size },
		.mode = mode,
	};

	return ioctl(uffd->fd, UFFDIO_REGISTER, &reg) ? -errno : 0;
}

int uffd_write_protect(struct uffd *uffd, void *vaddr, u64 size, bool protect)
{
	struct uffdio_writeprotect args = {
		.range = { .start = (u64)vaddr, .len = size },
		.mode = protect ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return ioctl(uffd->fd, UFFDIO_WRITEPROTECT, &args) ? -errno : 0;
}

int uffd_move(struct uffd *uffd, void *to, void *from, u64 size)
{
	struct uffdio_move args = {
		.dst = (u64)to,
		.src = (u64)from,
		.len = size,
	};

	return ioctl(uffd->fd, UFFDIO_MOVE, &args) ? -errno : 0;
}

/*
 * Two may fault on a page, and the second event comes when it is there, or when it
 * is gone again. Who waits has to look then.
 */
static void check_resolved(struct uffd *uffd, u64 vaddr, int ret,
			   const char *what)
{
	struct uffdio_range range = { .start = vaddr, .len = MEM_PAGE_SIZE };

	if (!ret)
		return;
	VFIO_ASSERT_TRUE(errno == EEXIST || errno == EFAULT, "%s: %s", what,
			 strerror(errno));
	VFIO_ASSERT_TRUE(!ioctl(uffd->fd, UFFDIO_WAKE, &range), "UFFDIO_WAKE: %s",
			 strerror(errno));
}

static void resolve_missing(struct uffd *uffd, u64 vaddr)
{
	u32 page[MEM_PAGE_SIZE / sizeof(u32)];
	struct uffdio_copy copy = {
		.dst = vaddr,
		.src = (u64)page,
		.len = MEM_PAGE_SIZE,
	};

	uffd->content(page, vaddr, uffd->data);
	check_resolved(uffd, vaddr, ioctl(uffd->fd, UFFDIO_COPY, &copy),
		       "UFFDIO_COPY");
}

static void resolve_minor(struct uffd *uffd, u64 vaddr)
{
	struct uffdio_continue args = {
		.range = { .start = vaddr, .len = MEM_PAGE_SIZE },
	};

	check_resolved(uffd, vaddr, ioctl(uffd->fd, UFFDIO_CONTINUE, &args),
		       "UFFDIO_CONTINUE");
}

static void resolve(struct uffd *uffd, const struct uffd_msg *msg)
{
	u64 vaddr = msg->arg.pagefault.address & ~(MEM_PAGE_SIZE - 1);
	u64 flags = msg->arg.pagefault.flags;

	VFIO_ASSERT_TRUE(msg->event == UFFD_EVENT_PAGEFAULT, "event %u of userfaultfd",
			 msg->event);
	if (flags & UFFD_PAGEFAULT_FLAG_WP)
		VFIO_ASSERT_TRUE(!uffd_write_protect(uffd, (void *)vaddr,
						     MEM_PAGE_SIZE, false),
				 "UFFDIO_WRITEPROTECT");
	else if (flags & UFFD_PAGEFAULT_FLAG_MINOR)
		resolve_minor(uffd, vaddr);
	else
		resolve_missing(uffd, vaddr);
	uffd->resolved++;
}

static void *uffd_thread(void *data)
{
	struct uffd *uffd = data;
	struct pollfd fds[2] = {
		{ .fd = uffd->fd, .events = POLLIN },
		{ .fd = uffd->stop[0] },
	};
	struct uffd_msg msg;

	for (;;) {
		VFIO_ASSERT_GT(poll(fds, 2, -1), 0, "poll of userfaultfd");
		if (fds[1].revents)
			return NULL;
		if (read(uffd->fd, &msg, sizeof(msg)) == sizeof(msg))
			resolve(uffd, &msg);
	}
}

void uffd_start(struct uffd *uffd)
{
	VFIO_ASSERT_EQ(pipe(uffd->stop), 0);
	VFIO_ASSERT_TRUE(!pthread_create(&uffd->thread, NULL, uffd_thread, uffd),
			 "pthread_create");
	uffd->running = true;
}

void uffd_close(struct uffd *uffd)
{
	if (uffd->running) {
		close(uffd->stop[1]);
		VFIO_ASSERT_EQ(pthread_join(uffd->thread, NULL), 0);
		close(uffd->stop[0]);
	}
	if (uffd->fd)
		close(uffd->fd);
	memset(uffd, 0, sizeof(*uffd));
}
