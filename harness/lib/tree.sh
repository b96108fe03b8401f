# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Trees to edit in, the way back, and the mailable series.
#
# out/tree/TREE is a git repository: tag `base`, a branch `series` with one
# commit per line of the series, and a tag `applied` at the commit that the tree
# was made with. What is committed there on top of `base` goes back with
# `refresh`; whatever would lose an edit on either side is refused.

tree_dir() { echo "$OUT/tree/$1"; }

# tree_clean DIR: nothing uncommitted and nothing untracked.
tree_clean() { [[ ! $(git -C "$1" status --porcelain) ]]; }

clone_tree() {
	local src=$1 dir=$2
	rm -rf "$dir.tmp"
	mkdir -p "${dir%/*}"
	git clone -q --no-checkout "$src" "$dir.tmp"
	git -C "$dir.tmp" config gc.auto 0
	mv "$dir.tmp" "$dir"
}

# move_tree SRC DIR HEAD: brings an unedited tree to another series.
move_tree() {
	git -C "$2" fetch -q "$1" "$3"
	git -C "$2" checkout -q -f -B series "$3"
	git -C "$2" tag -f applied "$3" >/dev/null
}

# make_tree TREE: the verb `tree`.
make_tree() {
	local tree=$1 src head dir
	dir=$(tree_dir "$tree")
	src=$(base_source "$tree")
	head=$(series_head "$tree" "$src")
	if [[ ! -d $dir ]]; then
		step "clone $tree" clone_tree "$src" "$dir"
	elif [[ $(git -C "$dir" rev-parse HEAD) == "$head" ]]; then
		say "$dir: up to date with the series"
		return
	elif ! tree_clean "$dir" || [[ $(git -C "$dir" rev-parse HEAD) != "$(git -C "$dir" rev-parse applied^0)" ]]; then
		die "$dir has edits that are not in the repository: ./run refresh takes them back, deleting the folder drops them"
	fi
	step "check out $tree" move_tree "$src" "$dir" "$head"
	say "$dir: $(git -C "$dir" rev-list --count base..HEAD) commits on top of $(basename "$src")"
}

# patch_diff DIR COMMIT: the edits of existing files, in the one form that
# patches/ has.
patch_diff() {
	git -C "$1" diff-tree -p --no-renames --abbrev=12 --diff-algorithm=myers -U3 \
		--src-prefix=a/ --dst-prefix=b/ --diff-filter=a "$2^" "$2"
}

# write_patch DIR COMMIT: a file of patches/, on stdout.
write_patch() {
	local message
	message=$(git -C "$1" show -s --format=%B "$2" | sed '/^Patch: /d' | git stripspace)
	printf 'Subject: [PATCH] %s\n---\n' "$message"
	patch_diff "$1" "$2"
}

# patch_name DIR COMMIT: from the trailer; a new commit is named by its subject.
patch_name() {
	local name
	name=$(git -C "$1" show -s --format=%B "$2" | sed -n 's/^Patch: //p')
	echo "${name:-$(git -C "$1" show -s --format=%f "$2" | tr '[:upper:]' '[:lower:]').patch}"
}

# commit_files DIR COMMIT FILTER: files that a commit adds (A) or changes (a).
commit_files() {
	git -C "$1" diff-tree -r --no-commit-id --name-only --no-renames --diff-filter="$3" "$2^" "$2"
}

# take_commit TREE DIR COMMIT TMP: writes the commit's patch and its line
# "name.patch own..." into TMP, after the checks that nothing gets lost.
take_commit() {
	local dir=$2 commit=$3 tmp=$4 name f
	name=$(patch_name "$dir" "$commit")
	[[ ! -e $tmp/$name ]] || die "two commits for patches/$1/$name: squash them, or drop the Patch: line of the new one"
	git -C "$dir" diff-tree --no-commit-id -r --diff-filter=a --name-only "$commit^" "$commit" | while read -r f; do
		git -C "$dir" cat-file -e "base:$f" 2>/dev/null ||
			die "$f is an own file, added by an earlier commit than $name: move the change there (git commit --fixup, git rebase -i --autosquash base)"
	done
	write_patch "$dir" "$commit" >"$tmp/$name"
	echo "$name $(commit_files "$dir" "$commit" A | paste -sd' ')" >>"$tmp/lines"
}

# own_spec TREE NAME OWN...: how the series names these files: as before when
# that still means the same, else one by one.
own_spec() {
	local tree=$1 name=$2 spec line
	shift 2
	line=$(series_lines "$tree" | awk -v n="$name" '$1 == n')
	read -r -a spec <<<"${line#"$name"}"
	if [[ $(printf '%s\n' "$@" | sort) == "$(entry_files "$tree" "${spec[@]}" | sort)" ]]; then
		echo "${spec[*]}"
	else
		echo "$*"
	fi
}

# write_series TREE LINES: the new series file, with the old one's comments.
write_series() {
	local tree=$1 line
	while read -r -a line; do
		awk -v n="${line[0]}" '/^[[:space:]]*(#|$)/ { c = c $0 "\n"; next }
			{ if ($1 == n) printf "%s", c; c = "" }' "$(series_file "$tree")"
		echo "${line[0]} $(own_spec "$tree" "${line[@]}")" | sed 's/ *$//'
	done <"$2"
}

# series_own TREE: own files that the series names.
series_own() {
	local line
	series_lines "$1" | while read -r -a line; do
		entry_files "$1" "${line[@]:1}"
	done | sort
}

# take_own TREE DIR LINES: copies own files to the repository, and removes
# there those of the old series that the tree has no more.
take_own() {
	local tree=$1 dir=$2 repo f
	repo=$(own_dir "$tree")
	cut -s -d' ' -f2- "$3" | tr ' ' '\n' | sed '/^$/d' | sort >"$3.own"
	comm -23 <(series_own "$tree") "$3.own" | while read -r f; do
		rm "$repo/$f"
		say "    $f removed"
	done
	while read -r f; do
		if [[ ! -e $repo/$f ]] || ! cmp -s "$dir/$f" "$repo/$f" || [[ -x $dir/$f && ! -x $repo/$f ]]; then
			mkdir -p "$(dirname "$repo/$f")"
			cp --preserve=mode "$dir/$f" "$repo/$f"
			say "    $f"
		fi
	done <"$3.own"
}

# take_patches TREE TMP: replaces the changed files of patches/TREE, and
# removes those of the old series that the tree has no more.
take_patches() {
	local dest=$ROOT/patches/$1 f old
	old=$(series_lines "$1" | cut -d' ' -f1)
	for f in "$2"/*.patch "$2/series"; do
		cmp -s "$f" "$dest/${f##*/}" || { cp "$f" "$dest/"; say "    patches/$1/${f##*/}"; }
	done
	for f in $old; do
		[[ -e $2/$f ]] || { rm "$dest/$f"; say "    patches/$1/$f removed"; }
	done
}

# refresh_tree TREE: the verb `refresh`.
refresh_tree() {
	local tree=$1 dir src now commit tmp
	dir=$(tree_dir "$tree")
	[[ -d $dir ]] || { say "$tree: no $dir, ./run tree makes it"; return; }
	tree_clean "$dir" ||
		die "$dir has uncommitted changes: amend the commit that they belong to (git commit --fixup=COMMIT; git rebase -i --autosquash base), or add a new commit"
	src=$(base_source "$tree")
	now=$(series_head "$tree" "$src")
	if [[ $(git -C "$dir" rev-parse applied^0) != "$now" ]]; then
		[[ $(git -C "$dir" rev-parse HEAD) != "$now" ]] || { say "$tree: nothing to take back"; return; }
		die "the repository's series changed after ./run tree. Rebase first: cd $dir; git fetch $src $now; git rebase --onto $now applied; git tag -f applied $now"
	fi
	[[ $(git -C "$dir" rev-parse HEAD) != "$now" ]] || { say "$tree: nothing to take back"; return; }
	[[ ! $(git -C "$dir" rev-list --merges base..HEAD) ]] || die "$dir has merge commits: the series must be linear"
	tmp=$(mktemp -d)
	for commit in $(git -C "$dir" rev-list --reverse base..HEAD); do
		take_commit "$tree" "$dir" "$commit" "$tmp"
	done
	take_own "$tree" "$dir" "$tmp/lines"
	write_series "$tree" "$tmp/lines" >"$tmp/series"
	take_patches "$tree" "$tmp"
	rm -r "$tmp"
	[[ $(git -C "$dir" rev-parse 'HEAD^{tree}') == "$(git -C "$src" rev-parse "$(series_head "$tree" "$src")^{tree}")" ]] ||
		die "$tree: the series that was written does not give the tree that it was taken from"
	move_tree "$src" "$dir" "$(series_head "$tree" "$src")"
	say "$tree: taken back"
}

# cover_letter TREE FILE: puts patches/TREE/cover-letter.txt into format-patch's.
cover_letter() {
	local text=$ROOT/patches/$1/cover-letter.txt
	awk -v text="$text" -v base="$(basename "$(base_source "$1")")" '
		/\*\*\* SUBJECT HERE \*\*\*/ { getline subject < text; sub(/\*\*\* SUBJECT HERE \*\*\*/, subject); print; next }
		/\*\*\* BLURB HERE \*\*\*/ {
			getline line < text
			while ((getline line < text) > 0)
				print line
			print "\nBase: " base
			next
		}
		{ print }' "$2" >"$2.tmp"
	mv "$2.tmp" "$2"
}

# lists_of TREE SRC MAIL: the mailing lists that a patch goes to, by the tree's own
# MAINTAINERS. People are for its sender to add. The base's repository has no
# history in which the commits of "Fixes:" could be looked up.
lists_of() {
	local options=(--nogit --nogit-fallback --norolestats --no-m --no-r --l)
	[[ $1 == qemu ]] || options+=(--nofixes)
	(cd "$2" && perl scripts/get_maintainer.pl "${options[@]}" "$3")
}

# address MAIL: ends its header with what is on stdin as Cc.
address() {
	awk 'NR == FNR { cc = cc "Cc: " $0 "\n"; next }
	     /^$/ && !done { printf "%s", cc; done = 1 }
	     { print }' - "$1" >"$1.tmp"
	mv "$1.tmp" "$1"
}

# address_mails TREE SRC DIR: each to its lists, the cover letter to those of all.
address_mails() {
	local mail
	for mail in "$3"/0*-*.patch; do
		[[ $mail != */0000-* ]] || continue
		lists_of "$1" "$2" "$mail" | tee -a "$3/lists" | address "$mail"
	done
	sort -u "$3/lists" | address "$3/0000-cover-letter.patch"
	rm "$3/lists"
}

# mail_series TREE DIR: the verb `series`: writes the mails into DIR.
mail_series() {
	local tree=$1 dir=$2 src head who
	src=$(base_source "$tree")
	who=$(git -C "$ROOT" config user.name || echo vfio-unpinned)
	export GIT_AUTHOR_NAME=$who GIT_COMMITTER_NAME=$who
	who=$(git -C "$ROOT" config user.email || echo vfio-unpinned@localhost)
	export GIT_AUTHOR_EMAIL=$who GIT_COMMITTER_EMAIL=$who
	head=$(SERIES_DATE="@$EPOCHSECONDS +0000" make_commits "$tree" "$src" 0)
	rm -rf "$dir"
	mkdir -p "$dir"
	[[ $head != "$(git -C "$src" rev-parse base)" ]] || return 0
	git -C "$src" -c format.signature= format-patch -q --cover-letter --no-renames \
		--abbrev=12 -o "$dir" "base..$head"
	cover_letter "$tree" "$dir/0000-cover-letter.patch"
	check_out "$src" "$head"
	address_mails "$tree" "$src" "$dir"
}
