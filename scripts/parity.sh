#!/usr/bin/env bash
# Compares the demo's exports with the model they were exported from: AP, and single detections. Needs a finished demo.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

experiment=${1:-workspace}/shapes
# the newest of several attempts and checkpoints
spec=$(ls -v "$experiment"/evaluate-fp32/logs/attempt-*.spec.yaml | tail -n 1)
model=$(ls -v "$experiment"/retrain/model.step-*.tlt | tail -n 1)
.venv/bin/python benchmarks/export_parity.py --most-lost 0.03 -e "$spec" -m "$model" \
    "$experiment/export-fp32/model.onnx" "$experiment/export/model.onnx"
