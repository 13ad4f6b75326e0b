#!/usr/bin/env bash
# Prints the path of a Horovod wheel for the TensorFlow in the environment $1, which is built once into the user's cache.
#
# Horovod is published as an sdist only, and its extension links against one TensorFlow version. The cache key therefore
# contains both versions, the Python version, the architecture and the GPU switch; all environments and images with the
# same key use the same wheel.
set -euo pipefail

venv=$1
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
version=$(sed -n 's/^horovod==\([^ ]*\).*/\1/p' "$root/requirements/horovod.lock")
tensorflow=$("$venv/bin/python" -c 'from importlib.metadata import distributions as d
print(next(p.version for p in d() if p.metadata["Name"] in ("tensorflow", "tensorflow-cpu", "tensorflow_cpu")))')
tag=$("$venv/bin/python" -c 'import sys, platform; print(f"cp{sys.version_info[0]}{sys.version_info[1]}-{platform.machine()}")')
cache=${XDG_CACHE_HOME:-$HOME/.cache}/maskrcnn-operator/horovod-$version-tf$tensorflow-$tag-${HOROVOD_GPU_OPERATIONS:-cpu}

if ! wheel=$(ls "$cache"/horovod-*.whl 2>/dev/null); then
    echo "Building Horovod $version against TensorFlow $tensorflow: about five minutes on two cores, once" >&2
    mkdir -p "$cache"
    build=$(mktemp -d "$cache/build.XXXXXX")
    trap 'rm -rf "$build"' EXIT
    # A separate build environment on top of the target's packages, so that cmake doesn't end up in the target.
    "$venv/bin/uv" venv -q --python "$venv/bin/python" "$build/venv"
    "$venv/bin/uv" pip install -q --python "$build/venv/bin/python" --require-hashes -r "$root/requirements/horovod-build.lock"
    "$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
        > "$("$build/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/environment.pth"
    if ! env PATH="$build/venv/bin:$PATH" HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1 \
        HOROVOD_WITH_GLOO=1 HOROVOD_WITHOUT_MPI=1 MAKEFLAGS="-j$(nproc)" \
        "$venv/bin/python" -m pip --python "$build/venv/bin/python" wheel -q --no-deps --no-cache-dir --no-build-isolation \
        --require-hashes -r "$root/requirements/horovod.lock" -w "$build/out" > "$build/log" 2>&1; then
        tail -n 50 "$build/log" >&2
        echo "Building Horovod failed; it needs a C++17 compiler and make" >&2
        exit 1
    fi
    wheel=$cache/$(basename "$build"/out/horovod-*.whl)
    mv "$build"/out/horovod-*.whl "$wheel"
fi
echo "$wheel"
