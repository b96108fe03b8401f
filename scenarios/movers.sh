# shellcheck shell=dash disable=SC2046,SC2086 # lists of words
# SPDX-License-Identifier: GPL-2.0
#
# about=marked pages in all that happens to memory and to its owner
# ram=1G
# smp=1
# nodes=2
# devices=edu:2
# append=nokaslr movablecore=528M cma=160M
# timeout=1800
# faults=edu
# oom=yes
#
# The upper half of each node is movable, with nothing of the kernel in it where it
# is to be taken offline: hence nokaslr. The area of CMA, at the top of the last
# node, is more than half of what is movable there, so that user memory soon gets
# into it. More rounds, other pages:
#
#	scenario --set append="nokaslr movablecore=528M cma=160M \
#		VFIO_SELFTESTS_ROUNDS=5 VFIO_SELFTESTS_SEED=2" movers

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh

SELFTEST_SECONDS=900
selftests $(printf 'vfio_dma_unpinned_%s_test ' $MOVERS)
finish
