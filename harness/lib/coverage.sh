# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# The verb `coverage`: which lines of our host files the tests execute, by the
# kernel's gcov support. The tests run in a kernel of its own configuration; the
# counters of each run come home with its other files and are added up.
#
# Each line that is not executed has a reason in harness/coverage.reasons, by
# function, so that a change that is not tested does not go unnoticed.
#
# out/coverage/report.txt is the table, out/coverage/uncovered.txt has the lines
# that were never executed with their reasons.

COVERAGE_GOAL=90
COVERAGE_PACKAGES=(gcc jq)
COVERAGE_REASONS=$ROOT/harness/coverage.reasons
# all that test the host's kernel by themselves
COVERAGE_TESTS=(kunit kselftest freed-pages hostile hugetlb movers oversubscribed-vms)

# coverage_add TEST: adds the counters of a test to the sum.
coverage_add() {
	local run=$OUT/logs/$1/files/gcov dir=$OUT/coverage
	[[ -d $run ]] || die "$1 brought no counters home, see $OUT/test/$1.log"
	if [[ -d $dir/sum ]]; then
		gcov-tool merge -o "$dir/new" "$dir/sum" "$run" >/dev/null
		rm -r "$dir/sum"
		mv "$dir/new" "$dir/sum"
	else
		cp -r "$run" "$dir/sum"
	fi
}

# coverage_lines SOURCE NOTES: "LINE COUNT FUNCTION" for each line with code. A line
# that was compiled more than once is executed if one of them is.
coverage_lines() {
	local name=${1##*/} dir=$OUT/coverage
	name=${name%.c}
	[[ -e $dir/sum/$name.gcda ]] || die "no counters of $1: was it built with GCOV_PROFILE_$name.o=y?"
	cp "$2/$name.gcno" "$dir/sum"
	(cd "$dir/sum" && gcov --json-format --stdout "$name.gcda") |
		jq -r --arg source "$1" '.files[] | select(.file | endswith($source)) | .lines[] |
			"\(.line_number) \(.count) \(.function_name)"' |
		sort -k 1,1n -k 2,2nr | awk '!seen[$1]++'
}

# coverage_reason FILE FUNCTION LINES: the reason for that many lines without
# execution; false if there is none, or one for fewer lines.
coverage_reason() {
	awk -v file="$1" -v fn="$2" -v lines="$3" '
		/^#/ { next }
		$1 == file && $2 == fn && $3 >= lines {
			sub(/^[^ ]+ +[^ ]+ +[^ ]+ +/, "")
			print
			found = 1
			exit
		}
		END { exit !found }' "$COVERAGE_REASONS"
}

# coverage_uncovered SOURCE: from coverage_lines on stdin, what was not executed, by
# function, with the reason.
coverage_uncovered() {
	local fn lines reason
	awk '!$2 { print $3, $1 }' | sort -k 1,1 -k 2,2n |
		awk '$1 != fn { if (fn) print fn, lines; fn = $1; lines = "" } { lines = lines " " $2 } END { if (fn) print fn, lines }' |
		while read -r fn lines; do
			reason=$(coverage_reason "$1" "$fn" "$(wc -w <<<"$lines")") ||
				reason="NO REASON"
			printf '%s %s: %s\n' "$1" "$fn" "$reason"
			for line in $lines; do
				printf '%8d:%s\n' "$line" "$(sed -n "${line}p" "$ROOT/$1")"
			done
		done
}

coverage_row() { printf '%8d %8d %6d  %s\n' "$1" "$2" $((100 * $1 / $2)) "$3"; }

# coverage_report NOTES: the table on stdout, and what is not in it as uncovered.txt.
coverage_report() {
	local source executed lines all=0 sum=0 dir=$OUT/coverage
	: >"$dir/uncovered.txt"
	printf '%8s %8s %6s  %s\n' executed lines % file
	for source in $(host_sources); do
		coverage_lines "$source" "$1" >"$dir/lines"
		coverage_uncovered "$source" <"$dir/lines" >>"$dir/uncovered.txt"
		executed=$(awk '$2' "$dir/lines" | wc -l)
		lines=$(wc -l <"$dir/lines")
		sum=$((sum + executed)) all=$((all + lines))
		coverage_row "$executed" "$lines" "$source"
	done
	coverage_row $sum $all all
}

# coverage_enough: whether the report is what it should be.
coverage_enough() {
	local unnamed percent
	unnamed=$(grep -c ': NO REASON$' "$OUT/coverage/uncovered.txt") || true
	percent=$(awk '$4 == "all" { print $3 }' "$OUT/coverage/report.txt")
	if ((unnamed)); then
		say "error: $unnamed functions have lines that no test executes, without a reason, see $OUT/coverage/uncovered.txt: test them, or name the reason in $COVERAGE_REASONS"
	fi
	if ((percent < COVERAGE_GOAL)); then
		say "error: $percent % of the lines are executed, the goal is $COVERAGE_GOAL %"
	fi
	((!unnamed && percent >= COVERAGE_GOAL))
}

# run_coverage: the verb.
run_coverage() {
	local name notes kernel status=0
	need_packages "${COVERAGE_PACKAGES[@]}"
	kernel=$(locked build_kernel coverage)
	notes=$(kernel_notes "$kernel")
	keep_image "$notes"
	rm -rf "$OUT/coverage"
	mkdir -p "$OUT/coverage"
	# Also after a failure, of which the counters may tell something.
	set +e
	(set -e; VM_KERNEL=$kernel run_tests "${COVERAGE_TESTS[@]}")
	status=$?
	set -e
	for name in "${COVERAGE_TESTS[@]}"; do
		coverage_add "$name"
	done
	coverage_report "$notes" >"$OUT/coverage/report.txt"
	cat "$OUT/coverage/report.txt"
	coverage_enough || status=1
	return $status
}
