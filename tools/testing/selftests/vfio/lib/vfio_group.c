// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/limits.h>
#include <linux/vfio.h>

#include <libvfio/vfio_group.h>

int vfio_group_open(const char *bus, const char *name)
{
	char path[PATH_MAX], target[PATH_MAX] = "";
	int fd;

	snprintf_assert(path, PATH_MAX, "/sys/bus/%s/devices/%s/iommu_group", bus,
			name);
	VFIO_ASSERT_GT(readlink(path, target, sizeof(target) - 1), 0,
		       "%s has no IOMMU group", name);
	snprintf_assert(path, PATH_MAX, "/dev/vfio/%s", basename(target));
	fd = open(path, O_RDWR);
	VFIO_ASSERT_GE(fd, 0, "open(%s) failed", path);
	return fd;
}

int vfio_group_set_container(int group_fd, struct iommu *iommu)
{
	return ioctl(group_fd, VFIO_GROUP_SET_CONTAINER, &iommu->container_fd) ?
		-errno : 0;
}

void vfio_group_unset_container(int group_fd)
{
	VFIO_ASSERT_EQ(ioctl(group_fd, VFIO_GROUP_UNSET_CONTAINER), 0);
}

void vfio_group_attach(int group_fd, struct iommu *iommu)
{
	struct vfio_group_status status = { .argsz = sizeof(status) };

	ioctl_assert(group_fd, VFIO_GROUP_GET_STATUS, &status);
	VFIO_ASSERT_TRUE(status.flags & VFIO_GROUP_FLAGS_VIABLE,
			 "the group is not bound to VFIO drivers throughout");
	VFIO_ASSERT_EQ(vfio_group_set_container(group_fd, iommu), 0);
	/* Fails if an earlier group has brought the IOMMU. */
	(void)ioctl(iommu->container_fd, VFIO_SET_IOMMU,
		    (void *)iommu->mode->iommu_type);
}
