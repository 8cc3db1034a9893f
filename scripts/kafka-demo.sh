#!/usr/bin/env bash
# make kafka-demo: the flights through a real Apache Kafka broker. The broker is started for this run on free
# loopback ports, with its data in a temporary folder, and is stopped by its process id whatever happens.
# Records are loaded and read back with Kafka's own console tools, so that no client of ours vouches for itself.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
# Wherever cargo builds to, the stages are here.
export PIPE_STAGES=$root/stages/target/components

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

scripts/setup.sh kafka
say "Building the engine (the first time takes some minutes) and the stages"
cargo build --locked --workspace --bins
pipe=$(realpath -m "${CARGO_TARGET_DIR:-target}")/debug/pipe
PIPE_BIN=$pipe scripts/guests.sh filter route

say "Fetching Apache Kafka"
scripts/kafka.sh fetch

work=$(mktemp -d)
stop() {
  local code=$?
  trap - EXIT INT TERM
  scripts/kafka.sh stop "$work/kafka" || true
  rm -rf "$work"
  exit "$code"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say "Starting a broker"
port=$(scripts/free-port.sh)
scripts/kafka.sh start "$work/kafka" "$port"
export KAFKA_BROKERS=127.0.0.1:$port
echo "broker: $KAFKA_BROKERS"

# tool <class> <arguments...>: one of Kafka's own command-line tools; its log is shown only when it fails.
tool() {
  scripts/kafka.sh tool "$@" 2>"$work/tool.log" || { cat "$work/tool.log" >&2; return 1; }
}
# count <topic>: records of a topic, by its end offsets.
count() {
  tool org.apache.kafka.tools.GetOffsetShell --bootstrap-server "$KAFKA_BROKERS" --topic "$1" |
    awk -F: '{ n += $3 } END { print n + 0 }'
}

for topic in flights late-hubs late-others flights-kafka.dead-letters; do
  tool org.apache.kafka.tools.TopicCommand --bootstrap-server "$KAFKA_BROKERS" --create --topic "$topic" --partitions 4
done
say "Loading the flights with Kafka's console producer"
tool org.apache.kafka.tools.ConsoleProducer --bootstrap-server "$KAFKA_BROKERS" --topic flights <pipelines/data/flights.jsonl
echo "topic flights: $(count flights) records"

say "pipe run --until-end pipelines/flights-kafka.yaml"
export OUT=$work/out
"$pipe" run --until-end --log-format text --state "$work/state" pipelines/flights-kafka.yaml

say "What arrived, by Kafka's console consumer"
total=0
for topic in late-hubs late-others flights-kafka.dead-letters; do
  records=$(count "$topic")
  total=$((total + records))
  echo "topic $topic: $records records"
  [ "$records" = 0 ] || tool org.apache.kafka.tools.consumer.ConsoleConsumer --bootstrap-server "$KAFKA_BROKERS" \
    --topic "$topic" --from-beginning --max-messages 3 --timeout-ms 20000
done
echo "archive: $(find "$OUT/archive" -name '*.parquet' | wc -l) Parquet file(s), $(cat "$OUT"/archive/*.parquet | wc -c) bytes"

# The file itself says how many flights were late: the numbers above must add up to it.
late=$(awk -F '"delay":' '{ split($2, d, ","); if (d[1] + 0 > 15) n++ } END { print n + 0 }' pipelines/data/flights.jsonl)
[ "$total" = "$late" ] || { echo "expected $late late flights in the topics, found $total" >&2; exit 1; }
say "All $late late flights arrived; stopping the broker"
