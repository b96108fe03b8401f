# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0
#
# about=a guest comes up on KVM inside the host
# ram=1G

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh

vm_start 1 256 "work=idle"
check "the guest comes up" vm_boot 1
check_value "without a service it may hibernate: refused" \
	"$(vm_value 1 hibernation_refused)" -eq 0
vm_stop 1
finish
