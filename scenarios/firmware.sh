# shellcheck shell=dash disable=SC2046,SC2086,SC2317 # lists of words; called by check
# SPDX-License-Identifier: GPL-2.0
#
# about=firmware leaves an unpinned disk alone, and does not wait for it
# ram=1G
# devices=nvme:1
# disk=64M

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh

says() { tr -d '\r' < /out/vm1.firmware | grep -q -e "$1"; }
says_not() { ! says "$1"; }

vfio_bind $(devices_of $NVME)
vm_start 1 256 "work=cold chunks=16" $(unpinned $(devices_of $NVME)) \
	-chardev file,id=firmware,path=/out/vm1.firmware \
	-device isa-debugcon,iobase=0x402,chardev=firmware
vm_boot 1
check "firmware skips the disk" says 'skipping init of a non-bootable NVMe'
check "no time-out of firmware" says_not 'Timeout at'
check "firmware has not tried to enable bus mastering" \
	sh -c "! grep -q 'has not accepted dma-pinning' /out/vm1.qemu"
vm_wait 1 ready 60
vm_tell 1 go
check "the guest uses the disk" vm_wait 1 checked 60
check_value "pages with wrong data" "$(vm_value 1 disk_mismatches)" -eq 0
check_value "DMA faults on the host's console" "$(kernel_faults)" -eq 0
tr -d '\r' < /out/vm1.firmware | sed 's/^/#   /' | tail -n 30
vm_stop 1
finish
