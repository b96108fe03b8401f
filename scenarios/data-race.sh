# shellcheck shell=dash disable=SC2046 # lists of words
# SPDX-License-Identifier: GPL-2.0
#
# about=negative control of the kcsan kernel: it reports a lock that is not taken
# suite=kcsan
# ram=1G
# smp=2
# devices=edu:2
# splat=BUG: KCSAN: data-race in

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh

# read_counters: of whoever has unpinned mappings, again and again.
read_counters() {
	while :; do
		cat /sys/kernel/debug/vfio/unpinned/*/stats >/dev/null 2>&1
	done
}

# reports [FUNCTION]: data races, all of them or those in a function.
reports() { dmesg | grep -c "BUG: KCSAN: data-race in .*$1"; }

[ -e /sys/kernel/debug/kcsan ] || give_up "this kernel does not look for data races"
unpinned_parameter break_lock 0 || give_up "no parameter break_lock"
read_counters &
reader=$!
selftests vfio_dma_unpinned_stress_test
check_value "no report while the lock is taken" "$(reports)" -eq 0
unpinned_parameter break_lock 1
run_test "the same without the lock" $((SELFTEST_SECONDS * PATIENCE)) \
	./vfio_dma_unpinned_stress_test
check_value "a report when it is not" "$(reports stats_show)" -gt 0
kill $reader
finish
