# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Builds: kernel, QEMU and selftests from base plus series. A result is named
# by the digest of what it is made of and kept in $IMAGES: another checkout with
# the same content builds nothing. The source's work tree only ever moves between
# commits, so that unchanged files keep their time and make has little to do.

KERNEL_PACKAGES=(build-essential bc bison flex libelf-dev libssl-dev cpio rsync ccache kmod)
QEMU_PACKAGES=(build-essential ninja-build pkg-config python3 python3-venv python3-distlib
	python3-setuptools libglib2.0-dev libfdt-dev zlib1g-dev ccache)
QEMU_CONFIGURE=(--python=/usr/bin/python3 --target-list=x86_64-softmmu
	--without-default-features --enable-system --enable-kvm --enable-tcg
	--disable-docs --disable-install-blobs --disable-werror --disable-download)
# upstream's KVM selftests that concern the MMU
KVM_TESTS=(demand_paging_test dirty_log_test kvm_page_table_test
	memslot_modification_stress_test memslot_perf_test pre_fault_memory_test
	set_memory_region_test guest_memfd_test x86/dirty_log_page_splitting_test)
JOBS=${JOBS:-$(nproc)}

# config_files NAME: the fragments of a kernel configuration, in order.
config_files() {
	local dir=$ROOT/harness/kconfig common
	common="$dir/base.config $dir/release.config $dir/kunit.config"
	case $1 in
	release) echo "$common" ;;
	debug | coverage | kcsan) echo "$common $dir/$1.config" ;;
	bench) echo "$dir/base.config $dir/bench.config" ;;
	uml) echo "$dir/uml-kunit.config" ;;
	*) die "no kernel configuration '$1': release, debug, coverage, kcsan, bench or uml" ;;
	esac
}

# host_sources: own files of the host's kernel, without tests.
host_sources() {
	own_files linux | grep -E '^drivers/(iommu|vfio)/.*\.c$' | grep -vE '_(test|mock)\.c$'
}

# kernel_variables CONFIG: what make is told beside the configuration: which files
# have counters of lines, and in which data races are looked for.
kernel_variables() {
	case $1 in
	coverage) host_sources | sed -E 's,.*/(.*)\.c$,GCOV_PROFILE_\1.o=y,' ;;
	kcsan)
		echo KCSAN_SANITIZE=n
		{ host_sources; echo mm/mmu_notifier.c; } |
			sed -E 's,.*/(.*)\.c$,KCSAN_SANITIZE_\1.o=y,'
		;;
	esac
}

# content SRC COMMIT EXCEPT: digest of a commit without the top-level entries
# that match EXCEPT.
content() {
	git -C "$1" ls-tree "$2" . tools/ | grep -vE "	($3)\$" | sha256sum | cut -c1-16
}

digest() { sha256sum | cut -c1-16; }

# check_out SRC COMMIT: brings the work tree to the commit.
check_out() {
	git -C "$1" -c advice.detachedHead=false checkout -q -f --detach "$2"
}

# keep_image FILE: marks it as used, and drops all but the newest of its kind.
keep_image() {
	local old
	touch "$1"
	# shellcheck disable=SC2012
	ls -dt "${1%-*}"-* | tail -n +6 | while read -r old; do rm -rf "$old"; done
}

# kernel_make SRC BUILDDIR ARGS...: make with what keeps builds reproducible
# and independent of the machine.
kernel_make() {
	local src=$1 dir=$2
	shift 2
	nice make -s -C "$src" O="$dir" -j "$JOBS" CC="${KERNEL_CC:-ccache gcc}" LOCALVERSION= \
		KBUILD_BUILD_TIMESTAMP='@0' KBUILD_BUILD_USER=build KBUILD_BUILD_HOST=localhost "$@"
}

# kernel_configure SRC BUILDDIR FRAGMENT...: .config from tinyconfig and the
# fragments; fails when an option of a fragment did not come out as asked for.
kernel_configure() {
	local src=$1 dir=$2 lost
	shift 2
	mkdir -p "$dir"
	if ! cmp -s "$dir/.fragments" <(cat "$@"); then
		kernel_make "$src" "$dir" tinyconfig
		"$src/scripts/kconfig/merge_config.sh" -m -O "$dir" "$dir/.config" "$@" >/dev/null
	fi
	kernel_make "$src" "$dir" olddefconfig
	lost=$(cat "$@" | awk -F'[= ]' '/^CONFIG_/ { v[$1] = $0 } /^# CONFIG_.* is not set/ { delete v[$2] }
			END { for (n in v) print v[n] }' | grep -Fxv -f "$dir/.config" || true)
	[[ ! $lost ]] || die "options that the configuration does not take:"$'\n'"$lost"
	cat "$@" >"$dir/.fragments"
}

kernel_key() {
	{
		content "$1" "$2" 'Documentation|MAINTAINERS|samples|tools|tools/testing'
		cat "${@:3}"
		gcc -dumpfullversion
	} | digest
}

# kernel_notes IMAGE: where the compiler's notes of a kernel's lines are kept.
kernel_notes() { echo "${1%/*}/notes-${1##*/kernel-}"; }

# keep_notes BUILDDIR IMAGE: keeps them; without counters there are none.
keep_notes() {
	local notes
	notes=$(kernel_notes "$2")
	rm -rf "$notes"
	find "$1/drivers" -name '*.gcno' | while read -r note; do
		install -D -m 644 "$note" "$notes/${note##*/}"
	done
}

# build_kernel CONFIG: prints the path of the bzImage.
build_kernel() {
	local config=$1 src head image dir fragments variables
	read -r -a fragments < <(config_files "$config")
	mapfile -t variables < <(kernel_variables "$config")
	need_packages "${KERNEL_PACKAGES[@]}"
	src=$(base_source linux)
	head=$(series_head linux "$src")
	image=$IMAGES/kernel-$config-$(kernel_key "$src" "$head" \
		"${fragments[@]}" <(kernel_variables "$config"))
	dir=$CACHE/build/kernel-$config
	if [[ ! -e $image ]]; then
		check_out "$src" "$head"
		step "configure kernel $config" kernel_configure "$src" "$dir" "${fragments[@]}"
		step "build kernel $config" kernel_make "$src" "$dir" "${variables[@]}" bzImage
		keep_notes "$dir" "$image"
		install -D -m 644 "$dir/arch/x86/boot/bzImage" "$image"
	fi
	keep_image "$image"
	echo "$image"
}

qemu_configure() {
	local src=$1 dir=$2
	mkdir -p "$dir"
	cd "$dir" || exit
	[[ -e build.ninja && $(cat .configured 2>/dev/null) == "$src ${QEMU_CONFIGURE[*]}" ]] && return
	"$src/configure" --cc='ccache gcc' "${QEMU_CONFIGURE[@]}"
	echo "$src ${QEMU_CONFIGURE[*]}" >.configured
}

# with_meson CMD...: with Debian 13's meson first in the path.
with_meson() {
	local meson
	meson=$(meson_dir)
	PATH=$meson/usr/bin:/usr/bin:$PATH PYTHONPATH=$meson/usr/lib/python3/dist-packages "$@"
}

# build_qemu: prints the path of the stripped qemu-system-x86_64.
build_qemu() {
	local src head image dir=$CACHE/build/vmm
	need_packages "${QEMU_PACKAGES[@]}"
	src=$(base_source qemu)
	head=$(series_head qemu "$src")
	image=$IMAGES/qemu-$({
		content "$src" "$head" 'docs|MAINTAINERS|tests'
		echo "${QEMU_CONFIGURE[@]}"
	} | digest)
	if [[ ! -e $image ]]; then
		meson_dir >/dev/null
		check_out "$src" "$head"
		step "configure QEMU" with_meson qemu_configure "$src" "$dir"
		step "build QEMU" with_meson nice ninja -C "$dir" -j "$JOBS" qemu-system-x86_64
		mkdir -p "$IMAGES"
		strip -o "$image" "$dir/qemu-system-x86_64"
	fi
	keep_image "$image"
	echo "$image"
}

# build_qtest: prints the path of the qtest of our device.
build_qtest() {
	local src head image dir=$CACHE/build/vmm test=tests/qtest/dma-pinning-test
	src=$(base_source qemu)
	head=$(series_head qemu "$src")
	image=$IMAGES/qtest-$({
		content "$src" "$head" 'docs|MAINTAINERS'
		echo "${QEMU_CONFIGURE[@]}"
	} | digest)
	if [[ ! -e $image ]]; then
		check_out "$src" "$head"
		step "configure QEMU" with_meson qemu_configure "$src" "$dir"
		step "build qtest" with_meson nice ninja -C "$dir" -j "$JOBS" $test
		install -D "$dir/$test" "$image"
	fi
	keep_image "$image"
	echo "$image"
}

selftests_make() {
	local src=$1 dir=$2 image=$3 tests=tools/testing/selftests t
	kernel_make "$src" "$dir" headers
	KERNEL_CC=gcc kernel_make "$src/$tests" "$dir" FORCE_TARGETS=1 TARGETS=vfio \
		install INSTALL_PATH="$image"
	KERNEL_CC=gcc kernel_make "$src/$tests/kvm" "$dir" OUTPUT="$dir/kselftest/kvm" \
		KHDR_INCLUDES="-isystem $dir/usr/include" \
		"${KVM_TESTS[@]/#/$dir/kselftest/kvm/}"
	for t in "${KVM_TESTS[@]}"; do
		install -D -s "$dir/kselftest/kvm/$t" "$image/kvm/${t##*/}"
	done
}

# build_selftests: prints the directory with ours and upstream's selftests of VFIO
# (vfio/), and upstream's of KVM (kvm/).
build_selftests() {
	local src head image dir=$CACHE/build/selftests
	need_packages "${KERNEL_PACKAGES[@]}" uuid-dev
	src=$(base_source linux)
	head=$(series_head linux "$src")
	image=$IMAGES/selftests-$({
		content "$src" "$head" 'Documentation|MAINTAINERS|drivers|fs|kernel|mm|samples|virt'
		echo "${KVM_TESTS[@]}"
	} | digest)
	if [[ ! -d $image ]]; then
		check_out "$src" "$head"
		rm -rf "$image.tmp"
		step "build selftests" selftests_make "$src" "$dir" "$image.tmp"
		mv "$image.tmp" "$image"
	fi
	keep_image "$image"
	echo "$image"
}
