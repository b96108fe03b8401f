# shellcheck shell=dash disable=SC2046,SC2086 # lists of words
# SPDX-License-Identifier: GPL-2.0
#
# about=a guest that neither marks nor touches gets DMA faults and nothing else
# ram=1G
# devices=igb:1 e1000e:1
# faults=e1000e

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh
# shellcheck source=scenarios/net-vm.sh
. /scenarios/net-vm.sh

swap_on 512M
check "the guest comes up" \
	net_vm_start 1 unpinned "dma_pinning.skip_mark=1 dma_pinning.skip_touch=1"
net_vm_exercise 1
check_value "DMA faults on the host's console" "$(kernel_faults)" -gt 0
check_value "marks found" "$(vm_stat 1 marks_found)" -eq 0
check "the guest lives" vm_alive 1
vm_stop 1
finish
