# shellcheck shell=dash disable=SC2046,SC2086 # lists of words
# SPDX-License-Identifier: GPL-2.0
#
# about=negative control of net-vm-marks: without the touch there are DMA faults
# ram=1G
# devices=igb:1 e1000e:1
# faults=e1000e

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh
# shellcheck source=scenarios/net-vm.sh
. /scenarios/net-vm.sh

swap_on 512M
check "the guest comes up" \
	net_vm_start 1 unpinned "dma_pinning.pause_us=200 dma_pinning.skip_touch=1"
net_vm_exercise 1
check_value "DMA faults on the host's console" "$(kernel_faults)" -gt 0
check_value "marks found" "$(vm_stat 1 marks_found)" -gt 0
vm_stop 1
finish
