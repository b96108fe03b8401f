#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# setup.sh BDF...: bind devices to vfio-pci, for the tests; cleanup.sh undoes it.

set -e
[ $# -gt 0 ] || { echo "usage: $0 BDF..." >&2; exit 1; }

for bdf in "$@"; do
	device=/sys/bus/pci/devices/$bdf
	[ -d "$device" ] || { echo "$bdf: no such device" >&2; exit 1; }
	[ -d "$device/iommu_group" ] || { echo "$bdf: no IOMMU" >&2; exit 1; }
	echo vfio-pci > "$device/driver_override"
	[ ! -e "$device/driver" ] || echo "$bdf" > "$device/driver/unbind"
	echo "$bdf" > /sys/bus/pci/drivers_probe
	[ "$(basename "$(readlink "$device/driver")")" = vfio-pci ] ||
		{ echo "$bdf: vfio-pci does not take it" >&2; exit 1; }
done
