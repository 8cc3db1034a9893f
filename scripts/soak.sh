#!/usr/bin/env bash
# The crash proof (make soak): workers on a real broker are killed again and again, then every input is counted.
#
#   scripts/soak.sh [option of pipe-soak...]     --kills N, --seed N, --faults, --topology simple|complex|both, --brokers 3, ...
#
# Its last line counts; a run that fails says where the logs are, and its seed replays what was done.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh kafka
cargo build --locked --workspace --bins
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
PIPE_BIN=$target/debug/pipe scripts/guests.sh filter route
exec "$target/debug/pipe-soak" "$@"
