#!/usr/bin/env bash
# Builds the program as the image has it, static, for this machine's architecture, and runs it where
# nothing else is: in an empty root, as nobody, as process 1. There it checks a configuration, serves
# every role against a real nats-server, does a run, and stops when it is asked to.
# STATIC=path takes a program that is built already, PROFILE=dev builds one faster.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
target=$(uname -m)-unknown-linux-musl
say() { printf 'static: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

main() {
    local program=${STATIC:-}
    [ -n "$program" ] || { build "${PROFILE:-release}" && program=$built; }
    is_static "$program"
    empty=$(mktemp -d)
    trap clean_up EXIT
    install -D -m 755 "$program" "$empty/tree/usr/bin/planfleet"
    # Sticky, for everybody, as the image has it.
    mkdir -m 1777 "$empty/tree/tmp"
    chmod 755 "$empty" "$empty/tree"
    # In a user namespace, so that this needs no rights. Processes are its own too, but not the network.
    in_empty_root=(unshare --user --map-user=65532 --map-group=65532 --mount --pid --fork --kill-child
        --root="$empty/tree" /usr/bin/planfleet)
    commands
    fleet
    "$root/tests/deploy/check.sh" docker "$program" >&2
    say "$version, $(stat -c %s "$program") bytes: runs, serves and stops in an empty root"
}

build() {
    local tools
    tools=$root/.tools/image-$(sha256sum <"$root/scripts/requirements-image.txt" | cut -c1-12)
    PATH=$tools/bin:$PATH PYTHONPATH=$tools cargo zigbuild --locked --profile "$1" -p planfleet \
        --target "$target" --target-dir "$root/target/static" --manifest-path "$root/Cargo.toml" >&2
    built=$root/target/static/$target/${1/#dev/debug}/planfleet
}

# Nothing of this machine is loaded: no interpreter, no library.
is_static() {
    local headers
    headers=$(readelf --program-headers --dynamic --wide "$1")
    if grep -qE 'INTERP|NEEDED' <<<"$headers"; then
        die "$1 is not static: $(grep -E 'INTERP|NEEDED' <<<"$headers" | head -1)"
    fi
}

commands() {
    local code said
    version=$("${in_empty_root[@]}" --version) || die "it does not run in an empty root"
    said=$("${in_empty_root[@]}" plan lint /nothing.json 2>&1) && code=0 || code=$?
    [ "$code" -eq 2 ] && grep -q nothing.json <<<"$said" || die "a file that is not there: $code, $said"
    cat >"$empty/tree/planfleet.toml" <<'TOML'
[nats]
shards = 1
[telemetry]
log_format = "json"
TOML
    said=$("${in_empty_root[@]}" --config /planfleet.toml config check 2>&1) \
        && die "tools that nothing can be checked by: $said"
    grep -q SSL_CERT_FILE <<<"$said" || die "it does not say that certificates are missing: $said"
    certificates
    said=$("${in_empty_root[@]}" --config /planfleet.toml config check 2>&1) \
        || die "it does not take a configuration: $said"
}

# What an image without anything else has to have, where distroless has it.
certificates() {
    local bundle
    for bundle in "${SSL_CERT_FILE:-}" /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt; do
        if [ -s "$bundle" ]; then
            install -D -m 644 "$bundle" "$empty/tree/etc/ssl/certs/ca-certificates.crt"
            return
        fi
    done
    die "this machine has no certificates of authorities: install ca-certificates"
}

fleet() {
    local port=$((20000 + $$ % 5000)) health=$((25000 + $$ % 5000)) pid code said
    "$root/.tools/bin/nats-server" --addr 127.0.0.1 --port "$port" --jetstream --store_dir "$empty/broker" \
        --log "$empty/broker.log" &
    broker=$!
    printf 'nats.url=%s\n' "nats://127.0.0.1:$port" >"$empty/set"
    within 30 "nats-server" grep -qs 'Server is ready' "$empty/broker.log"
    # No models are configured: a plan that is brought and calls tools alone needs none.
    "${in_empty_root[@]}" --config /planfleet.toml --set "$(cat "$empty/set")" \
        --set "health.listen=127.0.0.1:$health" --set api.listen=127.0.0.1:0 \
        serve --roles coordinator,executor,api 2>"$empty/serving.log" &
    unshared=$!
    within 60 "readiness" ready "$health"
    cat >"$empty/tree/task.json" <<'JSON'
{"plan": {"final": 1, "steps": [
  {"id": 1, "description": "Add.", "kind": "tool", "tools": ["math_eval"],
   "inputs": [{"name": "expression", "value": "40 + 1", "from_step": null, "path": null}],
   "for_each": null, "depends_on": [], "expected_output": "", "success_criteria": [], "tier": "default"}]}}
JSON
    said=$("${in_empty_root[@]}" --config /planfleet.toml --set "$(cat "$empty/set")" \
        run -f /task.json -o json 2>>"$empty/serving.log") || die "a run failed: $said"
    python3 -c 'import json, sys; assert json.load(sys.stdin)["answer"]["value"] == 41' <<<"$said" \
        || die "not what the step comes to: $said"
    # As process 1 it has no handlers but its own.
    pid=$(cat "/proc/$unshared/task/$unshared/children")
    grep -qE '^NSpid:.*[[:space:]]1$' "/proc/${pid% }/status" || die "it is not process 1 of its namespace"
    kill -TERM "${pid% }"
    wait "$unshared" && code=0 || code=$?
    [ "$code" -eq 0 ] || die "it ended with $code when asked to stop"
}

ready() {
    python3 - "$1" <<'PYTHON' 2>/dev/null
import sys, urllib.request
urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/readyz", timeout=2)
PYTHON
}

# within SECONDS WHAT COMMAND..: tries it five times a second.
within() {
    local tries=$(($1 * 5)) what=$2
    shift 2
    until "$@"; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || die "waited too long for $what"
        sleep 0.2
    done
}

broker=
unshared=
clean_up() {
    local code=$?
    [ "$code" -eq 0 ] || cat "$empty"/*.log >&2 2>/dev/null || true
    # The program goes with the one that has unshared it.
    [ -z "$unshared" ] || kill -KILL "$unshared" 2>/dev/null || true
    [ -z "$broker" ] || kill -TERM "$broker" 2>/dev/null || true
    wait
    rm -rf "$empty"
}

main
