#!/usr/bin/env bash
# Formatting and clippy for both workspaces; a warning is an error.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo fmt --all --check
cargo fmt --all --manifest-path stages/Cargo.toml --check
# With the feature that only a benchmark's build has.
cargo clippy --locked --workspace --all-targets --features pipe-benches/native-stage -- -D warnings
