// SPDX-License-Identifier: GPL-2.0-only
/*
 * A VFIO device that has no IOMMU of its own, as mediated devices have none, and
 * that does what they do with the memory of the user at the user's request: it
 * pins pages by IOVA, reads and writes at an IOVA, and lets go what is unmapped.
 * For tools/testing/selftests/vfio.
 *
 * Locks: test_vfio_pin_device.lock is taken in a callback for which VFIO holds
 * the lock of its list of devices, and VFIO takes that of the container under it.
 */
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vfio.h>
#include <linux/wait.h>
#include <linux/xarray.h>
#include "test_vfio_pin_uapi.h"

/**
 * struct test_vfio_pin_device - The device
 * @vdev: what VFIO knows of it
 * @lock: a page is pinned or unpinned
 * @pins: an entry for each page that is pinned, by page number in IOVA space
 * @unmaps: how often it was told of an unmapping
 * @hold: the next notification has to wait
 * @wait: where it does
 */
struct test_vfio_pin_device {
	struct vfio_device vdev;
	struct mutex lock;		/* pins */
	struct xarray pins;
	atomic_t unmaps;
	bool hold;
	wait_queue_head_t wait;
};

static struct platform_device *test_parent;
static struct test_vfio_pin_device *test_device;

static struct test_vfio_pin_device *to_test(struct vfio_device *vdev)
{
	return container_of(vdev, struct test_vfio_pin_device, vdev);
}

static int test_pin(struct test_vfio_pin_device *test,
		    struct test_vfio_pin *pin)
{
	unsigned long index = pin->iova >> PAGE_SHIFT;
	struct page *page;
	int ret;

	guard(mutex)(&test->lock);
	ret = xa_insert(&test->pins, index, xa_mk_value(0), GFP_KERNEL_ACCOUNT);
	if (ret)
		return ret == -EBUSY ? -EEXIST : ret;
	ret = vfio_pin_pages(&test->vdev, pin->iova, 1,
			     IOMMU_READ | IOMMU_WRITE, &page);
	if (ret != 1) {
		xa_erase(&test->pins, index);
		return ret;
	}
	pin->pfn = page_to_pfn(page);
	return 0;
}

static int test_unpin(struct test_vfio_pin_device *test, u64 iova)
{
	guard(mutex)(&test->lock);
	if (!xa_erase(&test->pins, iova >> PAGE_SHIFT))
		return -ENOENT;
	vfio_unpin_pages(&test->vdev, iova, 1);
	return 0;
}

static void test_unpin_range(struct test_vfio_pin_device *test, u64 iova,
			     u64 last)
{
	unsigned long index;
	void *entry;

	guard(mutex)(&test->lock);
	xa_for_each_range(&test->pins, index, entry, iova >> PAGE_SHIFT,
			  last >> PAGE_SHIFT) {
		xa_erase(&test->pins, index);
		vfio_unpin_pages(&test->vdev, (u64)index << PAGE_SHIFT, 1);
	}
}

/* A process that is killed must not wait here for one that clears @hold. */
static void test_dma_unmap(struct vfio_device *vdev, u64 iova, u64 length)
{
	struct test_vfio_pin_device *test = to_test(vdev);

	atomic_inc(&test->unmaps);
	wait_event_killable(test->wait, !READ_ONCE(test->hold));
	test_unpin_range(test, iova, iova + length - 1);
}

static void test_set_hold(struct test_vfio_pin_device *test, bool hold)
{
	WRITE_ONCE(test->hold, hold);
	wake_up_all(&test->wait);
}

static int test_open_device(struct vfio_device *vdev)
{
	struct test_vfio_pin_device *test = to_test(vdev);

	atomic_set(&test->unmaps, 0);
	test_set_hold(test, false);
	return 0;
}

static void test_close_device(struct vfio_device *vdev)
{
	test_unpin_range(to_test(vdev), 0, U64_MAX);
}

static long test_ioctl_pin(struct test_vfio_pin_device *test, unsigned int cmd,
			   void __user *arg)
{
	struct test_vfio_pin pin;
	int ret;

	if (copy_from_user(&pin, arg, sizeof(pin)))
		return -EFAULT;
	if (!PAGE_ALIGNED(pin.iova))
		return -EINVAL;
	if (cmd == TEST_VFIO_UNPIN)
		return test_unpin(test, pin.iova);
	ret = test_pin(test, &pin);
	if (ret)
		return ret;
	return copy_to_user(arg, &pin, sizeof(pin)) ? -EFAULT : 0;
}

static long test_ioctl(struct vfio_device *vdev, unsigned int cmd,
		       unsigned long arg)
{
	struct test_vfio_pin_device *test = to_test(vdev);

	switch (cmd) {
	case TEST_VFIO_PIN:
	case TEST_VFIO_UNPIN:
		return test_ioctl_pin(test, cmd, (void __user *)arg);
	case TEST_VFIO_UNMAPS:
		return atomic_read(&test->unmaps);
	case TEST_VFIO_HOLD:
		test_set_hold(test, arg);
		return 0;
	default:
		return -ENOTTY;
	}
}

static ssize_t test_read(struct vfio_device *vdev, char __user *buf,
			 size_t count, loff_t *pos)
{
	void *data;
	int ret;

	count = min(count, PAGE_SIZE);
	data = kmalloc(count, GFP_KERNEL_ACCOUNT);
	if (!data)
		return -ENOMEM;
	ret = vfio_dma_rw(vdev, *pos, data, count, false);
	if (!ret && copy_to_user(buf, data, count))
		ret = -EFAULT;
	kfree(data);
	return ret ?: count;
}

static ssize_t test_write(struct vfio_device *vdev, const char __user *buf,
			  size_t count, loff_t *pos)
{
	void *data;
	int ret;

	count = min(count, PAGE_SIZE);
	data = memdup_user(buf, count);
	if (IS_ERR(data))
		return PTR_ERR(data);
	ret = vfio_dma_rw(vdev, *pos, data, count, true);
	kfree(data);
	return ret ?: count;
}

static const struct vfio_device_ops test_ops = {
	.name		= "test-vfio-pin",
	.open_device	= test_open_device,
	.close_device	= test_close_device,
	.bind_iommufd	= vfio_iommufd_emulated_bind,
	.unbind_iommufd	= vfio_iommufd_emulated_unbind,
	.attach_ioas	= vfio_iommufd_emulated_attach_ioas,
	.detach_ioas	= vfio_iommufd_emulated_detach_ioas,
	.read		= test_read,
	.write		= test_write,
	.ioctl		= test_ioctl,
	.dma_unmap	= test_dma_unmap,
};

static int __init test_vfio_pin_init(void)
{
	struct test_vfio_pin_device *test;
	int ret;

	test_parent = platform_device_register_simple("test_vfio_pin",
						      PLATFORM_DEVID_NONE,
						      NULL, 0);
	if (IS_ERR(test_parent))
		return PTR_ERR(test_parent);
	test = vfio_alloc_device(test_vfio_pin_device, vdev, &test_parent->dev,
				 &test_ops);
	if (IS_ERR(test)) {
		ret = PTR_ERR(test);
		goto err_parent;
	}
	mutex_init(&test->lock);
	xa_init(&test->pins);
	init_waitqueue_head(&test->wait);
	ret = vfio_register_emulated_iommu_dev(&test->vdev);
	if (ret)
		goto err_device;
	test_device = test;
	return 0;

err_device:
	vfio_put_device(&test->vdev);
err_parent:
	platform_device_unregister(test_parent);
	return ret;
}

/* VFIO's own initcall may come later in the link order. */
late_initcall(test_vfio_pin_init);

static void __exit test_vfio_pin_exit(void)
{
	vfio_unregister_group_dev(&test_device->vdev);
	vfio_put_device(&test_device->vdev);
	platform_device_unregister(test_parent);
}
module_exit(test_vfio_pin_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("VFIO device that pins memory at its user's request");
