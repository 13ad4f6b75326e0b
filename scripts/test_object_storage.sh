#!/usr/bin/env bash
# Tests of object storage, on servers that are installed or built once into the user's cache. With --smoke, only the
# smoke tests of CI, which need moto alone: no Go server is built for it, and no npm package is installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

servers=()
tests=(tests/object_storage)
if [ "${1-}" = --smoke ]; then
    shift
    servers=(moto)
    tests=(tests/object_storage/test_smoke.py tests/object_storage/test_smoke_results.py)
fi
.venv/bin/python tests/object_storage/installs.py "${servers[@]}"
started=$SECONDS status=0
.venv/bin/python -m pytest -q -rs --durations=10 "${tests[@]}" "$@" || status=$?
echo "tests: $((SECONDS - started)) s"
exit "$status"
