"""Commands of ``maskrcnn`` in processes of their own, and small inputs for them."""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

SECONDS = 300
SIDE = 64


def images_with_annotations(count: int, *, megabytes: float = 0.0) -> dict[str, bytes]:
    """Return images below ``images/`` and ``annotations.json`` by key.

    Args:
        count: number of images.
        megabytes: size to which each image is filled up, with bytes behind its end, which readers of JPEG ignore.
    """
    objects: dict[str, bytes] = {}
    images, annotations = [], []
    for number in range(count):
        name = f"part-{number % 2}/{number:04}.jpg"
        objects[f"images/{name}"] = _jpeg(number, int(megabytes * 1e6))
        images.append({"id": number + 1, "file_name": name, "width": SIDE, "height": SIDE})
        corners = [8, 8, 40, 8, 40, 40, 8, 40]
        annotations.append(
            {
                "id": number + 1,
                "image_id": number + 1,
                "category_id": 1,
                "bbox": [8, 8, 32, 32],
                "area": 1024,
                "iscrowd": 0,
                "segmentation": [corners],
            }
        )
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "square"}]}
    return {**objects, "annotations.json": json.dumps(content).encode()}


def _jpeg(number: int, size: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), (37 * number % 256, 99, 180)).save(stream, "JPEG")
    content = stream.getvalue()
    return content + random.Random(number).randbytes(max(0, size - len(content)))  # noqa: S311 - no secret


@dataclass(frozen=True)
class Conversion:
    """Call of ``dataset_convert`` whose inputs are in a bucket or in directories.

    Attributes:
        source: URL or directory above ``images`` and ``annotations.json``.
        directory: for results and the cache.
        config: file of --store-config; None: none.
    """

    source: str
    directory: Path
    config: Path | None = None

    @property
    def cache(self) -> Path:
        """Return the directory of the cache."""
        return self.directory / "cache"

    def arguments(self, output: str = "records") -> list[str]:
        """Return the command line."""
        stores = [] if self.config is None else ["--store-config", str(self.config), "--cache", str(self.cache)]
        return [
            *(sys.executable, "-m", "maskrcnn_trainer.cli", "dataset_convert"),
            *("-i", f"{self.source}/images", "-a", f"{self.source}/annotations.json"),
            *("-o", str(self.directory / output), "-s", "2", "--include-mask"),
            *stores,
        ]

    def run(self, output: str = "records", **options: Any) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        return subprocess.run(
            self.arguments(output),
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
            **options,
        )

    @contextmanager
    def started(self, output: str = "records", **options: Any) -> Iterator[subprocess.Popen[str]]:
        """Start the command, and end it with the block."""
        with subprocess.Popen(
            self.arguments(output),
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **options,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def records(self, output: str = "records") -> dict[str, bytes]:
        """Return the TFRecords by name."""
        found = (self.directory / output).glob("*.tfrecord")
        return {path.name: path.read_bytes() for path in found}

    def result(self, output: str = "records") -> dict[str, Any]:
        """Return result.json."""
        content: dict[str, Any] = json.loads((self.directory / output / "result.json").read_text())
        return content


def environment() -> Mapping[str, str]:
    """Return the environment of a command, without an ambient identity."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "AZURE_", "GOOGLE_"))}
