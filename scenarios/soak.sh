# shellcheck shell=dash disable=SC2034,SC2046,SC2086 # of the library; lists of words
# SPDX-License-Identifier: GPL-2.0
#
# about=all movers of memory at once for five minutes, two guests with devices
# suite=long
# ram=1G
# debug-ram=1792M
# smp=2
# nodes=2
# devices=edu:2
# append=nokaslr movablecore=528M cma=160M
# debug-append=nokaslr movablecore=784M cma=160M
# timeout=3600
# faults=edu
# oom=yes
#
# What movers.sh does one by one, with the same machine. The faults are those of one
# look at an unmarked page at the end of each round.

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh

export VFIO_SELFTESTS_SOAK_CONTROL=1
export VFIO_SELFTESTS_SECONDS=${VFIO_SELFTESTS_SECONDS:-300}
SELFTEST_SECONDS=3500
selftests vfio_dma_unpinned_soak_test
finish
