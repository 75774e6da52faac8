#!/usr/bin/env bash
# Runs the fuzz targets side by side, each for so many seconds, on the stable toolchain.
# Usage: run.sh SECONDS [TARGET...]
#
# First the inputs in cases/ and seeds/, then what libFuzzer makes of them. New inputs that reach new code are kept
# in .cache/fuzz for the next run; what fails is written to rust/fuzz/artifacts, to be mended and put into cases/.
# FUZZ_SEED chooses the random numbers (1).
set -euo pipefail
cd "$(dirname "$0")"
root=$(git rev-parse --show-toplevel)
seconds=${1:?usage: run.sh SECONDS [TARGET...]}
shift
targets=("$@")
if [ ${#targets[@]} = 0 ]; then
    for file in targets/*.rs; do targets+=("$(basename "$file" .rs)"); done
fi

if ! command -v c++ >/dev/null; then
    echo "fuzz: SKIPPED, nothing was tried: install a C++ compiler, with the package g++" >&2
    exit 0
fi

# What cargo-fuzz passes to the compiler, but for the sanitizers, which only a nightly one has.
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=4 -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares"
target=${CARGO_TARGET_DIR:-$root/target}/fuzz
# With a target named, the flags are for it and not for build scripts.
host=$(rustc -vV | sed -n 's/^host: //p')
CARGO_TARGET_DIR=$target cargo build --release --locked --quiet --bins --target "$host"

fuzz() {
    local name=$1 corpus=$root/.cache/fuzz/$1 said
    mkdir -p "$corpus" artifacts
    said=$("$target/$host/release/$name" -max_total_time="$seconds" -seed="${FUZZ_SEED:-1}" -timeout=5 -rss_limit_mb=1024 \
        -max_len=4096 -artifact_prefix="artifacts/$name-" -print_final_stats=1 \
        "$corpus" $(ls -d "cases/$name" "seeds/$name" 2>/dev/null) 2>&1) || {
        echo "$said" | tail -n 40
        echo "fuzz: $name FAILED; once more: $target/$host/release/$name rust/fuzz/artifacts/$name-..." >&2
        return 1
    }
    echo "fuzz: $name: $(echo "$said" | sed -n 's/^stat::number_of_executed_units: *//p') inputs, none failed"
}
export -f fuzz
export root target host seconds
printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -I{} bash -c 'set -euo pipefail; fuzz {}'
