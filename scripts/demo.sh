#!/usr/bin/env bash
# make demo: real flight records through two Wasm stages into Parquet and onto the terminal. Needs no broker.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
# Wherever cargo builds to, the stages are here.
export PIPE_STAGES=$root/stages/target/components

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

scripts/setup.sh demo
say "1/5 Building pipe (the first time compiles some 400 crates, which takes minutes; cargo counts them) and two stages"
# `--workspace` resolves the same features as every other build, so that `make test` compiles none of it again.
cargo build --locked --workspace --bin pipe
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
pipe=$target/debug/pipe
PIPE_BIN=$pipe scripts/guests.sh filter route

# Made anew each time; what the run leaves stays here to be looked at.
export OUT=$target/demo
rm -rf "$OUT"
mkdir -p "$OUT"

say "2/5 pipe check pipelines/flights.yaml"
"$pipe" check pipelines/flights.yaml

say "3/5 pipe run --until-end pipelines/flights.yaml ($(wc -l <pipelines/data/flights.jsonl) records)"
# In the output folder, because dead letters go to the working folder.
(cd "$OUT" && "$pipe" run --until-end --fresh --log-format text --state "$OUT/state" "$root/pipelines/flights.yaml" >"$OUT/board.jsonl")

say "4/5 The first of $(wc -l <"$OUT/board.jsonl") late departures from the hubs, as the sink \`board\` printed them"
head -n 8 "$OUT/board.jsonl"

say "5/5 The Parquet files, read back by pipe itself"
# count <name>: rows of the Parquet files of a sink, and one of them.
count() {
  cat >"$OUT/read-$1.yaml" <<YAML
name: read-$1
sources:
  rows: { file: { path: "$1/*.parquet" }, format: parquet }
sinks:
  lines: { from: rows, stdout: {}, format: json }
YAML
  (cd "$OUT" && "$pipe" run --until-end --fresh --state "$OUT/state" "read-$1.yaml" >"read-$1.jsonl" 2>"read-$1.log") ||
    { cat "$OUT/read-$1.log" >&2; return 1; }
  printf '%-7s %5d rows in %d file(s), %d bytes; for example %s\n' "$1" "$(wc -l <"$OUT/read-$1.jsonl")" \
    "$(find "$OUT/$1" -name '*.parquet' | wc -l)" "$(cat "$OUT/$1"/*.parquet | wc -c)" "$(head -n 1 "$OUT/read-$1.jsonl")"
}
count hubs
count others
say "Kept in ${OUT#"$root"/}"
