#!/usr/bin/env bash
# Tests images, chart, GitOps, monitoring, and the scenarios on nodes. E2E_KUBECONFIG names an existing cluster; without
# it, nodes are created on this machine, as root. Build results are kept in the user's cache. Arguments are passed to the
# scenarios.
#
# E2E_SCENARIOS_WITHIN=SECONDS starts no scenario later than that after the start of this script; the names of scenarios
# that did not run are written to E2E_LEFT_OUT=FILE.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
images=${XDG_CACHE_HOME:-$HOME/.cache}/maskrcnn-operator/images
started=$SECONDS
if [ -z "${E2E_KUBECONFIG:-}" ] && [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    scripts/cluster_packages.sh
    export IMAGES_INSTALL=1
fi
status=0
work=$(mktemp -d)
trap 'kill $(jobs -p) 2> /dev/null || true; rm -rf "$work"' EXIT
# in the background, because building images mostly waits for downloads and disks
scripts/images.sh --archive "$images" > "$work/images" 2>&1 &
building=$!
# before the tests, whose timeouts are shorter than a build
.venv/bin/python tests/apiserver/binaries.py > /dev/null
.venv/bin/python tests/cluster/tools.py coredns pause helm
.venv/bin/python tests/object_storage/installs.py moto
(
    .venv/bin/python tests/cluster/tools.py argocd flux &&
        .venv/bin/python -m pytest -q -n 2 --dist loadfile tests/chart tests/monitoring tests/gitops --durations=10
) > "$work/others" 2>&1 &
others=$!
wait "$building" || { cat "$work/images"; exit 1; }
cat "$work/images"
echo "Before the scenarios: $((SECONDS - started)) s"
if [ -n "${E2E_KUBECONFIG:-}" ]; then
    .venv/bin/python -m pytest -q tests/cluster --durations=0 "$@" || status=1
else
    limits=()
    [ -z "${E2E_SCENARIOS_WITHIN:-}" ] || limits+=("--within=$((E2E_SCENARIOS_WITHIN - (SECONDS - started)))")
    [ -z "${E2E_LEFT_OUT:-}" ] || limits+=("--left-out=$E2E_LEFT_OUT")
    .venv/bin/python scripts/e2e_scenarios.py "${limits[@]}" "$@" || status=1
fi
wait "$others" || status=1
echo "---- chart, monitoring, GitOps"
cat "$work/others"
exit "$status"
