/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * What the user of the VFIO device of test_vfio_pin.c can ask for
 */
#ifndef _LIB_TEST_VFIO_PIN_UAPI_H
#define _LIB_TEST_VFIO_PIN_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

/**
 * struct test_vfio_pin - A page that the device pins
 * @iova: in, its IOVA, page aligned
 * @pfn: out, its page frame number
 */
struct test_vfio_pin {
	__u64 iova;
	__u64 pfn;
};

#define TEST_VFIO_PIN_IOC	'@'

/* vfio_pin_pages(): EEXIST if the device has pinned it already. */
#define TEST_VFIO_PIN		_IOWR(TEST_VFIO_PIN_IOC, 0, struct test_vfio_pin)
/* vfio_unpin_pages() for @iova: ENOENT if it hasn't. */
#define TEST_VFIO_UNPIN		_IOW(TEST_VFIO_PIN_IOC, 1, struct test_vfio_pin)
/* Returns how often the device was told of an unmapping since it was opened. */
#define TEST_VFIO_UNMAPS	_IO(TEST_VFIO_PIN_IOC, 2)
/* Let it wait when it is told, before it unpins (argument 1), or go on (0). */
#define TEST_VFIO_HOLD		_IO(TEST_VFIO_PIN_IOC, 3)

/* read() and write() at an IOVA are vfio_dma_rw(), up to a page at a time. */

#endif /* _LIB_TEST_VFIO_PIN_UAPI_H */
