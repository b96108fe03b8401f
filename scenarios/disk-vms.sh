# shellcheck shell=dash disable=SC2046,SC2086 # lists of words
# SPDX-License-Identifier: GPL-2.0
#
# Functions for scenarios in which several virtual machines, each with an NVMe
# of its own, fill their memory, use their disk and verify both, while the host
# takes memory from them. Source lib.sh first. Machine N is given the Nth NVMe.

vms=0			# how many were asked for
most=0			# how many pinned ones lived at the same time
sampler=

# phase NAME: what is shown from now on.
phase() { note "== $*"; }

# each COMMAND...: runs it with the number of each machine appended.
each() {
	local n=1

	while [ $n -le $vms ]; do
		"$@" $n
		n=$((n + 1))
	done
}

# disk_vm_start N MODE MIB ARGUMENTS: MODE is pinned or unpinned.
disk_vm_start() {
	vm_start "$1" "$3" "work=disk seed=$1 $4" \
		$("$2" "$(nth "$1" $(devices_of $NVME))")
}

# disk_vms_start COUNT MODE MIB ARGUMENTS: starts all and waits until they are up.
disk_vms_start() {
	local vm

	vms=$1
	for vm in $(each echo); do
		disk_vm_start "$vm" "$2" "$3" "$4"
	done
	for vm in $(each echo); do
		vm_boot "$vm"
	done
}

# disk_vms_start_pinned COUNT MIB ARGUMENTS: starts them one by one; a pinned VM has
# all of its memory from the start, or does not come up, or another one has to go.
# What counts is how many lived at the same time, in $most.
disk_vms_start_pinned() {
	local vm up

	vms=$1
	most=0
	for vm in $(each echo); do
		disk_vm_start $vm pinned $2 "$3"
		vm_wait $vm up 60 || note "guest $vm: $(vm_last_words $vm)"
		sleep 2
		up=$(disk_vms_up)
		note "pinned VMs that live: $up of $vm"
		[ $up -le $most ] || most=$up
	done
}

# disk_vms_up: how many live and have come up.
disk_vms_up() {
	local vm count=0

	for vm in $(each echo); do
		! vm_alive $vm || ! vm_reached $vm up || count=$((count + 1))
	done
	echo $count
}

# disk_vms_reached PHASE: how many have.
disk_vms_reached() {
	local vm count=0

	for vm in $(each echo); do
		! vm_reached "$vm" "$1" || count=$((count + 1))
	done
	echo $count
}

# disk_vms_show: one line of progress.
disk_vms_show() {
	local vm bytes line=

	for vm in $(each echo); do
		bytes=$(vm_value "$vm" dma_bytes)
		line="$line  vm$vm: $(vm_value "$vm" phase) $((${bytes:-0} >> 20)) MiB by DMA,"
		line="$line $(vm_rss "$vm") MiB resident, $(vm_swapped "$vm") pages in swap;"
	done
	note "$line"
}

# disk_vms_wait PHASE SECONDS [COMMAND...]: until all have reached the phase, one has
# ended or the time is over, which is SECONDS times PATIENCE; runs COMMAND with the
# number of each machine that has not reached it meanwhile, less often in a slow kernel.
disk_vms_wait() {
	local goal=$1 end=$(($(seconds) + $2 * PATIENCE)) shown vm

	shift 2
	shown=$(seconds)
	while [ "$(disk_vms_reached "$goal")" -lt "$vms" ]; do
		for vm in $(each echo); do
			if ! vm_alive "$vm" && ! vm_reached "$vm" "$goal"; then
				note "guest $vm ended: $(vm_last_words "$vm")"
				return 1
			fi
			[ $# -eq 0 ] || vm_reached "$vm" "$goal" || "$@" "$vm"
		done
		[ "$(seconds)" -lt "$end" ] || return 1
		if [ "$(seconds)" -ge $((shown + 10)) ]; then
			disk_vms_show
			shown=$(seconds)
		fi
		usleep $((500000 * PATIENCE))
	done
}

# disk_vms_take SECONDS: the host takes what it can of the guests, which stand idle:
# all but the pages that their disks hold marked.
disk_vms_take() {
	disk_vms_wait ready "$1"
	phase "the host takes what it can of the idle guests"
	each vm_reclaim_all
	disk_vms_show
}

# disk_vms_fill SECONDS: all fill their memory.
disk_vms_fill() {
	phase "fill"
	each tell_fill
	disk_vms_wait filled "$1"
}

tell_fill() { vm_tell "$1" fill; }

reclaim_some() { vm_reclaim "$1" 8M; }

# disk_vms_exercise SECONDS: has all do their I/O while the host reclaims, then
# verify. Return: false when one did not come that far.
disk_vms_exercise() {
	phase "I/O while the host reclaims"
	each tell_go
	disk_vms_wait verify "$1" reclaim_some || return 1
	phase "verification"
	disk_vms_wait verified "$1"
}

tell_go() { vm_tell "$1" go; }

# disk_vms_running: how many live and have verified.
disk_vms_running() {
	local vm count=0

	for vm in $(each echo); do
		! vm_alive "$vm" || ! vm_reached "$vm" verified || count=$((count + 1))
	done
	echo $count
}

# disk_vm_mismatches N: wrong blocks of its disk and pages of its memory; nothing
# when it did not come to verify them.
disk_vm_mismatches() {
	local disk memory

	disk=$(vm_value "$1" disk_mismatches)
	memory=$(vm_value "$1" memory_mismatches)
	[ -z "$disk" ] || [ -z "$memory" ] || echo $((disk + memory))
}

# disk_vms_check: what must hold when all have verified.
disk_vms_check() {
	local vm

	check_value "running to the end" "$(disk_vms_running)" -eq $vms
	for vm in $(each echo); do
		check_value "machine $vm: mismatches" "$(disk_vm_mismatches $vm)" -eq 0
		check_value "machine $vm: populates" "$(vm_stat $vm populates)" -gt 0
		check_value "machine $vm: zaps" "$(vm_stat $vm zaps)" -gt 0
		note "machine $vm: late pins at most: $(vm_stat $vm late_pins_peak)"
		check_value "machine $vm: marks over the limit" \
			"$(vm_stat $vm over_limit_zaps)" -eq 0
		check_value "machine $vm: DMA faults" "$(vm_stat $vm dma_faults)" -eq 0
	done
	check_value "DMA faults on the host's console" "$(kernel_faults)" -eq 0
}

# sampler_start: one line a second in /out/memory.dat until sampler_stop: seconds
# since boot, resident MiB of machines 1 to 3, MiB of the host in use.
sampler_start() {
	while :; do
		echo "$(seconds) $(vm_rss 1) $(vm_rss 2) $(vm_rss 3)" \
			$(($(meminfo MemTotal) - $(meminfo MemAvailable)))
		sleep 1
	done >> /out/memory.dat 2>/dev/null &
	sampler=$!
}
sampler_stop() { kill "$sampler"; }
