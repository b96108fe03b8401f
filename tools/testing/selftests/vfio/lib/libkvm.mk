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
LIBKVM_C += lib/x86/apic.c
LIBKVM_C += lib/x86/hyperv.c
LIBKVM_C += lib/x86/pmu.c
LIBKVM_C += lib/x86/processor.c
LIBKVM_C += lib/x86/sev.c
LIBKVM_C += lib/x86/svm.c
LIBKVM_C += lib/x86/ucall.c
LIBKVM_C += lib/x86/vmx.c
LIBKVM_S := lib/x86/handlers.S

LIBKVM_OUTPUT := $(OUTPUT)/libkvm
LIBKVM_C_O := $(patsubst %.c, $(LIBKVM_OUTPUT)/%.o, $(LIBKVM_C))
LIBKVM_S_O := $(patsubst %.S, $(LIBKVM_OUTPUT)/%.o, $(LIBKVM_S))
LIBKVM_O := $(LIBKVM_C_O) $(LIBKVM_S_O)

LIBKVM_O_DIRS := $(sort $(patsubst %/, %, $(dir $(LIBKVM_O))))

$(LIBKVM_O_DIRS):
	mkdir -p $@

LIBKVM_CFLAGS := -O2 -std=gnu99 -march=x86-64-v2 -DCONFIG_64BIT -DQUIET
LIBKVM_CFLAGS += -U_FORTIFY_SOURCE -fno-builtin-memcmp -fno-builtin-memcpy
LIBKVM_CFLAGS += -fno-builtin-memset -fno-builtin-strnlen
LIBKVM_CFLAGS += -fno-stack-protector -fno-PIE -fno-strict-aliasing
LIBKVM_CFLAGS += -Wno-gnu-variable-sized-type-not-at-end
LIBKVM_CFLAGS += -I$(LIBKVM_SRCDIR)/include -I$(LIBKVM_SRCDIR)/include/x86
LIBKVM_CFLAGS += -I$(selfdir)/rseq -I$(top_srcdir)/tools/arch/x86/include

$(LIBKVM_O): CFLAGS += $(LIBKVM_CFLAGS)
# Or the compiler makes memcmp() of memcmp().
$(LIBKVM_OUTPUT)/lib/string_override.o: CFLAGS += -ffreestanding

$(LIBKVM_C_O): $(LIBKVM_OUTPUT)/%.o : $(LIBKVM_SRCDIR)/%.c | $(LIBKVM_O_DIRS)
	$(CC) $(CFLAGS) $(CPPFLAGS) $(TARGET_ARCH) -c $< -o $@

$(LIBKVM_S_O): $(LIBKVM_OUTPUT)/%.o : $(LIBKVM_SRCDIR)/%.S | $(LIBKVM_O_DIRS)
	$(CC) $(CFLAGS) $(CPPFLAGS) $(TARGET_ARCH) -c $< -o $@

EXTRA_CLEAN += $(LIBKVM_OUTPUT)
