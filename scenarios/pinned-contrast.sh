# shellcheck shell=dash disable=SC2046,SC2086 # lists of words
# SPDX-License-Identifier: GPL-2.0
#
# about=the VMs of oversubscribed-vms do not fit with pinned mappings
# ram=640M
# debug-ram=1G
# devices=nvme:2
# disk=128M
# oom=yes

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh
# shellcheck source=scenarios/disk-vms.sh
. /scenarios/disk-vms.sh

vfio_bind $(devices_of $NVME)
swap_on 1G
machines_limit 512
disk_vms_start_pinned 2 384 "fill=240 buffers=16 io=64"
check_value "machines that live at the same time" $most -eq 1
each vm_stop
finish
