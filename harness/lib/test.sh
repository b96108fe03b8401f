# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Tests: native ones, which are programs of this machine, and the scenarios of
# harness/vm, which boot the whole emulated one. A test's output is kept in
# out/test/NAME.log.
#
# A native test is one line in native_tests() and two functions: prepare_NAME
# builds, test_NAME prints KTAP or TAP and fails when the test does ('-' in the
# name is '_' there).

TEST_KERNEL=release
VM_PACKAGES=(seabios qemu-system-data busybox-static cpio gnuplot-nox acpica-tools build-essential
	linux-perf)

native_tests() {
	cat <<-'EOF'
	models memory-model litmus tests and exhaustive search of the protocol
	kunit-uml KUnit suites of the series, natively under UML
	qtest the dma-pinning device of QEMU, by its own qtest
	EOF
}

# all_tests: "NAME description" lines, in the order in which they run.
all_tests() {
	native_tests
	"$ROOT/harness/vm/list"
}

# tests_of SUITE: names of the tests of a suite: short, long or kcsan.
tests_of() {
	all_tests | awk -v suite="[$1]" \
		'$2 == suite || (suite == "[short]" && $2 !~ /^\[/) {print $1}'
}

is_native() { grep -q "^$1 " <<<"$(native_tests)"; }

# build_uml: prints the path of a kernel that runs the KUnit suites as a program.
build_uml() {
	local src head image dir=$CACHE/build/uml config=$ROOT/harness/kconfig/uml-kunit.config
	need_packages "${KERNEL_PACKAGES[@]}"
	src=$(base_source linux)
	head=$(series_head linux "$src")
	image=$IMAGES/uml-$(kernel_key "$src" "$head" "$config")
	if [[ ! -e $image ]]; then
		check_out "$src" "$head"
		export ARCH=um
		step "configure UML" kernel_configure "$src" "$dir" "$config"
		step "build UML" kernel_make "$src" "$dir" linux
		unset ARCH
		mkdir -p "$IMAGES"
		strip -o "$image" "$dir/linux"
	fi
	keep_image "$image"
	echo "$image"
}

prepare_kunit_uml() {
	UML_KERNEL=$(locked build_uml)
	export UML_KERNEL
}

# test_kunit_uml: fails unless every suite reports ok, and each of these is there.
test_kunit_uml() {
	local log=$OUT/test/kunit-uml.ktap suite
	local suites=(dma_pinning dma_pinning_quota dma_pinning_hooks dma_pinning_service)
	suites+=({amdv1,riscv_64,vtdss,x86_64}_remap{,_large}_test)
	# without upstream's own suites of generic_pt, which take minutes
	for suite in 'dma_pinning*' '*_remap_*'; do
		timeout 300 "$UML_KERNEL" mem=512M con=null con0=fd:0,fd:1 kunit.enable=1 \
			kunit.filter_glob="$suite" kunit_shutdown=halt panic_on_warn=1 \
			</dev/null | tr -d '\r'
	done >"$log"
	cat "$log"
	for suite in "${suites[@]}"; do
		grep -q "^ok [0-9]* $suite\$" "$log" || { echo "not ok - suite $suite"; return 1; }
	done
	! grep -Eq '^ *not ok |^ *# .*(failed|WARNING)|Kernel panic|BUG:' "$log"
}

prepare_qtest() {
	need_packages "${VM_PACKAGES[@]}"
	VM_QEMU=${VM_QEMU:-$(locked build_qemu)}
	QTEST=$(locked build_qtest)
	export VM_QEMU QTEST
}

# test_qtest: libqtest takes the architecture from the program's name, and the
# image of QEMU does not know where the firmware is.
test_qtest() {
	local program=$OUT/test/bin/qemu-system-x86_64
	mkdir -p "${program%/*}"
	printf '#!/bin/sh\nexec "%s" -L /usr/share/seabios "$@"\n' "$VM_QEMU" >"$program"
	chmod +x "$program"
	QTEST_QEMU_BINARY=$program timeout 300 "$QTEST" --tap
}

# prepare_tests NAME...: builds what these tests need and tells them where it is.
prepare_tests() {
	local name vm=
	for name in "$@"; do
		if is_native "$name"; then
			"prepare_${name//-/_}"
		else
			vm=needed
		fi
	done
	[[ ! $vm ]] || prepare_vm
}

# patience: how much slower than the release kernel TEST_KERNEL may be.
patience() {
	case $TEST_KERNEL in
	debug) echo 5 ;;
	kcsan) echo 3 ;;
	*) echo 1 ;;
	esac
}

# guest_kernel: what the guests of a host with TEST_KERNEL boot. It is the host that
# debug and kcsan are for; under emulation, guests of that kind would take very long.
guest_kernel() {
	case $TEST_KERNEL in
	debug | kcsan) locked build_kernel release ;;
	*) echo "$VM_KERNEL" ;;
	esac
}

# prepare_vm: kernels, QEMU and selftests, for the programs of harness/vm. The
# configuration of the host's kernel is TEST_KERNEL.
prepare_vm() {
	need_packages "${VM_PACKAGES[@]}"
	VM_KERNEL=${VM_KERNEL:-$(locked build_kernel "$TEST_KERNEL")}
	VM_GUEST_KERNEL=${VM_GUEST_KERNEL:-$(guest_kernel)}
	VM_CONFIG=$TEST_KERNEL
	VM_QEMU=${VM_QEMU:-$(locked build_qemu)}
	VM_SELFTESTS=${VM_SELFTESTS:-$(locked build_selftests)}
	VM_PATIENCE=${VM_PATIENCE:-$(patience)}
	export VM_KERNEL VM_GUEST_KERNEL VM_CONFIG VM_QEMU VM_SELFTESTS VM_PATIENCE
	export VM_CACHE=$CACHE/vm VM_OUT=$OUT
}

# run_one NAME: the test itself, with its output on stdout.
run_one() {
	if is_native "$1"; then
		"test_${1//-/_}"
	else
		"$ROOT/harness/vm/scenario" "$1"
	fi
}

# verdict NAME STATUS: ok, skip or FAIL.
verdict() {
	if (($2)); then
		echo FAIL
	elif ! is_native "$1" && grep -q '^skip' "$OUT/logs/$1/summary"; then
		echo skip
	else
		echo ok
	fi
}

# counts_of NAME: what its programs have counted, as "# count: TEXT" lines, and the
# DMA faults that the emulated IOMMU has seen.
counts_of() {
	sed -n -e 's/^.*# count: */    /p' -e 's/^[a-zA-Z]* .*\(DMA faults: [0-9]*\),.*/    \1/p' \
		"$OUT/test/$1.log"
}

# show_failure LOG: what a failed test has said: each failed check of its programs
# with the lines before it, and the end.
show_failure() {
	{
		head -n -20 "$1" | grep -B 8 '\bnot ok ' | tail -n 60 || true
		tail -n 20 "$1"
	} | sed 's/^/        /'
}

# run_tests [--kernel=CONFIG] [long|kcsan|NAME...]: the verb `test`; the short suite
# when none is named. The long one reports its counts.
run_tests() {
	local names name log start status result passed=0 failed=0 skipped=0
	local known
	if [[ ${1-} == --kernel=* ]]; then
		TEST_KERNEL=${1#*=}
		config_files "$TEST_KERNEL" >/dev/null
		shift
	fi
	names=("$@")
	known=$(all_tests)
	if (($# == 0)); then
		mapfile -t names < <(tests_of short)
	elif [[ $* == long || $* == kcsan ]]; then
		mapfile -t names < <(tests_of "$*")
	fi
	for name in "${names[@]}"; do
		grep -q "^$name " <<<"$known" || die "no test '$name'; there are:"$'\n'"$known"
	done
	mkdir -p "$OUT/test"
	prepare_tests "${names[@]}"
	for name in "${names[@]}"; do
		log=$OUT/test/$name.log start=$EPOCHREALTIME status=0
		ticker "$name" &
		run_one "$name" >"$log" 2>&1 </dev/null || status=$?
		end_ticker $!
		result=$(verdict "$name" $status)
		case $result in
		ok) passed=$((passed + 1)) ;;
		skip) skipped=$((skipped + 1)) ;;
		FAIL) failed=$((failed + 1)); show_failure "$log" ;;
		esac
		printf '%-4s %7s s  %s (%d checks)%s\n' "$result" "$(elapsed "$start")" "$name" \
			"$(grep -cE '^[ 0-9:]*\bok [0-9]+' "$log")" "$([[ $result == ok ]] || echo ", see $log")"
		[[ $* != long ]] || counts_of "$name"
	done
	echo "$passed passed, $failed failed$( ((skipped == 0)) || echo ", $skipped skipped")"
	((failed == 0))
}

# run_bench: the verb `bench`; fails when a count is not as it must be. The rows
# of the table are the lines with '|' that the scenario prints.
run_bench() {
	local status=0
	TEST_KERNEL=bench
	prepare_vm
	mkdir -p "$OUT/bench"
	"$ROOT/harness/vm/scenario" brackets || status=$?
	awk '/\|/ { gsub(/^ +/, ""); gsub(/\|/, " | ") }
	     /^GiB \|/ { if (!header++) { print "| " $0 " |"; gsub(/[^|]+/, " --- "); print "|" $0 "|" } next }
	     /\|/ { print "| " $0 " |" }' "$OUT/logs/brackets/output.log" >"$OUT/bench/brackets.md"
	cat "$OUT/bench/brackets.md"
	return $status
}
