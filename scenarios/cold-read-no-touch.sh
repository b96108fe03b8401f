# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0
#
# about=negative control of cold-read: DMA faults when the guest does not touch
# ram=1G
# devices=nvme:1
# disk=64M
# faults=nvme
#
# The marks still hold, so that nothing is taken while a read is under way.

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh
# shellcheck source=scenarios/cold-vm.sh
. /scenarios/cold-vm.sh

ON_FAULT=,on-dma-fault=report
cold_vm "dma_pinning.pause_us=100 dma_pinning.skip_touch=1"
check_value "DMA faults on the host's console" "$(kernel_faults)" -gt 0
check "the guest lives" vm_alive 1
vm_stop 1
finish
