# shellcheck shell=dash disable=SC2046,SC2086 # lists of words
# SPDX-License-Identifier: GPL-2.0
#
# about=the selftests of tools/testing/selftests/vfio, with two edu devices
# ram=1G
# smp=1
# devices=edu:2
# timeout=900
# faults=edu

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh

[ -d /selftests/vfio ] || give_up "the selftests are not built"
vfio_bind $(devices_of $EDU)
swap_on 512M
set -- $(devices_of $EDU)
export VFIO_SELFTESTS_BDF=$1 VFIO_SELFTESTS_BDF2=$2

cd /selftests/vfio || exit
for program in vfio_*_test; do
	case ${program#vfio_dma_unpinned_} in
	exit_test | hold_test | life_test | move_test | remap_test) continue ;; # movers.sh
	esac
	run_test $program 300 ./$program
done
finish
