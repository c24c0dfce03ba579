#!/usr/bin/env bash
# Builds the program as the image has it, static, for this machine's architecture, and runs it where
# nothing else is: in an empty root, as nobody. STATIC=path takes one that is built already.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
target=$(uname -m)-unknown-linux-musl
program=${STATIC:-$root/target/static/$target/release/planfleet}
say() { printf 'static: %s\n' "$*" >&2; }

if [ -z "${STATIC:-}" ]; then
    rustup target list --installed | grep -qx "$target" || rustup target add "$target"
    command -v cargo-zigbuild >/dev/null || {
        say "cargo-zigbuild is missing: pip install --require-hashes --no-deps -r scripts/requirements-image.txt"
        exit 1
    }
    cargo zigbuild --locked --release -p planfleet --target "$target" --target-dir "$root/target/static" \
        --manifest-path "$root/Cargo.toml"
fi

# No interpreter: nothing of this machine is loaded.
if readelf --program-headers --wide "$program" | grep -q INTERP; then
    say "$program is not static"
    exit 1
fi

empty=$(mktemp -d)
trap 'rm -rf "$empty"' EXIT
cp "$program" "$empty/planfleet"
mkdir "$empty/tmp"
in_empty_root() {
    # A user namespace of its own, so that this needs no rights; where the kernel has none, root does.
    timeout 60 unshare --user --map-root-user --mount --pid --fork --root="$empty" "$@" \
        || timeout 60 chroot --userspec=65532:65532 "$empty" "$@"
}
version=$(in_empty_root /planfleet --version)
in_empty_root /planfleet plan lint /nothing.json >/dev/null 2>&1 && code=0 || code=$?
[ "$code" -ne 0 ] || { say "a file that is not there was read"; exit 1; }
say "$version, $(stat -c %s "$program") bytes, runs in an empty root"
