#!/usr/bin/env bash
# Builds the other engines that the benchmarks are compared with, each in its own folder below benches/rivals, where git
# ignores what is built. The JVM's need Java 17 and Maven; FusionVault is a cargo workspace of its own.
#
#   scripts/rivals.sh [streams] [flink] [fusionvault]     default: all
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh kafka
rivals=$PWD/benches/rivals

java_rival() {
  local folder=$rivals/$1
  # Nothing has changed since.
  [ -e "$folder/target/$1-1.jar" ] && [ -z "$(find "$folder/pom.xml" "$folder/src" -newer "$folder/target/$1-1.jar")" ] && return
  echo "rivals: building $1" >&2
  (cd "$folder" && timeout 1800 mvn -q -B package dependency:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory=target/libs) >&2
  touch "$folder/target/$1-1.jar"
}

fusionvault() {
  local folder=$rivals/fusionvault module
  echo "rivals: building fusionvault (DataFusion: half an hour the first time)" >&2
  # In its own folder, wherever cargo builds ours.
  unset CARGO_TARGET_DIR
  (cd "$folder" && cargo build --locked --release)
  module=$folder/guest/target/$wasm/release/filter_guest.wasm
  (cd "$folder/guest" && guest)
  "$folder/target/release/rival-fusionvault" component "$module" "$folder/target/transforms/badRequests/main.wasm"
}

wasm=wasm32-unknown-unknown

# The ways of scripts/guests.sh: rustup's target where it is installed, else Debian's compiler.
guest() {
  export RUSTFLAGS="-C target-feature=+simd128"
  if [ -d "$(rustc --print target-libdir --target $wasm)" ]; then
    cargo build --locked --release --target $wasm
  else
    CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$(dirname "$(rustc --print target-libdir)")/bin/rust-lld \
      RUSTC_BOOTSTRAP=1 RUSTC=/usr/bin/rustc /usr/bin/cargo build --locked --release --target $wasm \
      -Zbuild-std=std,panic_abort
  fi
}

for name in ${@:-streams flink fusionvault}; do
  case $name in
  streams | flink) java_rival "$name" ;;
  fusionvault) fusionvault ;;
  *) echo "rivals: there is no $name" >&2; exit 2 ;;
  esac
done
