"""Records and annotations of a small data set, written without TensorFlow and without real images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maskrcnn_trainer.data.convert.example import example_class, make_example
from maskrcnn_trainer.data.records import frame
from maskrcnn_trainer.spec import ExperimentSpec

Object = tuple[int, str]
"""Category id and name."""


SIDES = {"ymin": 0.1, "xmin": 0.2, "ymax": 0.5, "xmax": 0.6}


def parse_example(serialised: bytes) -> dict[str, list[Any]]:
    """Return the features of a serialised Example as lists of bytes, floats, or integers."""
    example = example_class().FromString(serialised)
    return {
        key: list(getattr(feature, feature.WhichOneof("kind")).value) if feature.WhichOneof("kind") else []
        for key, feature in example.features.feature.items()
    }


def write_records(
    path: Path,
    images: dict[int, Sequence[Object]],
    *,
    crowd: bool = False,
    size: tuple[int, int] | None = None,
    changes: dict[str, list[Any]] | None = None,
) -> Path:
    """One record an image: its id, its objects.

    Args:
        path: the file.
        images: the objects of each image.
        crowd: whether they are crowds.
        size: width and height that records give.
        changes: lists of floats or integers of the last record, by feature.
    """
    last = list(images)[-1]
    payloads = [
        make_example(
            byte_lists={
                "image/encoded": [b"an image"],
                "image/source_id": [str(image).encode()],
                "image/object/class/text": [name.encode() for _, name in objects if name],
                "image/object/mask": [b"a mask"] * len(objects),
            },
            float_lists=_changed(
                {f"image/object/bbox/{side}": [value] * len(objects) for side, value in SIDES.items()},
                changes if image == last else None,
            ),
            int_lists=_changed(
                {
                    "image/object/class/label": [number for number, _ in objects],
                    "image/object/is_crowd": [int(crowd)] * len(objects),
                    "image/width": [size[0]] if size else [],
                    "image/height": [size[1]] if size else [],
                },
                changes if image == last else None,
            ),
        )
        for image, objects in images.items()
    ]
    path.write_bytes(b"".join(map(frame, payloads)))
    return path


def _changed(lists: dict[str, list[Any]], changes: dict[str, list[Any]] | None) -> dict[str, list[Any]]:
    return {key: (changes or {}).get(key, values) for key, values in lists.items()}


def annotations(images: dict[int, Sequence[int]], categories: dict[int, str], **more: Any) -> dict[str, Any]:
    """COCO instances JSON: the category ids of the objects of each image; ``more`` of every annotation."""
    objects = [(image, category) for image, of_image in images.items() for category in of_image]
    return {
        "images": [{"id": image, "file_name": f"{image}.jpg", "width": 40, "height": 30} for image in images],
        "categories": [{"id": number, "name": name} for number, name in categories.items()],
        "annotations": [
            {"id": number, "image_id": image, "category_id": category, "bbox": [5, 5, 10, 10],
             "area": 100, "iscrowd": 0, "segmentation": [[5, 5, 15, 5, 15, 15, 5, 15]]} | more
            for number, (image, category) in enumerate(objects, start=1)
        ],
    }  # fmt: skip


def write_json(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def spec_of(folder: Path, **data: Any) -> ExperimentSpec:
    """A spec that reads ``train*.tfrecord``, ``val.tfrecord`` and ``val.json`` of a folder; ``data`` of dataConfig."""
    config = {
        "imageSize": [128, 128],
        "numClasses": 3,
        "trainingFilePattern": f"{folder}/train*.tfrecord",
        "validationFilePattern": f"{folder}/val.tfrecord",
        "valJsonFile": f"{folder}/val.json",
    }
    return ExperimentSpec.model_validate(
        {
            "totalSteps": 4,
            "numStepsPerEval": 2,
            "trainBatchSize": 1,
            "evalBatchSize": 1,
            "initLearningRate": 0.01,
            "dataConfig": config | data,
        }
    )
