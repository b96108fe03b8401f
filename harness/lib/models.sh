# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# The test `models`: litmus tests with herd7 and the base kernel's memory model,
# and the protocol model with SPIN, whole and with one rule broken at a time.
# It needs neither a kernel build nor a VM. models/README.md says what is modelled.

# shellcheck disable=SC2153
MODELS=$ROOT/models
HERD_PARTS=(herd herd_libc herd_gmp)

# The sizes of the protocol model: "NAME OPTIONS"; "*" checks for livelock.
PROTOCOL_CONFIGS='
full     -DNP=2 -DNV=2 -DNM=2 -DNF=1
limit    -DNP=2 -DNV=1 -DNM=1 -DNF=2 -DLIMIT=1 -DWITHIN -DPOPULATE
over     -DNP=2 -DNV=2 -DNM=1 -DNF=1 -DLIMIT=1
range    -DNP=2 -DNV=1 -DNM=1 -DNF=1 -DRANGE
movers   -DNP=1 -DNV=1 -DNM=2 -DNF=4 -DDROP -DMIGRATE -DPOPULATE
map      -DNP=1 -DNV=1 -DNM=1 -DNF=4 -DDROP -DMIGRATE -DLIFE
convert  -DNP=1 -DNV=1 -DNM=1 -DNF=4 -DDROP -DMIGRATE -DPOPULATE -DLIFE -DCONVERT
attach   -DNP=1 -DNV=1 -DNM=1 -DNF=4 -DDROP -DMIGRATE -DND=2 -DATTACH
reset    -DNP=1 -DNV=2 -DNM=1 -DRESET
small    -DNP=1 -DNV=2 -DNM=1 -DMIGRATE
drop     -DNP=1 -DNV=1 -DNM=1 -DNF=4 -DDROP -DMIGRATE -DPOPULATE
livelock* -DNP=1 -DNV=2 -DNM=2 -DMIGRATE -DLIVENESS -DROUNDS=1
livelock2* -DNP=2 -DNV=2 -DNM=2 -DLIVENESS -DROUNDS=1
'

protocol_options() { awk -v n="$1" '$1 == n || $1 == n "*" { $1 = ""; print }' <<<"$PROTOCOL_CONFIGS"; }

# protocol_variants: "BREAK CONFIG INVARIANT", from the table in the README.
protocol_variants() {
	# shellcheck disable=SC2016
	sed -nE 's/^\| `(BREAK_[A-Z_]+)` \| ([a-z]+) \| ([A-Za-z0-9]+) \|.*/\1 \2 \3/p' "$MODELS/README.md"
}

prepare_models() { MODELS_DIR=$(locked herd_dir); }

# herd_dir: prints the directory with herd7 and the memory model.
herd_dir() {
	local part version src dir versions=()
	need_packages spin gcc libc6-dev git dpkg-dev
	src=$(base_source linux)
	for part in "${HERD_PARTS[@]}"; do
		version=$(base_version "$part")
		versions+=("$version")
		download "$part" "$version"
	done
	dir=$CACHE/images/herd-$(printf '%s\n' "$src" "${versions[@]}" | digest)
	if [[ ! -d $dir ]]; then
		rm -rf "$dir.tmp"
		mkdir -p "$dir.tmp/root"
		for part in "${HERD_PARTS[@]}"; do
			dpkg-deb -x "$(dl_file "$part" "$(base_version "$part")")" "$dir.tmp/root"
		done
		find "$dir.tmp/root/usr/bin" -type f ! -name herd7 -delete
		git -C "$src" archive base tools/memory-model | tar -x -C "$dir.tmp"
		mv "$dir.tmp" "$dir"
	fi
	keep_image "$dir"
	echo "$dir"
}

# herd DIR FILE: runs herd7 by the libc that came with it.
herd() {
	local root=$1/root lib=$1/root/usr/lib/x86_64-linux-gnu
	cd "$1/tools/memory-model" || exit
	"$lib/ld-linux-x86-64.so.2" --library-path "$lib" "$root/usr/bin/herd7" \
		-set-libdir "$root/usr/share/herdtools7/herd" -conf linux-kernel.cfg "$2"
}

# litmus_job DIR NAME: compares herd7's verdict with the "Result:" in the file.
litmus_job() {
	local file=$MODELS/litmus/$2.litmus want have
	want=$(sed -n 's/^ \* Result: //p' "$file")
	have=$(herd "$1" "$file" 2>&1 | tee "$OUT/test/models/$2.log" |
		sed -nE 's/^Observation [^ ]+ (Never|Sometimes|Always) .*/\1/p')
	[[ $want && $have == "$want" ]] || echo "not"
	echo "litmus $2: ${have:-no verdict}, expected ${want:-one in the file}"
}

# pan NAME OPTIONS CFLAGS ARGS: generates, compiles and runs a verifier.
pan() {
	local dir=$OUT/test/models/$1
	rm -rf "$dir"
	mkdir -p "$dir"
	cd "$dir" || exit
	{
		# shellcheck disable=SC2086
		spin -a $2 "$MODELS/protocol/unpinned.pml" &&
			gcc -O2 -w -DCOLLAPSE -DMEMLIM=3000 $3 -o pan pan.c &&
			./pan -n $4
	} >pan.log 2>&1
	rm -f pan pan.[bchmpt]
}

# pan_error NAME: what the verifier complains about; nothing if it is content.
pan_error() {
	local dir=$OUT/test/models/$1 log
	log=$dir/pan.log
	if [[ ! -e $dir/unpinned.pml.trail ]]; then
		grep -qE 'errors: 0' "$log" && ! grep -qE 'max search depth too small|out of memory|not completed' "$log" ||
			echo "incomplete search, see $log"
	elif grep -q 'non-progress cycle' "$log"; then
		echo livelock
	else
		sed -nE 's/^ *(I[1-6]: .*)/\1/p' "$dir/trace" | head -n 1 | grep . || echo "unnamed error, see $log"
	fi
}

# trace NAME OPTIONS: the steps of the counterexample, in `trace`.
trace() {
	cd "$OUT/test/models/$1" || exit
	if [[ -e unpinned.pml.trail ]]; then
		# shellcheck disable=SC2086
		spin -t -k unpinned.pml.trail $2 "$MODELS/protocol/unpinned.pml" >trace 2>&1 || true
	fi
}

# search CONFIG NAME OPTIONS SHORTEST: one run of SPIN.
search() {
	local config=$1 name=$2 options=$3
	if grep -q "^$config\*" <<<"$PROTOCOL_CONFIGS"; then
		pan "$name" "$options" '-DNP -DNFAIR=3' '-l -f -m2000000' || true
	elif [[ $4 ]]; then
		pan "$name" "$options" '-DSAFETY -DBFS' '' || true
	else
		pan "$name" "$options" -DSAFETY "$([[ $config == full ]] && echo -m12000000 || echo -m2000000)" || true
	fi
	trace "$name" "$options"
}

counts() {
	sed -nE 's/^ *([0-9]+) states, stored.*/\1 states/p; s/^ *([0-9.]+)\ttotal actual memory usage.*/\1 MiB/p' \
		"$OUT/test/models/$1/pan.log" | paste -sd' '
}

# protocol_job CONFIG: the model as it is; nothing may be found.
protocol_job() {
	local error
	search "$1" "$1" "$(protocol_options "$1")" ''
	error=$(pan_error "$1")
	[[ ! $error ]] || echo "not"
	echo "protocol $1: ${error:-holds} ($(counts "$1"))"
	sed -nE 's/^ *STEP (.*)/# \1/p' "$OUT/test/models/$1/trace" 2>/dev/null | tail -n 12
}

# variant_job BREAK CONFIG INVARIANT: must be rejected for that reason.
variant_job() {
	local error
	search "$2" "$1" "$(protocol_options "$2") -D$1" shortest
	error=$(pan_error "$1")
	[[ ${error%%:*} == "$3" ]] || echo "not"
	echo "variant $1 in $2: ${error:-not noticed}, expected $3"
	sed -nE 's/^ *STEP (.*)/# \1/p' "$OUT/test/models/$1/trace" 2>/dev/null | tail -n 12
}

# model_jobs DIR: one job per line, long ones first.
model_jobs() {
	local file
	awk 'NF { sub(/\*/, "", $1); print "protocol_job", $1 }' <<<"$PROTOCOL_CONFIGS"
	protocol_variants | sed 's/^/variant_job /'
	for file in "$MODELS"/litmus/*.litmus; do
		file=${file##*/}
		echo "litmus_job $1 ${file%.litmus}"
	done
}

# run_job NUMBER JOB...: a result as KTAP, in a file of its own.
run_job() {
	local number=$1 text
	shift
	text=$("$@") || true
	if [[ ! $text ]]; then
		text="not ok $number $*: no verdict"
	elif [[ $text == not$'\n'* ]]; then
		text="not ok $number ${text#*$'\n'}"
	else
		text="ok $number $text"
	fi
	printf '%s\n' "$text" >"$OUT/test/models/$number.result"
	printf '%s\n' "$text"
}

# test_models: all jobs, as many at a time as there are CPUs. A subshell, since the
# caller has a job of its own, which is not to be waited for.
test_models() (
	local job number=0 words
	rm -rf "$OUT/test/models"
	mkdir -p "$OUT/test/models"
	while read -r -a words; do
		job=$((++number))
		while (($(jobs -rp | wc -l) >= $(nproc))); do wait -n || true; done
		run_job $job "${words[@]}" &
	done < <(model_jobs "$MODELS_DIR")
	wait
	echo "1..$number"
	(($(find "$OUT/test/models" -name '*.result' | wc -l) == number)) &&
		! grep -q '^not ok' "$OUT"/test/models/*.result
)
