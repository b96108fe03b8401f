# shellcheck shell=dash disable=SC2046,SC2086,SC2317 # lists of words; called by check
# SPDX-License-Identifier: GPL-2.0
#
# about=a guest that declines has a device that does not answer, never wrong data
# ram=1G
# devices=nvme:1
# disk=64M
#
# Without marks, some of what the device writes would be dropped by the IOMMU, and
# the device would report success all the same.

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh

# guest_ended: by its own account, in good order or not.
guest_ended() { vm_reached 1 checked || vm_reached 1 failed; }

vfio_bind $(devices_of $NVME)
swap_on 512M
LIMIT=,limit=128M
vm_start 1 256 "work=cold chunks=256 fresh=1 buffered=1 dma_pinning=off \
nvme_core.admin_timeout=10" $(unpinned $(devices_of $NVME))
vm_boot 1
vm_tell 1 go
check "the guest ends with an error" within 120 guest_ended
wrong=$(vm_value 1 disk_mismatches)
check_value "pages read wrong without an error" "${wrong:-0}" -eq 0
check "the disk does not answer" [ "$(vm_value 1 failed)" = open_nvme ]
check "the guest's log says so" grep -q 'nvme.*\(timeout\|failed\|not ready\)' /out/vm1.console
check "QEMU's log says why" grep -q 'has not accepted dma-pinning: bus mastering' /out/vm1.qemu
check_value "DMA faults on the host's console" "$(kernel_faults)" -eq 0
grep nvme /out/vm1.console
tail -n 3 /out/vm1.qemu
vm_stop 1
finish
