"""Images with annotations to convert, and the log lines of a conversion."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.unit.small_records import parse_example

from maskrcnn_trainer.conversion import convert_dataset
from maskrcnn_trainer.data.reader import RecordReader
from maskrcnn_trainer.data.records import index_records

RECTANGLE = [[5, 5, 15, 5, 15, 25, 5, 25]]


class Source:
    """Images with annotations in a temporary folder; a test may change everything before ``write``."""

    def __init__(self, folder: Path, images: int = 5) -> None:
        self.image_dir = folder / "images"
        self.annotations_file = folder / "boxes.json"
        self.output_dir = folder / "out"
        self.image_dir.mkdir()
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        for i in range(images):
            pixels = np.random.default_rng(i).integers(0, 256, (30, 40, 3), np.uint8)
            Image.fromarray(pixels).save(self.image_dir / f"{i}.jpg")
            self.images.append({"id": 100 + i, "file_name": f"{i}.jpg", "width": 40, "height": 30})

    def annotate(self, image: int, number: int, **changes: Any) -> None:
        annotation = {"id": number, "image_id": 100 + image, "category_id": 3, "bbox": [5, 5, 10, 20], "area": 200.5,
                      "iscrowd": 0, "segmentation": RECTANGLE}  # fmt: skip
        self.annotations.append(annotation | changes)

    def write(self) -> Source:
        categories = [{"id": 3, "name": "cat"}, {"id": 1, "name": "dög"}]
        content = {"images": self.images, "annotations": self.annotations, "categories": categories}
        self.annotations_file.write_text(json.dumps(content))
        return self

    def convert(self, **options: Any) -> Any:
        options = {"num_shards": 2, "processes": 1, **options}
        return convert_dataset(self.image_dir, self.annotations_file, self.output_dir, **options)

    def records(self, pattern: str = "boxes-*") -> list[dict[str, list[Any]]]:
        index = index_records(f"{self.output_dir}/{pattern}")
        payloads = map(RecordReader(index).read, range(len(index)))
        return [parse_example(payload) for payload in payloads]

    def files(self) -> list[str]:
        return sorted(path.name for path in self.output_dir.iterdir())


def fail_when_converting(phase: str, done: int, total: int) -> None:
    if phase == "Converting":
        pytest.fail(f"{done} of {total} images were converted")


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings of the conversion itself, without those about reading the annotations."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.WARNING and not record.name.endswith("data.coco")
    ]


def left_out(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    messages = ((record.levelname, record.getMessage()) for record in caplog.records)
    return [(level, message) for level, message in messages if " objects (" in message]
