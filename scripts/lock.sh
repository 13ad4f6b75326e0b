#!/usr/bin/env bash
# Resolves the lock files again: versions and hashes, without addresses. The images contain the same versions as the
# tests, so their locks are constrained by cpu.lock. `scripts/lock.sh images` resolves only the images' locks, and
# `scripts/lock.sh check` fails if trainer-gpu.lock no longer follows from pyproject.toml.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
index=$(.venv/bin/python -m pip config get global.index-url 2>/dev/null || true)
export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-${PIP_INDEX_URL:-$index}}
[ -n "$UV_DEFAULT_INDEX" ] || unset UV_DEFAULT_INDEX
compile() {
    .venv/bin/uv pip compile -q --generate-hashes --no-header --no-annotate --no-emit-index-url --python-version 3.11 "$@"
}
compile_gpu() { # output
    compile pyproject.toml --extra trainer-gpu --extra export-gpu -c requirements/cpu.lock -o "$1"
}
if [ "${1:-all}" = check ]; then
    resolved=$(mktemp)
    trap 'rm -f "$resolved"' EXIT
    cp requirements/trainer-gpu.lock "$resolved" # versions in the output stay if they meet the requirements
    compile_gpu "$resolved"
    diff <(grep == requirements/trainer-gpu.lock) <(grep == "$resolved") || {
        echo "requirements/trainer-gpu.lock doesn't follow from pyproject.toml and cpu.lock; run scripts/lock.sh images" >&2
        exit 1
    }
    exit
fi
if [ "${1:-all}" != images ]; then
    compile pyproject.toml --extra operator --extra trainer --extra export --extra dev --extra docs -o requirements/cpu.lock
    compile requirements/horovod-build.in -o requirements/horovod-build.lock
    compile --no-deps requirements/horovod-gpu-build.in -o requirements/horovod-gpu-build.lock
    compile --no-deps <(echo 'horovod==0.28.1') -o requirements/horovod.lock
    compile --no-deps requirements/tensorrt-parser.in -o requirements/tensorrt-parser.lock
    compile requirements/tidecv.in -o requirements/tidecv.lock
    compile --no-deps requirements/oracle.in -o requirements/oracle.lock
    compile requirements/object-storage.in -o requirements/object-storage.lock
    compile <(.venv/bin/uv --version | sed -E 's/^uv ([0-9.]+).*/uv==\1/') -o requirements/uv.lock
fi
compile requirements/build.in -o requirements/build.lock
compile pyproject.toml --extra operator -c requirements/cpu.lock -o requirements/operator.lock
compile pyproject.toml --extra trainer --extra export -c requirements/cpu.lock -o requirements/trainer-cpu.lock
compile_gpu requirements/trainer-gpu.lock
