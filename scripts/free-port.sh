#!/usr/bin/env bash
# Prints a loopback port on which nobody listens, nor on the one after it: a broker takes the port and, for its controller,
# the next one.
set -euo pipefail

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

for _ in $(seq 50); do
  # Below the range from which the system gives ports to clients.
  port=$((20000 + RANDOM % 10000))
  listens "$port" || listens $((port + 1)) || { echo "$port"; exit 0; }
done
echo "no free port was found" >&2
exit 1
