#!/usr/bin/env bash
# Installs what a fresh Debian-like machine with Rust and a C compiler still lacks, or says exactly what to install.
#   scripts/setup.sh demo    what building the engine and its Rust stages needs (make demo)
#   scripts/setup.sh test    that, and Java and Maven for the Kafka broker, Python and npm for the foreign guests
#   scripts/setup.sh kafka   that of `demo`, and Java and Maven (make kafka-demo)
#   scripts/setup.sh profile that of `kafka`, and perf (make profile)
#   scripts/setup.sh release that of `demo`, and perl: a release builds OpenSSL itself (make release)
# It changes nothing when nothing is missing, so that every make target may call it.
set -euo pipefail
cd "$(dirname "$0")/.."
group=${1:-demo}
case $group in
  demo | test | kafka | profile | release) ;;
  *) echo "usage: scripts/setup.sh demo|test|kafka|profile|release" >&2; exit 2 ;;
esac

# Rust below this cannot build wasmtime 48; rustup reads rust-toolchain.toml and fetches the right one by itself.
rust_min=1.95
# A machine without a network should fail, not hang.
apt_seconds=900

missing=() # what a person would call it
packages=() # its Debian packages

# need <what> <packages> <command...>: notes a thing as missing when its probe fails.
need() {
  local what=$1 names=$2
  shift 2
  "$@" >/dev/null 2>&1 && return 0
  missing+=("$what")
  # shellcheck disable=SC2206 # a list of package names
  packages+=($names)
}

java_ok() {
  local version
  version=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
  [ "${version:-0}" -ge 17 ]
}

# A stub of a C++ program: librdkafka's own build makes its C++ library too.
cxx_ok() { echo 'int main() {}' | c++ -x c++ -o /dev/null -; }
cc_ok() { echo '#include <stdlib.h>
int main(void) { return 0; }' | cc -x c -o /dev/null -; }
# OpenSSL's Configure uses these modules; Debian's perl-base alone lacks some of them.
perl_ok() { perl -MFindBin -MIPC::Cmd -MFile::Compare -MFile::Copy -e1; }

collect() {
  missing=() packages=()
  need "a C compiler (cc)" "gcc libc6-dev" cc_ok
  need "a C++ compiler (c++; librdkafka's build)" "g++" cxx_ok
  need "make" "make" make --version
  need "pkg-config" "pkg-config" pkg-config --version
  need "OpenSSL 3 and its headers (TLS to Kafka)" "libssl-dev" pkg-config --atleast-version=3 openssl
  need "git" "git" git --version
  if [ "$group" = release ]; then
    need "perl with its core modules (OpenSSL's build)" "perl" perl_ok
  fi
  if [ "$group" != demo ] && [ "$group" != release ]; then
    need "Java 17 or later (the Kafka broker of the tests)" "default-jdk-headless" java_ok
    need "Maven (fetches the Kafka broker)" "maven" mvn --version
  fi
  if [ "$group" = profile ]; then
    need "perf (samples a worker's stacks)" "linux-perf" perf --version
  fi
  if [ "$group" = test ]; then
    need "Python 3 with venv (a Python stage is built)" "python3 python3-venv" python3 -c 'import venv, ensurepip'
    need "npm (a JavaScript stage is built)" "nodejs npm" npm --version
  fi
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}
may_be_root() { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }

# The list of what is missing, with one command that would install it.
explain() {
  echo "setup: this machine lacks:" >&2
  printf '  - %s\n' "${missing[@]}" >&2
  echo "On Debian or Ubuntu: sudo apt-get install ${packages[*]}" >&2
}

install_packages() {
  command -v apt-get >/dev/null && may_be_root || { explain; exit 1; }
  echo "setup: installing ${packages[*]}"
  export DEBIAN_FRONTEND=noninteractive
  # A stale package list is the usual reason for a failed install, so it is refreshed only then.
  as_root timeout "$apt_seconds" apt-get install -y -q --no-install-recommends "${packages[@]}" ||
    { as_root timeout "$apt_seconds" apt-get update -q &&
      as_root timeout "$apt_seconds" apt-get install -y -q --no-install-recommends "${packages[@]}"; } ||
    { echo "setup: apt-get failed" >&2; explain; exit 1; }
}

rust() {
  command -v cargo >/dev/null || {
    echo "setup: cargo is missing; install Rust $rust_min or later, for example from https://rustup.rs" >&2
    exit 1
  }
  # With rustup the first call installs the toolchain that rust-toolchain.toml names.
  local version
  version=$(timeout "$apt_seconds" rustc --version | sed -n 's/^rustc \([0-9]*\.[0-9]*\).*/\1/p')
  [ "$(printf '%s\n' "$rust_min" "$version" | sort -V | head -n 1)" = "$rust_min" ] || {
    echo "setup: rustc $version is too old; $rust_min or later is needed (https://rustup.rs)" >&2
    exit 1
  }
  if [ "$group" = test ]; then
    cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 || {
      echo "setup: rustfmt or clippy is missing; run: rustup component add rustfmt clippy" >&2
      exit 1
    }
  fi
}

collect
if [ ${#missing[@]} -gt 0 ]; then
  install_packages
  collect
  [ ${#missing[@]} -eq 0 ] || { explain; exit 1; }
fi
rust
