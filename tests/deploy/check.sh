#!/usr/bin/env bash
# Renders and checks the chart with what `scripts/setup.sh --deploy` has installed.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
of() { sha256sum <"$1" | cut -c1-12; }
modules=$root/.tools/deploy-$(of "$root/scripts/requirements-deploy.txt")
schemas=$root/.tools/schemas-$(of "$root/scripts/deploy-schemas/package-lock.json")
PYTHONPATH=$modules exec python3 "$root/tests/deploy/check.py" "$@" "$schemas"
