// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/types.h>

#include <libvfio/assert.h>
#include <libvfio/settings.h>

#define MAX_SETTINGS	16
#define MAX_VALUE	128

static struct {
	char path[PATH_MAX];
	char value[MAX_VALUE];
} changed[MAX_SETTINGS];
static int nr_changed;

int setting_write(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY);
	ssize_t len;
	int err = 0;

	if (fd < 0)
		return -errno;
	len = write(fd, value, strlen(value));
	if (len < 0)
		err = -errno;
	else if (len != (ssize_t)strlen(value))
		err = -EIO;
	close(fd);
	return err;
}

int setting_read(const char *path, char *value, size_t size)
{
	int fd = open(path, O_RDONLY);
	int err = 0;
	ssize_t len;

	if (fd < 0)
		return -errno;
	len = read(fd, value, size - 1);
	if (len < 0)
		err = -errno;
	close(fd);
	value[err ? 0 : len] = 0;
	value[strcspn(value, "\n")] = 0;
	return err;
}

long long setting_number(const char *path)
{
	char value[MAX_VALUE];

	return setting_read(path, value, sizeof(value)) ? -1 :
							  strtoll(value, NULL, 0);
}

/* In a list of choices, the one that is made has brackets. */
static char *choice(char *value)
{
	char *start = strchr(value, '[');

	if (!start)
		return value;
	start[strcspn(start, "]")] = 0;
	return start + 1;
}

int setting_change(const char *path, const char *value)
{
	char old[MAX_VALUE];
	int err = setting_read(path, old, sizeof(old));

	if (!err)
		err = setting_write(path, value);
	if (err)
		return err;
	VFIO_ASSERT_LT(nr_changed, MAX_SETTINGS, "too many settings");
	/* For a test that ends by a failed assertion. */
	if (!nr_changed)
		atexit(settings_restore);
	snprintf(changed[nr_changed].path, PATH_MAX, "%s", path);
	snprintf(changed[nr_changed].value, MAX_VALUE, "%s", choice(old));
	nr_changed++;
	return 0;
}

void settings_restore(void)
{
	while (nr_changed) {
		nr_changed--;
		setting_write(changed[nr_changed].path,
			      changed[nr_changed].value);
	}
}
