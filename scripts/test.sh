#!/usr/bin/env bash
# The tiers side by side: the trainer's is bound by TensorFlow, the two others by the interpreter and by waiting.
# MASKRCNN_REQUIRE_APISERVER=1 makes a missing Kubernetes a failure instead of a skipped tier.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT
(
    status=0
    # On the screen, since a build of Kubernetes takes minutes; it needs doing once.
    .venv/bin/python tests/apiserver/binaries.py 2>&1 > /dev/null | sed 's/^/kubernetes: /' >&3
    for tier in unit apiserver; do
        echo "---- $tier tier"
        .venv/bin/python -m pytest -q "tests/$tier" --durations=10 "$@" || status=1
    done
    exit "$status"
) 3>&1 > "$log" 2>&1 &
others=$!
.venv/bin/python -m pytest -q tests/trainer --durations=10 "$@"
trainer=$?
wait "$others"
others=$?
cat "$log"
[ "$others" -eq 0 ] && [ "$trainer" -eq 0 ]
