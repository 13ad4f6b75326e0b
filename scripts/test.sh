#!/usr/bin/env bash
# The tiers side by side: the trainer's is bound by TensorFlow, the two others by the interpreter and by waiting.
#
# MASKRCNN_REQUIRE_APISERVER=1 makes a missing Kubernetes a failure instead of a skipped tier. MASKRCNN_COVERAGE=1 ends
# with a table of what the unit and the API-server tier cover, by package, processes that they start included;
# MASKRCNN_COVERAGE=all includes the trainer tier, whose tests take 1.6 times as long then.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

pytest=(-m pytest -q --durations=50)
measured=()
trainer_measured=()
if [ -n "${MASKRCNN_COVERAGE:-}" ]; then
    rm -f .coverage.*
    measured=(-m coverage run)
    [ "$MASKRCNN_COVERAGE" != all ] || trainer_measured=("${measured[@]}")
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
(
    status=0
    # On the screen, since a build of Kubernetes takes minutes; it needs doing once.
    .venv/bin/python tests/apiserver/binaries.py 2>&1 > /dev/null | sed 's/^/kubernetes: /' >&3
    echo "---- unit tier"
    .venv/bin/python "${measured[@]}" "${pytest[@]}" -n auto --dist worksteal tests/unit "$@" || status=1
    echo "---- apiserver tier"
    .venv/bin/python "${measured[@]}" "${pytest[@]}" tests/apiserver "$@" || status=1
    exit "$status"
) 3>&1 > "$log" 2>&1 &
others=$!
.venv/bin/python "${trainer_measured[@]}" "${pytest[@]}" tests/trainer "$@"
trainer=$?
wait "$others"
others=$?
cat "$log"
[ -z "${MASKRCNN_COVERAGE:-}" ] || .venv/bin/python scripts/coverage_table.py
[ "$others" -eq 0 ] && [ "$trainer" -eq 0 ]
