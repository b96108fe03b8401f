# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: GPL-2.0
#
# What the programs of this directory share: where things are, and messages.
# Sourced, never run. Inputs, all of them environment variables with defaults:
#
#   VM_KERNEL     the bzImage that the host boots
#   VM_GUEST_KERNEL  the one that its guests boot, the same if not set
#   VM_CONFIG     name of the host kernel's configuration, as in harness/kconfig
#   VM_QEMU       qemu-system-x86_64, the outer machine and the one in the host
#   VM_SELFTESTS  directory of selftest programs, seen as /selftests in the host
#   VM_ACCEL      kvm or tcg: accelerator of the outer machine, instead of probing
#   VM_PATIENCE   factor for all time limits, for a kernel that is slow
#   VM_OUT        where logs and reports go
#   VM_CACHE      images that can be made again at any time
#   VM_FIRMWARE   directories that are searched for firmware, ':' between them

: "${VM_REPO:=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}"
: "${VM_STORE:=${XDG_CACHE_HOME:-$HOME/.cache}/vfio-unpinned}"
: "${VM_KERNEL:=$VM_STORE/build/linux/arch/x86/boot/bzImage}"
: "${VM_GUEST_KERNEL:=$VM_KERNEL}"
: "${VM_CONFIG:=release}"
: "${VM_QEMU:=$VM_STORE/build/qemu/qemu-system-x86_64}"
: "${VM_SELFTESTS:=$VM_STORE/build/selftests}"
: "${VM_PATIENCE:=1}"
: "${VM_OUT:=$VM_REPO/out}"
: "${VM_CACHE:=$VM_STORE/vm}"
: "${VM_FIRMWARE:=/usr/share/qemu:/usr/share/seabios:/usr/lib/ipxe/qemu}"

VM_HARNESS=$VM_REPO/harness/vm
VM_SCENARIOS=$VM_REPO/scenarios

say() { printf '%s\n' "$*"; }
warn() { printf '%s\n' "$*" >&2; }
die() { warn "${0##*/}: $*"; exit 1; }

# firmware FILE: its path.
firmware() {
	local dir dirs

	IFS=: read -ra dirs <<<"$VM_FIRMWARE"
	for dir in "${dirs[@]}"; do
		[[ -e $dir/$1 ]] && { say "$dir/$1"; return; }
	done
	die "firmware $1 is missing: packages seabios and qemu-system-data have it"
}

# need_inputs: refuse with a reason when a build is missing.
need_inputs() {
	[[ -r $VM_KERNEL ]] || die "no kernel image at $VM_KERNEL"
	[[ -r $VM_GUEST_KERNEL ]] || die "no kernel image at $VM_GUEST_KERNEL"
	[[ -x $VM_QEMU ]] || die "no QEMU at $VM_QEMU"
	mkdir -p "$VM_CACHE" "$VM_OUT"
}

# digest FILE...: one hash of the contents.
digest() { sha256sum -- "$@" | cut -d' ' -f1 | sha256sum | cut -c1-16; }

# declared FILE KEY: value of the "# KEY=value" line in a scenario's header.
declared() {
	sed -n -e '/^#/!q' -e "s/^# $2=//p" "$1" | head -n 1
}
