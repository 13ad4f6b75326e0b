#!/usr/bin/env bash
# The demo's exports beside the model that they were made of: AP, and detection by detection. Needs a finished demo.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

experiment=${1:-workspace}/shapes
# of several attempts and checkpoints the newest
spec=$(ls -v "$experiment"/evaluate-fp32/logs/attempt-*.spec.yaml | tail -n 1)
model=$(ls -v "$experiment"/retrain/model.step-*.tlt | tail -n 1)
.venv/bin/python benchmarks/export_parity.py --most-lost 0.03 -e "$spec" -m "$model" \
    "$experiment/export-fp32/model.onnx" "$experiment/export/model.onnx"
