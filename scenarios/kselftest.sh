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

programs=
for program in /selftests/vfio/vfio_*_test; do
	program=${program##*/}
	case " $HOSTILE $MOVERS $HUGETLB " in
	*" $(expr "$program" : 'vfio_dma_unpinned_\(.*\)_test') "*) ;;
	*) programs="$programs $program" ;;
	esac
done
selftests $programs
finish
