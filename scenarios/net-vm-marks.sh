# shellcheck shell=dash disable=SC2034,SC2046,SC2086 # of the library; lists of words
# SPDX-License-Identifier: GPL-2.0
#
# about=a network card works on after the host has taken what it could
# ram=1G
# devices=igb:1 e1000e:1

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh
# shellcheck source=scenarios/net-vm.sh
. /scenarios/net-vm.sh

CPUS=2
swap_on 512M
check "the guest comes up" net_vm_start 1 unpinned "dma_pinning.pause_us=200"
requests=$(vm_property 1 requests)
check_value "requests to the host" "$requests" -gt 0
check "all rounds" net_vm_exercise 1
check_value "DMA faults on the host's console" "$(kernel_faults)" -eq 0
check_value "packets answered" "$(vm_value 1 packets_answered)" -eq \
	"$(vm_value 1 packets_sent)"
check_value "packets with wrong data" "$(vm_value 1 packet_mismatches)" -eq 0
check_value "requests to the host for all that" \
	$(($(vm_property 1 requests) - requests)) -eq 0
check_value "marks found" "$(vm_stat 1 marks_found)" -gt 0
check_value "pages taken" "$(vmstat pswpout)" -gt 5000
vm_stop 1
finish
