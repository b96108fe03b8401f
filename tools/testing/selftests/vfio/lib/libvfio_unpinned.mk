# SPDX-License-Identifier: GPL-2.0-only
#
# The part of libvfio that the tests of unpinned mappings use, and what it takes: a
# VM, by the library of the KVM selftests, and memory cgroups, by that of the cgroup
# selftests. No other program is linked with it. Included after libvfio.mk, by
# the Makefile of this directory only: that of the KVM selftests includes libvfio.mk.

LIBVFIO_UNPINNED_C := child.c
LIBVFIO_UNPINNED_C += dma.c
LIBVFIO_UNPINNED_C += fuse.c
LIBVFIO_UNPINNED_C += guest.c
LIBVFIO_UNPINNED_C += hostile.c
LIBVFIO_UNPINNED_C += iommu_leaves.c
LIBVFIO_UNPINNED_C += memcg.c
LIBVFIO_UNPINNED_C += memory.c
LIBVFIO_UNPINNED_C += settings.c
LIBVFIO_UNPINNED_C += shadow.c
LIBVFIO_UNPINNED_C += swap.c
LIBVFIO_UNPINNED_C += trace.c
LIBVFIO_UNPINNED_C += type1.c
LIBVFIO_UNPINNED_C += uffd.c
LIBVFIO_UNPINNED_C += unpinned.c
LIBVFIO_UNPINNED_C += unpinned_stats.c
LIBVFIO_UNPINNED_C += vfio_group.c
LIBVFIO_UNPINNED_C += vfio_pin_device.c

LIBVFIO_UNPINNED_O := $(patsubst %.c, $(LIBVFIO_OUTPUT)/%.o, $(LIBVFIO_UNPINNED_C))

include lib/libkvm.mk
include $(selfdir)/cgroup/lib/libcgroup.mk

UNPINNED_LIBS_O := $(LIBVFIO_UNPINNED_O) $(LIBKVM_O) $(LIBCGROUP_O)
UNPINNED_PROGS := $(filter $(OUTPUT)/vfio_dma_unpinned_%, \
			   $(TEST_GEN_PROGS) $(TEST_GEN_PROGS_EXTENDED))
UNPINNED_PROGS_O := $(patsubst %, %.o, $(UNPINNED_PROGS))

$(LIBVFIO_UNPINNED_O): $(LIBVFIO_OUTPUT)/%.o : $(LIBVFIO_SRCDIR)/%.c | $(LIBVFIO_O_DIRS)
	$(CC) $(CFLAGS) $(CPPFLAGS) $(TARGET_ARCH) -c $< -o $@

$(LIBVFIO_UNPINNED_O) $(UNPINNED_PROGS_O): CFLAGS += $(LIBKVM_CFLAGS)
# For lib/test_vfio_pin_uapi.h, which no directory of headers has.
$(LIBVFIO_OUTPUT)/vfio_pin_device.o: CFLAGS += -I$(top_srcdir)

$(UNPINNED_PROGS): $(UNPINNED_LIBS_O)
$(UNPINNED_PROGS): private LIBVFIO_O += $(UNPINNED_LIBS_O)
$(UNPINNED_PROGS): private LDFLAGS += -no-pie

-include $(patsubst %.o, %.d, $(UNPINNED_LIBS_O))
