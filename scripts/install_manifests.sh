#!/usr/bin/env bash
# Renders the chart as plain YAML: dist/install/install.yaml for kubectl apply -f, and a kustomization.yaml next to it.
# To set values: install_manifests.sh -f my-values.yaml --set ...
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
helm=$(.venv/bin/python -c 'from tests.cluster.tools import find_tool; print(find_tool("helm"))')
mkdir -p dist/install
{
    printf 'apiVersion: v1\nkind: Namespace\nmetadata:\n  name: maskrcnn-system\n  labels:\n    pod-security.kubernetes.io/enforce: restricted\n---\n'
    "$helm" template maskrcnn charts/maskrcnn-operator -n maskrcnn-system --skip-tests "$@"
} > dist/install/install.yaml.new
mv dist/install/install.yaml.new dist/install/install.yaml
printf 'apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [install.yaml]\n' \
    > dist/install/kustomization.yaml
echo "dist/install/install.yaml: kubectl apply --server-side -f, or -k dist/install"
