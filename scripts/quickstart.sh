#!/usr/bin/env bash
# The first look: generate small pictures, then run one manifest that converts them, trains on one process, and detects
# objects in new pictures. Ends with a table, a picture of detections, and the path of the report. Steps that are up to
# date are skipped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

workspace=${1:-workspace}
.venv/bin/python examples/shapes/generate.py --output "$workspace/raw/quickstart" --train 320 --val 24
.venv/bin/maskrcnn-operator run examples/quickstart/experiment.yaml --workspace "$workspace"
.venv/bin/python examples/quickstart/summary.py --workspace "$workspace"
