# shellcheck shell=dash disable=SC2034,SC2046 # of the library; lists of words
# SPDX-License-Identifier: GPL-2.0
#
# about=a running guest gets a second disk, loses it and gets it again
# ram=1G
# devices=nvme:2
# disk=64M

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh

ROUNDS=2
CPUS=2

# round N: the second disk comes, is used and goes, while the host takes memory.
round() {
	vm_monitor 1 "device_add vfio-pci,id=second,bus=root1,host=$second,rombar=0,x-unpinned=on"
	check "QEMU has the second disk, round $1" within 20 vm_has_devices 1 2
	vm_reclaim 1 32M
	vm_tell 1 added
	check "both disks are used, round $1" vm_wait 1 "used$1" 60
	check_value "resident memory with two unpinned disks, MiB" "$(vm_rss 1)" -lt 250
	vm_monitor 1 "device_del second"
	check "the guest lets it go, round $1" vm_wait 1 "removed$1" 60
	check "QEMU lets it go, round $1" within 20 vm_has_devices 1 1
}

vfio_bind $(devices_of $NVME)
second=$(nth 2 $(devices_of $NVME))
swap_on 512M
vm_start 1 256 "work=hotplug rounds=$ROUNDS" -device pcie-root-port,id=root1,chassis=1 \
	$(unpinned "$(nth 1 $(devices_of $NVME))")
vm_boot 1
check "the first disk is used" vm_wait 1 ready 60
for n in $(seq $ROUNDS); do
	round "$n"
done
check_value "pages with wrong data" "$(vm_value 1 disk_mismatches)" -eq 0
check_value "DMA faults on the host's console" "$(kernel_faults)" -eq 0
check_value "DMA faults that the IOMMU counts" "$(vm_stat 1 dma_faults)" -eq 0
check_value "pages taken" "$(vmstat pswpout)" -gt 1000
vm_stop 1
finish
