# shellcheck shell=dash disable=SC2046,SC2086 # lists of words
# SPDX-License-Identifier: GPL-2.0
#
# Function for scenarios in which a guest reads its disk into memory that the host
# has taken from it. Source lib.sh first.

# cold_vm ARGUMENTS: runs machine 1 until it has checked what it read.
# Return: false when it did not come that far.
cold_vm() {
	vfio_bind $(devices_of $NVME)
	swap_on 512M
	vm_start 1 256 "work=cold $1" $(unpinned $(devices_of $NVME))
	vm_boot 1 && vm_wait 1 ready 100 || return 1
	vm_reclaim_all 1
	vm_tell 1 go
	vm_wait 1 checked 200
}
