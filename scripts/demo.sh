#!/usr/bin/env bash
# The whole road on this machine: pictures are generated, then one manifest converts, trains on two ranks, evaluates,
# prunes, trains again, runs inference and exports. Ends with a table of what each model gave and a picture of ground
# truth beside detections. Run again, it skips what is up to date.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

workspace=${1:-workspace}
.venv/bin/python examples/shapes/generate.py --output "$workspace/raw/shapes"
.venv/bin/maskrcnn-operator run examples/shapes/experiment.yaml --workspace "$workspace"
.venv/bin/python examples/shapes/report.py --workspace "$workspace"
