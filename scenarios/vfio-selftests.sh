# shellcheck shell=dash disable=SC2046 # lists of words
# SPDX-License-Identifier: GPL-2.0
#
# about=upstream's VFIO selftests still pass, with igb and edu, for type1 and iommufd
# ram=4G
# smp=2
# devices=igb:1 edu:1
# append=hugepagesz=1G hugepages=1 hugepagesz=2M hugepages=16 transparent_hugepage_shmem=always vfio_pci.enable_sriov=1
# timeout=1800
# faults=igb edu
#
# The programs are upstream's, and go through all modes by themselves: type1, type1v2,
# each of them by iommufd's emulation too, and iommufd. Their device drivers are
# upstream's, too, but for that of edu. The faults are of copies from and to where
# nothing is mapped. Huge pages shorten the mapping of 1 GiB that each of them makes.

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh

SELFTEST_SECONDS=600

# upstream_test NAME ADDRESS...: one program, with these devices.
upstream_test() {
	local name=$1

	shift
	run_test "$name $*" $((SELFTEST_SECONDS * PATIENCE)) "./vfio_${name}_test" "$@"
}

cd /selftests/vfio || give_up "the selftests are not built"
vfio_bind $(devices_of $IGB) $(devices_of $EDU)
for device in $(devices_of $IGB) $(devices_of $EDU); do
	upstream_test pci_device "$device"
	upstream_test iommufd_setup "$device"
	upstream_test dma_mapping "$device"
	upstream_test dma_mapping_mmio "$device"
	upstream_test pci_driver "$device"
done
upstream_test pci_device_init_perf $(devices_of $IGB) $(devices_of $EDU)
upstream_test pci_sriov_uapi $(devices_of $IGB)
finish
