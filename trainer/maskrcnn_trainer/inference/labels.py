"""Detections as label files: one per image in TAO Toolkit's format, and one COCO data set of all images.

COCO's data format: https://cocodataset.org/#format-data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pycocotools import mask as coco_mask

from maskrcnn_trainer.evaluation.coco_results import CocoResult


@dataclass(frozen=True)
class LabeledImage:
    """Detections in an image.

    Attributes:
        image_id: id in ``predictions.json``.
        name: path relative to the image directory.
        height: height in pixels.
        width: width in pixels.
        results: COCO results, best first.
    """

    image_id: int
    name: str
    height: int
    width: int
    results: Sequence[CocoResult]


def label_objects(image: LabeledImage) -> list[dict[str, Any]]:
    """Return the content of an image's label file.

    Returns:
        objects with area (of the box), is_crowd, image_id (the image's name), bbox [x, y, width, height] in whole
        pixels, id (from 1 in each image), category_id, score, and segmentation if there are masks.
    """
    objects = []
    for number, result in enumerate(image.results, start=1):
        x, y, width, height = result["bbox"]
        left, top = round(x), round(y)
        box = [left, top, round(x + width) - left, round(y + height) - top]
        entry = {
            "area": box[2] * box[3],
            "is_crowd": 0,
            "image_id": image.name,
            "bbox": box,
            "id": number,
            "category_id": result["category_id"],
            "score": result["score"],
        }
        if "segmentation" in result:
            entry["segmentation"] = result["segmentation"]
        objects.append(entry)
    return objects


def prediction_dataset(images: Iterable[LabeledImage], names: Mapping[int, str]) -> dict[str, Any]:
    """Return all detections as one data set that ``pycocotools.coco.COCO`` can load.

    Its ``annotations`` have a score; ``COCO.loadRes`` accepts them together with the ground truth of the same images.

    Args:
        images: detections of each image.
        names: class names by category id.
    """
    described: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image in images:
        described.append({"id": image.image_id, "file_name": image.name, "height": image.height, "width": image.width})
        for result in image.results:
            _, _, width, height = result["bbox"]
            rle = result.get("segmentation")
            area = float(coco_mask.area(dict(rle))) if rle else round(width * height, 3)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image.image_id,
                    "category_id": result["category_id"],
                    "bbox": result["bbox"],
                    "area": area,
                    "iscrowd": 0,
                    "score": result["score"],
                }
                | ({"segmentation": rle} if rle else {})
            )
    return {
        "info": {"description": "Detections of maskrcnn inference"},
        "images": described,
        "annotations": annotations,
        "categories": [{"id": one, "name": name} for one, name in sorted(names.items())],
    }
