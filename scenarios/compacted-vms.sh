# shellcheck shell=dash disable=SC2046,SC2086 # lists of words
# SPDX-License-Identifier: GPL-2.0
#
# about=two VMs use their NVMe while the host compacts its memory
# suite=long
# ram=640M
# debug-ram=1G
# devices=nvme:2
# disk=128M

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh
# shellcheck source=scenarios/disk-vms.sh
. /scenarios/disk-vms.sh

compact_often() {
	while :; do
		echo 1 > /proc/sys/vm/compact_memory
		sleep $((2 * PATIENCE))
	done
}

# MiB that each machine fills. For the two and QEMU that leaves too little in any
# case; a slow kernel has less to bring back from swap, page by page.
fill=$((240 - 36 * (PATIENCE - 1)))

vfio_bind $(devices_of $NVME)
swap_on 1G
machines_limit $((152 + 3 * fill / 2))

disk_vms_start 2 unpinned 384 "fill=$fill buffers=16 io=64"
check "both come up" [ "$(disk_vms_reached up)" -eq 2 ]
disk_vms_fill 200
compact_often &
compactor=$!
disk_vms_exercise 200
kill $compactor
disk_vms_check
each vm_stop
finish
