# shellcheck shell=dash disable=SC2034,SC2046 # used elsewhere; lists of words
# SPDX-License-Identifier: GPL-2.0
#
# Functions for scenarios: sourced in the host (L1) by its busybox shell.
#
# A virtual machine N (a number) has a cgroup /sys/fs/cgroup/machines/vmN, its kernel's
# console in /out/vmN.console, what its program reports in /out/vmN.work as
# key=value words, and what QEMU says in /out/vmN.qemu. All of /out comes home.

EDU=1234:11e8
NVME=1b36:0010
E1000E=8086:10d3
IGB=8086:10c9
# selftests that have scenarios of their own: of hostile and broken users, of what
# happens to memory and to its owner, and of hugetlb memory
HOSTILE="fail fuzz hostile race"
MOVERS="exit hold life move remap swapoff soak"
HUGETLB=huge
CGROUPS=/sys/fs/cgroup/machines
KMEMLEAK=/sys/kernel/debug/kmemleak
STALLED=75		# exit status: boot time-out, the harness tries once more
PATIENCE=${PATIENCE:-1}	# factor for time limits and pauses, from the harness
# for one program and for the boot of a guest, times PATIENCE
SELFTEST_SECONDS=300
BOOT_SECONDS=90
CPUS=1			# of each guest
LIMIT=			# ",limit=BYTES" of the dma-pinning device, or its default
ON_FAULT=		# ",on-dma-fault=ACTION" of unpinned devices, or the default

tests=0
failures=0

# --- results -----------------------------------------------------------------

# note TEXT...: a diagnostic line.
note() { echo "# $*"; }

# result ok|"not ok" DESCRIPTION: one KTAP result line.
result() {
	[ $tests -gt 0 ] || echo "KTAP version 1"
	tests=$((tests + 1))
	echo "$1 $tests $2"
}

pass() { result ok "$*"; }
fail() { failures=$((failures + 1)); result "not ok" "$*"; }
skip() { result ok "$1 # SKIP $2"; }

# check DESCRIPTION COMMAND...: passes when the command does.
check() {
	local description=$1

	shift
	if "$@"; then pass "$description"; else fail "$description"; fi
}

# check_value DESCRIPTION VALUE OPERATOR EXPECTED: compares numbers as test does
# and shows the value. A missing value fails.
check_value() {
	if [ -n "$2" ] && test "$2" "$3" "$4"; then
		pass "$1 ($2)"
	else
		fail "$1 (${2:-no value}, expected $3 $4)"
	fi
}

# within SECONDS COMMAND...: waits until the command succeeds, SECONDS times PATIENCE.
# Return: false on time-out.
within() {
	local limit=$(($(seconds) + $1 * PATIENCE))

	shift
	until "$@"; do
		[ "$(seconds)" -lt "$limit" ] || return 1
		sleep 0.2
	done
}

# run_test DESCRIPTION SECONDS PROGRAM...: a selftest program: passes when it exits
# 0, is skipped when it exits 4; its own output is shown indented.
run_test() {
	local description=$1 seconds=$2 status

	shift 2
	{
		timeout "$seconds" "$@" 2>&1 </dev/null
		echo $? > /run/status
	} | while IFS= read -r line; do
		echo "  $line"
	done
	read -r status < /run/status
	case $status in
	0) pass "$description" ;;
	4) skip "$description" "by the program" ;;
	*) fail "$description: exit status $status" ;;
	esac
}

# selftests PROGRAM...: programs of tools/testing/selftests/vfio, with all edu
# devices and swap.
selftests() {
	local program

	cd /selftests/vfio || give_up "the selftests are not built"
	vfio_bind $(devices_of $EDU)
	swap_on 512M
	export VFIO_SELFTESTS_PATIENCE=$PATIENCE
	leaks_forget
	for program; do
		run_test "$program" $((SELFTEST_SECONDS * PATIENCE)) "./$program" \
			$(devices_of $EDU)
	done
	leaks_check
}

# leaks_forget: memory that nobody refers to by now is none of ours. In a kernel
# with kmemleak only, as leaks_check.
leaks_forget() {
	[ -e $KMEMLEAK ] || return 0
	echo scan > $KMEMLEAK
	echo clear > $KMEMLEAK
}

# leaks_check: fails if the kernel has lost memory since leaks_forget. It does not
# report what is younger than 5 seconds, and what two scans find is lost.
leaks_check() {
	[ -e $KMEMLEAK ] || return 0
	sleep 6
	check "search for lost memory" leaks_scan
	cat $KMEMLEAK > /out/kmemleak
	head -n 20 /out/kmemleak
	check "no memory is lost" [ ! -s /out/kmemleak ]
}

leaks_scan() { echo scan > $KMEMLEAK && echo scan > $KMEMLEAK; }

# finish: prints the plan; the last command of a scenario.
finish() {
	echo "1..$tests"
	[ "$failures" -eq 0 ]
	exit
}

# give_up REASON: no result can be had, for a reason that no test is about.
give_up() {
	echo "1..0 # SKIP $*"
	exit 4
}

# stalled WHAT: a boot time-out.
stalled() {
	note "stalled: $*"
	exit $STALLED
}

# --- the host ----------------------------------------------------------------

# devices_of VENDOR:DEVICE: their addresses, in slot order.
devices_of() {
	local device vendor id

	for device in /sys/bus/pci/devices/*; do
		read -r vendor < "$device/vendor"
		read -r id < "$device/device"
		[ "${vendor#0x}:${id#0x}" != "$1" ] || echo "${device##*/}"
	done
}

# nth N WORD...: the Nth word.
nth() { shift "$1"; echo "$1"; }

# vfio_bind ADDRESS...: gives devices to vfio-pci.
vfio_bind() {
	local address device

	for address; do
		device=/sys/bus/pci/devices/$address
		echo vfio-pci > "$device/driver_override"
		[ ! -e "$device/driver" ] || echo "$address" > "$device/driver/unbind"
		echo "$address" > /sys/bus/pci/drivers_probe
	done
}

# pci_command ADDRESS: of a device's command register, as the hardware has it, memory
# (2) and bus mastering (4).
pci_command() { echo $(($(od -An -tu1 -j4 -N1 "/sys/bus/pci/devices/$1/config") & 6)); }

# bus_master ADDRESS, bus_master_off ADDRESS: whether the hardware lets it do DMA.
bus_master() { [ $(($(pci_command "$1") & 4)) -ne 0 ]; }
bus_master_off() { ! bus_master "$1"; }

# swap_on SIZE: swap on compressed memory.
swap_on() {
	echo "$1" > /sys/block/zram0/disksize
	mkswap /dev/zram0 >/dev/null
	swapon /dev/zram0
}

# meminfo KEY, vmstat KEY: a number of the host, in MiB or as it stands.
meminfo() { awk -v key="$1:" '$1 == key {print int($2 / 1024)}' /proc/meminfo; }
vmstat() { awk -v key="$1" '$1 == key {print $2}' /proc/vmstat; }

# kernel_faults: DMA faults that the IOMMU driver of the host has printed.
kernel_faults() { dmesg | grep -c 'DMAR: \[DMA'; }

# unpinned_parameter NAME [VALUE]: a test-only parameter of unpinned mappings.
# Return: false when this kernel has no such parameter.
unpinned_parameter() {
	local parameter=/sys/module/vfio_unpinned/parameters/$1

	[ -e "$parameter" ] || return 1
	[ $# -eq 1 ] || echo "$2" > "$parameter"
}

# --- virtual machines --------------------------------------------------------

machines_cgroup() {
	[ ! -d $CGROUPS ] || return 0
	mkdir $CGROUPS
	echo +memory > $CGROUPS/../cgroup.subtree_control
	echo +memory > $CGROUPS/cgroup.subtree_control
}

# machines_limit MIB: memory that all virtual machines together may use, so that
# the host keeps some for itself.
machines_limit() {
	machines_cgroup
	echo "$1M" > $CGROUPS/memory.max
}

# vm_start N MIB ARGUMENTS [QEMU OPTION...]: starts a guest; ARGUMENTS go to its
# kernel's command line, from where its first process takes its work. What an
# earlier guest of that number said is kept as vmN.*.old.
vm_start() {
	local vm=$1 mib=$2 arguments=$3 log

	shift 3
	for log in "/out/vm$vm.console" "/out/vm$vm.work" "/out/vm$vm.qemu" \
		"/out/vm$vm.monitor"; do
		[ ! -e "$log" ] || mv "$log" "$log.old"
	done
	machines_cgroup
	mkdir -p "$CGROUPS/vm$vm"
	[ -p "/run/vm$vm.in" ] || mkfifo "/run/vm$vm.in" "/run/vm$vm.out" \
		"/run/vm$vm.monitor.in" "/run/vm$vm.monitor.out"
	# shellcheck disable=SC2016 # expanded by that shell
	sh -c 'echo $$ > "$0/cgroup.procs" && echo 500 > /proc/$$/oom_score_adj &&
		exec "$@"' "$CGROUPS/vm$vm" /bin/qemu -machine q35,accel=kvm -cpu host -smp $CPUS -m "$mib" \
		-nodefaults -display none -nic none -no-reboot \
		-L /firmware -bios bios-256k.bin \
		-trace runstate_set -trace qemu_system_shutdown_request \
		-kernel /boot/bzImage -initrd /boot/guest.cpio \
		-append "console=ttyS0 loglevel=5 oops=panic panic=-1 \
watchdog_thresh=$((10 * PATIENCE)) $arguments" \
		-serial "file:/out/vm$vm.console" -serial chardev:work \
		-chardev "pipe,id=work,path=/run/vm$vm,logfile=/out/vm$vm.work" \
		-chardev "pipe,id=monitor,path=/run/vm$vm.monitor,logfile=/out/vm$vm.monitor" \
		-mon monitor \
		"$@" </dev/null >"/out/vm$vm.qemu" 2>&1 &
	echo $! > "/run/vm$vm.pid"
}

vm_pid() { cat "/run/vm$1.pid"; }

# vm_devices N: how many VFIO devices its QEMU has.
vm_devices() {
	local fd

	for fd in "/proc/$(vm_pid "$1")/fd"/*; do
		readlink "$fd"
	done | grep -c vfio-device
}

# vm_has_devices N COUNT: whether it has so many.
vm_has_devices() { [ "$(vm_devices "$1")" -eq "$2" ]; }

# vm_alive N: whether its QEMU runs.
vm_alive() { kill -0 "$(vm_pid "$1")" 2>/dev/null; }

# vm_lines N: what the guest has reported, without a line that is not yet complete.
vm_lines() {
	[ ! -e "/out/vm$1.work" ] ||
		head -n "$(wc -l < "/out/vm$1.work")" "/out/vm$1.work" | tr -d '\r'
}

# vm_value N KEY: the last value that the guest reported; nothing if none.
vm_value() { vm_lines "$1" | tr ' ' '\n' | sed -n "s/^$2=//p" | tail -n 1; }

# vm_reached N PHASE: whether the guest has reported it.
vm_reached() { vm_lines "$1" | grep -q "^phase=$2\b"; }

# vm_wait N PHASE SECONDS: waits until the guest reports the phase, SECONDS times
# PATIENCE.
# Return: false on time-out or when its QEMU has ended before.
vm_wait() {
	local limit=$(($(seconds) + $3 * PATIENCE))

	until vm_reached "$1" "$2"; do
		if ! vm_alive "$1"; then
			sleep 0.2
			vm_reached "$1" "$2"
			return
		fi
		[ "$(seconds)" -lt "$limit" ] || return 1
		sleep 0.2
	done
}

# vm_boot N: waits for a guest to come up. Ends the scenario as stalled when it
# does not, or ends before: under emulation a nested guest now and then does not
# come through its boot, and the harness tries once more and says so.
vm_boot() {
	vm_wait "$1" up $BOOT_SECONDS ||
		stalled "guest $1 did not come up: $(vm_last_words "$1")"
}

# unpinned ADDRESS, pinned ADDRESS: QEMU's options for a device passed through
# with either mapping of the guest's memory.
unpinned() {
	echo "-machine dma-pinning=on -boot strict=on" \
		"-device dma-pinning,id=pinning$LIMIT" \
		"-device vfio-pci,id=assigned,host=$1,rombar=0,x-unpinned=on$ON_FAULT"
}
pinned() { echo "-device vfio-pci,host=$1,rombar=0"; }

# vm_tell N WORD: what the guest waits for. Opened for both directions, since it
# must not wait when QEMU has ended.
vm_tell() { echo "$2" 1<> "/run/vm$1.in"; }

# vm_last_words N: why it ended, as far as it is known.
vm_last_words() {
	tail -q -n 3 "/out/vm$1.qemu" "/out/vm$1.console" "/out/vm$1.work" 2>/dev/null
}

# vm_stop N: ends it and waits for that.
vm_stop() {
	kill "$(vm_pid "$1")" 2>/dev/null
	wait "$(vm_pid "$1")" 2>/dev/null
}

# vm_rss N: resident memory of its QEMU in MiB, 0 when it has ended.
vm_rss() {
	awk '/^VmRSS:/ {mib = int($2 / 1024)} END {print mib + 0}' \
		"/proc/$(vm_pid "$1")/status" 2>/dev/null || echo 0
}

# vm_reclaim N SIZE: asks the host to take so much memory from it. The first
# request may fail because every page still counts as referenced, and one for
# more than there is takes long to give up.
vm_reclaim() {
	# shellcheck disable=SC2016 # expanded by that shell
	timeout 10 sh -c 'echo "$0" > "$1"' "$2" "$CGROUPS/vm$1/memory.reclaim" \
		2>/dev/null
}

# vm_reclaim_all N: lets the host take most of the guest's memory, by halves: a
# request for more than can be had takes very long.
vm_reclaim_all() {
	local part

	for part in 2 2 2; do
		vm_reclaim "$1" $(($(cat "$CGROUPS/vm$1/memory.current") / part))
	done
}

# vm_swapped N: its pages that are in swap now.
vm_swapped() { echo $(($(cat "$CGROUPS/vm$1/memory.swap.current") / 4096)); }

# vm_stat N KEY: a counter of its unpinned mapping, summed up.
vm_stat() {
	cat /sys/kernel/debug/vfio/unpinned/"$(vm_pid "$1")"-*/stats 2>/dev/null |
		awk -v key="$2:" '$1 == key {sum += $2} END {if (NR) print sum + 0}'
}

# vm_monitor N COMMAND: for QEMU's monitor; what it says is in /out/vmN.monitor.
vm_monitor() { echo "$2" 1<> "/run/vm$1.monitor.in"; }

# qmp_monitor N: QEMU's options for a second monitor, which speaks QMP. What it
# says, events too, is in /out/vmN.qmp.
qmp_monitor() {
	[ -p "/run/vm$1.qmp.in" ] || mkfifo "/run/vm$1.qmp.in" "/run/vm$1.qmp.out"
	echo "-chardev pipe,id=qmp,path=/run/vm$1.qmp,logfile=/out/vm$1.qmp" \
		"-mon chardev=qmp,mode=control"
}

# vm_qmp N COMMAND: one command without arguments for that monitor.
vm_qmp() { echo "{'execute': '$2'}" 1<> "/run/vm$1.qmp.in"; }

# vm_said N PATTERN: the lines of its monitor that match.
vm_said() { tr -d '\r' < "/out/vm$1.monitor" | grep -E "$2"; }

vm_said_more() { [ "$(vm_said "$1" "$2" | wc -l)" -gt "$3" ]; }

# vm_ask N PATTERN COMMAND: the next line of its monitor that matches.
vm_ask() {
	local known

	known=$(vm_said "$1" "$2" | wc -l)
	vm_monitor "$1" "$3"
	within 20 vm_said_more "$1" "$2" "$known" && vm_said "$1" "$2" | tail -n 1
}

# vm_property N NAME: a number that the dma-pinning device of its QEMU shows.
vm_property() { vm_ask "$1" '^[0-9]+$' "qom-get /machine/peripheral/pinning $2"; }

# vm_marks N: pages that the guest has marked now.
vm_marks() { vm_property "$1" marked-pages; }

# seconds: since boot.
seconds() { cut -d. -f1 /proc/uptime; }
