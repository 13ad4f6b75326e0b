"""Pasting of 100 masks into an image as run lengths: ours, compared with OpenCV and matrix products.

    python benchmarks/paste.py [--repeat N]

* ours: resamples rows, then columns, of the pixels in the box only, and encodes these (``evaluation.paste``).
* OpenCV: ``warpAffine`` of the same grid over the box into a full mask, which pycocotools encodes. It rounds positions
  to 1/32 pixel.
* matrix: all masks at once, two matrix products per mask over the whole image (like Detectron2's ``grid_sample`` on a
  GPU), then pycocotools.

Times are CPU times of all threads. Agreement is the share of mask pixels that equal ours.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from maskrcnn_trainer.evaluation.paste import encode_pasted, mask_probabilities, paste_masks

SIDE = 28
SCENES = {
    "256x256, small objects": (256, 256, 8, 40),
    "480x640, objects of all sizes": (480, 640, 16, 400),
    "1200x1600, objects of all sizes": (1200, 1600, 30, 1000),
}


def scene(height: int, width: int, smallest: int, largest: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return 100 blobs: logits float32 [100, 28, 28], boxes float64 [100, 4]."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    logits = np.stack([6 * (0.16 - y * y * rng.uniform(0.5, 1.5) - x * x) / 0.16 for _ in range(100)])
    logits += rng.normal(0, 0.3, logits.shape)
    sides = np.exp(rng.uniform(np.log(smallest), np.log(largest), (100, 2)))
    sides = np.minimum(sides, (height, width))
    corners = rng.uniform(0, 1, (100, 2)) * (np.array([height, width]) - sides)
    return logits.astype(np.float32), np.concatenate([corners, corners + sides], axis=1)


def by_opencv(logits: NDArray[Any], boxes: NDArray[Any], height: int, width: int) -> list[dict[str, Any]]:
    """Encode each mask by ``warpAffine`` over the pixels of its box."""
    found = []
    for grid, (y1, x1, y2, x2) in zip(np.pad(mask_probabilities(logits), ((0, 0), (1, 1), (1, 1))), boxes, strict=True):
        top, left = max(0, int(np.ceil(y1 - 0.5))), max(0, int(np.ceil(x1 - 0.5)))
        bottom, right = min(height, int(np.floor(y2 - 0.5)) + 1), min(width, int(np.floor(x2 - 0.5)) + 1)
        mask = np.zeros((height, width), np.uint8, order="F")
        if bottom > top and right > left:
            sx, sy = SIDE / (x2 - x1), SIDE / (y2 - y1)
            transform = np.array([[sx, 0, (left + 0.5 - x1) * sx + 0.5], [0, sy, (top + 0.5 - y1) * sy + 0.5]])
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            mask[top:bottom, left:right] = (
                cv2.warpAffine(grid, transform, (right - left, bottom - top), flags=flags) >= 0.5
            )
        found.append(coco_mask.encode(mask))
    return found


def ours(logits: NDArray[Any], boxes: NDArray[Any], height: int, width: int) -> list[dict[str, Any]]:
    """Encode each mask in its box, as inference and evaluation do."""
    return encode_pasted(paste_masks(logits, boxes, height, width), height, width)


def by_matrix(logits: NDArray[Any], boxes: NDArray[Any], height: int, width: int) -> list[dict[str, Any]]:
    """Encode each mask by two matrix products over the whole image."""

    def weights(low: NDArray[Any], high: NDArray[Any], size: int) -> NDArray[np.float32]:
        centers = np.arange(size) + 0.5
        position = (centers - low[:, None]) * (SIDE / (high - low))[:, None] - 0.5
        inside = (centers >= low[:, None]) & (centers <= high[:, None])
        near = np.maximum(0, 1 - np.abs(position[..., None] - np.arange(SIDE)))
        return np.asarray(near * inside[..., None], np.float32)

    rows, columns = weights(boxes[:, 0], boxes[:, 2], height), weights(boxes[:, 1], boxes[:, 3], width)
    masks = columns @ mask_probabilities(logits).transpose(0, 2, 1) @ rows.transpose(0, 2, 1) >= 0.5
    return list(coco_mask.encode(np.asfortranarray(masks.transpose(2, 1, 0).astype(np.uint8))))


def median_cpu_seconds(function: Callable[..., Any], repeat: int, *arguments: Any) -> float:
    """Return the median CPU seconds of ``repeat`` calls."""
    times = []
    for _ in range(repeat):
        began = time.process_time()
        function(*arguments)
        times.append(time.process_time() - began)
    return statistics.median(times)


def main() -> None:
    """Run the benchmark and print one line per scene and approach."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=9)
    repeat = parser.parse_args().repeat
    ways = {"ours": ours, "OpenCV": by_opencv, "matrix": by_matrix}
    for name, (height, width, smallest, largest) in SCENES.items():
        logits, boxes = scene(height, width, smallest, largest)
        masks = {
            way: coco_mask.decode(function(logits, boxes, height, width)).astype(bool) for way, function in ways.items()
        }
        seconds = {
            way: median_cpu_seconds(function, repeat, logits, boxes, height, width) for way, function in ways.items()
        }
        for way, taken in seconds.items():
            agreement = 1 - np.count_nonzero(masks[way] != masks["ours"]) / np.count_nonzero(masks["ours"])
            print(
                f"{name:34s} {way:7s} {taken * 1e3:7.1f} CPU ms per image  {taken / seconds['ours']:5.1f} times ours  "
                f"agreement {agreement:.5f}"
            )


if __name__ == "__main__":
    main()
