# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0
#
# about=a disk is read into memory that the host has just taken
# ram=1G
# devices=nvme:1
# disk=64M

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh
# shellcheck source=scenarios/cold-vm.sh
. /scenarios/cold-vm.sh

check "all is read" cold_vm "dma_pinning.pause_us=100"
check_value "reads that failed" "$(vm_value 1 read_errors)" -eq 0
check_value "blocks with wrong data" "$(vm_value 1 disk_mismatches)" -eq 0
check_value "DMA faults on the host's console" "$(kernel_faults)" -eq 0
check_value "pages taken" "$(vmstat pswpout)" -gt 5000
vm_stop 1
finish
