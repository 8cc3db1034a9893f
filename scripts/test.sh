#!/usr/bin/env bash
# The whole truth (make test). Every part's minutes are printed at the end; any failed part fails the run.
# An absent tool is a failure, never a skip.
set -uo pipefail
cd "$(dirname "$0")/.."

table=""
failed=0

# part <name> <command...>: runs one part and notes its minutes.
part() {
  local name=$1 started=$SECONDS result=ok
  shift
  printf '\n=== %s\n' "$name"
  "$@" || { result=FAILED; failed=1; }
  table+=$(awk -v n="$name" -v s=$((SECONDS - started)) -v r="$result" \
    'BEGIN { printf "%-14s %7.1f  %s", n, s / 60, r }')$'\n'
  [ "$result" = ok ]
}

finish() {
  table+=$(awk -v s="$SECONDS" 'BEGIN { printf "%-14s %7.1f", "all", s / 60 }')
  printf '\npart           minutes\n%s\n' "$table"
  [ "$failed" = 0 ] || { echo "make test: FAILED"; exit 1; }
  echo "make test: passed"
  exit 0
}

set_up() { scripts/setup.sh test && scripts/kafka.sh fetch; }
# `--workspace` in every call, so that cargo resolves the same features each time and compiles nothing twice.
build() { cargo build --locked --workspace --all-targets; }
guests() { PIPE_BIN=$(realpath -m "${CARGO_TARGET_DIR:-target}")/debug/pipe scripts/guests.sh; }
stages() { cargo test --locked --no-fail-fast --workspace --manifest-path stages/Cargo.toml; }
unit() { cargo test --locked --no-fail-fast --workspace --lib --bins; }
docs() {
  cargo test --locked --no-fail-fast --workspace --test tidy &&
    cargo test --locked --no-fail-fast --workspace --doc &&
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps -p pipe-engine
}

# Without these three nothing else can run.
part set-up set_up || finish
part build build || finish
part guests guests || finish

part stages stages
part unit unit
for file in tests/tests/*.rs; do
  name=$(basename "$file" .rs)
  [ "$name" = tidy ] || part "$name" cargo test --locked --no-fail-fast --workspace --test "$name"
done
part fuzz scripts/fuzz.sh short
part docs docs
part lint scripts/lint.sh
finish
