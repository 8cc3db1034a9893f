#!/usr/bin/env bash
# Fuzzes what comes from outside: answers of guests, pipeline files, records and files of records. By libFuzzer, on
# stable Rust: tests/fuzz/rustc.sh instruments the engine and the targets, in cargo's usual target folder.
#
#   scripts/fuzz.sh short [target...]    regressions and corpora, then 20,000 executions a target from a fixed seed,
#                                        30 s at most: a failure is of the change that is tested, not of luck
#   scripts/fuzz.sh long [target...]     FUZZ_RUNS (10,000,000) executions a target from a new seed
#
# A crash, a hang or a failed law fails the run and leaves the input in tests/fuzz/found; mend it, and keep the input in
# tests/fuzz/regressions/<target>. New inputs that reach new code are kept in the target folder.
set -euo pipefail
cd "$(dirname "$0")/.."
way=${1:-short}
[ $# -gt 0 ] && shift
case $way in short | long) ;; *) echo "usage: scripts/fuzz.sh short|long [target...]" >&2; exit 2 ;; esac
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
all=()
for folder in tests/fuzz/corpus/*/; do all+=("$(basename "$folder")"); done
[ $# -gt 0 ] && all=("$@")

RUSTC_WORKSPACE_WRAPPER=$PWD/tests/fuzz/rustc.sh \
  cargo build --locked --workspace --bin pipe-fuzz --features pipe-fuzz/libfuzzer

mkdir -p tests/fuzz/found
table="" failed=0
for name in "${all[@]}"; do
  grown=$target/fuzz/$way/$name log=$target/fuzz/$name.log
  # A short run begins where every other one does.
  [ "$way" = long ] || rm -rf "$grown"
  mkdir -p "$grown" "tests/fuzz/regressions/$name"
  bounds=(-seed=1 -runs=20000 -max_total_time=30)
  [ "$way" = long ] && bounds=(-runs="${FUZZ_RUNS:-10000000}" -reload=0)
  started=$SECONDS result=ok
  printf '\n=== fuzz %s\n' "$name"
  PIPE_FUZZ=$name "$target/debug/pipe-fuzz" "${bounds[@]}" -max_len=512 -timeout=20 -rss_limit_mb=2048 \
    -print_final_stats=1 -artifact_prefix="tests/fuzz/found/$name-" \
    "$grown" "tests/fuzz/corpus/$name" "tests/fuzz/regressions/$name" >"$log" 2>&1 ||
    { result=FAILED failed=1; tail -n 40 "$log"; }
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  seconds=$((SECONDS - started))
  table+=$(printf '%-12s %12s %8s  %s' "$name" "${runs:--}" "$seconds" "$result")$'\n'
done
printf '\n%-12s %12s %8s\n%s' target executions seconds "$table"
[ "$failed" = 0 ]
