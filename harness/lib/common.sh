# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Places, messages, progress, the cache lock and Debian packages: what every
# other part of the harness uses. Source it first.
#
# ROOT   the checkout
# OUT    results of this checkout (never committed)
# CACHE  sources, builds and images, shared by all checkouts
# IMAGES what was built, in CACHE

set -euo pipefail
shopt -s inherit_errexit
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
OUT=$ROOT/out
CACHE=${CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vfio-unpinned}
export IMAGES=$CACHE/images
export ROOT OUT CACHE CCACHE_DIR=${CCACHE_DIR:-$CACHE/ccache}
export LC_ALL=C
mkdir -p "$OUT/log" "$CACHE"

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

# elapsed START: seconds since START (a value of $EPOCHREALTIME), one decimal.
elapsed() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }'; }

# ticker TEXT: prints TEXT with the elapsed time, every 10 s on a terminal and
# every 30 s in a log, until it is killed or the run is gone.
ticker() {
	local start=$EPOCHREALTIME pause=30
	[[ -t 2 ]] && pause=10
	while kill -0 $$ 2>/dev/null; do
		read -rt $pause <> <(:) || true
		say "    ... $1 ($(elapsed "$start") s)"
	done
}

# end_ticker PID
end_ticker() { { kill "$1"; wait "$1"; } 2>/dev/null || true; }

# step TEXT CMD...: runs CMD in a subshell with its output in a log and shows
# progress. A failure shows the end of the log and ends the run. Not for use in
# conditions: there bash would go on after a failure within CMD.
step() {
	local text=$1 start=$EPOCHREALTIME log rc pid
	shift
	log=$OUT/log/$(tr -cs 'a-zA-Z0-9._\n' - <<<"$text").log
	ticker "$text" &
	pid=$!
	set +e
	(set -e; "$@") >"$log" 2>&1 </dev/null
	rc=$?
	set -e
	end_ticker $pid
	if ((rc)); then
		tail -n 30 "$log" >&2
		die "$text failed (exit code $rc); full log: $log"
	fi
	say "    $text: $(elapsed "$start") s"
}

# locked CMD...: runs CMD while no other run works on the cache. Nested calls
# pass through.
locked() {
	if [[ ${CACHE_LOCKED-} ]]; then
		"$@"
		return
	fi
	local fd
	exec {fd}>"$CACHE/lock"
	flock -n $fd || { say "    waiting for another run that uses $CACHE"; flock $fd; }
	CACHE_LOCKED=1 "$@"
	exec {fd}>&-
}

# as_root CMD...: runs CMD as root.
as_root() {
	if ((EUID == 0)); then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "root or sudo is needed for: $*"
	fi
}

have_package() {
	[[ $(dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null) == ii* ]]
}

apt_install() {
	as_root env DEBIAN_FRONTEND=noninteractive \
		apt-get -q -y --no-install-recommends install "$@"
}

# need_packages PACKAGE...: installs those that are missing.
need_packages() {
	local p missing=()
	for p in "$@"; do
		have_package "$p" || missing+=("$p")
	done
	((${#missing[@]})) || return 0
	command -v apt-get >/dev/null ||
		die "this machine is no Debian; please install: ${missing[*]}"
	step "update package lists" as_root apt-get -q update
	step "install ${missing[*]}" apt_install "${missing[@]}"
}
