#!/usr/bin/env bash
# Runs all tasks on this machine: generates pictures, then runs one manifest that converts, trains on two ranks,
# evaluates, prunes, trains again, runs inference and exports. Prints a table of the models' results, draws a picture that
# compares ground truth with detections, and ends with the path of the report. A second run skips steps that are up to
# date.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

workspace=${1:-workspace}
.venv/bin/python examples/shapes/generate.py --output "$workspace/raw/shapes"
.venv/bin/maskrcnn-operator run examples/shapes/experiment.yaml --workspace "$workspace"
.venv/bin/python examples/shapes/summary.py --workspace "$workspace"
