#!/usr/bin/env bash
# Images, chart, GitOps, monitoring, and the scenarios on nodes. E2E_KUBECONFIG names a cluster that is there; else nodes
# are made here, which takes root. What it builds is kept in the user's cache.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
images=${XDG_CACHE_HOME:-$HOME/.cache}/maskrcnn-operator/images
if [ -z "${E2E_KUBECONFIG:-}" ] && [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    scripts/cluster_packages.sh
    export IMAGES_INSTALL=1
fi
scripts/images.sh --archive "$images"
others=()
for tier in chart monitoring gitops; do [ ! -d "tests/$tier" ] || others+=("tests/$tier"); done
status=0
.venv/bin/python -m pytest -q "${others[@]}" --durations=5 || status=1
.venv/bin/python -m pytest -q tests/cluster --durations=25 "$@" || status=1
exit "$status"
