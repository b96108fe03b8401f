/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A tiny KVM guest in the same process, which does single accesses on request:
 * what a guest kernel does when a driver maps memory for DMA.
 *
 * Guest virtual addresses equal guest physical ones in mapped memory. The
 * calling thread runs the vCPU; one request is under way at a time.
 */
#ifndef SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_GUEST_H
#define SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_GUEST_H

#include <linux/types.h>

#include "kvm_util.h"

struct guest {
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	u64 bitmap;	/* guest physical address of the pin bitmap */
	u32 nslots;
	void (*around_run)(bool begin);	/* called before and after KVM_RUN */
};

struct guest *guest_init(void);
void guest_cleanup(struct guest *guest);
/* Page tables of the guest take memory, so it gets to this much of a mapping. */
#define GUEST_MAX_REACH	(64UL << 20)

/* Give the guest @size bytes of the process's memory at @gpa. */
void guest_map(struct guest *guest, u64 gpa, void *vaddr, u64 size);

/*
 * Functions with two underscores return 0, or -errno of KVM_RUN if the
 * access can't be done: the guest is back where it was before the request.
 */
int __guest_touch(struct guest *guest, u64 gpa);
int __guest_read(struct guest *guest, u64 gpa, u32 *value);
int __guest_write(struct guest *guest, u64 gpa, u32 value);

/* A locked read-modify-write that changes nothing. */
void guest_touch(struct guest *guest, u64 gpa);
u32 guest_read(struct guest *guest, u64 gpa);
void guest_write(struct guest *guest, u64 gpa, u32 value);

/* Set or clear a bit of the pin bitmap. */
void guest_mark(struct guest *guest, u64 bit);
void guest_unmark(struct guest *guest, u64 bit);

#endif /* SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_GUEST_H */
