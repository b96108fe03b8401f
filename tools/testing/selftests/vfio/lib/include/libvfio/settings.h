/* SPDX-License-Identifier: GPL-2.0-only */
/* Files in /sys and /proc that hold one setting or take one command each. */
#ifndef SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_SETTINGS_H
#define SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

/* Return 0 or -errno. */
int setting_write(const char *path, const char *value);
/* The first line. */
int setting_read(const char *path, char *value, size_t size);
/* A number in it, -1 if there is none. */
long long setting_number(const char *path);
/* setting_write(), and settings_restore() brings the old value back. */
int setting_change(const char *path, const char *value);
void settings_restore(void);

#endif /* SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_SETTINGS_H */
