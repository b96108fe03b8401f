# shellcheck shell=dash disable=SC2046,SC2086 # lists of words
# SPDX-License-Identifier: GPL-2.0
#
# Functions for scenarios in which a guest with a network card of its own does
# not do its part, or is made not to. The card (e1000e) does its DMA synchronously,
# so that a blocked access is all that can happen; the host answers on its own
# card (igb) on the same wire. Source lib.sh first.

# net_vm_start N MODE ARGUMENTS [QEMU OPTION...]: a guest that sends bursts of echo
# requests.
net_vm_start() {
	local vm=$1 mode=$2 arguments=$3 card

	shift 3
	vfio_bind $(devices_of $E1000E)
	card=$(basename /sys/class/net/eth*)
	ip addr add 10.0.0.1/24 dev $card
	ip link set $card up
	vm_start $vm 256 "work=net rounds=2 packets=64 $arguments" \
		$($mode $(devices_of $E1000E)) "$@"
	vm_boot $vm && vm_wait $vm ready 60
}

# net_vm_exercise N: two bursts; before each the host takes the guest's memory.
# Return: false when the guest did not come to the end of them.
net_vm_exercise() {
	local round

	for round in 1 2; do
		vm_reclaim_all $1
		vm_tell $1 go
		net_vm_wait_round $1 $round || return 1
	done
	vm_wait $1 checked 30
}

net_vm_wait_round() {
	local end=$(($(seconds) + 30))

	until [ "$(vm_value $1 round)" = $2 ]; do
		vm_alive $1 && [ "$(seconds)" -lt "$end" ] || return 1
		sleep 0.3
	done
}
