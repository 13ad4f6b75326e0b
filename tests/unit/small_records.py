"""Records and annotations of a small data set, written without TensorFlow and without real images."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from maskrcnn_trainer.conversion.example import example_class, make_example
from maskrcnn_trainer.data.records import frame
from maskrcnn_trainer.spec import ExperimentSpec

Object = tuple[int, str]
"""Category id and name."""


SIDES = {"ymin": 0.1, "xmin": 0.2, "ymax": 0.5, "xmax": 0.6}


def parse_example(serialized: bytes) -> dict[str, list[Any]]:
    """Return the features of a serialized Example as lists of bytes, floats, or integers."""
    example = example_class().FromString(serialized)
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
    """Write one record per image and return the file.

    Args:
        path: the file.
        images: the objects of each image, by image id.
        crowd: whether the objects are crowds.
        size: width and height in the records.
        changes: lists of the last record, by feature; the type of a list is that of its values, unless it is empty.
    """
    last = list(images)[-1]
    payloads = []
    for image, objects in images.items():
        features: dict[str, tuple[type, list[Any]]] = {
            "image/encoded": (bytes, [b"an image"]),
            "image/source_id": (bytes, [str(image).encode()]),
            "image/object/class/text": (bytes, [name.encode() for _, name in objects if name]),
            "image/object/mask": (bytes, [mask_png(*(size or (40, 30)))] * len(objects)),
            **{f"image/object/bbox/{side}": (float, [value] * len(objects)) for side, value in SIDES.items()},
            "image/object/class/label": (int, [number for number, _ in objects]),
            "image/object/is_crowd": (int, [int(crowd)] * len(objects)),
        }
        if size:
            features |= {"image/width": (int, [size[0]]), "image/height": (int, [size[1]])}
        for key, values in (changes or {}).items() if image == last else ():
            features[key] = (type(values[0]) if values else features[key][0], values)

        def of_kind(kind: type, features: dict[str, tuple[type, list[Any]]] = features) -> dict[str, list[Any]]:
            return {key: values for key, (found, values) in features.items() if found is kind}

        payloads.append(make_example(byte_lists=of_kind(bytes), float_lists=of_kind(float), int_lists=of_kind(int)))
    path.write_bytes(b"".join(map(frame, payloads)))
    return path


def mask_png(width: int, height: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (width, height), 1).save(stream, "PNG")
    return stream.getvalue()


def annotations(images: dict[int, Sequence[int]], categories: dict[int, str], **more: Any) -> dict[str, Any]:
    """Return COCO instances JSON for the category ids of each image's objects; ``more`` is added to all annotations."""
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
    """Return a spec for ``train*.tfrecord``, ``val.tfrecord`` and ``val.json`` in a folder; ``data`` is dataConfig."""
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
