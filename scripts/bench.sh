#!/usr/bin/env bash
# Builds everything in the release profile and runs every benchmark: the small ones, then whole pipelines over a
# real broker beside their native twins, and the filter job beside other engines. Appends the figures to
# benches/history.jsonl. How to read them: benches/README.md.
#
#   scripts/bench.sh [option of rivals...]     --records N, --short N, --rounds R, --only a,b; make bench BENCH="..."
#
# The numbers to reach, each beside its goal, are printed as one table when it ends.
#
# BENCH_PROFILE   `release` (the default; half an hour of building the first time), or `dev`: what `make test` builds,
#                 with the project's own crates as a release has them but without link-time optimisation, so that a
#                 look takes minutes of building. Dependencies are at level 0 or 1: compare its figures with its own only
# RIVALS    what scripts/rivals.sh builds; default: "streams flink". What is not built is left out
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh test
profile=${BENCH_PROFILE:-release}
case $profile in
release) folder=release packages=(-p pipe-engine -p pipe-benches) ;;
# The same packages and features as everywhere, so that no dependency is compiled anew.
dev)
  folder=debug packages=(--workspace)
  export CARGO_PROFILE_DEV_OPT_LEVEL=3 CARGO_INCREMENTAL=0
  export CARGO_PROFILE_DEV_OVERFLOW_CHECKS=false CARGO_PROFILE_DEV_DEBUG_ASSERTIONS=false
  ;;
*) echo "bench: BENCH_PROFILE is release or dev" >&2; exit 2 ;;
esac
cargo build --locked --profile "$profile" "${packages[@]}" --bins
# An engine of its own: `pipe` must not have that feature.
cargo build --locked --profile "$profile" "${packages[@]}" --features pipe-benches/native-stage --bin native_stage
built=$(realpath -m "${CARGO_TARGET_DIR:-target}")/$folder
# `pipe stage build` makes the components.
PIPE_BIN=$built/pipe scripts/guests.sh bad-requests explode extract filter parse-log redact route sample select slow \
  js-crossing python-crossing
# The aim is 100 kB for each; those that need numbers of every kind or patterns are twice that.
stat -c '%s bytes: %n' stages/target/components/{explode,extract,filter,parse-log,redact,route,sample,select,slow}.wasm
rivals=${RIVALS-streams flink}
# shellcheck disable=SC2086 # a list of names
[ -z "$rivals" ] || scripts/rivals.sh $rivals
# All of them before the first one runs: nothing is built between two measurements.
cargo bench --locked --profile "$profile" "${packages[@]}" --no-run --bench json --bench stages --bench crossing

PIPE_BENCH_TABLE=$(mktemp)
export PIPE_BENCH_TABLE
# Also where a program fails: what was measured by then took long enough.
table() {
  printf '\n| what | figure | goal | |\n|---|---|---|---|\n'
  cat "$PIPE_BENCH_TABLE"
  rm -f "$PIPE_BENCH_TABLE"
}
trap table EXIT
cargo bench --locked --profile "$profile" "${packages[@]}" --bench json --bench stages
cargo bench --locked --profile "$profile" "${packages[@]}" --bench crossing -- --history "$PWD/benches/history.jsonl"
"$built/native_stage" --brokers own --history benches/history.jsonl
"$built/neighbours"
"$built/start"
"$built/fetch" --history benches/history.jsonl
"$built/settings" --history benches/history.jsonl
"$built/delivery" --history benches/history.jsonl
"$built/whole_pipeline" --history benches/history.jsonl
"$built/forward"
"$built/rivals" --history benches/history.jsonl "$@"
