# shellcheck shell=dash disable=SC2086 # lists of words
# SPDX-License-Identifier: GPL-2.0
#
# about=upstream's KVM selftests that concern the MMU still pass
# ram=2G
# timeout=1500
#
# Sizes and options fit emulation. Left out of memslot_perf_test are its map and
# unmap chunk benchmarks (-f 1, -f 5): these need more than a minute for one turn
# on the kernel without the series as well.

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh

[ -d /selftests/kvm ] || give_up "the selftests are not built"
echo 100 > /proc/sys/vm/nr_hugepages
cd /selftests/kvm || exit

while read -r program options; do
	path=$(find . -name $program)
	run_test "$program${options:+ $options}" 300 ${path:-$program} $options
done <<END
set_memory_region_test 2
guest_memfd_test
pre_fault_memory_test
demand_paging_test -b 64M -v 2
demand_paging_test -b 16M -v 2 -u MISSING
demand_paging_test -b 16M -v 2 -u MINOR -s shmem
kvm_page_table_test -b 64M -v 2
kvm_page_table_test -b 64M -v 2 -s anonymous_thp
kvm_page_table_test -b 64M -v 2 -s anonymous_hugetlb_2mb
memslot_modification_stress_test -b 32M -v 2 -i 20
memslot_modification_stress_test -b 32M -v 2 -i 20 -q
dirty_log_test -i 3 -M dirty-log
dirty_log_test -i 3 -M clear-log
dirty_log_page_splitting_test -b 16M -s anonymous_hugetlb_2mb
memslot_perf_test -l 1 -s 64 -f 0 -e 0
memslot_perf_test -l 1 -s 64 -f 2 -e 4
END
finish
