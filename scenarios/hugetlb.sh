# shellcheck shell=dash disable=SC2046,SC2086 # lists of words
# SPDX-License-Identifier: GPL-2.0
#
# about=hugetlb memory: leaves of 2 MiB and 1 GiB, marks, pins, aliases; a VM on it
# ram=4G
# devices=edu:1 nvme:1
# disk=64M
# append=hugepagesz=1G hugepages=1 hugepagesz=2M hugepages=16
# timeout=600
# faults=edu

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh

selftests $(printf 'vfio_dma_unpinned_%s_test ' $HUGETLB)

# A VM reads its disk into memory that no CPU has touched.
DISK=$(devices_of $NVME)
vfio_bind $DISK
echo 144 > /proc/sys/vm/nr_hugepages
vm_start 1 256 "work=cold" $(unpinned $DISK) \
	-object memory-backend-memfd,id=ram,size=256M,hugetlb=on,hugetlbsize=2M \
	-machine memory-backend=ram
vm_boot 1
check "the guest is ready" vm_wait 1 ready 100
vm_tell 1 go
check "all is read" vm_wait 1 checked 200
check_value "reads that failed" "$(vm_value 1 read_errors)" -eq 0
check_value "blocks with wrong data" "$(vm_value 1 disk_mismatches)" -eq 0
check_value "DMA faults of the VM" "$(vm_stat 1 dma_faults)" -eq 0
# An entry of level 2 that is a leaf has bit 7 set.
check_value "leaves of 2 MiB" "$(awk 'NF == 6 && $6 ~ /[89a-f].$/' \
	/sys/kernel/debug/iommu/intel/$DISK/domain_translation_struct | wc -l)" -gt 8
vm_stop 1
finish
