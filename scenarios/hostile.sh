# shellcheck shell=dash disable=SC2046,SC2086 # lists of words
# SPDX-License-Identifier: GPL-2.0
#
# about=users that do their worst: marks, maps, random ioctls, races, failing allocations
# ram=1G
# smp=2
# devices=edu:2
# timeout=900
# faults=edu
# iommu=aw-bits=48
# oom=yes

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh

selftests $(printf 'vfio_dma_unpinned_%s_test ' $HOSTILE)
finish
