#!/bin/sh
# Rebuilds the components under `prebuilt/` from the sources beside them. Needs the target wasm32-unknown-unknown
# and
# wasm32-wasip2 (`rustup target add`).
set -eu
cd "$(dirname "$0")"
cargo build --quiet -p componentise
target=wasm32-unknown-unknown
mkdir -p prebuilt

# build PACKAGE NAME [cargo's further options]
build() {
    package=$1
    name=$2
    shift 2
    cargo build --quiet --release --target "$target" -p "guest-$package" "$@"
    target/debug/componentise "target/$target/release/guest_$package.wasm" "prebuilt/$name.wasm"
}

# As `pipe stage build` has it: with Wasm's own vectors.
RUSTFLAGS="-C target-feature=+simd128" build crossing crossing
# With the names of its functions, for the cause of a panic.
CARGO_PROFILE_RELEASE_STRIP=debuginfo build fails fails
build grants grants
build identity identity
build hostile hostile-describe-loop --features describe-loop
build hostile hostile
build hostile-wasi hostile-wasi
# This target makes the component itself.
cargo build --quiet --release --target wasm32-wasip2 -p guest-wasi
cp target/wasm32-wasip2/release/guest_wasi.wasm prebuilt/wasi.wasm
ls -l prebuilt
