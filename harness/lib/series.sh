# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# The series: patches/TREE/series lists the commits in order, one per line:
#
#   name.patch [own file or directory...]
#
# name.patch has the commit's message and its edits of existing files. The own
# files are those of this repository that the commit adds; they stand at their
# path in the tree, QEMU's below qemu/. What follows -PATH is without that one,
# which another commit adds. A TREE is linux or qemu.
#
# The commits are made in the base's git repository in $CACHE, without a work
# tree and with fixed dates: the same content always gets the same commit, and
# that commit names every build. Each has the trailer "Patch: name.patch", by
# which `refresh` finds the way back; the mailed series is made without it.

# top-level directories that mirror the kernel's
LINUX_TOP='arch block crypto drivers fs include init io_uring ipc kernel lib mm net samples security tools usr virt Documentation'

series_file() { echo "$ROOT/patches/$1/series"; }

# series_lines TREE: the series without comments, one commit per line.
series_lines() { sed 's/[[:space:]]*#.*//; /^[[:space:]]*$/d' "$(series_file "$1")"; }

# own_top TREE: where own files are looked for in the repository.
own_top() {
	local d
	[[ $1 == qemu ]] && { echo qemu; return; }
	for d in $LINUX_TOP; do
		if [[ -d $ROOT/$d ]]; then echo "$d"; fi
	done
}

own_dir() { if [[ $1 == qemu ]]; then echo "$ROOT/qemu"; else echo "$ROOT"; fi; }

# own_files TREE: all own files, as paths in the tree.
own_files() {
	local tops=()
	mapfile -t tops < <(own_top "$1")
	((${#tops[@]})) || return 0
	git -C "$ROOT" ls-files -co --exclude-standard -- "${tops[@]}" | sort -u |
		while read -r f; do
			if [[ -e $ROOT/$f ]]; then echo "${f#qemu/}"; fi
		done
}

# entry_files TREE PATH...: own files that a series line names.
entry_files() {
	local all path
	all=$(own_files "$1")
	shift
	for path in "$@"; do
		if [[ $path == -* ]]; then
			all=$(awk -v f="${path#-}" '$0 != f && index($0, f "/") != 1' <<<"$all")
			continue
		fi
		grep -Fx -- "${path%/}" <<<"$all" || awk -v d="${path%/}/" 'index($0, d) == 1' <<<"$all"
	done
}

# patch_message FILE: the commit message, without "[PATCH]".
patch_message() {
	awk '/^---$/ || /^diff --git / { exit }
	     NR == 1 { sub(/^Subject: (\[[^]]*\] *)?/, "") }
	     { print }' "$1" | git stripspace
}

# patch_edits FILE: its diff.
patch_edits() { sed -n '/^diff --git /,$p' "$1"; }

# plumbing SRC CMD...: git on the base's repository, with an index of its own
# and a fixed date, unless SERIES_DATE says another.
plumbing() {
	local src=$1
	shift
	GIT_DIR=$src/.git GIT_INDEX_FILE=$src/.git/series.index GIT_WORK_TREE=$src \
	GIT_AUTHOR_DATE=${SERIES_DATE-@0 +0000} GIT_COMMITTER_DATE=${SERIES_DATE-@0 +0000} git "$@"
}

# add_own TREE SRC PATH...: puts own files into the index.
add_own() {
	local tree=$1 src=$2 dir f mode
	dir=$(own_dir "$tree")
	shift 2
	(($#)) || return 0
	entry_files "$tree" "$@" | while read -r f; do
		mode=100644
		[[ -x $dir/$f ]] && mode=100755
		printf '%s %s\t%s\n' $mode \
			"$(plumbing "$src" hash-object -w --no-filters "$dir/$f")" "$f"
	done | plumbing "$src" update-index --add --index-info
}

# add_commit TREE SRC PARENT TRAILER PATCH [OWN...]: prints the new commit.
add_commit() {
	local tree=$1 src=$2 parent=$3 trailer=$4 name=$5 file edits new
	file=$ROOT/patches/$tree/$name
	shift 5
	[[ -f $file ]] || die "patches/$tree/series names $name, which does not exist"
	edits=$(patch_edits "$file")
	if [[ $edits ]]; then
		(cd "$src" && printf '%s\n' "$edits" | plumbing "$src" apply --cached --whitespace=nowarn -) ||
			die "patches/$tree/$name does not apply to $(basename "$src") with fuzz 0$(unpinned_hint "$tree")"
	fi
	add_own "$tree" "$src" "$@"
	new=$(plumbing "$src" write-tree)
	[[ $new != "$(plumbing "$src" rev-parse "$parent^{tree}")" ]] ||
		die "patches/$tree/$name changes nothing: it has no diff and its line in the series names no own file"
	{
		patch_message "$file"
		if ((trailer)); then printf '\nPatch: %s\n' "$name"; fi
	} | plumbing "$src" commit-tree "$new" -p "$parent"
}

# unpinned_hint TREE: what to do when the archive moved and the series did not.
unpinned_hint() {
	local version
	version=$(base_version "$1")
	is_pinned "$1" "$version" || echo ": the archive only has the unpinned version $version; see harness/pins for the way to move the pin"
}

# series_key TREE: digest of all that decides the commits.
series_key() {
	local dir
	dir=$(own_dir "$1")
	{
		cat "$(series_file "$1")" "$ROOT/harness/lib/series.sh"
		git -C "$2" rev-parse base
		cd "$ROOT/patches/$1" && sha256sum ./*.patch
		cd "$dir" && own_files "$1" | while read -r f; do
			sha256sum "$f"
			if [[ -x $f ]]; then echo x; fi
		done
	} | sha256sum | cut -c1-16
}

# make_commits TREE SRC TRAILER: applies the whole series, prints the head.
make_commits() {
	local tree=$1 src=$2 trailer=$3 head=base line=()
	plumbing "$src" read-tree base
	while read -r -a line; do
		head=$(add_commit "$tree" "$src" "$head" "$trailer" "${line[@]}")
	done < <(series_lines "$tree")
	plumbing "$src" rev-parse "$head"
}

# series_head TREE SRC: the commit of base plus series with the trailers; free
# when nothing changed. With MUTANT, which breaks it, on top; see mutants.sh.
series_head() {
	local key ref head
	key=$(series_key "$1" "$2")
	ref=refs/series/$key
	export GIT_AUTHOR_NAME=vfio-unpinned GIT_AUTHOR_EMAIL=vfio-unpinned@localhost
	export GIT_COMMITTER_NAME=vfio-unpinned GIT_COMMITTER_EMAIL=vfio-unpinned@localhost
	if ! head=$(git -C "$2" rev-parse -q --verify "$ref"); then
		head=$(make_commits "$1" "$2" 1)
		git -C "$2" update-ref "$ref" "$head"
	fi
	mutate "$1" "$2" "$head"
}
