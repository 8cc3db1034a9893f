#!/bin/sh
# Apache Kafka for the tests and the demo: the real broker, from its Maven artefacts, without a container.
#
#   scripts/kafka.sh fetch            fetch the jars into the cache folder; prints the folder
#   scripts/kafka.sh start DIR PORT   start a broker with its data in DIR on 127.0.0.1:PORT; returns when it answers
#   scripts/kafka.sh stop DIR         end it, by its process id
#   scripts/kafka.sh tool CLASS ...   run one of Kafka's own tools (org.apache.kafka.tools.TopicCommand, ...)
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
pom=$root/tests/kafka/pom.xml
version=$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$pom")
# The sum of the list, so that a changed list is fetched anew.
jars=${XDG_CACHE_HOME:-$HOME/.cache}/pipe/kafka-$version-$(cksum <"$pom" | cut -d ' ' -f 1)
level=-Dorg.slf4j.simpleLogger.defaultLogLevel

install() { # command, Debian package
  command -v "$1" >/dev/null && return 0
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "kafka.sh: installing $2" >&2
    { apt-get install -y --no-install-recommends "$2" || { apt-get update && apt-get install -y --no-install-recommends "$2"; }; } >&2
  else
    echo "kafka.sh: '$1' is missing. Install it (Debian and Ubuntu: sudo apt-get install $2) and try again." >&2
    exit 1
  fi
}

fetch() {
  install java default-jre-headless
  if [ ! -e "$jars/.complete" ]; then
    install mvn maven
    mkdir -p "$jars"
    echo "kafka.sh: fetching Apache Kafka $version into $jars" >&2
    mvn -q -B -f "$pom" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$jars" >&2
    touch "$jars/.complete"
  fi
  echo "$jars"
}

case ${1:-} in
fetch) fetch ;;
tool)
  shift
  fetch >/dev/null
  exec java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 "$level=error" -cp "$jars/*" "$@"
  ;;
start)
  dir=$2 port=$3
  fetch >/dev/null
  mkdir -p "$dir"
  cat >"$dir/server.properties" <<X
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((port + 1))
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=$dir/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
num.partitions=4
auto.create.topics.enable=false
log.retention.ms=-1
X
  if [ ! -e "$dir/data/meta.properties" ]; then
    java -Xmx256m "$level=warn" -cp "$jars/*" kafka.tools.StorageTool format -t 4L6g3nShT-eMCtK--X86sw -c "$dir/server.properties" >"$dir/format.log" 2>&1 ||
      { cat "$dir/format.log" >&2; exit 1; }
  fi
  java -Xmx768m -XX:+UseSerialGC "$level=warn" -cp "$jars/*" kafka.Kafka "$dir/server.properties" >"$dir/broker.log" 2>&1 &
  echo $! >"$dir/broker.pid"
  for _ in $(seq 60); do
    kill -0 "$(cat "$dir/broker.pid")" 2>/dev/null || break
    if java -Xmx128m -XX:TieredStopAtLevel=1 "$level=error" -cp "$jars/*" org.apache.kafka.tools.TopicCommand \
      --bootstrap-server "127.0.0.1:$port" --list >/dev/null 2>&1; then exit 0; fi
    sleep 0.5
  done
  echo "kafka.sh: the broker did not start; the end of its log:" >&2
  tail -n 20 "$dir/broker.log" >&2
  "$0" stop "$dir"
  exit 1
  ;;
stop)
  dir=$2
  [ -e "$dir/broker.pid" ] || exit 0
  pid=$(cat "$dir/broker.pid")
  kill "$pid" 2>/dev/null || true
  for _ in $(seq 100); do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  kill -9 "$pid" 2>/dev/null || true
  rm -f "$dir/broker.pid"
  ;;
*)
  sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
  exit 2
  ;;
esac
