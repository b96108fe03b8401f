# shellcheck shell=dash disable=SC2034,SC2046,SC2086 # of the library; lists of words
# SPDX-License-Identifier: GPL-2.0
#
# about=what hostile.sh does, for longer: a million ioctls, ten minutes of races
# suite=long
# ram=1G
# smp=2
# devices=edu:2
# timeout=10000
# faults=edu
# iommu=aw-bits=48
# oom=yes

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh

export VFIO_SELFTESTS_IOCTLS=1000000 VFIO_SELFTESTS_SECONDS=600
export VFIO_SELFTESTS_ROUNDS=20 VFIO_SELFTESTS_NORESERVE_GIB=16
SELFTEST_SECONDS=5000
selftests $(printf 'vfio_dma_unpinned_%s_test ' $HOSTILE)
finish
