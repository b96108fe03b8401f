# shellcheck shell=dash disable=SC2034,SC2046,SC2086 # of the library; lists of words
# SPDX-License-Identifier: GPL-2.0
#
# about=a guest that neither marks nor touches gets DMA faults, which are reported
# ram=1G
# devices=igb:1 e1000e:1
# faults=e1000e

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh
# shellcheck source=scenarios/net-vm.sh
. /scenarios/net-vm.sh

# events: how many there are of DMA faults.
events() { grep -c '"event": "VFIO_DMA_FAULT"' /out/vm1.qmp; }

swap_on 512M
ON_FAULT=,on-dma-fault=report
check "the guest comes up" net_vm_start 1 unpinned \
	"dma_pinning.skip_mark=1 dma_pinning.skip_touch=1" $(qmp_monitor 1)
vm_qmp 1 qmp_capabilities
start=$(seconds)
net_vm_exercise 1
sleep 2
check_value "DMA faults on the host's console" "$(kernel_faults)" -gt 0
check_value "marks found" "$(vm_stat 1 marks_found)" -eq 0
check "the guest lives" vm_alive 1
check_value "events" "$(events)" -gt 0
check_value "events, at most one a second" "$(events)" -le $(($(seconds) - start + 2))
for part in '"action": "report"' '"address": [0-9]' '"device-id": "assigned"'; do
	check "events have $part" sh -c "grep VFIO_DMA_FAULT /out/vm1.qmp | grep -q '$part'"
done
check_value "reports in QEMU's log" "$(grep -c 'was blocked' /out/vm1.qemu)" -eq 1
check "the VM has not been stopped" sh -c "! grep -q STOP /out/vm1.qmp"
vm_stop 1
finish
