#!/usr/bin/env bash
# The demo's exports beside the model that they were made of: AP, and detection by detection. Needs a finished demo.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

experiment=${1:-workspace}/shapes
.venv/bin/python benchmarks/export_parity.py --most-lost 0.03 \
    -e "$experiment/evaluate-fp32/logs/attempt-1.spec.yaml" -m "$experiment"/retrain/model.step-*.tlt \
    "$experiment/export-fp32/model.onnx" "$experiment/export/model.onnx"
