# shellcheck shell=dash disable=SC2046,SC2086,SC2317 # lists of words
# SPDX-License-Identifier: GPL-2.0
#
# about=three VMs in a host with two thirds of their memory, and two contrasts
# test=no
# ram=1536M
# devices=nvme:3 igb:1 e1000e:1
# disk=256M
# timeout=1500
# faults=e1000e
# oom=yes
#
# Run by harness/vm/demo, which makes the report of the key=value lines that this
# prints and of /out/memory.dat.

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh
# shellcheck source=scenarios/disk-vms.sh
. /scenarios/disk-vms.sh
# shellcheck source=scenarios/net-vm.sh
. /scenarios/net-vm.sh

VM_MIB=768
GUEST="fill=448 buffers=32 io=208"

# value KEY NUMBER: one line of the report.
value() { echo "$1=$2"; }

# resident_peak N: from the samples.
resident_peak() { awk -v n=$1 '$(n + 1) > max {max = $(n + 1)} END {print max + 0}' /out/memory.dat; }

# report_vm N: what is known about one machine while it still runs.
report_vm() {
	local counter

	value vm$1_resident_peak_mib $(resident_peak $1)
	value vm$1_resident_end_mib $(vm_rss $1)
	value vm$1_dma_bytes $(vm_value $1 dma_bytes)
	value vm$1_data_mismatches $(disk_vm_mismatches $1)
	value vm$1_marks $(vm_marks $1)
	value vm$1_swapped_pages $(vm_swapped $1)
	for counter in populates zaps marks_found late_pins late_pins_peak over_limit_zaps \
		dma_faults; do
		value vm$1_$counter $(vm_stat $1 $counter)
	done
}

three_unpinned() {
	local before

	before=$(vmstat pswpout)
	phase "start of three VMs of $VM_MIB MiB, unpinned"
	disk_vms_start 3 unpinned $VM_MIB "$GUEST"
	disk_vms_take 200
	disk_vms_fill 500
	disk_vms_exercise 500
	sleep 2
	value vms_running $(disk_vms_running)
	value pages_swapped_out $(($(vmstat pswpout) - before))
	each report_vm
	disk_vms_show
	check_value "unpinned VMs running" "$(disk_vms_running)" -eq 3
	each vm_stop
}

# As many as start: one by one, each with its time.
three_pinned() {
	phase "the same three VMs, pinned"
	disk_vms_start_pinned 3 $VM_MIB "$GUEST"
	value static_vms_running $most
	check_value "pinned VMs that lived at the same time" $most -lt 3
	each vm_stop
}

# A guest that says it is aware, and neither marks nor touches.
uncooperative() {
	phase "one unpinned VM that neither marks nor touches"
	ON_FAULT=,on-dma-fault=report
	net_vm_start 1 unpinned "dma_pinning.skip_mark=1 dma_pinning.skip_touch=1"
	net_vm_exercise 1
	value uncooperative_packets_sent $(vm_value 1 packets_sent)
	value uncooperative_packets_answered $(vm_value 1 packets_answered)
	value uncooperative_dma_faults_kernel $(vm_stat 1 dma_faults)
	check_value "DMA faults that the host reports" "$(kernel_faults)" -gt 0
	check "the VM lives" vm_alive 1
	vm_stop 1
}

sum=$(sha256sum /boot/bzImage /bin/qemu)
vfio_bind $(devices_of $NVME)
swap_on 3G
machines_limit 1216
sampler_start
value vm_ram_mib $VM_MIB
three_unpinned
sampler_stop
three_pinned
uncooperative
check "host unharmed" [ "$sum" = "$(sha256sum /boot/bzImage /bin/qemu)" ]
finish
