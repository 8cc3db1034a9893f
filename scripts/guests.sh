#!/usr/bin/env bash
# Builds every ready-made stage and example under stages/ into stages/target/components/<name>.wasm; guests of the
# benchmarks (benches/guests) only where they are named.
# A guest whose sources, SDK and contract are unchanged is not rebuilt.
#
#   scripts/guests.sh [name...]     default: all
#
# PIPE_BIN            the built `pipe`; default: it is built with cargo
# PIPE_GUEST_ROUTE    `rustup` or `debian`: where the Wasm standard library comes from; default: rustup where it works
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
out=$root/stages/target/components
target=wasm32-unknown-unknown
mkdir -p "$out"

say() { printf 'guests: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# Installs Debian packages where that is allowed; else says what to do.
packages() {
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing $*"
        DEBIAN_FRONTEND=noninteractive timeout 600 apt-get install -y -q --no-install-recommends "$@" >&2 && return
        DEBIAN_FRONTEND=noninteractive timeout 120 apt-get update -q >&2 &&
            DEBIAN_FRONTEND=noninteractive timeout 600 apt-get install -y -q --no-install-recommends "$@" >&2 && return
    fi
    die "please install: apt-get install $* (or what your system calls them), then run this again"
}

has_target() { [ -d "$(rustc --print target-libdir --target $target 2>/dev/null)" ]; }

# Rust's route: rustup's target where it can be had, else Debian's compiler, which builds the library from source.
choose_route() {
    if [ "${PIPE_GUEST_ROUTE:-}" = debian ]; then route=debian
    elif has_target; then route=rustup
    elif command -v rustup >/dev/null && timeout 120 rustup target add $target >&2 && has_target; then route=rustup
    elif [ "${PIPE_GUEST_ROUTE:-}" = rustup ]; then die "please run: rustup target add $target"
    else route=debian
    fi
    if [ "$route" = debian ] && ! { [ -x /usr/bin/cargo ] && [ -d /usr/lib/rustlib/src/rust/library ] ||
        [ -d /usr/share/cargo ] && dpkg -s rustc-web cargo-web rust-web-src >/dev/null 2>&1; }; then
        packages rustc-web cargo-web rust-web-src
    fi
    export PIPE_GUEST_ROUTE=$route
}

# One number for everything that a guest is made of.
stamp() {
    { find "$@" -type f -not -path '*/target/*' -print0 | sort -z | xargs -0 sha256sum; echo "${made_by:-}"; } |
        sha256sum | cut -d' ' -f1
}

fresh() { [ -f "$out/$1.wasm" ] && [ "$(cat "$out/$1.stamp" 2>/dev/null)" = "$2" ]; }

pipe_build() {
    if [ -n "${PIPE_BIN:-}" ]; then "$PIPE_BIN" stage build "$@"
    else cargo run -q -p pipe-engine --bin pipe -- stage build "$@"
    fi
}

build_rust() {
    pipe_build "$1" -o "$2"
}

build_python() {
    local venv=$root/stages/target/python
    if ! [ -x "$venv/bin/componentize-py" ]; then
        command -v python3 >/dev/null && python3 -c 'import venv, ensurepip' 2>/dev/null || packages python3 python3-venv
        python3 -m venv "$venv"
        timeout 600 "$venv/bin/pip" install -q --disable-pip-version-check componentize-py==0.25.1 ||
            die "please make \`pip install componentize-py\` work (a package index is needed)"
    fi
    (cd "$1" && "$venv/bin/componentize-py" -q -d "$root/wit/stage.wit" -w stage componentize app -o "$2.part")
    mv "$2.part" "$2"
}

build_javascript() {
    local folder=$root/stages/target/js
    if ! [ -d "$folder/node_modules/@bytecodealliance/componentize-js" ]; then
        command -v npm >/dev/null || packages nodejs npm
        mkdir -p "$folder"
        (cd "$folder" && timeout 600 npm install --silent --no-audit --no-fund --no-save \
            @bytecodealliance/componentize-js@0.23.0) ||
            die "please make \`npm install @bytecodealliance/componentize-js\` work (a registry is needed)"
    fi
    cp stages/examples/js-double/build.mjs "$folder/build.mjs"
    (cd "$folder" && node build.mjs "$root/$1/stage.js" "$root/wit/stage.wit" "$2.part")
    mv "$2.part" "$2"
}

build() {
    local dir=$1 name language now
    name=$(basename "$dir")
    language=$(sed -n 's/^language = "\(.*\)"/\1/p' "$dir/stage.toml")
    local made_by=""
    local inputs=("$dir" wit scripts/guests.sh)
    if [ "$language" = rust ]; then
        [ -n "${route:-}" ] || choose_route
        made_by="$route $(rustc --version)"
        inputs+=(stages/sdk/rust stages/casts stages/conditions stages/Cargo.toml stages/Cargo.lock engine/src/cli/stage.rs)
    fi
    now=$(stamp "${inputs[@]}")
    if fresh "$name" "$now"; then say "$name is up to date"; return; fi
    say "building $name ($language)"
    "build_$language" "$dir" "$out/$name.wasm"
    echo "$now" > "$out/$name.stamp"
    say "$name: $(stat -c %s "$out/$name.wasm") bytes"
}

for manifest in stages/*/stage.toml stages/examples/*/stage.toml benches/guests/*/stage.toml; do
    dir=$(dirname "$manifest")
    named=$*
    [ $# -gt 0 ] || case $dir in stages/*) named=$(basename "$dir") ;; esac
    case " $named " in *" $(basename "$dir") "*) ;; *) continue ;; esac
    build "$dir"
done
