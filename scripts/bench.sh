#!/usr/bin/env bash
# Builds everything in cargo's `release` profile and runs every benchmark: the small ones, then the whole pipeline over
# a real broker beside its native twin and the memory of a worker. Appends the figures to benches/history.jsonl.
# How to read them: benches/README.md.
#
#   scripts/bench.sh [option of whole_pipeline...]     --records N, --rounds R, --memory N,N
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh test
cargo build --locked --release -p pipe-engine -p pipe-benches --bins
# An engine of its own: `pipe` must not have that feature.
cargo build --locked --release -p pipe-benches --features native-stage --bin native_stage
release=$(realpath -m "${CARGO_TARGET_DIR:-target}")/release
# `pipe stage build` makes the components.
PIPE_BIN=$release/pipe scripts/guests.sh explode extract filter parse-log redact route sample select slow \
    js-crossing python-crossing
# The aim is 100 kB for each; those that need numbers of every kind or patterns are twice that.
stat -c '%s bytes: %n' stages/target/components/{explode,extract,filter,parse-log,redact,route,sample,select,slow}.wasm
cargo bench --locked -p pipe-benches --bench json --bench stages
cargo bench --locked -p pipe-benches --bench crossing -- --history "$PWD/benches/history.jsonl"
"$release/native_stage" --brokers own --history benches/history.jsonl
"$release/neighbours"
"$release/delivery" --history benches/history.jsonl
"$release/whole_pipeline" --history benches/history.jsonl "$@"
