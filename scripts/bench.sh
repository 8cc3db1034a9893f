#!/usr/bin/env bash
# Builds everything in cargo's `release` profile and runs every benchmark: the small ones, then whole pipelines over a
# real broker beside their native twins, and the filter job beside other engines. Appends the figures to
# benches/history.jsonl. How to read them: benches/README.md.
#
#   scripts/bench.sh [option of rivals...]     --records N, --short N, --rounds R, --only a,b
#
# RIVALS    what scripts/rivals.sh builds; default: "streams flink". What is not built is left out
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh test
cargo build --locked --release -p pipe-engine -p pipe-benches --bins
# An engine of its own: `pipe` must not have that feature.
cargo build --locked --release -p pipe-benches --features native-stage --bin native_stage
release=$(realpath -m "${CARGO_TARGET_DIR:-target}")/release
# `pipe stage build` makes the components.
PIPE_BIN=$release/pipe scripts/guests.sh bad-requests explode extract filter parse-log redact route sample select slow \
  js-crossing python-crossing
# The aim is 100 kB for each; those that need numbers of every kind or patterns are twice that.
stat -c '%s bytes: %n' stages/target/components/{explode,extract,filter,parse-log,redact,route,sample,select,slow}.wasm
rivals=${RIVALS-streams flink}
# shellcheck disable=SC2086 # a list of names
[ -z "$rivals" ] || scripts/rivals.sh $rivals
cargo bench --locked -p pipe-benches --bench json --bench stages
cargo bench --locked -p pipe-benches --bench crossing -- --history "$PWD/benches/history.jsonl"
"$release/native_stage" --brokers own --history benches/history.jsonl
"$release/neighbours"
"$release/start"
"$release/fetch" --history benches/history.jsonl
"$release/delivery" --history benches/history.jsonl
"$release/whole_pipeline" --history benches/history.jsonl
"$release/rivals" --history benches/history.jsonl "$@"
