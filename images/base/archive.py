"""Packing of one layer as a docker-archive, which docker, podman, buildah and containerd can all read from a file."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import platform
import tarfile
from datetime import UTC, datetime
from pathlib import Path

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def main() -> None:
    """Write the archive."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("layer", type=Path, help="the root file system as a tar file")
    parser.add_argument("output", type=Path)
    parser.add_argument("--name", required=True, help="name of the image, with its tag")
    parser.add_argument("--entrypoint", help="program that the image runs")
    arguments = parser.parse_args()
    pack(arguments.layer, arguments.output, arguments.name, arguments.entrypoint)


def pack(layer: Path, output: Path, name: str, entrypoint: str | None = None) -> None:
    """Write one layer, its configuration and the manifest; equal input gives equal bytes.

    Args:
        layer: the root file system, an uncompressed tar file.
        output: the archive to write.
        name: name of the image, such as ``localhost/base:1``.
        entrypoint: absolute path in the image; None for a base image.
    """
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    with layer.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    created = datetime.fromtimestamp(epoch, UTC).isoformat().replace("+00:00", "Z")
    config = json.dumps(
        {
            "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "created": created,
            # builders count the layers by the history
            "history": [{"created": created, "created_by": "one layer from a tar"}],
            "config": {
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                **({"Entrypoint": [entrypoint]} if entrypoint else {}),
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        },
        sort_keys=True,
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": [f"{digest}.tar"]}]).encode()
    with tarfile.open(output, "w", format=tarfile.PAX_FORMAT) as archive:
        with layer.open("rb") as file:
            archive.addfile(_entry(f"{digest}.tar", layer.stat().st_size, epoch), file)
        for entry, content in ((config_name, config), ("manifest.json", manifest)):
            archive.addfile(_entry(entry, len(content), epoch), io.BytesIO(content))


def _entry(name: str, size: int, epoch: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = size, epoch, 0o644
    return entry


if __name__ == "__main__":
    main()
