# shellcheck shell=dash disable=SC2046,SC2086 # lists of words
# SPDX-License-Identifier: GPL-2.0
#
# about=marked pages in all that happens to memory and to its owner
# ram=1G
# debug-ram=1792M
# smp=1
# nodes=2
# devices=edu:2
# append=nokaslr movablecore=528M cma=160M
# debug-append=nokaslr movablecore=784M cma=160M
# timeout=2400
# faults=edu
# oom=yes
#
# The upper part of each node is movable, with nothing of the kernel in it where it
# is to be taken offline: hence nokaslr, and more of it under a debug kernel, whose
# tables are at the top of each node. The area of CMA, at the top of the last node,
# is more than half of what is free there, so that user memory soon gets into it.
# More rounds, other pages:
#
#	scenario --set append="nokaslr movablecore=528M cma=160M \
#		VFIO_SELFTESTS_ROUNDS=5 VFIO_SELFTESTS_SEED=2" movers

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh

# swap_file MIB: for the tests that ask for one, in a file system on compressed
# memory too. A disk would use the IOMMU, whose tables the tests count.
swap_file() {
	local disk

	read -r disk < /sys/class/zram-control/hot_add
	echo "$(($1 + 32))M" > "/sys/block/zram$disk/disksize"
	mkdir -p /run/disk
	mke2fs -F -b 4096 "/dev/zram$disk" >/dev/null
	mount -t ext2 "/dev/zram$disk" /run/disk
	dd if=/dev/zero of=/run/disk/swap bs=1M count="$1" 2>/dev/null
	chmod 600 /run/disk/swap
	mkswap /run/disk/swap >/dev/null
	export VFIO_SELFTESTS_SWAP_FILE=/run/disk/swap
}

SELFTEST_SECONDS=1200
swap_file 320
selftests $(printf 'vfio_dma_unpinned_%s_test ' $MOVERS)
finish
