# shellcheck shell=dash disable=SC2034,SC2046,SC2086,SC2317 # of the library; lists of words
# SPDX-License-Identifier: GPL-2.0
#
# about=a DMA fault stops the VM and its device, each time, until it continues
# ram=1G
# devices=nvme:1
# disk=64M
# faults=nvme
#
# The guest neither marks nor touches, and its disk writes to memory that no CPU has
# used.

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh

DISK=$(devices_of $NVME)

# event NAME: how often QEMU has emitted it.
event() { grep -c "\"event\": \"$1\"" /out/vm1.qmp; }

# event_seen NAME COUNT: whether it has come so often.
event_seen() { [ "$(event "$1")" -ge "$2" ]; }

# state_is STATE: what QEMU has last answered to query-status.
state_is() { grep '"status": ' /out/vm1.qmp | tail -n 1 | grep -q "\"$1\""; }

# stopped TIME: the VM has been stopped, its state tells why, and the storm is over.
stopped() {
	local faults

	check "the VM stops, time $1" within 40 event_seen STOP "$1"
	check_value "events of faults" "$(event VFIO_DMA_FAULT)" -ge "$1"
	vm_qmp 1 query-status
	check "its state tells why" within 10 state_is io-error
	check "the disk is off" bus_master_off "$DISK"
	faults=$(vm_stat 1 dma_faults)
	sleep 3
	check_value "the disk makes no more faults" "$(vm_stat 1 dma_faults)" -eq "$faults"
}

vfio_bind $DISK
LIMIT=,limit=128M
vm_start 1 256 "work=cold chunks=256 fresh=1 buffered=1 dma_pinning.skip_mark=1 \
dma_pinning.skip_touch=1" $(unpinned $DISK) $(qmp_monitor 1)
vm_boot 1
check "the guest comes up" vm_wait 1 ready 100
vm_qmp 1 qmp_capabilities
check "the disk is on" bus_master "$DISK"
vm_tell 1 go
stopped 1
for time in 2 3; do
	before=$(vm_stat 1 dma_faults)
	vm_qmp 1 cont
	check "the VM continues" within 20 event_seen RESUME $((time - 1))
	stopped $time
	check_value "the disk was on in between: faults" "$(vm_stat 1 dma_faults)" -gt "$before"
done
for part in '"action": "stop"' '"address": [0-9]' '"device-id": "assigned"'; do
	check "events have $part" sh -c "grep VFIO_DMA_FAULT /out/vm1.qmp | grep -q '$part'"
done
check "QEMU's log says so" grep -q 'was blocked.*stopping it' /out/vm1.qemu
check "QEMU lives" vm_alive 1
vm_stop 1
finish
