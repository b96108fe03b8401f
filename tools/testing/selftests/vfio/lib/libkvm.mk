# SPDX-License-Identifier: GPL-2.0-only
#
# The library of the KVM selftests, compiled from there with the flags that
# code which runs in the guest needs.
LIBKVM_SRCDIR := $(selfdir)/kvm

LIBKVM_C := lib/assert.c
LIBKVM_C += lib/elf.c
LIBKVM_C += lib/guest_modes.c
LIBKVM_C += lib/guest_sprintf.c
LIBKVM_C += lib/io.c
LIBKVM_C += lib/kvm_util.c
LIBKVM_C += lib/rbtree.c
LIBKVM_C += lib/sparsebit.c
LIBKVM_C += lib/string_override.c
LIBKVM_C += lib/test_util.c
LIBKVM_C += lib/ucall_common.c
LIBKVM_C += lib/x86_64/apic.c
LIBKVM_C += lib/x86_64/hyperv.c
LIBKVM_C += lib/x86_64/pmu.c
LIBKVM_C += lib/x86_64/processor.c
LIBKVM_C += lib/x86_64/sev.c
LIBKVM_C += lib/x86_64/svm.c
LIBKVM_C += lib/x86_64/ucall.c
LIBKVM_C += lib/x86_64/vmx.c
LIBKVM_S := lib/x86_64/handlers.S

LIBKVM_OUTPUT := $(OUTPUT)/libkvm
LIBKVM_O := $(patsubst %.c,$(LIBKVM_OUTPUT)/%.o,$(LIBKVM_C))
LIBKVM_S_O := $(patsubst %.S,$(LIBKVM_OUTPUT)/%.o,$(LIBKVM_S))

$(shell mkdir -p $(sort $(dir $(LIBKVM_O) $(LIBKVM_S_O))))

CFLAGS += -U_FORTIFY_SOURCE -fno-builtin-memcmp -fno-builtin-memcpy
CFLAGS += -fno-builtin-memset -fno-builtin-strnlen
CFLAGS += -fno-stack-protector -fno-PIE -fno-strict-aliasing
CFLAGS += -DCONFIG_64BIT -DQUIET
CFLAGS += -I$(LIBKVM_SRCDIR)/include -I$(LIBKVM_SRCDIR)/include/x86_64
CFLAGS += -I$(selfdir) -I$(selfdir)/rseq
CFLAGS += -I$(top_srcdir)/tools/include
CFLAGS += -I$(top_srcdir)/tools/arch/x86/include
LDFLAGS += -pthread -no-pie

# Or the compiler makes memcmp() of memcmp().
$(LIBKVM_OUTPUT)/lib/string_override.o: CFLAGS += -ffreestanding

$(LIBKVM_O): $(LIBKVM_OUTPUT)/%.o: $(LIBKVM_SRCDIR)/%.c
	$(CC) $(CFLAGS) $(CPPFLAGS) $(TARGET_ARCH) -c $< -o $@

$(LIBKVM_S_O): $(LIBKVM_OUTPUT)/%.o: $(LIBKVM_SRCDIR)/%.S
	$(CC) $(CFLAGS) $(CPPFLAGS) $(TARGET_ARCH) -c $< -o $@

EXTRA_CLEAN += $(LIBKVM_OUTPUT)
