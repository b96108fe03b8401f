# shellcheck shell=dash disable=SC2046,SC2086,SC2153 # lists of words
# SPDX-License-Identifier: GPL-2.0
#
# about=QEMU refuses what cannot work unpinned, says why, and keeps the modes apart
# ram=1G
# devices=edu:2 nvme:1
# timeout=300

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh

MACHINE="-machine q35,accel=kvm,dma-pinning=on"
PINNING="-device dma-pinning,limit=16M"
EDU1=$(nth 1 $(devices_of $EDU))
EDU2=$(nth 2 $(devices_of $EDU))
DISK=$(devices_of $NVME)

# assign ADDRESS [,OPTION...]: a device passed through unpinned.
assign() { echo "-device vfio-pci,host=$1,x-unpinned=on${2:-}"; }

# options OPTION...: QEMU realizes these devices, does $COMMAND and ends.
# Return: whether it took them; what it said is in /out/qemu.log.
options() {
	echo "== $*" >> /out/qemu.all
	printf '%s\nquit\n' "$COMMAND" | timeout 60 $QEMU -cpu host -m 128 -S -nodefaults \
		-display none -L /firmware -bios bios-256k.bin -monitor stdio \
		-trace 'vfio_unpinned_*' -trace 'vfio_listener_region_*' \
		"$@" >/out/qemu.log 2>&1
	set -- $?
	cat /out/qemu.log >> /out/qemu.all
	[ "$1" -eq 0 ]
}

QEMU=/bin/qemu
COMMAND="info version"

# refuses WHAT MESSAGE OPTION...: QEMU ends with this message.
refuses() {
	local what=$1 message=$2

	shift 2
	if ! options "$@" && grep -q -e "$message" /out/qemu.log; then
		pass "refused: $what"
	else
		fail "refused: $what"
		note "$(tail -n 3 /out/qemu.log)"
	fi
}

# accepts WHAT OPTION...: QEMU takes the options.
accepts() {
	local what=$1

	shift
	check "accepted: $what" options "$@"
}

# containers_are ALL UNPINNED: how many have mapped the guest's memory, and how.
# Counts mappings of all RAM, before firmware divides it.
containers_are() {
	check_value "containers" \
		"$(grep -c 'region_add \[ram\] 0x0 - 0x7ffffff' /out/qemu.log)" \
		-eq "$1"
	check_value "unpinned containers" \
		"$(grep -c 'unpinned_dma_map .* iova 0x0 size 0x8000000 .* ret 0' \
			/out/qemu.log)" -eq "$2"
}

vfio_bind $EDU1 $EDU2 $DISK

refuses "no addresses reserved" "dma-pinning=on" \
	-machine q35,accel=kvm $PINNING
refuses "two dma-pinning devices" "at most one" $MACHINE $PINNING $PINNING
refuses "a limit of half a page" "multiples of 4096" \
	$MACHINE -device dma-pinning,limit=2048
refuses "a limit over the memory" "limit exceeds" \
	$MACHINE -device dma-pinning,limit=1T
refuses "a budget below twice the limit" "at least twice" \
	$MACHINE -device dma-pinning,limit=16M,budget=31M
refuses "a budget of half a page" "multiples of 4096" \
	$MACHINE -device dma-pinning,limit=16M,budget=33556480
refuses "no dma-pinning device" "requires a dma-pinning device" \
	$MACHINE $(assign $EDU1)
refuses "no KVM" "requires KVM" \
	-machine q35,accel=tcg,dma-pinning=on -cpu max $PINNING $(assign $EDU1)
refuses "a vIOMMU" "behind a vIOMMU" \
	$MACHINE $PINNING -device intel-iommu,caching-mode=on $(assign $EDU1)
refuses "a disk that firmware waits for" "requires -boot strict=on" \
	$MACHINE $PINNING $(assign $DISK)
refuses "bootindex" "does not work with bootindex" \
	$MACHINE $PINNING $(assign $DISK ,bootindex=1)
refuses "an option ROM file" "does not work with romfile" \
	$MACHINE $PINNING $(assign $EDU1 ,romfile=/firmware/bios-256k.bin)
echo 160M > /sys/block/zram0/disksize
mke2fs -b 4096 /dev/zram0 >/dev/null
mkdir /run/disk
mount -t ext2 /dev/zram0 /run/disk
refuses "RAM from a file on a disk" "memfd or hugetlb" $MACHINE $PINNING \
	-object memory-backend-file,id=ram,size=128M,share=on,mem-path=/run/disk/ram \
	-machine memory-backend=ram $(assign $EDU1)
umount /run/disk

refuses "locked memory" "does not work with -overcommit" \
	$MACHINE $PINNING -overcommit mem-lock=on $(assign $EDU1)
refuses "an unknown action on DMA faults" "does not accept value" \
	$MACHINE $PINNING $(assign $EDU1 ,on-dma-fault=ignore)

accepts "a budget of twice the limit" $MACHINE -device dma-pinning,limit=16M,budget=32M \
	$(assign $EDU1)
accepts "an option ROM that is hidden" $MACHINE $PINNING \
	$(assign $EDU1 ,romfile=/firmware/bios-256k.bin,rombar=0)
accepts "RAM from a memfd" $MACHINE $PINNING \
	-object memory-backend-memfd,id=ram,size=128M -machine memory-backend=ram \
	$(assign $EDU1)
echo 64 > /proc/sys/vm/nr_hugepages
accepts "RAM of huge pages" $MACHINE $PINNING \
	-object memory-backend-memfd,id=ram,size=128M,hugetlb=on,hugetlbsize=2M \
	-machine memory-backend=ram $(assign $EDU1)
echo 0 > /proc/sys/vm/nr_hugepages
accepts "two unpinned devices, which share a container" \
	$MACHINE $PINNING -boot strict=on $(assign $EDU1) $(assign $DISK)
containers_are 1 1
check "the bitmap is not mapped" \
	grep -q 'SKIPPING region_add 0x100001000 - 0x100020fff' /out/qemu.log
check "no warning" sh -c "! grep -q 'saves no memory' /out/qemu.log"
accepts "an unpinned device beside a pinned one" \
	$MACHINE $PINNING -device vfio-pci,host=$EDU2 $(assign $EDU1)
containers_are 2 1
check "it warns of the cost" grep -q 'saves no memory' /out/qemu.log
accepts "a pinned device beside an unpinned one" \
	$MACHINE $PINNING $(assign $EDU1) -device vfio-pci,host=$EDU2
containers_are 2 1
check "it warns of the cost, too" grep -q 'saves no memory' /out/qemu.log
COMMAND="device_add vfio-pci,host=$EDU2,bus=slot0"
accepts "a pinned device that comes later" $MACHINE $PINNING \
	-device pcie-root-port,id=slot0,chassis=1 $(assign $EDU1)
check "it warns of the cost as well" grep -q 'saves no memory' /out/qemu.log

# What README says of locked memory, for QEMU without privileges, in KiB: twice the
# limit, 16 bytes for each page of RAM, and a bit for each up to 4 GiB; the firmware
# is pinned.
mkdir -p /etc
echo "user:x:1000:1000::/:/bin/sh" > /etc/passwd
echo "user:x:1000:" > /etc/group
chmod 666 /dev/kvm /dev/vfio/*
QEMU="start-stop-daemon -S -c user -x /bin/qemu --"
ulimit -l $((2 * 16384 + 128 * 1024 / 256 + 4096 * 1024 / 32768 + 1024))
accepts "as much locked memory as README says" $MACHINE $PINNING $(assign $EDU1)
ulimit -l $((2 * 16384))
refuses "less locked memory" "cannot register the pin bitmap" \
	$MACHINE $PINNING $(assign $EDU1)
ulimit -l unlimited
QEMU=/bin/qemu

# A device that fails after its container is set up takes that down again.
COMMAND="device_add vfio-pci,host=$EDU1,x-unpinned=on,bus=slot0,xres=640"
accepts "a hotplugged device that fails late" $MACHINE $PINNING \
	-device pcie-root-port,id=slot0,chassis=1
check "it has failed" grep -q "require display=on" /out/qemu.log
check "the bitmap is unregistered" \
	grep -q 'unpinned_bitmap .* flag 0x2 ret 0' /out/qemu.log
finish
