#!/usr/bin/env bash
# The tiers side by side: the trainer's is bound by TensorFlow, the two others by the interpreter and by waiting. Ends
# with a table of what they cover by package.
#
# MASKRCNN_REQUIRE_APISERVER=1 makes a missing Kubernetes a failure instead of a skipped tier.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

tier() { # NAME PYTEST-ARGUMENTS ...
    local name=$1
    shift
    # SlipCover costs no measurable time, but measures one process only, so there is no pytest-xdist here.
    .venv/bin/python -m slipcover --branch --source operator/maskrcnn_operator,trainer/maskrcnn_trainer \
        --json --out "$work/$name.json" -m pytest -q --durations=50 "tests/$name" "$@"
}

(
    status=0
    # On the screen, since a build of Kubernetes takes minutes; it needs doing once.
    .venv/bin/python tests/apiserver/binaries.py 2>&1 > /dev/null | sed 's/^/kubernetes: /' >&3
    echo "---- unit tier"
    tier unit "$@" || status=1
    echo "---- apiserver tier"
    tier apiserver "$@" || status=1
    exit "$status"
) 3>&1 > "$work/log" 2>&1 &
others=$!
tier trainer "$@"
trainer=$?
wait "$others"
others=$?
cat "$work/log"
.venv/bin/python scripts/coverage_table.py "$work"/*.json
[ "$others" -eq 0 ] && [ "$trainer" -eq 0 ]
