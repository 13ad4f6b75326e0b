"""Checked reading of ``detections.json`` and ``metrics.json``.

pycocotools reads beyond the end of run lengths that stop in the middle of a number, and expands any other without
comparing them with the image, so all of them are checked first. That is vectorized over many texts: one at a time,
500,000 take longer than the analysis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.evaluation.coco_results import CocoResult, ImageId
from maskrcnn_trainer.report.inputs.files import (
    MIB,
    Unreadable,
    number,
    numbers,
    read_json,
    read_object,
    shown_path,
    whole,
)
from maskrcnn_trainer.spec.task_table import DETECTIONS_FILE, METRICS_FILE

LARGEST_METRICS, LARGEST_DETECTIONS = 16 * MIB, 1024 * MIB
LONGEST_RUNS = MIB
"""Characters of the run lengths of one mask; those of a photograph have some hundred."""

_BLOCK = 2048
_CHARACTERS_OF_A_RUN = 7  # 35 bits, more than any image has pixels
_LARGEST_COORDINATE = 1e6


@dataclass(frozen=True)
class Metrics:
    """Content of ``metrics.json``.

    Attributes:
        values: over all classes.
        by_class: by raw category id.
        images: number of evaluated images; None if it isn't recorded.
        images_per_second: of the evaluation.
    """

    values: Mapping[str, float]
    by_class: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    images: int | None = None
    images_per_second: float | None = None


def read_metrics(directory: Path) -> Metrics:
    """Return the metrics of an evaluation.

    Raises:
        NotRecorded: there is no file.
        Unreadable: the file can't be read.
    """
    content = read_object(directory / METRICS_FILE, LARGEST_METRICS)
    by_class: dict[int, Mapping[str, float]] = {}
    entries = content.get("per_class")
    for entry in entries if isinstance(entries, list) else ():
        category = whole(entry.get("category_id")) if isinstance(entry, dict) else None
        if category is not None:
            by_class[category] = {name: value for name, value in numbers(entry).items() if name != "category_id"}
    return Metrics(
        numbers(content.get("metrics")),
        by_class,
        whole(content.get("num_images")),
        number(content.get("images_per_second")),
    )


def read_detections(directory: Path, sizes: Mapping[ImageId, tuple[int, int]]) -> list[CocoResult]:
    """Return the detections of an evaluation, whose values and masks are checked.

    Args:
        directory: results directory of the evaluation.
        sizes: height and width of each image of the annotation file, by its id.

    Raises:
        NotRecorded: there is no file.
        Unreadable: the file can't be read, or isn't a list of detections in images of these sizes.
    """
    file = directory / DETECTIONS_FILE
    entries = read_json(file, LARGEST_DETECTIONS)
    if not isinstance(entries, list):
        raise Unreadable(f"{shown_path(file)} isn't a list of detections.")
    for position, entry in enumerate(entries):
        if fault := _fault(entry, sizes):
            raise Unreadable(f"{shown_path(file)}: entry {position}: {fault}.")
    for start in range(0, len(entries), _BLOCK):
        block = [entry for entry in entries[start : start + _BLOCK] if "segmentation" in entry]
        texts = [entry["segmentation"]["counts"].encode() for entry in block]
        pixels = [entry["segmentation"]["size"][0] * entry["segmentation"]["size"][1] for entry in block]
        if not are_run_lengths(texts, pixels):
            raise Unreadable(f"{shown_path(file)}: a mask from entry {start} on isn't valid run lengths.")
    return entries


def are_run_lengths(texts: Sequence[bytes], pixels: Sequence[int]) -> bool:
    """Return whether texts are COCO's compressed run lengths, each of a mask with the given number of pixels.

    A number has 5 bits in each character from code 48 on; the sixth bit means that it continues, and the fifth bit of
    its last character is its sign. From the fourth run on, a number is the difference from the run two before it
    (pycocotools, ``rleFrString``).
    """
    if not texts:
        return True
    lengths = np.array([len(text) for text in texts], np.int64)
    codes = np.frombuffer(b"".join(texts), np.uint8).astype(np.int64) - 48
    if lengths.min() == 0 or lengths.max() > LONGEST_RUNS or ((codes < 0) | (codes > 63)).any():
        return False
    ends = np.cumsum(lengths)
    if (codes[ends - 1] >= 32).any():
        return False
    last = np.flatnonzero(codes < 32)
    first = np.concatenate([[0], last[:-1] + 1])
    characters = last - first + 1
    if characters.max() > _CHARACTERS_OF_A_RUN:
        return False
    position = np.arange(len(codes)) - np.repeat(first, characters)
    values = np.add.reduceat((codes & 31) << (5 * position), first)
    values -= (codes[last] >> 4 & 1) << (5 * characters)
    starts = np.searchsorted(first, ends - lengths)
    runs = _without_differences(values, starts)
    return bool((runs >= 0).all() and (np.add.reduceat(runs, starts) == np.array(pixels, np.int64)).all())


def _without_differences(values: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the runs [N] of several texts from their numbers [N]; ``starts`` has the first number of each text."""
    within = np.arange(len(values)) - np.repeat(starts, np.diff(np.append(starts, len(values))))
    runs = values.copy()
    for chain in (np.flatnonzero(within % 2 == 1), np.flatnonzero((within % 2 == 0) & (within > 0))):
        sums = np.cumsum(values[chain])
        begins = np.flatnonzero(within[chain] <= 2)
        before = np.where(begins > 0, sums[begins - 1], 0)
        runs[chain] = sums - np.repeat(before, np.diff(np.append(begins, len(chain))))
    return runs


def _fault(entry: Any, sizes: Mapping[ImageId, tuple[int, int]]) -> str:
    if not isinstance(entry, dict):
        return "it isn't an object"
    image_id: Any = entry.get("image_id")
    category: Any = entry.get("category_id")
    score: Any = entry.get("score")
    size = sizes.get(image_id) if type(image_id) in (int, str) else None
    if size is None:
        return "its image_id isn't in the annotation file"
    if type(category) is not int or not -(2**31) < category < 2**31:
        return "its category_id isn't a whole number"
    if type(score) not in (int, float) or not 0 <= score <= 1:
        return "its score isn't in 0..1"
    if not _is_box(entry.get("bbox")):
        return "its bbox isn't four numbers"
    return _fault_of_mask(entry["segmentation"], list(size)) if "segmentation" in entry else ""


def _fault_of_mask(mask: Any, size: list[int]) -> str:
    if not isinstance(mask, dict) or not isinstance(mask.get("counts"), str) or not mask["counts"].isascii():
        return "its segmentation isn't compressed run lengths"
    given = mask.get("size")
    if type(given) is not list or given != size or not all(type(side) is int for side in given):
        return f"its segmentation has size {str(given)[:40]}, and its image {size} (height, width)"
    return ""


def _is_box(box: Any) -> bool:
    return (
        type(box) is list
        and len(box) == 4
        and all(type(value) in (int, float) and -_LARGEST_COORDINATE < value < _LARGEST_COORDINATE for value in box)
        and min(box[2], box[3]) >= 0
    )
