# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# The verb `check`. Each check is a function that prints what is wrong and
# returns whether all is well; one line per check says PASS or FAIL. Findings
# of checkpatch that are wanted stand in harness/checkpatch.waivers, with the
# reason.

CHECK_PACKAGES=(shellcheck sparse perl python3-ply python3-git)
CHECKS=(apply own_files maintainers uapi lossless mails checkpatch kernel_doc w1 sparse builds shellcheck neutral barriers)

check_about() {
	case $1 in
	apply) echo "patches apply with fuzz 0" ;;
	own_files) echo "every own file belongs to exactly one commit, every patch to the series" ;;
	maintainers) echo "every own file is in an entry of MAINTAINERS that the series adds" ;;
	uapi) echo "QEMU's copies of vfio.h and dma-pinning.h are the kernel's" ;;
	lossless) echo "tree and refresh change nothing" ;;
	mails) echo "the mailed series gives the same tree" ;;
	checkpatch) echo "checkpatch --strict" ;;
	kernel_doc) echo "kernel-doc of own files" ;;
	w1) echo "W=1 build of own files" ;;
	sparse) echo "sparse on own files" ;;
	builds) echo "every kernel commit builds, with its options and without" ;;
	shellcheck) echo "shellcheck" ;;
	barriers) echo "every barrier names its litmus test" ;;
	neutral) echo "licence lines, no machine paths, no hosts" ;;
	esac
}

# What the checks share, set by check_setup: sources and series heads.
declare -gA SRC=() HEAD=()

# nothing: passes its input on, and fails when there is any.
nothing() { if grep .; then return 1; fi; }

check_apply() {
	local tree
	for tree in linux qemu; do
		make_commits "$tree" "${SRC[$tree]}" 1
	done
}

check_own_files() {
	local tree claimed
	for tree in linux qemu; do
		claimed=$(series_own "$tree")
		comm -23 <(own_files "$tree") <(uniq <<<"$claimed") | sed "s,^,$tree: in no commit: ,"
		uniq -d <<<"$claimed" | sed "s,^,$tree: in two commits: ,"
		comm -12 <(own_files "$tree") <(git -C "${SRC[$tree]}" ls-tree -r --name-only base | sort) |
			sed "s,^,$tree: exists in the base (make it a patch): ,"
		comm -3 <(series_lines "$tree" | cut -d' ' -f1 | sort) \
			<(find "$ROOT/patches/$tree" -name '*.patch' -printf '%P\n' | sort) |
			sed "s,^\t*,$tree: not in both the series and patches/: ,"
	done | nothing
}

# maintained TREE: what the series adds to MAINTAINERS, as regular expressions of
# whole paths: a directory is for all below it, a wildcard ends at a slash.
maintained() {
	git -C "${SRC[$1]}" diff -U0 base "${HEAD[$1]}" -- MAINTAINERS |
		sed -nE 's/^\+F:[[:space:]]*//p' |
		sed -E 's/[.+]/\\&/g; s,\*,[^/]*,g; s,\?,[^/],g; s,/$,/.*,'
}

check_maintainers() {
	local tree pattern
	for tree in linux qemu; do
		own_files "$tree" | { grep -vxE -f <(maintained "$tree") || true; } |
			sed "s,^,$tree: in no entry: ,"
		git -C "${SRC[$tree]}" ls-tree -r --name-only "${HEAD[$tree]}" >"$OUT/check/$tree.files"
		maintained "$tree" | while read -r pattern; do
			grep -qxE -- "$pattern" "$OUT/check/$tree.files" ||
				echo "$tree: an entry for no file: $pattern"
		done
	done | nothing
}

# added_lines TREE FILE: what the series adds to it.
added_lines() {
	git -C "${SRC[$1]}" diff -U0 "base..${HEAD[$1]}" -- "$2" | sed -n '/^+++ /!s/^+//p'
}

# exported FILE: a uapi header of ours as headers_install.sh and QEMU's
# update-linux-headers.sh convert it, while it has neither includes nor types.
exported() { sed 's/_UAPI//' "$1"; }

check_uapi() {
	local rc=0
	added_lines linux include/uapi/linux/vfio.h >"$OUT/check/uapi"
	added_lines qemu linux-headers/linux/vfio.h | diff "$OUT/check/uapi" - || rc=1
	[[ -s $OUT/check/uapi ]] || rc=1
	diff <(exported "$ROOT/include/uapi/linux/dma-pinning.h") \
		"$ROOT/qemu/include/standard-headers/linux/dma-pinning.h" || rc=1
	return $rc
}

check_lossless() {
	local tree commit name rc=0
	for tree in linux qemu; do
		for commit in $(git -C "${SRC[$tree]}" rev-list "base..${HEAD[$tree]}"); do
			name=$(patch_name "${SRC[$tree]}" "$commit")
			write_patch "${SRC[$tree]}" "$commit" | diff -u "$ROOT/patches/$tree/$name" - ||
				{ echo "patches/$tree/$name is not as refresh writes it: ./run tree, ./run refresh"; rc=1; }
		done
	done
	return $rc
}

# mails TREE: the mails without the cover letter, in order.
mails() { find "$OUT/check/$1" -name '*.patch' ! -name '0000-*' | sort; }

# Applies the mails one after the other, as git am would.
check_mails() {
	local tree mail src
	for tree in linux qemu; do
		src=${SRC[$tree]}
		mail_series "$tree" "$OUT/check/$tree"
		plumbing "$src" read-tree base
		for mail in $(mails "$tree"); do
			(cd "$src" && plumbing "$src" apply --cached --whitespace=nowarn "$mail")
		done
		[[ $(plumbing "$src" write-tree) == "$(git -C "$src" rev-parse "${HEAD[$tree]}^{tree}")" ]] ||
			die "$tree: the mails give another tree"
	done
}

# waived TREE PATCH: removes the waived findings from stdin. A waiver is
# "TREE PATCH-GLOB REGEXP REASON...".
waived() {
	local tree=$1 name=$2 w glob regexp skip=()
	while read -r w glob regexp _; do
		# shellcheck disable=SC2053
		if [[ $w == "$tree" && $name == $glob ]]; then skip+=(-e "$regexp"); fi
	done < <(sed '/^#/d' "$ROOT/harness/checkpatch.waivers")
	if ((${#skip[@]})); then grep -vE "${skip[@]}" || true; else cat; fi
}

# The mails come in the order of the series, so that each has its patch's name.
check_checkpatch() {
	local tree mail name rc=0 found options
	for tree in linux qemu; do
		options=(--no-signoff --strict --terse --no-summary)
		[[ $tree == qemu ]] || options+=(--show-types --showfile)
		cd "${SRC[$tree]}" || exit
		while read -r mail name; do
			found=$({ PATH=/usr/bin:$PATH perl scripts/checkpatch.pl "${options[@]}" "$mail" 2>&1 || true; } |
				sed "s,^$OUT/check/,,; /^total:/d" | waived "$tree" "$name")
			[[ ! $found ]] || { echo "$name:"$'\n'"$found"; rc=1; }
		done < <(paste -d' ' <(mails "$tree") <(series_lines "$tree" | cut -d' ' -f1))
	done
	return $rc
}

# own_sources TREE PATTERN...: own files with these endings.
own_sources() {
	local tree=$1 f end
	shift
	own_files "$tree" | while read -r f; do
		for end in "$@"; do
			if [[ $f == *"$end" ]]; then echo "$f"; fi
		done
	done
}

check_kernel_doc() {
	local files
	mapfile -t files < <(own_sources linux .c .h | sed '/^tools\//d')
	((${#files[@]})) || return 0
	cd "${SRC[linux]}" || exit
	scripts/kernel-doc -none -Wall "${files[@]}" 2>&1 | nothing
}

# included_objects: those of own C files that are a part of another one.
included_objects() {
	(cd "$ROOT" && own_sources linux .c | xargs grep -H '^#include ".*\.c"') |
		sed -nE 's,^(.*/)[^/:]*:#include "(.*)\.c"$,\1\2.o,p'
}

# kernel_objects COMMIT FILTER: what make is asked for: an object for each C file that
# the series adds (A) or edits (M) up to this commit, as far as the test kernel
# contains what is edited.
kernel_objects() {
	git -C "${SRC[linux]}" diff-tree -r --name-only --diff-filter="$2" base "$1" |
		grep -vE '^(tools|samples|Documentation)/' | sed -n 's/\.c$/.o/p' |
		{ grep -vxF -f <(included_objects) || true; } | while read -r f; do
		if [[ $2 == A || -e $CACHE/build/kernel-release/$f ]]; then echo "$f"; fi
	done
}

# our_lines: "file:line:" of all lines that the series adds, own files included.
our_lines() {
	git -C "${SRC[linux]}" diff -U0 base "${HEAD[linux]}" -- '*.c' '*.h' | awk '
		/^\+\+\+ b\// { file = substr($2, 3) }
		/^@@/ {
			n = split(substr($3, 2), at, ",")
			for (i = 0; i < (n > 1 ? at[2] : 1); i++)
				print file ":" at[1] + i ":"
		}'
}

# analyse ARGS...: builds the objects in a directory of its own with these
# settings, and prints what is said about the lines of the series.
analyse() {
	local dir=$CACHE/build/check log=$OUT/check/${1%%=*}.log objects fragments
	mapfile -t objects < <(kernel_objects "${HEAD[linux]}" A; kernel_objects "${HEAD[linux]}" M)
	read -r -a fragments < <(config_files release)
	(
		kernel_configure "${SRC[linux]}" "$dir" "${fragments[@]}"
		(cd "$dir" && rm -f "${objects[@]}")
		kernel_make "${SRC[linux]}" "$dir" "$@" "${objects[@]}"
	) >"$log" 2>&1 || { tail -n 30 "$log"; return 1; }
	our_lines >"$OUT/check/lines"
	grep -E 'warning|error' "$log" | { grep -F -f "$OUT/check/lines" || true; } | nothing
}

check_w1() { analyse W=1; }
check_sparse() { analyse C=2; }

# build_commit COMMIT FRAGMENT...: builds what the series has touched up to a commit.
# Options that come with a later commit do not exist yet, and own files are only
# built with their option.
build_commit() {
	local commit=$1 dir=$CACHE/build/check-$# objects=() without=none
	shift
	mkdir -p "$dir"
	check_out "${SRC[linux]}" "$commit"
	kernel_make "${SRC[linux]}" "$dir" tinyconfig
	"${SRC[linux]}/scripts/kconfig/merge_config.sh" -m -O "$dir" "$dir/.config" "$@" >/dev/null
	kernel_make "${SRC[linux]}" "$dir" olddefconfig
	# What only our options bring into the build
	grep -q '^CONFIG_PAGE_EXTENSION=y' "$dir/.config" || without=mm/page_ext.o
	mapfile -t objects < <({
		kernel_objects "$commit" M
		(($# == 1)) || kernel_objects "$commit" A
	} | grep -vFx "$without")
	kernel_make "${SRC[linux]}" "$dir" KCFLAGS=-Werror "${objects[@]}"
}

check_builds() {
	local commit fragments
	read -r -a fragments < <(config_files release)
	for commit in $(git -C "${SRC[linux]}" rev-list --reverse "base..${HEAD[linux]}"); do
		echo "$(patch_name "${SRC[linux]}" "$commit"):"
		build_commit "$commit" "${fragments[@]}"
		build_commit "$commit" "${fragments[0]}"
	done
	check_out "${SRC[linux]}" "${HEAD[linux]}"
}

# shell_scripts: all files of ours that a shell runs.
shell_scripts() {
	git -C "$ROOT" ls-files -co --exclude-standard | while read -r f; do
		if [[ -f $ROOT/$f ]] && head -n 2 "$ROOT/$f" | grep -qaE '^#!.*\b(ba)?sh\b|shellcheck shell='; then
			echo "$f"
		fi
	done
}

check_shellcheck() {
	cd "$ROOT" || exit
	shell_scripts | xargs shellcheck -x
}

check_neutral() {
	local rc=0 files
	cd "$ROOT" || exit
	mapfile -t files < <(git ls-files -co --exclude-standard | grep -vxE 'COPYING|.*\.(svg|png)')
	if grep -nIE '(^|[^[:alnum:]_.])/(root|home|work|tmp/[a-z])/' "${files[@]}"; then rc=1; fi
	if grep -nIoE '[a-z]+://[^ >)"]+' "${files[@]}" |
		grep -vE '://([a-z.-]+\.)?(kernel\.org|qemu\.org|gnu\.org|spdx\.org|testanything\.org)'; then rc=1; fi
	for f in $(own_sources linux .c .h .rst .sh Makefile) $(own_sources qemu .c .h | sed 's,^,qemu/,') \
		$(shell_scripts); do
		head -n 40 "$f" | grep -q SPDX-License-Identifier || { echo "$f: no SPDX line"; rc=1; }
	done
	return $rc
}

# barrier_lines: "FILE:LINE:TEXT" of our kernel code where barriers are looked
# for: own files whole, of the patches what they add.
barrier_lines() {
	own_sources linux .c .h | grep -vE '^tools/|_test\.c$' |
		(cd "$ROOT" && xargs grep -n '')
	(cd "$ROOT" && grep -n '^+' patches/linux/*.patch | sed -E 's/^([^:]*:[0-9]+:)\+/\1/')
}

# unnamed_barriers: those without "Litmus: NAME" in the 16 lines before. A relaxed
# operation is no barrier, one in a comment neither.
unnamed_barriers() {
	awk -F: '
		{ file = $1; line = $2; text = substr($0, length(file) + length(line) + 3) }
		file != last { named = -100; last = file }
		text ~ /Litmus: / { named = line }
		text !~ /^[ \t]*(\/?\*|\/\/)/ && text !~ /_relaxed\(/ &&
		text ~ /(^|[^a-z_])(smp_(mb|rmb|wmb|store_release|load_acquire|mb__[a-z_]+)|(try_)?cmpxchg(64)?|xchg)\(/ &&
		line - named > 16 { print file ":" line ": names no litmus test:" text }'
}

check_barriers() {
	local name rc=0 named
	barrier_lines >"$OUT/check/barriers"
	unnamed_barriers <"$OUT/check/barriers" | nothing || rc=1
	named=$(grep -o 'Litmus: .*' "$OUT/check/barriers" | sed 's/^Litmus: //; s, \*/.*,,' |
		tr ', ' '\n' | grep . | sort -u)
	for name in $named; do
		[[ -e $ROOT/models/litmus/$name.litmus && -e $ROOT/models/litmus/$name-broken.litmus ]] ||
			{ echo "no pair of litmus tests '$name' in models/litmus"; rc=1; }
	done
	for name in "$ROOT"/models/litmus/*.litmus; do
		name=${name##*/} name=${name%.litmus}
		grep -Fxq "${name%-broken}" <<<"$named" || { echo "no comment names $name.litmus"; rc=1; }
	done
	return $rc
}

check_setup() {
	local tree
	need_packages "${KERNEL_PACKAGES[@]}" "${CHECK_PACKAGES[@]}"
	build_kernel release >/dev/null
	mkdir -p "$OUT/check"
	for tree in linux qemu; do
		SRC[$tree]=$(base_source "$tree")
		HEAD[$tree]=$(series_head "$tree" "${SRC[$tree]}")
		check_out "${SRC[$tree]}" "${HEAD[$tree]}"
	done
}

# run_checks: all of them, also after a failure.
run_checks() {
	local c failed=0 start log rc result
	locked check_setup
	for c in "${CHECKS[@]}"; do
		start=$EPOCHREALTIME log=$OUT/check/$c.out
		ticker "$c" &
		set +e
		(set -e; locked "check_$c") >"$log" 2>&1 </dev/null
		rc=$?
		set -e
		end_ticker $!
		result=PASS
		((rc == 0)) || { result=FAIL; failed=$((failed + 1)); }
		printf '%s %7s s  %s\n' "$result" "$(elapsed "$start")" "$(check_about "$c")"
		[[ $result == PASS ]] || sed 's/^/        /' "$log"
	done
	echo "$((${#CHECKS[@]} - failed)) checks passed, $failed failed"
	((failed == 0))
}
