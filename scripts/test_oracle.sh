#!/usr/bin/env bash
# Compares this network with the original code of torchvision and MMDetection, and with Detectron2's layers on torch,
# which run in an environment of their own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

ORACLE_PYTHON=$(scripts/oracle_environment.sh)
export ORACLE_PYTHON
.venv/bin/python -m pytest -q -rs tests/oracle "$@"
