# SPDX-License-Identifier: GPL-2.0-only
#
# The library of the cgroup selftests, compiled from there.
LIBCGROUP_SRCDIR := $(selfdir)/cgroup

LIBCGROUP_OUTPUT := $(OUTPUT)/libcgroup
LIBCGROUP_O := $(LIBCGROUP_OUTPUT)/cgroup_util.o

$(shell mkdir -p $(LIBCGROUP_OUTPUT))

CFLAGS += -I$(LIBCGROUP_SRCDIR)

$(LIBCGROUP_O): $(LIBCGROUP_OUTPUT)/%.o: $(LIBCGROUP_SRCDIR)/%.c
	$(CC) $(CFLAGS) $(CPPFLAGS) $(TARGET_ARCH) -c $< -o $@

EXTRA_CLEAN += $(LIBCGROUP_OUTPUT)
