#!/usr/bin/env bash
# Builds the images maskrcnn-operator:VERSION and maskrcnn-trainer:VERSION-cpu with docker, podman or buildah, and on
# request maskrcnn-trainer:VERSION-gpu.
#
#   images.sh [--local] [--archive DIR] [operator] [cpu] [gpu]
#
# --local        needs no registry, and no package index during builds: it uses a Debian base created by mmdebstrap, and
#                wheels that are downloaded beforehand, with hash verification. The default if only buildah is installed.
# --archive DIR  also writes DIR/NAME.tar (docker-archive), and skips images that were built from the same files before.
#
# TENSORRT=tensorrt-cu12==10.7.0 adds TensorRT to the gpu image; its libraries come from NVIDIA's package index.
# IMAGES_INSTALL=1 installs buildah and mmdebstrap with apt if no tool is installed (as root, for CI).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
cache=${XDG_CACHE_HOME:-$HOME/.cache}/maskrcnn-operator/images
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml | head -n 1)
revision=$(git rev-parse --short HEAD 2> /dev/null || echo unknown)
export SOURCE_DATE_EPOCH=1700000000

local_base='' archive='' names=()
while [ $# -gt 0 ]; do
    case $1 in
        --local) local_base=1 ;;
        --archive) archive=$2; shift ;;
        operator | trainer-cpu | trainer-gpu) names+=("$1") ;;
        cpu | gpu) names+=("trainer-$1") ;;
        *) echo "images.sh: unknown argument $1; expected --local, --archive DIR, operator, cpu, or gpu" >&2; exit 64 ;;
    esac
    shift
done
[ ${#names[@]} -gt 0 ] || names=(operator trainer-cpu)

find_tool() { # docker or podman if the engine responds, else buildah, which needs no engine
    local name
    for name in docker podman; do
        if command -v "$name" > /dev/null && "$name" info > /dev/null 2>&1; then command -v "$name"; return; fi
    done
    command -v buildah || true
}
tool=$(find_tool)
lacks_tools() { [ -z "$tool" ] || { [ "$(basename "$tool")" = buildah ] && ! command -v mmdebstrap > /dev/null; }; }
if [ -n "${IMAGES_INSTALL:-}" ] && lacks_tools; then
    apt-get update -qq && apt-get install -qq --yes --no-install-recommends buildah mmdebstrap > /dev/null
    tool=$(find_tool)
fi
[ -n "$tool" ] || {
    echo "images.sh: install docker, podman or buildah (Debian: apt-get install buildah mmdebstrap)" >&2
    exit 1
}
[ "$(basename "$tool")" != buildah ] || local_base=1
mkdir -p "$cache"

image_of() { case $1 in operator) echo "maskrcnn-operator:$version" ;; *) echo "maskrcnn-trainer:$version-${1#trainer-}" ;; esac; }

sources_of() {
    case $1 in
        operator) echo images/operator requirements/operator.lock requirements/build.lock ;;
        *)
            echo images/trainer "requirements/$1.lock" requirements/build.lock requirements/horovod.lock requirements/horovod-build.lock
            [ "$1" != trainer-gpu ] || echo requirements/horovod-gpu-build.lock
            ;;
    esac
    echo images/base scripts/images.sh pyproject.toml operator trainer LICENSE README.md
}

checksum_of() { # of the working tree, not of a commit, because the working tree is built
    # shellcheck disable=SC2046
    {
        find $(sources_of "$1") -type f ! -name '*.pyc' ! -path '*.egg-info/*' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
        [ "$1" != trainer-gpu ] || echo "${TENSORRT:-}"
    } | sha256sum | cut -c1-16
}

fetch_wheels() { # name -> directory of the wheels of its lock files
    local locks=("$1.lock" build.lock) folder
    [ "$1" != trainer-gpu ] || locks+=(horovod-build.lock horovod-gpu-build.lock horovod.lock)
    folder=$cache/wheels/$(cd requirements && cat "${locks[@]}" | sha256sum | cut -c1-16)
    if [ ! -d "$folder" ]; then
        local partial=$folder.partial-$$ how
        mkdir -p "$partial"
        for lock in "${locks[@]}"; do
            # Horovod is published as an sdist only. The environment has what reads its metadata.
            how=(--only-binary :all: --python-version 3.11)
            [ "$lock" != horovod.lock ] || how=(--no-build-isolation)
            .venv/bin/python -m pip download -q --disable-pip-version-check --require-hashes --no-deps \
                "${how[@]}" -r "requirements/$lock" -d "$partial" >&2
        done
        mv "$partial" "$folder"
    fi
    echo "$folder"
}

make_context() { # name -> build context
    local context=$cache/context-$1
    rm -rf "$context"
    mkdir -p "$context"
    cp -a --parents pyproject.toml README.md LICENSE .dockerignore requirements images operator trainer "$context"
    find "$context" \( -name __pycache__ -o -name '*.egg-info' \) -prune -exec rm -rf {} +
    find "$context" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    if [ -n "$local_base" ]; then
        cp -l "$(fetch_wheels "$1")"/* "$context/images/wheels/"
        [ "$1" != trainer-cpu ] || cp -l "$(scripts/horovod_wheel.sh .venv)" "$context/images/wheels/"
    fi
    echo "$context"
}

bases_of() { # name -> kinds of its base images
    echo base
    [ "$1" != trainer-gpu ] || echo compilers
}

base_name() { # kind; contains a hash of its sources, so that a builder doesn't use an older base
    echo "localhost/maskrcnn-$1:$(cat images/base/* | sha256sum | cut -c1-16)"
}

base_archive() { # kind
    local file packages=''
    file=$cache/$1-$(base_name "$1" | cut -d: -f2).tar
    if [ ! -f "$file" ]; then
        command -v mmdebstrap > /dev/null || { echo "images.sh: --local needs mmdebstrap; install it" >&2; return 1; }
        echo "Creating the Debian $1 image (two to four minutes, once)" >&2
        [ "$1" != compilers ] || packages=clang-19,g++,make
        images/base/build.sh "$file.partial" "$(base_name "$1")" "$packages"
        mv "$file.partial" "$file"
    fi
    echo "$file"
}

buildah_storage() { # STORAGE_DRIVER=vfs (whole copies) if the kernel doesn't allow overlay
    echo "--storage-driver ${STORAGE_DRIVER:-overlay} --root $cache/storage --runroot $cache/run"
}

build() { # name
    local name=$1 image context file target=() kind
    image=$(image_of "$name")
    file=images/$name/Dockerfile
    [ "$name" = operator ] || { file=images/trainer/Dockerfile; target=(--target "${name#trainer-}"); }
    context=$(make_context "$name")
    local arguments=(--build-arg "VERSION=$version" --build-arg "REVISION=$revision")
    if [ -n "$local_base" ]; then
        arguments+=(--build-arg "BASE=$(base_name base)" --build-arg NO_INDEX=1)
        [ "$name" != trainer-gpu ] || arguments+=(--build-arg "COMPILERS=$(base_name compilers)")
    fi
    [ "$name" != trainer-gpu ] || arguments+=(--build-arg "TENSORRT=${TENSORRT:-}")
    if [ "$(basename "$tool")" = buildah ]; then
        local storage base
        read -ra storage <<< "$(buildah_storage)"
        for kind in $(bases_of "$name"); do
            base=$(base_archive "$kind")
            buildah "${storage[@]}" inspect "$(base_name "$kind")" > /dev/null 2>&1 \
                || buildah "${storage[@]}" pull -q "docker-archive:$base" > /dev/null
        done
        buildah "${storage[@]}" bud -q --isolation chroot --pull-never --layers --timestamp "$SOURCE_DATE_EPOCH" \
            "${arguments[@]}" "${target[@]}" -t "$image" -f "$context/$file" "$context" >&2
    else
        for kind in ${local_base:+$(bases_of "$name")}; do "$tool" load -q -i "$(base_archive "$kind")" >&2; done
        DOCKER_BUILDKIT=1 "$tool" build "${arguments[@]}" "${target[@]}" -t "$image" -f "$context/$file" "$context" >&2
    fi
    rm -rf "$context"
}

save() { # name file
    local image
    image=$(image_of "$1")
    rm -f "$2.partial"
    if [ "$(basename "$tool")" = buildah ]; then
        local storage
        read -ra storage <<< "$(buildah_storage)"
        # containerd expects names with a registry host
        buildah "${storage[@]}" push -q "$image" "docker-archive:$2.partial:docker.io/library/$image" >&2
    else
        "$tool" save -o "$2.partial" "$image" >&2
    fi
    mv "$2.partial" "$2"
}

for name in "${names[@]}"; do
    started=$SECONDS
    if [ -n "$archive" ]; then
        mkdir -p "$archive"
        stamp=$archive/$name.made-from
        want=$(checksum_of "$name")
        if [ -f "$archive/$name.tar" ] && [ "$(cat "$stamp" 2> /dev/null)" = "$want" ]; then
            echo "$(image_of "$name"): up to date"
            continue
        fi
        rm -f "$stamp"
        build "$name"
        save "$name" "$archive/$name.tar"
        echo "$want" > "$stamp"
        echo "$(image_of "$name"): $((SECONDS - started)) s, $(du -m "$archive/$name.tar" | cut -f1) MB in $archive/$name.tar"
    else
        build "$name"
        echo "$(image_of "$name"): $((SECONDS - started)) s"
    fi
done
