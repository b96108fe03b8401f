# shellcheck shell=dash disable=SC2046,SC2086 # lists of words
# SPDX-License-Identifier: GPL-2.0
#
# about=marks in huge pages: a guest within its limit loses none of them
# ram=1G
# devices=nvme:1
# disk=64M
# timeout=600

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh
# shellcheck source=scenarios/cold-vm.sh
. /scenarios/cold-vm.sh

# Each mark is in a huge page of its own, if it comes to the worst.
echo always > /sys/kernel/mm/transparent_hugepage/enabled
LIMIT=,limit=1M
check "what was read is right" cold_vm chunks=32
check_value "marks, pages" "$(vm_marks 1)" -le 256
cat /sys/kernel/debug/vfio/unpinned/*/stats
check_value "pages held, whole folios, at most" "$(vm_stat 1 held_peak)" -gt \
	"$(vm_stat 1 late_pins_peak)"
check_value "late pins at most" "$(vm_stat 1 late_pins_peak)" -le 512
for counter in over_limit_zaps over_budget_zaps failed_pin_zaps dma_faults; do
	check_value $counter "$(vm_stat 1 $counter)" -eq 0
done
finish
