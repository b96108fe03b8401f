# shellcheck shell=dash disable=SC2046 # lists of words
# SPDX-License-Identifier: GPL-2.0
#
# about=each perf one-liner of vfio-unpinned.rst shows what the text says
# ram=1G
# smp=1
# devices=edu:2
# add=Documentation/driver-api/vfio-unpinned.rst:/doc/vfio-unpinned.rst perf:/bin/perf
# timeout=600
# faults=edu

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh

# one_liners: those of the document, each in one line, without the prompt.
one_liners() {
	awk '/^ *# perf / {
		sub(/^ *# /, "")
		while (sub(/\\$/, "")) {
			line = $0
			if (!getline)
				break
			sub(/^ */, "")
			$0 = line $0
		}
		print
	}' /doc/vfio-unpinned.rst
}

# try EVENT DESCRIPTION PATTERN PROGRAM TEST: runs the one-liner for that event with
# this test instead of "sleep 10"; what it prints, in one line, must match.
try() {
	local command

	command=$(one_liners | grep -F ":$1 ")
	case $command in
	*"sleep 10"*) ;;
	*) fail "$1: no one-liner with sleep 10"; return ;;
	esac
	tried=$((tried + 1))
	echo "exec /selftests/vfio/$4 -r $5 $EDUS > /run/test.out" > /run/workload
	echo "$command" | sed "s,sleep 10,sh /run/workload," > /run/command
	(cd /tmp && sh /run/command) > /run/output 2>&1 </dev/null
	note "$command"
	grep -v '^$' /run/output | sed 's/^/#   /' | head -n 40
	check "$1: the test" grep -q '^# PASSED: 1 ' /run/test.out
	tr '\n' ' ' < /run/output > /run/line
	check "$1: $2" grep -Eq "$3" /run/line
}

vfio_bind $(devices_of $EDU)
swap_on 256M
EDUS=$(devices_of $EDU | tr '\n' ' ')
tried=0

pin=vfio_dma_unpinned_pin_test
life=vfio_dma_unpinned_test
try unpinned_populate "nine by the gate, one by the host" \
	' 9 +vfio_unpinned:unpinned_populate +1 +vfio_unpinned:unpinned_populate' \
	$pin pin.anon.limit
try unpinned_zap "mprotect() takes the page over the limit" \
	'mprotect.*__mmu_notifier_invalidate_range_start' $pin pin.anon.limit
try unpinned_late_pin "reclaim asked for the page" \
	'shrink_folio_list.*__mmu_notifier_invalidate_range_start' \
	$pin pin.anon.marked_page_survives_reclaim
try unpinned_release "one in one of the seconds" \
	'  1 +vfio_unpinned:unpinned_release' \
	$pin pin.anon.release_after_access_keeps_leaf
try unpinned_limit "cost, pins and limit" \
	'vaddr=0x[0-9a-f]+ cost=1 late_pins=8 limit=4 held=8 budget=0' $pin pin.anon.limit
try unpinned_refuse "page and frame" 'vaddr=0x[0-9a-f]+ pfn=0x[0-9a-f]+' \
	$life life.anon.bar_where_ram_was
try io_page_fault "device, IOVA and access" \
	"${EDUS%% *} iova=0x0000000040001000 flags=0x0001 .WRITE.*iova=0x0000000040002000 flags=0x0000 .READ" \
	$life life.anon.faults_are_traced
check_value "one-liners tried, of $(one_liners | wc -l)" $tried -eq "$(one_liners | wc -l)"
finish
