# shellcheck shell=dash disable=SC2046,SC2086 # lists of words
# SPDX-License-Identifier: GPL-2.0
#
# about=the selftests of unpinned mappings, with two edu devices
# ram=1G
# smp=1
# devices=edu:2
# timeout=900
# faults=edu

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh

# all_programs: those that have no scenario of their own.
all_programs() {
	local program

	for program in /selftests/vfio/vfio_dma_unpinned*_test; do
		program=${program##*/}
		case " $HOSTILE $MOVERS $HUGETLB " in
		*" $(expr "$program" : 'vfio_dma_unpinned_\(.*\)_test') "*) ;;
		*) echo "$program" ;;
		esac
	done
}

# named_programs NAME...: without what their names have in common. The first one
# has nothing else, and is "leaf" here.
named_programs() {
	for program; do
		case $program in
		leaf) echo vfio_dma_unpinned_test ;;
		*) echo "vfio_dma_unpinned_${program}_test" ;;
		esac
	done
}

# The host's command line can say PROGRAMS=NAME,NAME...
if [ -n "$PROGRAMS" ]; then
	selftests $(named_programs $(echo "$PROGRAMS" | tr , ' '))
else
	selftests $(all_programs)
fi
finish
