#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# cleanup.sh BDF...: give devices back to their drivers after setup.sh.

set -e
[ $# -gt 0 ] || { echo "usage: $0 BDF..." >&2; exit 1; }

for bdf in "$@"; do
	device=/sys/bus/pci/devices/$bdf
	echo > "$device/driver_override"
	[ ! -e "$device/driver" ] || echo "$bdf" > "$device/driver/unbind"
	echo "$bdf" > /sys/bus/pci/drivers_probe
done
