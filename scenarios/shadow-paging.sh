# shellcheck shell=dash disable=SC2317 # called by check
# SPDX-License-Identifier: GPL-2.0
#
# about=the same where KVM shadows the page tables of its guests
# ram=1G
# smp=1
# devices=edu:2
# append=kvm_amd.npt=0 kvm_intel.ept=0
# timeout=600
# faults=edu

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh

# shadows: whether the module that is in use does without nested paging.
shadows() {
	cat /sys/module/kvm_amd/parameters/npt /sys/module/kvm_intel/parameters/ept \
		2>/dev/null | grep -q '[N0]'
}

check "KVM shadows page tables" shadows
selftests vfio_dma_unpinned_gate_test vfio_dma_unpinned_life_test \
	vfio_dma_unpinned_pin_test
finish
