#!/usr/bin/env bash
# Tests of the report that need other programs: tidecv, the reference code of TIDE, and Chromium. tidecv is installed into
# an environment of its own in the user's cache, one for each version of the lock file, because nothing else needs it.
# Chromium is found in PATH or by CHROMIUM; as root on Debian it is installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

lock=requirements/tidecv.lock
folder=${XDG_CACHE_HOME:-$HOME/.cache}/maskrcnn-operator/tidecv-$(sha256sum "$lock" | cut -c -12)
if [ ! -d "$folder" ]; then
    aside=$folder.$$
    trap 'rm -rf "$aside"' EXIT
    .venv/bin/python -m venv --copies "$aside"
    "$aside/bin/python" -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r "$lock"
    mv "$aside" "$folder" 2>/dev/null || [ -d "$folder" ]
fi
TIDECV_PYTHON=$folder/bin/python .venv/bin/python -m pytest -q -rs tests/report "$@"
