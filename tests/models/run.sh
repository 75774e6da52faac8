#!/bin/sh
# Checks the models of the limit table, and that each seeded mistake in them is found.
#
#   tests/models/run.sh          about ten seconds
#   tests/models/run.sh full     the large configurations as well: minutes, up to 10 GB of memory
#
# Prints one line for each model and mistake; ends with 1 if any did not come out as it should.
set -eu

models=$(cd "$(dirname "$0")" && pwd)
if ! command -v spin >/dev/null; then
    echo "models: skipped, spin is not installed (Debian: apt install spin)"
    exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
failures=0

# check EXPECTED MODEL FLAGS...: EXPECTED is `holds` or `fails`
check() {
    expected=$1 model=$2
    shift 2
    spin -a "$@" "$models/$model.pml" >/dev/null
    cc -O2 -w -DSAFETY -DCOLLAPSE -DMEMLIM=9500 -o pan pan.c
    ./pan -m400000 >out 2>&1 || true
    states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' out)
    if grep -q 'max search depth too small\|memory limit\|out of memory' out; then
        result=unfinished
    elif grep -q 'errors: 0' out; then
        result=holds
    elif grep -q 'assertion violated' out; then
        result=fails
    else
        result=unfinished
    fi
    verdict=ok
    if [ "$result" != "$expected" ]; then
        verdict=WRONG
        failures=$((failures + 1))
    fi
    printf '%-5s %-6s %-32s %s, %s states\n' "$verdict" "$model" "$*" "$result" "${states:-?}"
    rm -f ./*.trail
}

check holds ring -DNP=2 -DMX=1
check fails ring -DNP=2 -DMX=1 -DNOSEAL
check holds multi -DM0=2 -DM1=1 -DREADFIRST -DRETRY=1
check holds multi -DM0=2 -DM1=1 -DREADFIRST -DRETRY=1 -DCRASH
check fails multi -DM0=2 -DM1=1 -DREADFIRST -DRETRY=0
check fails multi -DM0=2 -DM1=1 -DRETRY=1
check fails evict -DNT=3 -DNOMARK
check fails evict -DNT=3 -DNOPIN
check fails evict -DNT=3 -DCLOCKFIRST
check fails evict -DNT=3 -DCLEARFIRST
if [ "${1:-}" = full ]; then
    check holds ring -DNP=3 -DMX=2
    check holds evict -DNT=2 -DCRASH
fi
exit $((failures > 0))
