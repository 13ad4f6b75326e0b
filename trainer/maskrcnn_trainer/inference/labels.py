"""Detections as label files: one an image as the original toolkit writes it, and one COCO data set of all.

COCO's data format: https://cocodataset.org/#format-data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pycocotools import mask as coco_mask

from maskrcnn_trainer.evaluation.coco_results import CocoResult


@dataclass(frozen=True)
class LabelledImage:
    """What was found in an image.

    Attributes:
        image_id: in ``predictions.json``.
        name: its path below the image directory.
        height, width: in pixels.
        results: COCO results, best first.
    """

    image_id: int
    name: str
    height: int
    width: int
    results: Sequence[CocoResult]


def label_objects(image: LabelledImage) -> list[dict[str, Any]]:
    """The content of an image's label file.

    Returns:
        objects with area (of the box), is_crowd, image_id (the image's name), bbox [x, y, width, height] in whole
        pixels, id (1.. in this image), category_id, score, and segmentation where there are masks.
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


def prediction_dataset(images: Iterable[LabelledImage], names: Mapping[int, str]) -> dict[str, Any]:
    """All detections as one data set that ``pycocotools.coco.COCO`` loads.

    Its ``annotations`` carry a score, and are what ``COCO.loadRes`` takes beside the ground truth of the same images.

    Args:
        names: by category id.
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
