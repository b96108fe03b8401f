# shellcheck shell=dash disable=SC2046,SC2086,SC2317 # lists of words; called by check
# SPDX-License-Identifier: GPL-2.0
#
# about=bus mastering of unpinned devices is off in all states but READY
# ram=1G
# devices=edu:2
#
# There is no guest: QEMU's test protocol writes what one would, and the VM's CPU
# never runs. What the hardware has is read on the host.

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh

REQUEST=0x100000040	# register of the dma-pinning device, with 128 MiB of RAM
READY=0x30001
OFF=2
FROZEN=3
MASTER=6		# and memory, which is always allowed
MEMORY=2
FIRST=0x80002004	# command registers: 00:04.0, and 01:00.0 behind 00:05.0
SECOND=0x80010004

answers() { grep -c '^\[S ' /out/vm1.qemu; }
more_answers() { [ "$(answers)" -gt "$1" ]; }

# qtest COMMAND: to QEMU; its answer is the last line of /out/vm1.qemu.
qtest() {
	local before

	before=$(answers)
	echo "$1" 1<> /run/qtest.in
	within 20 more_answers "$before" && return
	note "no answer to $1"
	return 1
}

# request NUMBER: of the guest to the dma-pinning device.
request() { qtest "writeq $REQUEST $1"; }

# select_register DEVICE: its command register is at I/O port 0xcfc.
select_register() { qtest "outl 0xcf8 $1"; }

# turn_on DEVICE: the guest's driver enables memory and bus mastering.
turn_on() { select_register $1; qtest "outw 0xcfc $MASTER"; }

# guest_sees DEVICE: the command register, as far as we use it.
guest_sees() {
	select_register $1
	qtest "inw 0xcfc"
	echo $(($(sed -n 's/^\[S .*OK \(0x[0-9a-f]*\)$/\1/p' /out/vm1.qemu | tail -n 1) & MASTER))
}

first_is_off() { [ "$(pci_command $first)" -eq 0 ]; }

# expect WHAT DEVICE VALUE: of both.
expect() {
	local address=$first

	[ $2 = $FIRST ] || address=$second
	check_value "$1: in hardware" "$(pci_command $address)" -eq $3
	check_value "$1: for the guest" "$(guest_sees $2)" -eq $3
}

# number_bus: bus 1 is behind the root port.
number_bus() {
	qtest "outl 0xcf8 0x80002818"
	qtest "outl 0xcfc 0x00010100"
}

# reset: the only way to a second READY, whose rate is limited in the VM's time.
reset() {
	vm_monitor 1 system_reset
	check "QEMU resets the device" within 20 first_is_off
	number_bus
}

# machine OPTION...: a VM whose guest does not run.
machine() {
	vm_start 1 128 "work=idle" -S -action reboot=reset -qtest pipe:/run/qtest \
		-machine dma-pinning=on -device dma-pinning,id=pinning,limit=16M \
		-device pcie-root-port,id=root1,chassis=1,addr=5 \
		-trace vfio_unpinned_bitmap "$@"
	check "QEMU is there" within 30 grep -q OPENED /out/vm1.qemu
}

# plug COUNT: the second device, which is then one of so many.
plug() {
	vm_monitor 1 "device_add vfio-pci,id=second,bus=root1,host=$second,x-unpinned=on"
	within 20 vm_has_devices 1 $1
	# QEMU answers when it is done.
	select_register $SECOND
}

# allowed: what QEMU says of the first device.
allowed() { vm_ask 1 '^(true|false)$' "qom-get /machine/peripheral/first dma-allowed"; }

first=$(nth 1 $(devices_of $EDU))
second=$(nth 2 $(devices_of $EDU))
vfio_bind $first $second
mkfifo /run/qtest.in /run/qtest.out
machine -device vfio-pci,id=first,host=$first,x-unpinned=on,addr=4

turn_on $FIRST
expect "never READY" $FIRST $MEMORY
check "QEMU says so" grep -q "not accepted dma-pinning: bus mastering of $first" /out/vm1.qemu
check "DMA is not allowed" [ "$(allowed)" = false ]

request $READY
expect "READY, not enabled yet" $FIRST $MEMORY
check "DMA is allowed" [ "$(allowed)" = true ]
turn_on $FIRST
expect "READY" $FIRST $MASTER
request $FROZEN
expect "FROZEN" $FIRST $MEMORY
turn_on $FIRST
expect "enabled in FROZEN" $FIRST $MEMORY

reset
request $READY
turn_on $FIRST
expect "READY after a reset" $FIRST $MASTER
plug 2
expect "plugged in READY" $SECOND 0
turn_on $SECOND
expect "plugged in READY and enabled" $SECOND $MASTER
request $OFF
expect "OFF" $FIRST $MEMORY
expect "OFF, the second" $SECOND $MEMORY
turn_on $FIRST
expect "enabled in OFF" $FIRST $MEMORY
turn_on $SECOND
expect "enabled in OFF, the second" $SECOND $MEMORY

reset
request $READY
turn_on $FIRST
turn_on $SECOND
expect "READY with two" $FIRST $MASTER
expect "READY with two, the second" $SECOND $MASTER
reset
check_value "a reset in READY: in hardware" "$(pci_command $first)" -eq 0
check_value "a reset in READY: the second" "$(pci_command $second)" -eq 0
turn_on $FIRST
expect "enabled after that" $FIRST $MEMORY
vm_stop 1

# A container that comes when the guest is READY uses the marks from the start.
machine
number_bus
request $READY
plug 1
check "its container uses the marks" \
	grep -q 'unpinned_bitmap .* flag 0x4 ret 0' /out/vm1.qemu
turn_on $SECOND
expect "plugged as the first and enabled" $SECOND $MASTER
vm_stop 1
finish
