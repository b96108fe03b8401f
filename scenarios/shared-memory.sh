# shellcheck shell=dash disable=SC2046,SC2086,SC2317 # lists of words; called by check
# SPDX-License-Identifier: GPL-2.0
#
# about=memory that is no RAM is not mapped unpinned, and none of it ends the VM
# ram=1G
# devices=nvme:1
# disk=64M
#
# A shared-memory device has a BAR with a memory backend, of which the guest's kernel
# knows nothing; a DIMM has one that is RAM.

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh

DISK=$(devices_of $NVME)

# machine BACKEND-FILE: a guest with such a device beside its disk.
machine() {
	truncate -s 16M $1
	vm_start 1 256,slots=4,maxmem=1G "work=cold chunks=16" $(unpinned $DISK) \
		-object memory-backend-file,id=frame,size=16M,share=on,mem-path=$1 \
		-device ivshmem-plain,memdev=frame \
		-trace vfio_unpinned_dma_map -trace vfio_listener_region_add_ram
	vm_boot 1
	vm_wait 1 ready 100
	vm_tell 1 go
}

# mapped TRACE: how often 16 MiB were mapped, on the way that the trace tells.
mapped() { grep -c "$1.*size 0x1000000 " /out/vm1.qemu; }

# bar_seen: that the BAR has come to be mapped: a range of 16 MiB.
bar_seen() {
	sed -n 's/.*region_add \[ram\] \(0x[0-9a-f]*\) - \(0x[0-9a-f]*\).*/\1 \2/p' /out/vm1.qemu |
		while read -r from to; do
			[ $((to - from + 1)) -ne $((16 << 20)) ] || echo
		done | grep -c ''
}

# plug FILE: a DIMM of 128 MiB from there.
plug() {
	dimms=$((dimms + 1))
	vm_monitor 1 "object_add memory-backend-file,id=mem$dimms,size=128M,share=on,mem-path=$1"
	vm_monitor 1 "device_add pc-dimm,id=dimm$dimms,memdev=mem$dimms"
	vm_monitor 1 "info memory-devices"
	# what comes after them
	vm_ask 1 '^VM status' "info status"
}

# says TEXT: QEMU's monitor.
says() { vm_said 1 "$1" >/dev/null; }
says_not() { ! says "$1"; }

dimms=0
vfio_bind $DISK
mount -t tmpfs none /dev/shm
machine /dev/shm/frame
check "the disk works beside a BAR of shared memory" vm_wait 1 checked 100
check_value "pages with wrong data" "$(vm_value 1 disk_mismatches)" -eq 0
check_value "the BAR was mapped" "$(bar_seen)" -gt 0
check_value "the BAR was mapped unpinned" "$(mapped unpinned_dma_map)" -eq 0
check_value "DMA faults" "$(vm_stat 1 dma_faults)" -eq 0
vm_stop 1

echo 400M > /sys/block/zram0/disksize
mke2fs -b 4096 /dev/zram0 >/dev/null
mkdir -p /run/disk
mount -t ext2 /dev/zram0 /run/disk
machine /run/disk/frame
check "the disk works beside a BAR of a file on a disk" vm_wait 1 checked 100
check_value "pages with wrong data" "$(vm_value 1 disk_mismatches)" -eq 0
check_value "the BAR was to be mapped" "$(bar_seen)" -gt 0
check "QEMU says that devices cannot access it" \
	grep -q 'DMA of devices with x-unpinned=on is blocked there' /out/vm1.qemu

plug /run/disk/dimm
check "a DIMM from a disk is refused" \
	says "mem1 cannot be mapped for devices with x-unpinned=on"
check "it says what can be used" says "memfd or hugetlb"
check "it is not there" says_not 'Memory device.*"dimm1"'
check "the VM lives" vm_alive 1
plug /dev/shm/dimm
check "a DIMM of shared memory is taken" says 'Memory device \[dimm\]: "dimm2"'
check_value "it is mapped unpinned" \
	"$(grep -c 'unpinned_dma_map .*size 0x8000000 .*ret 0' /out/vm1.qemu)" -ge 2
check "the VM lives on" vm_alive 1
check_value "DMA faults" "$(vm_stat 1 dma_faults)" -eq 0
vm_stop 1
finish
