#!/usr/bin/env bash
# Runs the three tiers in parallel, and at the end prints a table of their coverage by package.
# With MASKRCNN_NO_SKIPS=1 a test that would be skipped, for example without Kubernetes, fails.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

tier() { # NAME NICENESS PYTEST-ARGUMENTS ...
    local name=$1 niceness=$2
    shift 2
    # Without pytest-xdist: the tiers run in parallel and keep two cores busy. A threshold of -1 leaves functions as
    # they are: slipcover replaces them while it holds a lock, and if Python frees an iterator of tf.data meanwhile, that
    # waits for threads that wait for the lock.
    nice -n "$niceness" .venv/bin/python -m slipcover --branch --threshold=-1 \
        --source operator/maskrcnn_operator,trainer/maskrcnn_trainer --json --out "$work/$name.json" \
        -m pytest -q --durations=50 "tests/$name" "$@"
}

apiserver_tier() { # PYTEST-ARGUMENTS ...
    # Print this immediately, since a build of Kubernetes takes minutes; it is done once.
    .venv/bin/python tests/apiserver/binaries.py 2>&1 > /dev/null | sed 's/^/kubernetes: /'
    tier apiserver 0 "$@" > "$work/apiserver.log" 2>&1
}

# The others give way to this tier: an API server ends requests that take too long, and leases expire.
apiserver_tier "$@" &
apiserver=$!
tier unit 10 "$@" > "$work/unit.log" 2>&1 &
unit=$!
# make test-tensorrt runs the ignored file, which needs TensorRT's parser
tier trainer 10 --ignore=tests/trainer/export/test_graph_tensorrt_parser.py "$@"
trainer=$?
wait "$unit"
unit=$?
echo "---- unit tier"
cat "$work/unit.log"
wait "$apiserver"
apiserver=$?
echo "---- apiserver tier"
cat "$work/apiserver.log"
.venv/bin/python scripts/coverage_table.py "$work"/*.json
coverage=$?
[ "$trainer" -eq 0 ] && [ "$unit" -eq 0 ] && [ "$apiserver" -eq 0 ] && [ "$coverage" -eq 0 ]
