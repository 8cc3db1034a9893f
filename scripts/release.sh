#!/usr/bin/env bash
# A release: the program built for speed and stripped, with the ready-made stages and all that belongs beside it.
#
#   scripts/release.sh                 target/packages/pipe-<version>-<arch>-linux.tar.gz and its .sha256
#   scripts/release.sh --tree <dir>    only the tree that would be in it: <dir>/bin/pipe, <dir>/share/pipe/stages, ...
#
# PIPE_COMMIT   what `pipe --version` says of its origin; default: git's, with `-dirty` where files are changed
# PIPE_BIN      a `pipe` that is built already; default: `cargo build --release`
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD

say() { printf 'release: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

case ${1:-} in
  "") tree="" ;;
  --tree) tree=${2:?"usage: scripts/release.sh --tree <dir>"} ;;
  *) echo "usage: scripts/release.sh [--tree <dir>]" >&2; exit 2 ;;
esac

version=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"/\1/p' Cargo.toml)
[ -n "$version" ] || die "there is no version in Cargo.toml"
if [ -z "${PIPE_COMMIT:-}" ]; then
  PIPE_COMMIT=$(git rev-parse --short=12 HEAD 2>/dev/null || true)
  [ -z "$PIPE_COMMIT" ] || [ -z "$(git status --porcelain)" ] || PIPE_COMMIT+=-dirty
fi
export PIPE_COMMIT

if [ -n "${PIPE_BIN:-}" ]; then
  bin=$PIPE_BIN
else
  scripts/setup.sh release
  started=$SECONDS
  cargo build --locked --release -p pipe-engine --features static-tls --bin pipe
  bin=${CARGO_TARGET_DIR:-target}/release/pipe
  say "the program was built in $(((SECONDS - started) / 60)) minutes"
fi
bin=$(realpath "$bin")

# The ready-made stages, and not the examples.
stages=()
for manifest in stages/*/stage.toml; do stages+=("$(basename "$(dirname "$manifest")")"); done
PIPE_BIN=$bin scripts/guests.sh "${stages[@]}"

name=pipe-$version-$(uname -m)-linux
out=$root/target/packages
[ -n "$tree" ] || { tree=$out/$name; rm -rf "$tree"; }
mkdir -p "$tree"
tree=$(realpath "$tree")
mkdir -p "$tree"/{bin,lib/systemd/system,share/doc/pipe} "$tree"/share/pipe/{stages,kubernetes} \
  "$tree"/share/bash-completion/completions "$tree"/share/zsh/site-functions "$tree"/share/fish/vendor_completions.d

install -m 0755 "$bin" "$tree/bin/pipe"
strip "$tree/bin/pipe"
for stage in "${stages[@]}"; do install -m 0644 "stages/target/components/$stage.wasm" "$tree/share/pipe/stages/"; done
for stage in "${stages[@]}"; do install -m 0644 "stages/$stage/README.md" "$tree/share/doc/pipe/$stage.md"; done
install -m 0644 README.md CHANGELOG.md LICENSE docs/deploy.md docs/errors.md "$tree/share/doc/pipe/"
install -m 0644 packages/systemd/pipe@.service "$tree/lib/systemd/system/"
cp -R packages/kubernetes/. "$tree/share/pipe/kubernetes/"
"$tree/bin/pipe" completions bash > "$tree/share/bash-completion/completions/pipe"
"$tree/bin/pipe" completions zsh > "$tree/share/zsh/site-functions/_pipe"
"$tree/bin/pipe" completions fish > "$tree/share/fish/vendor_completions.d/pipe.fish"

# Only the C library and the compiler's own may be needed at run time: all else is linked in.
if foreign=$(ldd "$tree/bin/pipe" | awk '{ print $1 }' |
  grep -vE '^(linux-vdso|lib(c|m|dl|rt|pthread|gcc_s)|/lib(64)?/ld-linux[^ ]*|ld-linux[^ ]*)\.so|^/lib.*/ld-linux'); then
  die "the program needs libraries that a machine may lack: $foreign"
fi
floor=$(grep -aoE 'GLIBC_[0-9]+\.[0-9]+(\.[0-9]+)?' "$tree/bin/pipe" | sort -u -t_ -k2 -V | tail -n 1)
# It must find its stages from anywhere, and by nothing but its own place.
(cd / && env -i PIPE_CACHE= HOME=/nonexistent "$tree/bin/pipe" check "$root/packages/check.yaml") ||
  die "the program does not find its stages in $tree"

printf '%s\n' "pipe $version, commit ${PIPE_COMMIT:-unknown}, $(uname -m), needs ${floor/_/ } or later" \
  > "$tree/share/doc/pipe/BUILD"
(cd "$tree" && find . -type f ! -name SHA256SUMS -print0 | LC_ALL=C sort -z | xargs -0 sha256sum > share/doc/pipe/SHA256SUMS)
say "$(cat "$tree/share/doc/pipe/BUILD"); bin/pipe has $(stat -c %s "$tree/bin/pipe") bytes"
[ "$tree" = "$out/$name" ] || exit 0

# The same tree gives the same archive.
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$(git log -1 --format=%ct 2>/dev/null || echo 0)" \
  -C "$out" -c "$name" | gzip -n > "$out/$name.tar.gz"
(cd "$out" && sha256sum "$name.tar.gz" > "$name.tar.gz.sha256")
say "target/packages/$name.tar.gz has $(stat -c %s "$out/$name.tar.gz") bytes"
