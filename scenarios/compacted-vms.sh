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

vfio_bind $(devices_of $NVME)
swap_on 1G
machines_limit 512

disk_vms_start 2 unpinned 384 "fill=240 buffers=16 io=64"
check "both come up" [ "$(disk_vms_reached up)" -eq 2 ]
disk_vms_fill 200
compact_often &
compactor=$!
disk_vms_exercise 200
kill $compactor
disk_vms_check
each vm_stop
finish
