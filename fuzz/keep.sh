#!/usr/bin/env bash
# After ./run.sh: keeps, as corpus/TARGET/found-…, inputs of the run that reach code which seeds and regressions do not.
#
#   ./keep.sh [TARGET…]      at most 45 per target, the longest first: they reach most
set -euo pipefail
cd "$(dirname "$0")"

work=${CARGO_TARGET_DIR:-$PWD/target}/fuzzing
targets=("$@")
if [[ ${#targets[@]} -eq 0 ]]; then
    mapfile -t targets < <(cargo +nightly fuzz list)
fi

export ASAN_OPTIONS=detect_odr_violation=0
for target in "${targets[@]}"; do
    [[ -x $work/bin/$target ]] || { echo "no run of $target: ./run.sh comes first" >&2; exit 2; }
    merged=$(mktemp -d)
    trap 'rm -rf "$merged"' EXIT
    find "corpus/$target" -type f ! -name 'found-*' -exec cp -t "$merged" {} +
    # Without counters, an input counts for the edges that it reaches and not for how often it does.
    "$work/bin/$target" -set_cover_merge=1 -use_counters=0 -max_len=1024 -rss_limit_mb=2048 \
        "$merged" "$work/$target" "corpus/$target" >"$work/$target.merge.log" 2>&1 || { tail "$work/$target.merge.log" >&2; exit 1; }
    rm -f "corpus/$target"/found-*
    # What is new has the name that libFuzzer gave it, a hash of 40 digits.
    mapfile -t new < <(find "$merged" -type f -printf '%s %f\n' | sort -rn | awk '$2 ~ /^[0-9a-f]+$/ && length($2) == 40 { print $2 }' | head -n 45)
    for input in "${new[@]}"; do
        cp "$merged/$input" "corpus/$target/found-${input:0:12}"
    done
    rm -rf "$merged"
    echo "$target: ${#new[@]} found"
done
