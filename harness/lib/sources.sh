# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Base sources: finds the pinned (or newest) version in Debian's archive,
# downloads it, checks its hash and makes a git repository of it, with the tag
# `base`. All below $CACHE; the system's apt configuration is only read.

LINUX_SUITE=trixie-backports
QEMU_SUITE=trixie
HERD_SUITE=sid
declare -gA PACKAGE=([linux]=linux-source-7.3 [qemu]=qemu [meson]=meson
	[herd]=herdtools7 [herd_libc]=libc6 [herd_gmp]=libgmp10)
declare -gA BRANCH=([linux]='^7\.3\.' [qemu]='^1:10\.0\.' [meson]='^1\.[5-9]'
	[herd]='^7\.' [herd_libc]='^2\.' [herd_gmp]='^2:6\.')

codename() { sed -n 's/^VERSION_CODENAME=//p' /etc/os-release; }

# apt_entries SUITE: the machine's own Debian entries, with the suite replaced:
# deb822 paragraphs in $1.sources, one-line entries in $1.list.
apt_entries() {
	local suite=$1 dir=$CACHE/apt/$1 own more='(-updates|-security)?(/updates)?'
	own=$(codename)
	# neither sid nor backports have these
	[[ $suite == sid || $suite == *-backports ]] && more=
	mkdir -p "$dir/parts" "$dir/lists/partial" "$dir/cache/archives/partial"
	{ cat /etc/apt/sources.list.d/*.sources 2>/dev/null || true; } | sed '/^#/d' | awk -v RS= -v FS='\n' -v own="$own" -v suite="$suite" -v more="$more" '
		{
			keep = 0; text = ""
			for (i = 1; i <= NF; i++) {
				line = $i
				if (line ~ /^Types:/)
					line = "Types: deb deb-src"
				if (line ~ /^Suites:/) {
					n = split(line, w, /[ \t]+/); line = "Suites:"
					for (j = 2; j <= n; j++)
						if (w[j] ~ "^" own more "$") {
							sub(own, suite, w[j]); line = line " " w[j]; keep = 1
						}
				}
				text = text line "\n"
			}
			if (keep)
				print text
		}' >"$dir/parts/debian.sources"
	{ cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null || true; } |
		sed -En "s,^deb +((\[[^]]*\] +)?[^ ]+ +)$own($more) +,\1$suite\3 ,p" |
		sed 's/.*/deb &\ndeb-src &/' >"$dir/parts/debian.list"
	[[ -s $dir/parts/debian.sources || -s $dir/parts/debian.list ]] ||
		die "no entry for Debian's suite '$own' in /etc/apt: the archive is needed for the sources"
}

# private_apt SUITE TOOL ARGS...: apt-get or apt-cache with a configuration of
# its own in $CACHE/apt/SUITE.
private_apt() {
	local dir=$CACHE/apt/$1 tool=$2
	shift 2
	"$tool" -q -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$dir/parts" \
		-o "Dir::State::lists=$dir/lists" -o "Dir::Cache=$dir/cache" \
		-o APT::Sandbox::User=root "$@"
}

# apt_update SUITE: fetches the package lists, at most once in ten minutes.
apt_update() {
	local stamp=$CACHE/apt/$1/updated
	[[ $(find "$stamp" -mmin -10 2>/dev/null) ]] && return
	apt_entries "$1"
	step "fetch $1 package lists" private_apt "$1" apt-get update
	touch "$stamp"
}

# suite_of WHAT: whatever this machine runs, the kernel, QEMU and its meson come
# from Debian 13; herd7 is in sid only.
suite_of() {
	case $1 in
	linux) echo $LINUX_SUITE ;;
	herd*) echo $HERD_SUITE ;;
	*) echo $QEMU_SUITE ;;
	esac
}

pinned_versions() { awk -v p="${PACKAGE[$1]}" '$1 == p { print $2 }' "$ROOT/harness/pins"; }
pinned_hash() { awk -v p="${PACKAGE[$1]}" -v v="$2" '$1 == p && $2 == v { print $3 }' "$ROOT/harness/pins"; }

# archive_versions WHAT: versions that the archive offers, newest first.
archive_versions() {
	local list=show
	[[ $1 == qemu ]] && list=showsrc
	private_apt "$(suite_of "$1")" apt-cache $list "${PACKAGE[$1]}" 2>/dev/null |
		sed -n 's/^Version: //p' | grep -E "${BRANCH[$1]}" | newest_first
}

newest_first() {
	local v best rest=()
	mapfile -t rest
	while ((${#rest[@]})); do
		best=${rest[0]}
		for v in "${rest[@]}"; do
			dpkg --compare-versions "$v" gt "$best" && best=$v
		done
		echo "$best"
		mapfile -t rest < <(printf '%s\n' "${rest[@]}" | grep -Fxv -- "$best")
	done
}

# dl_file WHAT VERSION: where the downloaded package (or .dsc) is kept.
dl_file() {
	case $1 in
	qemu) echo "$CACHE/dl/qemu_${2#*:}.dsc" ;;
	# apt-get writes the colon of an epoch as %3a
	herd*) echo "$CACHE/dl/${PACKAGE[$1]}_${2/:/%3a}_amd64.deb" ;;
	*) echo "$CACHE/dl/${PACKAGE[$1]}_$2_all.deb" ;;
	esac
}

# base_version WHAT: the version to use. A pinned one that is already here, a
# pinned one of the archive, the newest of the archive, in this order.
base_version() {
	local what=$1 v offered taken=$CACHE/dl/$1.taken
	for v in $(pinned_versions "$what"); do
		[[ -e $(dl_file "$what" "$v") ]] && { echo "$v"; return; }
	done
	[[ -e $taken ]] && { cat "$taken"; return; }
	apt_update "$(suite_of "$what")"
	offered=$(archive_versions "$what")
	[[ $offered ]] || die "Debian's archive as configured here has no ${PACKAGE[$what]} matching ${BRANCH[$what]}"
	for v in $(pinned_versions "$what"); do
		grep -Fxq -- "$v" <<<"$offered" && { echo "$v"; return; }
	done
	v=${offered%%$'\n'*}
	say "note: none of the pinned versions of ${PACKAGE[$what]} is in the archive any more, taking $v"
	mkdir -p "$CACHE/dl"
	echo "$v" | tee "$taken"
}

# is_pinned WHAT VERSION
is_pinned() { [[ $(pinned_hash "$1" "$2") ]]; }

apt_fetch() {
	local what=$1 version=$2
	mkdir -p "$CACHE/dl"
	cd "$CACHE/dl" || exit
	if [[ $what == qemu ]]; then
		private_apt "$(suite_of qemu)" apt-get source --download-only "qemu=$version"
	else
		private_apt "$(suite_of "$what")" apt-get download "${PACKAGE[$what]}=$version"
	fi
}

# download WHAT VERSION: fetches the package once and checks it against the pin.
download() {
	local what=$1 version=$2 file want have
	file=$(dl_file "$what" "$version")
	if [[ ! -e $file ]]; then
		apt_update "$(suite_of "$what")"
		step "download ${PACKAGE[$what]} $version" apt_fetch "$what" "$version"
	fi
	have=$(sha256sum <"$file")
	have=${have%% *}
	want=$(pinned_hash "$what" "$version")
	if [[ ! $want ]]; then
		say "note: to pin it, put this line into harness/pins: ${PACKAGE[$what]} $version $have"
	elif [[ $have != "$want" ]]; then
		die "$file has sha256 $have, harness/pins says $want: remove the file to fetch it again"
	fi
}

# Debian's .gitignore ignores all but its packaging: new files would be missed.
unpack_linux() {
	mkdir -p "$2"
	dpkg-deb --fsys-tarfile "$1" | tar -xO "./usr/src/${PACKAGE[linux]}.tar.xz" |
		tar -xJ --strip-components=1 -C "$2"
	sed -i -e '\,^/\*$,d' -e '\,^!/debian/$,d' "$2/.gitignore"
}

unpack_qemu() { dpkg-source --no-copy -x "$1" "$2"; }

git_import() {
	cd "$1" || exit
	git init -q -b series
	git config gc.auto 0
	git config core.looseCompression 0
	git config core.fsync none
	git add -A -f .
	GIT_AUTHOR_NAME=base GIT_AUTHOR_EMAIL=base@localhost GIT_AUTHOR_DATE='@0 +0000' \
	GIT_COMMITTER_NAME=base GIT_COMMITTER_EMAIL=base@localhost GIT_COMMITTER_DATE='@0 +0000' \
		git commit -q --no-verify -m "$2"
	git tag base
}

# base_source linux|qemu: prints the git repository of the base, made if missing.
base_source() {
	local what=$1 version dir
	version=$(base_version "$what")
	dir=$CACHE/src/$what-${version#*:}
	if [[ ! -d $dir/.git ]]; then
		need_packages git dpkg-dev xz-utils
		download "$what" "$version"
		rm -rf "$dir" "$dir.tmp"
		mkdir -p "$CACHE/src"
		step "unpack $what $version" "unpack_$what" "$(dl_file "$what" "$version")" "$dir.tmp"
		step "import $what $version" git_import "$dir.tmp" "${PACKAGE[$what]} $version"
		mv "$dir.tmp" "$dir"
	fi
	echo "$dir"
}

# meson_dir: prints where meson is unpacked (QEMU needs 1.5, Debian 12 has 1.0).
meson_dir() {
	local version
	version=$(base_version meson)
	if [[ ! -d $CACHE/meson-$version ]]; then
		download meson "$version"
		dpkg-deb -x "$(dl_file meson "$version")" "$CACHE/meson-$version.tmp"
		mv "$CACHE/meson-$version.tmp" "$CACHE/meson-$version"
	fi
	echo "$CACHE/meson-$version"
}
