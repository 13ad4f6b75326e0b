#!/usr/bin/env bash
# Builds the images maskrcnn-operator:VERSION and maskrcnn-trainer:VERSION-cpu with docker, podman or buildah.
#
#   images.sh [--local] [--archive DIR] [operator] [trainer-cpu]
#
# --local        needs no registry, and no package index during builds: it uses a Debian base created by mmdebstrap, and
#                wheels that are downloaded beforehand, with hash verification. The default if only buildah is installed.
# --archive DIR  also writes DIR/NAME.tar (docker-archive), and skips images that were built from the same files before.
#
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
        operator | trainer-cpu) names+=("$1") ;;
        *) echo "images.sh: unknown argument $1; expected --local, --archive DIR, operator, or trainer-cpu" >&2; exit 64 ;;
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

image_of() { case $1 in operator) echo "maskrcnn-operator:$version" ;; *) echo "maskrcnn-trainer:$version-cpu" ;; esac; }

sources_of() {
    case $1 in
        operator) echo images/operator requirements/operator.lock requirements/build.lock ;;
        *) echo images/trainer requirements/trainer-cpu.lock requirements/build.lock requirements/horovod.lock requirements/horovod-build.lock ;;
    esac
    echo images/base scripts/images.sh pyproject.toml operator trainer LICENSE README.md
}

checksum_of() { # of the working tree, not of a commit, because the working tree is built
    # shellcheck disable=SC2046
    find $(sources_of "$1") -type f ! -name '*.pyc' ! -path '*.egg-info/*' -print0 | LC_ALL=C sort -z \
        | xargs -0 sha256sum | sha256sum | cut -c1-16
}

fetch_wheels() { # lock file -> directory of its wheels
    local folder
    folder=$cache/wheels/$(cat "requirements/$1" requirements/build.lock | sha256sum | cut -c1-16)
    if [ ! -d "$folder" ]; then
        local partial=$folder.partial-$$
        mkdir -p "$partial"
        for lock in "$1" build.lock; do
            .venv/bin/python -m pip download -q --disable-pip-version-check --require-hashes --no-deps \
                --only-binary :all: --python-version 3.11 -r "requirements/$lock" -d "$partial" >&2
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
        local lock=operator.lock
        [ "$1" = operator ] || lock=trainer-cpu.lock
        cp -l "$(fetch_wheels "$lock")"/*.whl "$context/images/wheels/"
        [ "$1" = operator ] || cp -l "$(scripts/horovod_wheel.sh .venv)" "$context/images/wheels/"
    fi
    echo "$context"
}

base_name() { # contains a hash of its sources, so that a builder doesn't use an older base
    echo "localhost/maskrcnn-base:$(cat images/base/* | sha256sum | cut -c1-16)"
}

base_archive() {
    local file
    file=$cache/base-$(base_name | cut -d: -f2).tar
    if [ ! -f "$file" ]; then
        command -v mmdebstrap > /dev/null || { echo "images.sh: --local needs mmdebstrap; install it" >&2; return 1; }
        echo "Creating the Debian base (two minutes, once)" >&2
        images/base/build.sh "$file.partial" "$(base_name)"
        mv "$file.partial" "$file"
    fi
    echo "$file"
}

buildah_storage() { # STORAGE_DRIVER=vfs (whole copies) if the kernel doesn't allow overlay
    echo "--storage-driver ${STORAGE_DRIVER:-overlay} --root $cache/storage --runroot $cache/run"
}

build() { # name
    local name=$1 image context file target=()
    image=$(image_of "$name")
    file=images/$name/Dockerfile
    [ "$name" = operator ] || { file=images/trainer/Dockerfile; target=(--target cpu); }
    context=$(make_context "$name")
    local arguments=(--build-arg "VERSION=$version" --build-arg "REVISION=$revision")
    if [ -n "$local_base" ]; then
        arguments+=(--build-arg "BASE=$(base_name)" --build-arg NO_INDEX=1)
    fi
    if [ "$(basename "$tool")" = buildah ]; then
        local storage base
        base=$(base_archive)
        read -ra storage <<< "$(buildah_storage)"
        buildah "${storage[@]}" inspect "$(base_name)" > /dev/null 2>&1 \
            || buildah "${storage[@]}" pull -q "docker-archive:$base" > /dev/null
        buildah "${storage[@]}" bud -q --isolation chroot --pull-never --layers --timestamp "$SOURCE_DATE_EPOCH" \
            "${arguments[@]}" "${target[@]}" -t "$image" -f "$context/$file" "$context" >&2
    else
        [ -z "$local_base" ] || "$tool" load -q -i "$(base_archive)" >&2
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
