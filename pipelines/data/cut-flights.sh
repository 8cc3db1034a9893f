#!/usr/bin/env bash
# Makes flights.jsonl anew from the npm package it came from. Needs npm and node; nothing else uses this script.
set -euo pipefail
cd "$(dirname "$0")"
version=3.2.1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

(cd "$work" && npm pack --silent "vega-datasets@$version" >/dev/null && tar xzf "vega-datasets-$version.tgz")
# Three records of every five, so that the sample still spans the whole quarter; each record is left as it is.
node -e '
  const records = JSON.parse(require("fs").readFileSync(process.argv[1], "utf8"));
  const kept = records.filter((_, i) => i % 5 < 3);
  process.stdout.write(kept.map((r) => JSON.stringify(r) + "\n").join(""));
' "$work/package/data/flights-10k.json" >flights.jsonl
wc -l -c flights.jsonl
