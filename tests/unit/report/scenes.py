"""Annotations and detections of the tests: by hand, and random ones with every type of error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from maskrcnn_trainer.evaluation.coco_metrics import GroundTruth

SIDE = 200
Box = Sequence[float]


def rle(box: Box) -> dict[str, Any]:
    """Return run lengths of a rectangle, rounded to pixels."""
    x, y, width, height = (round(value) for value in box)
    mask = np.zeros((SIDE, SIDE), np.uint8, order="F")
    mask[y : y + height, x : x + width] = 1
    encoded: dict[str, Any] = coco_mask.encode(mask)
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def thing(image: int, category: int, box: Box, *, crowd: bool = False, mask: bool = True) -> dict[str, Any]:
    """Return an annotation without id."""
    return {
        "image_id": image, "category_id": category, "bbox": list(box), "area": box[2] * box[3], "iscrowd": int(crowd),
    } | ({"segmentation": rle(box)} if mask else {})  # fmt: skip


def found(image: int, category: int, box: Box, score: float, *, mask: bool = True) -> dict[str, Any]:
    """Return a detection as a COCO result."""
    result = {"image_id": image, "category_id": category, "bbox": list(box), "score": score}
    return result | ({"segmentation": rle(box)} if mask else {})


def truth(*things: dict[str, Any], images: int = 3, categories: int = 2) -> GroundTruth:
    """Return ground truth with images and categories from 1 on; categories are called "one", "two", ..."""
    names = ("one", "two", "three", "four", "five", "six")
    return GroundTruth(
        {
            "images": [{"id": number, "width": SIDE, "height": SIDE} for number in range(1, images + 1)],
            "categories": [{"id": number, "name": names[number - 1]} for number in range(1, categories + 1)],
            "annotations": [one | {"id": number} for number, one in enumerate(things, start=1)],
        }
    )


def random_scene(
    seed: int, *, images: int = 40, categories: int = 5, crowds: bool = True, ties: bool = False
) -> tuple[GroundTruth, list[dict[str, Any]]]:
    """Return objects, and detections of their classes with every type of error; some images have none of either.

    Args:
        seed: of the random numbers.
        images: number of images.
        categories: number of classes, at most 6.
        crowds: whether there are crowds.
        ties: whether many scores are equal.
    """
    generator = np.random.default_rng(seed)
    things: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image in range(1, images + 1):
        own = []
        for _ in range(int(generator.integers(0, 7))):
            own.append(thing(image, int(generator.integers(1, categories + 1)), _box(generator)))
            if crowds and generator.uniform() < 0.2:
                own[-1] |= {"iscrowd": 1}
        things += own
        for one in own:
            for _ in range(int(generator.integers(0, 5))):
                category = (
                    one["category_id"] if generator.uniform() < 0.7 else int(generator.integers(1, categories + 1))
                )
                results.append(found(image, category, _moved(one["bbox"], generator), _score(generator, ties)))
        for _ in range(int(generator.integers(0, 4))):
            category = int(generator.integers(1, categories + 1))
            results.append(found(image, category, _box(generator), _score(generator, ties)))
    present = {one["category_id"] for one in things if not one["iscrowd"]}
    kept = [result for result in results if result["category_id"] in present]
    order = generator.permutation(len(kept))
    return truth(*things, images=images, categories=categories), [kept[at] for at in order]


def _box(generator: np.random.Generator) -> list[float]:
    width, height = generator.uniform(10, 90, 2)
    x, y = generator.uniform(0, SIDE - width), generator.uniform(0, SIDE - height)
    return [float(x), float(y), float(width), float(height)]


def _moved(box: Box, generator: np.random.Generator) -> list[float]:
    x, y, width, height = box
    spread = float(generator.choice([0.03, 0.15, 0.4]))
    x, y = x + generator.normal(0, spread) * width, y + generator.normal(0, spread) * height
    width, height = width * float(generator.uniform(0.8, 1.2)), height * float(generator.uniform(0.8, 1.2))
    x, y = float(np.clip(x, 0, SIDE - 5)), float(np.clip(y, 0, SIDE - 5))
    return [x, y, min(width, SIDE - x), min(height, SIDE - y)]


def _score(generator: np.random.Generator, ties: bool) -> float:
    return round(float(generator.uniform()), 1 if ties else 7)
