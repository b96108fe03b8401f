# SPDX-License-Identifier: GPL-2.0-only
LIBVFIO_SRCDIR := $(selfdir)/vfio/lib

LIBVFIO_C := cgroup.c
LIBVFIO_C += drivers/edu/edu.c
LIBVFIO_C += fuse.c
LIBVFIO_C += guest.c
LIBVFIO_C += hostile.c
LIBVFIO_C += iommu.c
LIBVFIO_C += memory.c
LIBVFIO_C += settings.c
LIBVFIO_C += shadow.c
LIBVFIO_C += swap.c
LIBVFIO_C += trace.c
LIBVFIO_C += uffd.c
LIBVFIO_C += unpinned.c
LIBVFIO_C += vfio_pci_device.c
LIBVFIO_C += vfio_pin_device.c

LIBVFIO_OUTPUT := $(OUTPUT)/libvfio
LIBVFIO_O := $(patsubst %.c,$(LIBVFIO_OUTPUT)/%.o,$(LIBVFIO_C))

$(shell mkdir -p $(sort $(dir $(LIBVFIO_O))))

CFLAGS += -I$(LIBVFIO_SRCDIR)/include -I$(top_srcdir)

$(LIBVFIO_O): $(LIBVFIO_OUTPUT)/%.o: $(LIBVFIO_SRCDIR)/%.c
	$(CC) $(CFLAGS) $(CPPFLAGS) $(TARGET_ARCH) -c $< -o $@

EXTRA_CLEAN += $(LIBVFIO_OUTPUT)
