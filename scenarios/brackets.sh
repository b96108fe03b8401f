# shellcheck shell=dash disable=SC2046 # lists of words
# SPDX-License-Identifier: GPL-2.0
#
# about=what a bracket over a whole address space costs, for ./run bench
# test=no
# ram=3G
# smp=2
# devices=edu:1
# timeout=4000

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh

vfio_bind $(devices_of $EDU)
export VFIO_SELFTESTS_BDF
VFIO_SELFTESTS_BDF=$(nth 1 $(devices_of $EDU))
bench=/selftests/vfio/vfio_dma_unpinned_bracket_bench
run_test "16 GiB" 1000 $bench 16
run_test "64 GiB" 2000 $bench 64
run_test "16 GiB, interrupts that are off" 1000 $bench 16 irqs-off
run_test "1 GiB, reaped" 600 $bench 1 reaped
finish
