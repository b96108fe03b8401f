# shellcheck shell=dash disable=SC2086 # lists of words
# SPDX-License-Identifier: GPL-2.0
#
# about=upstream's KVM selftests that concern the MMU still pass
# ram=2G
# debug-ram=3G
# timeout=1500
#
# kvm-selftests.list says which, and with which sizes.

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh

[ -d /selftests/kvm ] || give_up "the selftests are not built"
echo 100 > /proc/sys/vm/nr_hugepages
cd /selftests/kvm || exit

while read -r program options; do
	path=$(find . -name "$program")
	run_test "$program${options:+ $options}" $((300 * PATIENCE)) ${path:-$program} $options
done <<END
$(grep '^[^#]' /scenarios/kvm-selftests.list)
END
finish
