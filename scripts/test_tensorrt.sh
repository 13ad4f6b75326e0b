#!/usr/bin/env bash
# Parses and builds the exported graphs with TensorRT for RTX. Its packages aren't installed into .venv but into the
# user's cache, in a directory per version, because nothing else needs them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

lock=requirements/tensorrt-parser.lock
folder=${XDG_CACHE_HOME:-$HOME/.cache}/maskrcnn-operator/tensorrt-parser-$(sha256sum "$lock" | cut -c -12)
if [ ! -d "$folder" ]; then
    aside=$folder.$$
    trap 'rm -rf "$aside"' EXIT
    .venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --require-hashes --target "$aside" -r "$lock"
    mv "$aside" "$folder" 2>/dev/null || [ -d "$folder" ]
fi
PYTHONPATH=$folder${PYTHONPATH:+:$PYTHONPATH} .venv/bin/python -m pytest -q -rs tests/trainer/export/test_graph_tensorrt_parser.py "$@"
