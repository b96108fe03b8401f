// SPDX-License-Identifier: GPL-2.0-only
#include <linux/types.h>

#include "processor.h"
#include "ucall_common.h"

#include <libvfio/assert.h>
#include <libvfio/guest.h>

/* Memory that the guest can be given, all mappings together. */
#define GUEST_MAX_PAGES	4096

enum guest_op {
	GUEST_TOUCH,
	GUEST_READ,
	GUEST_WRITE,
	GUEST_MARK,
	GUEST_UNMARK,
};

/*
 * Written by the host in the guest's copy of this program's data, before it
 * runs the vCPU; @value is the answer to GUEST_READ.
 */
static struct guest_request {
	u64 op;
	u64 addr;	/* GPA, of the bitmap for marks */
	u64 value;	/* number of the bit for marks */
} request;

static void guest_execute(struct guest_request *req)
{
	switch (READ_ONCE(req->op)) {
	case GUEST_TOUCH:
		asm volatile("lock orb $0, (%0)" : : "r" (req->addr) : "memory");
		break;
	case GUEST_READ:
		req->value = READ_ONCE(*(u32 *)req->addr);
		break;
	case GUEST_WRITE:
		WRITE_ONCE(*(u32 *)req->addr, req->value);
		break;
	case GUEST_MARK:
		asm volatile("lock btsq %1, (%0)"
			     : : "r" (req->addr), "r" (req->value) : "memory");
		break;
	case GUEST_UNMARK:
		asm volatile("lock btrq %1, (%0)"
			     : : "r" (req->addr), "r" (req->value) : "memory");
		break;
	}
}

static void guest_code(void)
{
	for (;;) {
		guest_execute(&request);
		GUEST_SYNC(0);
	}
}

struct guest *guest_init(void)
{
	struct guest *guest = calloc_assert(1, sizeof(*guest));

	guest->vm = __vm_create_shape_with_one_vcpu(VM_SHAPE_DEFAULT,
						    &guest->vcpu,
						    GUEST_MAX_PAGES, guest_code);
	return guest;
}

void guest_cleanup(struct guest *guest)
{
	kvm_vm_free(guest->vm);
	free(guest);
}

void guest_map(struct guest *guest, u64 gpa, void *vaddr, u64 size)
{
	/* Slot 0 is the one of the library. */
	vm_set_user_memory_region(guest->vm, ++guest->nslots, 0, gpa, size,
				  vaddr);
	virt_map(guest->vm, gpa, gpa,
		 min(size, GUEST_MAX_REACH) / guest->vm->page_size);
}

/* Returns 0 or -errno of KVM_RUN. */
static int run_vcpu(struct guest *guest)
{
	int err;

	if (guest->around_run)
		guest->around_run(true);
	err = __vcpu_run(guest->vcpu) ? -errno : 0;
	if (guest->around_run)
		guest->around_run(false);
	return err;
}

static int guest_run(struct guest *guest, enum guest_op op, u64 addr,
		     u64 *value)
{
	struct guest_request *req;
	struct kvm_regs regs;
	struct ucall uc;
	int err;

	req = addr_gva2hva(guest->vm, (gva_t)&request);
	*req = (struct guest_request){ .op = op, .addr = addr, .value = *value };
	vcpu_regs_get(guest->vcpu, &regs);
	err = run_vcpu(guest);
	if (err) {
		vcpu_regs_set(guest->vcpu, &regs);
		return err;
	}
	switch (get_ucall(guest->vcpu, &uc)) {
	case UCALL_SYNC:
		break;
	case UCALL_ABORT:
		REPORT_GUEST_ASSERT(uc);
		break;
	default:
		VFIO_FAIL("the guest stopped, exit reason %u (%s)",
			  guest->vcpu->run->exit_reason,
			  exit_reason_str(guest->vcpu->run->exit_reason));
	}
	*value = req->value;
	return 0;
}

int __guest_touch(struct guest *guest, u64 gpa)
{
	u64 unused = 0;

	return guest_run(guest, GUEST_TOUCH, gpa, &unused);
}

int __guest_read(struct guest *guest, u64 gpa, u32 *value)
{
	u64 result = 0;
	int err = guest_run(guest, GUEST_READ, gpa, &result);

	*value = result;
	return err;
}

int __guest_write(struct guest *guest, u64 gpa, u32 value)
{
	u64 written = value;

	return guest_run(guest, GUEST_WRITE, gpa, &written);
}

void guest_touch(struct guest *guest, u64 gpa)
{
	int err = __guest_touch(guest, gpa);

	VFIO_ASSERT_TRUE(!err, "touch of 0x%lx: %s", gpa, strerror(-err));
}

u32 guest_read(struct guest *guest, u64 gpa)
{
	u32 value;
	int err = __guest_read(guest, gpa, &value);

	VFIO_ASSERT_TRUE(!err, "read of 0x%lx: %s", gpa, strerror(-err));
	return value;
}

void guest_write(struct guest *guest, u64 gpa, u32 value)
{
	int err = __guest_write(guest, gpa, value);

	VFIO_ASSERT_TRUE(!err, "write of 0x%lx: %s", gpa, strerror(-err));
}

static void guest_set_mark(struct guest *guest, enum guest_op op, u64 bit)
{
	int err = guest_run(guest, op, guest->bitmap, &bit);

	VFIO_ASSERT_TRUE(!err, "access to the bitmap: %s", strerror(-err));
}

void guest_mark(struct guest *guest, u64 bit)
{
	guest_set_mark(guest, GUEST_MARK, bit);
}

void guest_unmark(struct guest *guest, u64 bit)
{
	guest_set_mark(guest, GUEST_UNMARK, bit);
}
