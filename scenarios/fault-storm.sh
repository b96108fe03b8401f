# shellcheck shell=dash disable=SC2034,SC2046,SC2086 # of the library; lists of words
# SPDX-License-Identifier: GPL-2.0
#
# about=a guest that lies: its reads are wrong, and its storm of DMA faults costs little
# ram=1G
# devices=nvme:1
# disk=64M
# faults=nvme
#
# Negative control of unaware-guest-reads: the guest gets its disk for a promise that
# it does not keep, and the same reads have wrong data without an error. Then what
# the storm costs the others: log lines and interrupts of the unit that they share.

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh

TRACING=/sys/kernel/tracing

# interrupts: those of the units that report DMA faults.
interrupts() { awk '/dmar/ {for (i = 2; i <= NF && $i ~ /^[0-9]+$/; i++) n += $i} END {print n + 0}' /proc/interrupts; }

# interrupt_us IRQ: time in its handler, in microseconds.
interrupt_us() {
	awk -v irq="irq=$1 " '
		{ for (i = 1; i <= NF; i++) if ($i ~ /^[0-9]+\.[0-9]+:$/) t = $i + 0; cpu = $2 }
		/irq_handler_entry/ && index($0, irq) { entry[cpu] = t; next }
		/irq_handler_exit/ && index($0, irq) { us += (t - entry[cpu]) * 1000000 }
		END { print int(us) }' $TRACING/trace
}

vfio_bind $(devices_of $NVME)
swap_on 512M
ON_FAULT=,on-dma-fault=report
LIMIT=,limit=128M
vm_start 1 256 "work=cold chunks=64 fresh=1 buffered=1 dma_pinning.skip_mark=1 \
dma_pinning.skip_touch=1" $(unpinned $(devices_of $NVME)) -trace vfio_unpinned_fault
vm_boot 1
vm_wait 1 ready 100
mount -t tracefs none $TRACING 2>/dev/null
irq=$(awk '/dmar0/ {print $1 + 0}' /proc/interrupts)
echo "irq == $irq" > $TRACING/events/irq/irq_handler_entry/filter
echo "irq == $irq" > $TRACING/events/irq/irq_handler_exit/filter
echo 1 > $TRACING/events/irq/irq_handler_entry/enable
echo 1 > $TRACING/events/irq/irq_handler_exit/enable
before=$(interrupts)
start=$(seconds)
vm_tell 1 go
check "the guest ends" vm_wait 1 checked 200
elapsed=$(($(seconds) - start + 1))
count=$(($(interrupts) - before))
echo 0 > $TRACING/events/irq/enable
check_value "pages read wrong without an error" "$(vm_value 1 disk_mismatches)" -gt 0
check_value "errors that it was told" "$(vm_value 1 read_errors)" -eq 0
check_value "DMA faults that the IOMMU counts" "$(vm_stat 1 dma_faults)" -gt 0
check_value "log lines, at most 2 in 5 s" "$(kernel_faults)" -le $((2 * (elapsed / 5 + 2)))
check_value "reports to QEMU, at most 10 in a second" \
	"$(grep -c 'vfio_unpinned_fault ' /out/vm1.qemu)" -le $((10 * (elapsed + 1)))
check_value "fault interrupts, 64 records in 100 ms at most" $count -le \
	$((640 * (elapsed + 1)))
note "count: $count fault interrupts in $elapsed s, $(interrupt_us "$irq") us in them"
check "the guest lives" vm_alive 1
vm_stop 1
finish
