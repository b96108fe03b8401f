# shellcheck shell=dash disable=SC2317 # called by check
# SPDX-License-Identifier: GPL-2.0
#
# about=the KUnit suites of the series pass in the kernel of the host
# ram=6G
# append=kunit.enable=1
# debug-append=kunit.enable=1 vfio_unpinned.search_depth=3
# reports=yes

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh

KUNIT=/sys/kernel/debug/kunit
SUITES="intel-iommu-remap intel-iommu-remap-fault vfio_unpinned
	dma_pinning dma_pinning_quota dma_pinning_hooks dma_pinning_service"

# skipped NAME: the cases of the suite that were skipped, all but one that a debug
# kernel cannot run.
skipped() { grep '# SKIP' "$KUNIT/$1/results" | grep -v 'test_gigantic # SKIP page_table_check'; }

# suite_passed NAME: each suite leaves its KTAP in debugfs, with its own result as
# the last line, and no case of it may be skipped.
suite_passed() {
	local results=$KUNIT/$1/results

	cp "$results" "/out/$1.ktap" || return
	grep -E '^ *not ok|# SKIP' "$results" | sed 's/^ */# /'
	grep -q "^ok [0-9]* $1\$" "$results" && ! skipped "$1"
}

# is_listed NAME: whether this scenario knows the suite.
is_listed() {
	local name

	for name in $SUITES; do
		[ "$name" != "$1" ] || return 0
	done
	return 1
}

for suite in $SUITES; do
	check "$suite" suite_passed "$suite"
done
for suite in "$KUNIT"/*; do
	check "${suite##*/} is in the list of suites" is_listed "${suite##*/}"
done
finish
