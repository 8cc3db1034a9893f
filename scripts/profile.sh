#!/usr/bin/env bash
# A flame graph of the worker in the filter job over a real broker (make profile), in target/profile: `flame.svg`, the
# stacks it was made of, and what each thread and the widest functions took. How to read it: docs/profile.md.
#
#   scripts/profile.sh [--records N] [--set KEY=VALUE]
#
# Optimised as a release, but without its link-time optimisation, and with the line tables that stacks need.
set -euo pipefail
cd "$(dirname "$0")/.."
say() { printf 'profile: %s\n' "$*"; }
die() { say "$*" >&2; exit 1; }

# inferno makes the picture; it is a tool and no dependency, and stays within the build folder.
inferno_version=0.12.8

scripts/setup.sh profile
perf record -q -e cpu-clock -o /dev/null -- true > /dev/null 2>&1 ||
  die "perf may not look at processes here: sudo sysctl kernel.perf_event_paranoid=1, or be root"

target=$(realpath -m "${CARGO_TARGET_DIR:-target/profile/build}")
out=$(realpath -m target/profile)
mkdir -p "$out"
export CARGO_PROFILE_DEV_OPT_LEVEL=3 CARGO_TARGET_DIR=$target
tools=$out/tools
if ! "$tools/bin/inferno-flamegraph" --version 2> /dev/null | grep -qF "$inferno_version"; then
  say "installing inferno $inferno_version into ${tools#"$PWD"/}"
  cargo install --quiet --locked --root "$tools" --version "$inferno_version" inferno ||
    die "inferno $inferno_version cannot be installed: it needs a registry of crates"
fi
cargo build --locked -p pipe-engine -p pipe-benches --bins
PIPE_BIN=$target/debug/pipe scripts/guests.sh filter

"$target/debug/profile" "$@" "$out/perf.data"

# perf reads the whole of a stack for each sample: inlined functions would take it hours.
perf script --no-inline -i "$out/perf.data" 2> /dev/null | "$tools/bin/inferno-collapse-perf" 2> /dev/null > "$out/raw.txt"
# Machine code that no file holds is the guest's: its frames are one. Where a stack could not be walked on (through the
# guest, or deeper than what perf keeps of it) perf says `[unknown]`, which is left out.
awk '
  {
    count = $NF; sub(/ [0-9]+$/, ""); n = split($0, frames, ";"); stack = ""; last = ""
    for (i = 1; i <= n; i++) {
      frame = frames[i]
      if (frame ~ /^\[perf-[0-9]+\.map\]$/) frame = "guest"
      if (frame == "[unknown]" || (frame == "guest" && last == "guest")) continue
      stack = stack (i > 1 ? ";" : "") frame; last = frame
    }
    sum[stack] += count
  }
  END { for (stack in sum) print stack, sum[stack] }
' "$out/raw.txt" | LC_ALL=C sort > "$out/stacks.txt"
[ -s "$out/stacks.txt" ] || die "perf saw nothing"
"$tools/bin/inferno-flamegraph" --title "pipe run: Kafka, JSON, filter, JSON, Kafka" --countname "ns of CPU" \
  --minwidth 0.3 --deterministic < "$out/stacks.txt" > "$out/flame.svg"

# widest <title> <awk that sets `key` of each stack>: its shares.
widest() {
  printf '\n%s\n' "$1"
  awk '{ count = $NF; sub(/ [0-9]+$/, ""); n = split($0, frames, ";"); all += count; '"$2"' sum[key] += count }
    END { for (key in sum) printf "%6.1f %%  %s\n", 100 * sum[key] / all, key }' "$out/stacks.txt" |
    sort -rn | head -n 25
}
{
  widest "threads" 'key = frames[1];'
  widest "where the samples were" 'key = frames[n];'
} | tee "$out/widest.txt"
say "$(awk '{ all += $NF } END { printf "%.2f", all / 1e9 }' "$out/stacks.txt") s of CPU; ${out#"$PWD"/}/flame.svg has $(stat -c %s "$out/flame.svg") bytes"
