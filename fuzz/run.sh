#!/usr/bin/env bash
# Runs fuzz targets one after another and reports what each did. Fails if a target found something.
#
#   ./run.sh [-j JOBS] SECONDS [TARGET…]      all targets unless some are named; with -j several side by side
#
# New inputs are kept in the target directory and used again by the next run; findings are put in artifacts/.
set -euo pipefail
cd "$(dirname "$0")"

usage() { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }

jobs=1
if [[ "${1:-}" == -j ]]; then
    [[ "${2:-}" =~ ^[1-9][0-9]*$ ]] || usage
    jobs=$2
    shift 2
fi
[[ "${1:-}" =~ ^[1-9][0-9]*$ ]] || usage
seconds=$1
shift
targets=("$@")
if [[ ${#targets[@]} -eq 0 ]]; then
    mapfile -t targets < <(cargo +nightly fuzz list)
fi

target_dir=${CARGO_TARGET_DIR:-$PWD/target}
work=$target_dir/fuzzing
host=$(rustc +nightly -vV | sed -n 's/^host: //p')

for target in "${targets[@]}"; do
    [[ -f fuzz_targets/$target.rs ]] || { echo "no target $target" >&2; exit 2; }
    mkdir -p "$work/$target" "corpus/$target" "artifacts/$target"
done
CARGO_TARGET_DIR=$target_dir cargo +nightly fuzz build
# Copies: whoever builds while targets run does not change what runs.
mkdir -p "$work/bin"
for target in "${targets[@]}"; do
    cp "$target_dir/$host/release/$target" "$work/bin/$target"
done

# The sanitizer keeps freed memory for a while to notice its use; its default of 256 MiB would be half of the limit.
export ASAN_OPTIONS=detect_odr_violation=0:quarantine_size_mb=64

run_one() {
    local target=$1 end=$((SECONDS + seconds)) left result=FAILED slow
    : >"$work/$target.log"
    while left=$((end - SECONDS)) && ((left > 0)); do
        result=ok
        # New inputs go to the first directory; the committed ones are only read.
        "$work/bin/$target" "$work/$target" "corpus/$target" -max_total_time="$left" -timeout=2 -rss_limit_mb=2048 \
            -malloc_limit_mb=64 -print_final_stats=1 -artifact_prefix="artifacts/$target/" >>"$work/$target.log" 2>&1 && break
        result=FAILED
        # The limit is one of wall-clock time. An input that is fast when it is repeated had to wait for a busy machine.
        slow=$(sed -n 's/.*Test unit written to \(.*timeout-[0-9a-f]*\)$/\1/p' "$work/$target.log" | tail -n 1)
        [[ -f $slow ]] && "$work/bin/$target" -timeout=2 "$slow" "$slow" "$slow" >>"$work/$target.log" 2>&1 || break
        rm "$slow"
        result=ok
    done
    echo "$result" >"$work/$target.result"
}

running=0
for target in "${targets[@]}"; do
    if ((running == jobs)); then
        wait -n
        running=$((running - 1))
    fi
    run_one "$target" &
    running=$((running + 1))
done
wait

stat() { sed -n "s/^stat::$1: *//p" "$2" | tail -n 1; }
sum() { awk -v name="stat::$1:" '$1 == name { sum += $2 } END { print sum + 0 }' "$2"; }
last() { { grep -oE " $1: [0-9]+" "$2" || true; } | tail -n 1 | grep -oE '[0-9]+' || echo -; }

failed=0
printf '%-14s %12s %8s %7s %7s %8s  %s\n' target executions exec/s cov ft peak_MB result
for target in "${targets[@]}"; do
    log=$work/$target.log
    result=$(<"$work/$target.result")
    printf '%-14s %12s %8s %7s %7s %8s  %s\n' "$target" "$(sum number_of_executed_units "$log")" \
        "$(stat average_exec_per_sec "$log")" "$(last cov "$log")" "$(last ft "$log")" \
        "$(stat peak_rss_mb "$log")" "$result"
    if [[ $result != ok ]]; then
        failed=1
        { grep -E -A 3 'panicked at|ERROR|Test unit written' "$log" || tail -n 20 "$log"; } | sed 's/^/    /'
    fi
done
exit "$failed"
