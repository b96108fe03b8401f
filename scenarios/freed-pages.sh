# shellcheck shell=dash disable=SC2046,SC2086 # lists of words
# SPDX-License-Identifier: GPL-2.0
#
# about=negative control of the check on freed pages: it warns when flushes are missing
# ram=1G
# smp=1
# devices=edu:1
# splat=leaves may point at it

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh

[ -d /selftests/vfio ] || give_up "the selftests are not built"
vfio_bind $(devices_of $EDU)
export VFIO_SELFTESTS_BDF=$(devices_of $EDU) VFIO_SELFTESTS_FREED=1
run_test freed_pages 60 /selftests/vfio/vfio_dma_unpinned_break_test -t freed_pages
finish
