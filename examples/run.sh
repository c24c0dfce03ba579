#!/usr/bin/env bash
# A real job, start to end: `make run`. Everything it starts, it stops.
set -euo pipefail
cd "$(dirname "$0")/.."
planfleet=${PLANFLEET:-target/debug/planfleet}
result=$(mktemp)
simulator=
trap 'rm -f "$result"; [ -z "$simulator" ] || kill "$simulator" 2>/dev/null || true' EXIT

heading() { printf '\n== %s\n' "$1"; }

heading "1. A template on a model: classify 64 customer messages, in parallel, and count them"
# The small local model does this one, whatever else is configured.
feedback() { env -u OPENAI_API_KEY -u OPENAI_BASE_URL "$planfleet" --config examples/feedback/planfleet.toml "$@"; }
feedback plan -f examples/feedback/task.json
feedback run --local -f examples/feedback/task.json -o json >"$result"
python3 examples/report.py "$result" examples/feedback/labels.json

# Starts a simulated model on a script; $url is where it listens.
simulate() {
  coproc SIM { exec "$planfleet" modelsim "$1"; }
  simulator=$SIM_PID
  read -r line <&"${SIM[0]}"
  url=$(python3 -c 'import json, sys; print(json.loads(sys.argv[1])["base_url"])' "$line")
}
stop_simulator() {
  kill "$simulator"
  wait "$simulator" || true
  simulator=
}

configured=$("$planfleet" models list -o json)
if [ "$configured" != "[]" ] || [ -n "${PLANFLEET_GGUF:-}" ]; then
  heading "2. A goal of your own model's planning"
  "$planfleet" --set tools.roots=examples/healing run --local -f examples/healing/task.json
else
  heading "2. Planning, failure, replanning and healing, on a SIMULATED model"
  echo "No capable model is configured: set OPENAI_API_KEY (and OPENAI_BASE_URL, OPENAI_MODEL) to see your own plan here."
  simulate examples/healing/simulator.toml
  "$planfleet" --config examples/healing/planfleet.toml --set models.modelsim.base_url="$url" \
    run --local -f examples/healing/task.json
  stop_simulator
fi

heading "3. Templates that ship with planfleet, as one batch, on a SIMULATED model"
simulate examples/templates/simulator.toml
"$planfleet" --config examples/templates/planfleet.toml --set models.modelsim.base_url="$url" \
  batch submit --local --wait examples/templates/tasks.jsonl -o jsonl >"$result"
python3 examples/answers.py "$result"
stop_simulator
