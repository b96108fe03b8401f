/* SPDX-License-Identifier: GPL-2.0-only */
/* Trace events of the kernel, in a buffer of the test's own. */
#ifndef SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_TRACE_H
#define SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_TRACE_H

#include <linux/types.h>
#include <stdbool.h>

#define NO_TRACE	"no trace events in this kernel"

/* Record @event, "system:name", from now on. False if the kernel has none. */
bool trace_start(const char *event);
/* Each event so far, as a line of text. */
void trace_each(void (*fn)(const char *line, void *data), void *data);
/* Lines so far that contain @text. */
u64 trace_count(const char *text);
/* Stop, and forget all. */
void trace_stop(void);

#endif /* SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_TRACE_H */
