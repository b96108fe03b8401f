# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0
#
# about=negative control of the check on freed pages: it warns when flushes are missing, hugetlb too
# ram=1G
# smp=1
# devices=edu:2
# faults=edu
# append=panic_on_warn=0
# splat=__iommu_debug_check_unmapped

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh

echo 16 > /proc/sys/vm/nr_hugepages
export VFIO_SELFTESTS_FREED=1
selftests vfio_dma_unpinned_break_test
finish
