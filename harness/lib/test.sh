# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Tests: the series' KUnit suites under UML, and the scenarios of harness/vm,
# which boot the whole machine. A test's output is kept in out/test/NAME.log.

VM_PACKAGES=(seabios qemu-system-data busybox-static cpio gnuplot-nox acpica-tools build-essential)

# all_tests: "NAME description" lines, in the order in which they run.
all_tests() {
	echo "kunit-uml KUnit suites of the series, natively under UML"
	"$ROOT/harness/vm/list"
}

# build_uml: prints the path of a kernel that runs the KUnit suites as a program.
build_uml() {
	local src head image dir=$CACHE/build/uml config=$ROOT/harness/kconfig/uml-kunit.config
	need_packages "${KERNEL_PACKAGES[@]}"
	src=$(base_source linux)
	head=$(series_head linux "$src")
	image=$CACHE/images/uml-$(kernel_key "$src" "$head" "$config")
	if [[ ! -e $image ]]; then
		check_out "$src" "$head"
		export ARCH=um
		step "configure UML" kernel_configure "$src" "$dir" "$config"
		step "build UML" kernel_make "$src" "$dir" linux
		unset ARCH
		mkdir -p "$CACHE/images"
		strip -o "$image" "$dir/linux"
	fi
	keep_image "$image"
	echo "$image"
}

# test_kunit_uml: fails unless every suite reports ok and there is one.
test_kunit_uml() {
	local log=$OUT/test/kunit-uml.ktap
	timeout 300 "$UML_KERNEL" mem=512M con=null con0=fd:0,fd:1 kunit.enable=1 \
		kunit_shutdown=halt panic_on_warn=1 </dev/null | tr -d '\r' >"$log"
	cat "$log"
	grep -q '^ok ' "$log" && ! grep -Eq '^ *not ok |^ *# .*(failed|WARNING)|Kernel panic|BUG:' "$log"
}

# prepare_tests NAME...: builds what these tests need and tells them where it is.
prepare_tests() {
	if [[ " $* " == *" kunit-uml "* ]]; then
		UML_KERNEL=$(locked build_uml)
		export UML_KERNEL
	fi
	if [[ "$*" != kunit-uml ]]; then
		prepare_vm
	fi
}

# prepare_vm: kernel, QEMU and selftests, for the programs of harness/vm.
prepare_vm() {
	need_packages "${VM_PACKAGES[@]}"
	VM_KERNEL=${VM_KERNEL:-$(locked build_kernel release)}
	VM_QEMU=${VM_QEMU:-$(locked build_qemu)}
	VM_SELFTESTS=${VM_SELFTESTS:-$(locked build_selftests)}
	export VM_KERNEL VM_QEMU VM_SELFTESTS VM_CACHE=$CACHE/vm VM_OUT=$OUT
}

# run_one NAME: the test itself, with its output on stdout.
run_one() {
	if [[ $1 == kunit-uml ]]; then
		test_kunit_uml
	else
		"$ROOT/harness/vm/scenario" "$1"
	fi
}

# verdict NAME STATUS: ok, skip or FAIL.
verdict() {
	if (($2)); then
		echo FAIL
	elif grep -q '^skip' "$OUT/logs/$1/summary" 2>/dev/null && [[ $1 != kunit-uml ]]; then
		echo skip
	else
		echo ok
	fi
}

# run_tests [NAME...]: the verb `test`; all tests when none is named.
run_tests() {
	local names=("$@") name log start status result passed=0 failed=0 skipped=0
	local known
	known=$(all_tests)
	(($#)) || mapfile -t names < <(cut -d' ' -f1 <<<"$known")
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
		FAIL) failed=$((failed + 1)); tail -n 20 "$log" | sed 's/^/        /' ;;
		esac
		printf '%-4s %7s s  %s (%d checks)%s\n' "$result" "$(elapsed "$start")" "$name" \
			"$(grep -cE '^[ 0-9:]*\bok [0-9]+' "$log")" "$([[ $result == ok ]] || echo ", see $log")"
	done
	echo "$passed passed, $failed failed$( ((skipped == 0)) || echo ", $skipped skipped")"
	((failed == 0))
}
