# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# The verb `mutants`: small changes that break one protection each, and the test
# that has to notice. mutants/TREE/NAME.patch is a diff against the whole series,
# after a text that says what is broken and lines
#
#   Test: NAME [PROGRAM...]	a test of ./run test; of kselftest, the programs
#				vfio_dma_unpinned_PROGRAM_test only
#   Fails: REGEXP		the check that must fail, as its "not ok" line, or
#				another line of the test's log, has it
#
# A mutant is caught when the test fails and its log has the line. So one that does
# not boot is not caught, nor one that another check stumbles over.

MUTANT_KINDS=(linux qemu)

# all_mutants: "TREE/NAME" of each.
all_mutants() {
	local tree
	for tree in "${MUTANT_KINDS[@]}"; do
		find "$ROOT/mutants/$tree" -name '*.patch' -printf "$tree/%P\n" 2>/dev/null
	done | sed 's/\.patch$//' | sort
}

mutant_file() { echo "$ROOT/mutants/$1.patch"; }

# mutant_field MUTANT KEY: what the line "KEY: ..." says.
mutant_field() {
	sed -n "/^diff --git /q; s/^$2: *//p" "$(mutant_file "$1")"
}

# mutant_about MUTANT: its first line.
mutant_about() { head -n 1 "$(mutant_file "$1")"; }

# mutate TREE SRC HEAD: prints the commit of HEAD and the mutant, if it is of TREE.
mutate() {
	local src=$2 head=$3 file
	if [[ ${MUTANT-} != "$1"/* ]]; then
		echo "$head"
		return
	fi
	file=$(mutant_file "$MUTANT")
	plumbing "$src" read-tree "$head"
	(cd "$src" && patch_edits "$file" | plumbing "$src" apply --cached --whitespace=nowarn -) ||
		die "$file does not apply to the series with fuzz 0"
	mutant_about "$MUTANT" | plumbing "$src" commit-tree "$(plumbing "$src" write-tree)" -p "$head"
}

# prepare_mutant MUTANT TEST: builds what the test runs, from the mutant.
prepare_mutant() {
	export MUTANT=$1
	case $1/$2 in
	linux/*/kunit-uml) unset UML_KERNEL ;;
	linux/*) unset VM_KERNEL VM_GUEST_KERNEL ;;
	qemu/*) unset VM_QEMU QTEST ;;
	esac
	prepare_tests "$2"
}

# run_mutant_test TEST PROGRAM...: the test itself, with its output on stdout.
run_mutant_test() {
	local name=$1 programs
	shift
	programs=$(IFS=,; echo "$*")
	if (($#)); then
		"$ROOT/harness/vm/scenario" --set "append=PROGRAMS=$programs" "$name"
	else
		run_one "$name"
	fi
}

# mutant_verdict MUTANT LOG STATUS: caught, SURVIVED, or what else happened.
mutant_verdict() {
	local fails
	fails=$(mutant_field "$1" Fails)
	if (($3 == 0)); then
		echo SURVIVED
	elif [[ $fails ]] && grep -qE -- "$fails" "$2"; then
		echo caught
	else
		echo "NOT BY ITS CHECK"
	fi
}

# try_mutant MUTANT: builds and tests it; fails unless it is caught. For a subshell
# of its own, so that what it sets is forgotten.
try_mutant() {
	local mutant=$1 log=$OUT/mutants/${1//\//-}.log test=() status=0 start=$EPOCHREALTIME verdict
	read -r -a test < <(mutant_field "$mutant" Test)
	((${#test[@]})) || die "$(mutant_file "$mutant") names no test"
	prepare_mutant "$mutant" "${test[0]}"
	ticker "$mutant: ${test[*]}" &
	run_mutant_test "${test[@]}" >"$log" 2>&1 </dev/null || status=$?
	end_ticker $!
	verdict=$(mutant_verdict "$mutant" "$log" $status)
	printf '%-8s %7s s  %s: %s (%s)\n' "$verdict" "$(elapsed "$start")" "$mutant" \
		"$(mutant_about "$mutant")" "${test[*]}"
	[[ $verdict == caught ]] || { tail -n 5 "$log" | sed 's/^/        /'; return 1; }
}

# matching_mutants PATTERN...: those whose names match one of them.
matching_mutants() {
	local mutant pattern
	all_mutants | while read -r mutant; do
		for pattern; do
			# shellcheck disable=SC2053
			if [[ $mutant == $pattern ]]; then echo "$mutant"; fi
		done
	done | sort -u
}

# run_mutants [MUTANT...]: all of them, or those named, TREE/NAME or a pattern of it.
run_mutants() {
	local mutant mutants=() caught=0 survived=0 rc
	(($#)) || set -- '*'
	mapfile -t mutants < <(matching_mutants "$@")
	((${#mutants[@]})) || die "no such mutant; there are:"$'\n'"$(all_mutants)"
	mkdir -p "$OUT/mutants" "$OUT/test"
	prepare_vm
	export IMAGES=$CACHE/images-of-mutants
	for mutant in "${mutants[@]}"; do
		set +e
		(set -e; try_mutant "$mutant")
		rc=$?
		set -e
		if ((rc)); then survived=$((survived + 1)); else caught=$((caught + 1)); fi
	done
	echo "$caught caught, $survived survived"
	((survived == 0))
}
