#!/usr/bin/env bash
# Images, chart, GitOps, monitoring, and the scenarios on nodes. E2E_KUBECONFIG names a cluster that is there; else nodes
# are made here, which takes root. What it builds is kept in the user's cache.
#
# E2E_SCENARIOS_WITHIN=SECONDS leaves the scenarios out, and says so, where what comes before took longer.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
images=${XDG_CACHE_HOME:-$HOME/.cache}/maskrcnn-operator/images
started=$SECONDS
if [ -z "${E2E_KUBECONFIG:-}" ] && [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    scripts/cluster_packages.sh
    export IMAGES_INSTALL=1
fi
status=0
others=()
for tier in chart monitoring gitops; do [ ! -d "tests/$tier" ] || others+=("tests/$tier"); done
# the images are built meanwhile: a build waits for downloads and disks, these tests for servers
built=$(mktemp)
trap 'rm -f "$built"' EXIT
scripts/images.sh --archive "$images" > "$built" 2>&1 &
building=$!
.venv/bin/python -m pytest -q "${others[@]}" --durations=5 || status=1
wait "$building" || { cat "$built"; exit 1; }
cat "$built"
if [ -n "${E2E_SCENARIOS_WITHIN:-}" ] && [ $((SECONDS - started)) -gt "$E2E_SCENARIOS_WITHIN" ]; then
    echo "The scenarios on nodes are left out: $((SECONDS - started)) s were used before them, $E2E_SCENARIOS_WITHIN allowed"
    exit "$status"
fi
.venv/bin/python -m pytest -q tests/cluster --durations=25 "$@" || status=1
exit "$status"
