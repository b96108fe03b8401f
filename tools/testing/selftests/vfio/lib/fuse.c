// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <libvfio/assert.h>
#include <libvfio/fuse.h>
#include <libvfio/memory.h>

#define FILE_NODE	(FUSE_ROOT_ID + 1)
#define VALID_S		3600

static struct fuse_attr attributes(u64 node)
{
	return (struct fuse_attr) {
		.ino = node,
		.mode = node == FUSE_ROOT_ID ? S_IFDIR | 0700 : S_IFREG | 0600,
		.size = node == FUSE_ROOT_ID ? 0 : MEM_PAGE_SIZE,
		.nlink = 1,
		.blksize = MEM_PAGE_SIZE,
	};
}

static void send_reply(int fd, const struct fuse_in_header *in, int error,
		       const void *data, size_t size)
{
	struct fuse_out_header out = {
		.len = sizeof(out) + size,
		.error = -error,
		.unique = in->unique,
	};
	struct iovec parts[2] = {
		{ .iov_base = &out, .iov_len = sizeof(out) },
		{ .iov_base = (void *)data, .iov_len = size },
	};

	VFIO_ASSERT_TRUE(writev(fd, parts, 2) == out.len || errno == ENOENT,
			 "reply to opcode %u: %s", in->opcode, strerror(errno));
}

static void answer_init(int fd, const struct fuse_in_header *in)
{
	struct fuse_init_out out = {
		.major = FUSE_KERNEL_VERSION,
		.minor = FUSE_KERNEL_MINOR_VERSION,
		.max_write = MEM_PAGE_SIZE,
	};

	send_reply(fd, in, 0, &out, sizeof(out));
}

static void answer_lookup(int fd, const struct fuse_in_header *in)
{
	struct fuse_entry_out out = {
		.nodeid = FILE_NODE,
		.entry_valid = VALID_S,
		.attr_valid = VALID_S,
		.attr = attributes(FILE_NODE),
	};

	send_reply(fd, in, 0, &out, sizeof(out));
}

static void answer_getattr(int fd, const struct fuse_in_header *in)
{
	struct fuse_attr_out out = {
		.attr_valid = VALID_S,
		.attr = attributes(in->nodeid),
	};

	send_reply(fd, in, 0, &out, sizeof(out));
}

static void serve_one(int fd, const struct fuse_in_header *in)
{
	struct fuse_open_out opened = {};

	switch (in->opcode) {
	case FUSE_INIT:
		return answer_init(fd, in);
	case FUSE_LOOKUP:
		return answer_lookup(fd, in);
	case FUSE_GETATTR:
		return answer_getattr(fd, in);
	case FUSE_OPEN:
		return send_reply(fd, in, 0, &opened, sizeof(opened));
	case FUSE_READ:
		/* The one that never gets an answer. */
		say('r');
		return;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		/* No answer is expected. */
		return;
	default:
		return send_reply(fd, in, EOPNOTSUPP, NULL, 0);
	}
}

static int serve(void *data)
{
	int fd = *(int *)data;
	union {
		struct fuse_in_header header;
		char bytes[FUSE_MIN_READ_BUFFER + MEM_PAGE_SIZE];
	} in;

	while (read(fd, &in, sizeof(in)) > 0)
		serve_one(fd, &in.header);
	return 0;
}

static bool mount_at(const char *dir, int fd)
{
	char options[96];

	snprintf(options, sizeof(options),
		 "fd=%d,rootmode=40000,user_id=0,group_id=0", fd);
	return !mount("vfio-selftest", dir, "fuse", 0, options);
}

/* The file stays when its directory is gone. */
static int open_and_unmount(const char *dir)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "%s/file", dir);
	fd = open(path, O_RDWR);
	umount2(dir, MNT_DETACH);
	return fd;
}

const char *fuse_open(struct fuse_file *file)
{
	char dir[] = "/tmp/vfio-selftest-XXXXXX";
	int fd = open("/dev/fuse", O_RDWR);

	memset(file, 0, sizeof(*file));
	if (fd < 0)
		return "no /dev/fuse";
	VFIO_ASSERT_NOT_NULL(mkdtemp(dir));
	/* The server can't read before there is a mount. */
	if (!mount_at(dir, fd)) {
		rmdir(dir);
		close(fd);
		return "a FUSE file system can't be mounted";
	}
	child_start(&file->server, serve, &fd);
	/* From now on, the end of the server is the end of the file system. */
	close(fd);
	file->fd = open_and_unmount(dir);
	rmdir(dir);
	VFIO_ASSERT_GE(file->fd, 0);
	return NULL;
}

bool fuse_asked(struct fuse_file *file, int ms)
{
	return child_hears(&file->server, 'r', ms);
}

void fuse_close(struct fuse_file *file)
{
	if (!file->server.running)
		return;
	child_kill(&file->server);
	close(file->fd);
	memset(file, 0, sizeof(*file));
}
