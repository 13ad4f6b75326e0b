#!/usr/bin/env bash
# Prints the Python of an environment with the original code of torchvision and MMDetection, which is built once into the
# user's cache, for each version of the lock file and of Debian's torch.
#
# torch 1.13 and torchvision 0.14 are packages of Debian 12, installed here as root: they need 160 MB of downloads where
# the wheels of an index would need 2 GB, and mmcv's extension has to be compiled against one of them in any case.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
packages=(
    python3-torch=1.13.* python3-torchvision=0.14.* libopenblas0-pthread
    libtorch-dev pybind11-dev python3-dev python3-venv g++ ninja-build
)
python=/usr/bin/python3

if ! "$python" -c 'import torch, torchvision' 2>/dev/null || ! dpkg -s "${packages[@]%=*}" > /dev/null 2>&1; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
        echo "The original code needs Debian 12 and its packages ${packages[*]}: install them, or run this as root" >&2
        exit 1
    fi
    DEBIAN_FRONTEND=noninteractive apt-get -qq update >&2
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${packages[@]}" >&2
fi

lock=$root/requirements/oracle.lock
version=$("$python" -c 'import torch; print(torch.__version__)')
folder=${XDG_CACHE_HOME:-$HOME/.cache}/maskrcnn-operator/oracle-$(sha256sum "$lock" | cut -c -12)-torch$version
if [ ! -d "$folder" ]; then
    echo "Building mmcv against torch $version: about fifteen minutes, once" >&2
    aside=$folder.$$
    log=$(mktemp)
    trap 'rm -rf "$aside" "$log"' EXIT
    "$python" -m venv --system-site-packages "$aside"
    # With little optimization and without debug symbols, which would take most of the time.
    if ! env MMCV_WITH_OPS=1 FORCE_CUDA=0 MAX_JOBS="${ORACLE_JOBS:-$(nproc)}" CFLAGS="-O1 -g0" \
        "$aside/bin/python" -m pip install --disable-pip-version-check --no-deps --require-hashes --no-build-isolation \
        --no-binary mmcv -r "$lock" > "$log" 2>&1; then
        tail -n 50 "$log" >&2
        exit 1
    fi
    mv "$aside" "$folder" 2>/dev/null || [ -d "$folder" ]
fi
echo "$folder/bin/python"
