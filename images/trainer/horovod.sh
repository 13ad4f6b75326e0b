#!/bin/sh
# Puts a Horovod wheel for the TensorFlow of the environment $1 into the directory $2: the one in HOROVOD_WHEELS if there
# is one, else one compiled here with Gloo and without MPI. horovod_gpu.sh sets what GPUs need before.
set -eu
environment=$1 output=$2
mkdir -p "$output"
if [ -z "${HOROVOD_GPU_OPERATIONS:-}" ] && ls "${HOROVOD_WHEELS:-/nowhere}"/horovod-*.whl > /dev/null 2>&1; then
    cp "$HOROVOD_WHEELS"/horovod-*.whl "$output/"
    exit 0
fi
if ! command -v g++ > /dev/null; then
    apt-get update && apt-get install --yes --no-install-recommends g++ make
fi
# a separate environment on top of $1's packages, so that build packages don't end up in $1
"$environment/bin/python3" -m venv /build/horovod
"$environment/bin/python3" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
    > "$(/build/horovod/bin/python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/environment.pth"
/build/horovod/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r /build/horovod-build.lock
PATH="/build/horovod/bin:$PATH" HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1 \
    HOROVOD_WITH_GLOO=1 HOROVOD_WITHOUT_MPI=1 MAKEFLAGS="-j$(nproc)" \
    /build/horovod/bin/pip wheel --no-deps --no-cache-dir --no-build-isolation --require-hashes \
    -r /build/horovod.lock -w "$output"
