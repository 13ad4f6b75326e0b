#!/bin/sh
# Removes everything from the environment $1 that only builds need, and compiles the rest, since it is read-only later.
set -eu
site=$(echo "$1"/lib/python3.*/site-packages)
# headers and CMake files: they were needed to compile Horovod
rm -rf "$site/tensorflow/include" "$site/pip" "$site"/pip-* "$site/setuptools" "$site"/setuptools-* "$1/bin"/pip*
find "$site" -depth -type d \( -name tests -o -name test -o -name testdata \) \
    -not -path "*/tensorflow/*" -not -path "*/keras/*" -exec rm -r {} +
find "$site" -name '*.pyc' -delete
"$1/bin/python3" -m compileall -q -j 0 --invalidation-mode unchecked-hash "$site" || true
