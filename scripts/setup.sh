#!/usr/bin/env bash
# Creates .venv from the lock files: TensorFlow first, then Horovod compiled against it, then this project, editable.
# A stamp with the checksum of all inputs makes a second run exit immediately.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

lock=requirements/${MASKRCNN_LOCK:-cpu}.lock
stamp=.venv/.made-from
want=$(cat "$lock" requirements/uv.lock requirements/horovod.lock requirements/horovod-build.lock pyproject.toml scripts/setup.sh scripts/horovod_wheel.sh | sha256sum)
if [ "$(cat "$stamp" 2>/dev/null)" = "$want" ]; then exit 0; fi

python=${PYTHON:-$(command -v python3.11 || command -v python3)}
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || {
    echo "Python 3.11 is required, $python is $("$python" --version); run make setup PYTHON=/path/to/python3.11" >&2
    exit 1
}
started=$SECONDS
rm -f "$stamp"
[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/uv.lock
# uv does not read pip's configuration, so pass it the index that is configured there.
index=$(.venv/bin/python -m pip config get global.index-url 2>/dev/null || true)
export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-${PIP_INDEX_URL:-$index}}
[ -n "$UV_DEFAULT_INDEX" ] || unset UV_DEFAULT_INDEX
export UV_HTTP_TIMEOUT=300
echo "Installing $lock" >&2
# Compile bytecode once: if PYTHONDONTWRITEBYTECODE is set, each start would compile TensorFlow again (10 s).
.venv/bin/uv pip install -q --python .venv/bin/python --compile-bytecode --require-hashes -r "$lock"
wheel=$(scripts/horovod_wheel.sh .venv)
.venv/bin/uv pip install -q --python .venv/bin/python --compile-bytecode --no-deps "$wheel"
.venv/bin/uv pip install -q --python .venv/bin/python --no-deps --no-build-isolation -e .
echo "$want" > "$stamp"
echo "Environment ready in $((SECONDS - started)) s: .venv/bin/maskrcnn, .venv/bin/maskrcnn-operator" >&2
