# shellcheck shell=dash disable=SC2046,SC2086,SC2317 # lists of words; called by check
# SPDX-License-Identifier: GPL-2.0
#
# about=a guest's kernel starts one that knows of no marks, or crashes into another
# ram=1G
# devices=nvme:1
# disk=64M
# timeout=600
# guest-splat=Attempted to kill init

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh

READY=1 OFF=0 FROZEN=2	# states of the service
DISK=$(devices_of $NVME)

# kexec_vm ARGUMENTS: runs the guest until it starts the other kernel.
kexec_vm() {
	vm_start 1 256 "work=kexec $1" $(unpinned $DISK) -trace dma_pinning_mode \
		-drive if=virtio,format=raw,readonly=on,file=/boot/bzImage \
		-drive if=virtio,format=raw,readonly=on,file=/boot/guest.cpio
	vm_boot 1
	check "$2: the first kernel uses the disk" vm_wait 1 loaded 100
	check_value "$2: it refuses to hibernate" "$(vm_value 1 hibernation_refused)" -eq 1
	vm_reclaim_all 1
	vm_tell 1 go
}

# went FROM TO: how often the service has changed its state so.
went() { grep -c "dma_pinning_mode state $1 -> $2 " /out/vm1.qemu; }

# no_harm WHAT: what has to be right in each case.
no_harm() {
	check_value "$1: pages with wrong data" "$(vm_value 1 disk_mismatches)" -eq 0
	check_value "$1: DMA faults on the host's console" "$(kernel_faults)" -eq 0
	vm_stop 1
}

vfio_bind $DISK
swap_on 512M

kexec_vm "next=initcall_blacklist=dma_pinning_init" unaware
check "unaware: the disk does not answer" \
	within 100 grep -q "probe with driver nvme failed" /out/vm1.console
check_value "unaware: OFF came before it" "$(went $READY $OFF)" -eq 1
check "unaware: bus mastering is off in hardware" bus_master_off $DISK
check "unaware: the guest's log says why" \
	grep -q "offer is not accepted: devices that it passes through can't" /out/vm1.console
no_harm unaware

kexec_vm "crash=1 crashkernel=96M" crash
check "crash: the other kernel uses the disk" vm_wait 1 after 100
check_value "crash: FROZEN came before it" "$(went $READY $FROZEN)" -eq 1
check_value "crash: the host relies on it as well" "$(went $FROZEN $READY)" -eq 1
check_value "crash: marks of the first" "$(vm_value 1 inherited)" -gt 0
no_harm crash
finish
