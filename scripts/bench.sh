#!/usr/bin/env bash
# Builds the stages and runs every benchmark, in cargo's `bench` profile. Prints the machine first: a number
# without it says nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh demo
# `pipe stage build` makes the components.
cargo build --locked --workspace --bins
PIPE_BIN=$(realpath -m "${CARGO_TARGET_DIR:-target}")/debug/pipe scripts/guests.sh
echo "machine: $(uname -sm), $(nproc) CPUs, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
echo "commit: $(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
exec cargo bench --locked -p pipe-benches "$@"
