#!/usr/bin/env bash
# The unit and trainer tiers side by side: one is bound by the interpreter, the other by TensorFlow.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT
.venv/bin/python -m pytest -q tests/unit "$@" > "$log" 2>&1 &
unit=$!
.venv/bin/python -m pytest -q tests/trainer --durations=10 "$@"
trainer=$?
wait "$unit"
unit=$?
echo "---- unit tier"
cat "$log"
[ "$unit" -eq 0 ] && [ "$trainer" -eq 0 ]
