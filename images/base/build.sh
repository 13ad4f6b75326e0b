#!/usr/bin/env bash
# Writes a Debian base image with Python 3.11 as a docker-archive, if no registry is reachable.
#
#   build.sh OUTPUT.tar [NAME [PACKAGES]]
#
# PACKAGES are further Debian packages, separated by commas, such as compilers.
#
# The same packages give the same bytes: times are SOURCE_DATE_EPOCH, and the machine's identity and everything that
# differs between runs is left out.
set -euo pipefail
output=$1
name=${2:-localhost/maskrcnn-base:bookworm}
more=${3:+,$3}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-1700000000}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d "$(dirname "$output")/base.XXXXXX")
trap 'rm -rf "$work"' EXIT

exclude=()
for path in doc man locale info lintian bug; do exclude+=(--dpkgopt="path-exclude=/usr/share/$path/*"); done
# libgomp1 and libstdc++6: ONNX Runtime's and Horovod's libraries link against them
mmdebstrap --quiet --variant=minbase --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
    --include="usr-is-merged,python3,python3-venv,libgomp1,libstdc++6$more" \
    "${exclude[@]}" --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --customize-hook='rm -rf "$1"/var/cache/* "$1"/var/log/* "$1"/etc/machine-id "$1"/var/lib/apt/lists/*' \
    --customize-hook='rm -f "$1"/etc/resolv.conf "$1"/etc/hostname' \
    bookworm "$work/layer.tar" >&2
python3 "$here/archive.py" "$work/layer.tar" "$work/image.tar" --name "$name"
mv "$work/image.tar" "$output"
