# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# The verb `coverage`: which lines of our host files the tests execute, by the
# kernel's gcov support. The tests run in a kernel of its own configuration; the
# counters of each run come home with its other files and are added up.
#
# out/coverage/report.txt is the table, out/coverage/uncovered.txt the lines that
# were never executed.

COVERAGE_GOAL=90
COVERAGE_SOURCES=(drivers/iommu/intel/remap_pte.c drivers/vfio/vfio_iommu_type1_unpinned.c
	drivers/vfio/vfio_unpinned_map.c drivers/vfio/vfio_unpinned_pins.c
	drivers/vfio/vfio_unpinned_debugfs.c)
# all that test the host's kernel, as far as they exist
COVERAGE_TESTS=(kunit kselftest movers hostile oversubscribed-vms)

# coverage_kernel: builds the kernel. The counters fit the .gcno files of just this
# build, so it is made in its directory each time and not taken from the images.
coverage_kernel() {
	local src fragments args=() f
	need_packages "${KERNEL_PACKAGES[@]}"
	read -r -a fragments < <(config_files coverage)
	for f in "${COVERAGE_SOURCES[@]}"; do
		f=${f##*/}
		args+=("GCOV_PROFILE_${f%.c}.o=y")
	done
	src=$(base_source linux)
	check_out "$src" "$(series_head linux "$src")"
	step "configure kernel coverage" kernel_configure "$src" "$CACHE/build/kernel-coverage" "${fragments[@]}"
	step "build kernel coverage" kernel_make "$src" "$CACHE/build/kernel-coverage" "${args[@]}" bzImage
}

# coverage_add TEST: adds the counters of a test to those in out/coverage/sum.
coverage_add() {
	local run=$OUT/logs/$1/files/gcov dir=$OUT/coverage
	[[ -d $run ]] || die "$1 brought no counters home: see $OUT/test/$1.log"
	if [[ -d $dir/sum ]]; then
		gcov-tool merge -o "$dir/new" "$dir/sum" "$run" >/dev/null
		rm -r "$dir/sum"
		mv "$dir/new" "$dir/sum"
	else
		cp -r "$run" "$dir/sum"
	fi
}

# coverage_of SOURCE: "executed lines" of a file; leaves SOURCE.gcov behind.
coverage_of() {
	local base=${1##*/} dir=$OUT/coverage object
	object=$CACHE/build/kernel-coverage/${1%.c}
	find "$dir/sum" -name "${base%.c}.gcda" -exec cp {} "$dir" \;
	cp "$object.gcno" "$dir"
	(cd "$dir" && gcov -s "$(base_source linux)" -r -o . "$base" >/dev/null 2>&1)
	awk -F: '$1 ~ /^ *[0-9#=]/ { all++ } $1 ~ /#####|=====/ { not++ }
		END { print all - not, all + 0 }' "$dir/$base.gcov"
}

coverage_report() {
	local f executed lines all=0 sum=0 dir=$OUT/coverage
	: >"$dir/uncovered.txt"
	printf '%8s %8s %6s  %s\n' executed lines % file
	for f in "${COVERAGE_SOURCES[@]}"; do
		read -r executed lines < <(coverage_of "$f")
		sum=$((sum + executed)) all=$((all + lines))
		printf '%8d %8d %6d  %s\n' "$executed" "$lines" $((100 * executed / lines)) "$f"
		sed -n "s,^ *#####: *,$f:,p" "$dir/${f##*/}.gcov" >>"$dir/uncovered.txt"
	done
	printf '%8d %8d %6d  all\n' $sum $all $((100 * sum / all))
	((100 * sum >= COVERAGE_GOAL * all)) || die "less than $COVERAGE_GOAL % are executed, see $dir/uncovered.txt"
}

# run_coverage: the verb `coverage`.
run_coverage() {
	local name known
	need_packages gcc
	known=$(all_tests)
	locked coverage_kernel
	VM_KERNEL=$CACHE/build/kernel-coverage/arch/x86/boot/bzImage
	rm -rf "$OUT/coverage"
	mkdir -p "$OUT/coverage"
	for name in "${COVERAGE_TESTS[@]}"; do
		grep -q "^$name " <<<"$known" || continue
		VM_KERNEL=$VM_KERNEL run_tests "$name"
		coverage_add "$name"
	done
	coverage_report | tee "$OUT/coverage/report.txt"
}
