#!/usr/bin/env bash
# Resolves the lock files anew: versions and hashes, no addresses.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
compile() {
    .venv/bin/uv pip compile -q --generate-hashes --no-header --no-annotate --no-emit-index-url --python-version 3.11 "$@"
}
compile pyproject.toml --extra operator --extra trainer --extra export --extra dev -o requirements/cpu.lock
compile pyproject.toml --extra operator --extra trainer-gpu --extra export -o requirements/gpu.lock
compile requirements/horovod-build.in -o requirements/horovod-build.lock
compile --no-deps <(echo 'horovod==0.28.1') -o requirements/horovod.lock
compile <(.venv/bin/uv --version | sed -E 's/^uv ([0-9.]+).*/uv==\1/') -o requirements/uv.lock
