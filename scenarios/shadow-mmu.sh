# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0
#
# about=lives of leaves, marks and pins where KVM has no TDP MMU, and prefetches
# ram=1G
# smp=1
# devices=edu:2
# append=kvm.tdp_mmu=0
# timeout=600
# faults=edu

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh

check "KVM runs without the TDP MMU" grep -q N /sys/module/kvm/parameters/tdp_mmu
selftests vfio_dma_unpinned_gate_test vfio_dma_unpinned_life_test \
	vfio_dma_unpinned_pin_test
finish
