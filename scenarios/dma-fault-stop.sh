# shellcheck shell=dash disable=SC2034,SC2046,SC2086,SC2317 # of the library; lists of words
# SPDX-License-Identifier: GPL-2.0
#
# about=a DMA fault stops the VM and its device, until it continues
# ram=1G
# devices=igb:1 e1000e:1
# faults=e1000e
#
# The guest neither marks nor touches, so its network card gets faults when it uses
# what the host has taken.

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh
# shellcheck source=scenarios/net-vm.sh
. /scenarios/net-vm.sh

# event NAME: how often QEMU has emitted it.
event() { grep -c "\"event\": \"$1\"" /out/vm1.qmp; }

# wait_event NAME COUNT: until it has come so often.
wait_event() {
	local limit=$(($(seconds) + 20 * PATIENCE))

	until [ "$(event "$1")" -ge "$2" ]; do
		[ "$(seconds)" -lt "$limit" ] || return 1
		sleep 0.2
	done
}

# bus_master: whether the card may do DMA, as the hardware has it.
bus_master() {
	[ $(($(od -An -tu1 -j4 -N1 "/sys/bus/pci/devices/$(devices_of $E1000E)/config") & 4)) -ne 0 ]
}

bus_master_off() { ! bus_master; }

# state_is STATE: what QEMU has last answered to query-status.
state_is() { grep '"status": ' /out/vm1.qmp | tail -n 1 | grep -q "\"$1\""; }

# stopped: the VM has been stopped, its state tells why, and the storm is over.
stopped() {
	local faults

	check "the VM stops" wait_event STOP 1
	check_value "events of faults" "$(event VFIO_DMA_FAULT)" -ge 1
	vm_qmp 1 query-status
	sleep 1
	check "its state tells why" state_is io-error
	check "the card is off" bus_master_off
	faults=$(vm_stat 1 dma_faults)
	sleep 3
	check_value "the card makes no more faults" "$(vm_stat 1 dma_faults)" -eq "$faults"
}

swap_on 512M
check "the guest comes up" net_vm_start 1 unpinned \
	"dma_pinning.skip_mark=1 dma_pinning.skip_touch=1" $(qmp_monitor 1)
vm_qmp 1 qmp_capabilities
check "the card is on" bus_master
vm_reclaim_all 1
vm_tell 1 go
stopped
vm_qmp 1 cont
check "the VM continues" wait_event RESUME 1
check "the card is on again" bus_master
for part in '"action": "stop"' '"address": [0-9]' '"device-id": "assigned"'; do
	check "events have $part" sh -c "grep VFIO_DMA_FAULT /out/vm1.qmp | grep -q '$part'"
done
check "QEMU's log says so" grep -q 'was blocked.*stopping it' /out/vm1.qemu
check "QEMU lives" vm_alive 1
vm_stop 1
finish
