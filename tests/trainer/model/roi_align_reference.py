"""RoIAlign as loops in float64, from ONNX's description of RoiAlign-16 (mode avg), and boxes of all kinds."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

IMAGE_SIZE = (128, 192)
LEVELS = range(2, 7)


def level_of(box: np.ndarray, min_level: int, max_level: int) -> int:
    sides = np.maximum(box[2:] - box[:2], 0)
    floored = max(float(sides[0] * sides[1]), 1e-6)
    return min(max(math.floor(math.log2(math.sqrt(floored) / 224)) + 4, min_level), max_level)


def sample(feature: np.ndarray, y: float, x: float) -> np.ndarray:
    """Interpolate bilinearly with ONNX's border rule."""
    height, width = feature.shape[:2]
    if y < -1 or y > height or x < -1 or x > width:
        return np.zeros(feature.shape[2])
    y, x = max(y, 0.0), max(x, 0.0)
    y_low, x_low = int(y), int(x)
    if y_low >= height - 1:
        y_low = y_high = height - 1
        y = float(y_low)
    else:
        y_high = y_low + 1
    if x_low >= width - 1:
        x_low = x_high = width - 1
        x = float(x_low)
    else:
        x_high = x_low + 1
    down, right = y - y_low, x - x_low
    return (
        (1 - down) * (1 - right) * feature[y_low, x_low]
        + (1 - down) * right * feature[y_low, x_high]
        + down * (1 - right) * feature[y_high, x_low]
        + down * right * feature[y_high, x_high]
    )


def pooled_by_loops(
    feature: np.ndarray, box: np.ndarray, scale: float, size: int, *, sampling_ratio: int = 2, aligned: bool = True
) -> np.ndarray:
    """Pool one box from one feature map [h, w, C] to [size, size, C]; ``scale`` is in cells per pixel."""
    y1, x1, y2, x2 = (float(c) * scale - (0.5 if aligned else 0.0) for c in box)
    height, width = y2 - y1, x2 - x1
    if not aligned:
        height, width = max(height, 1.0), max(width, 1.0)
    rows = sampling_ratio or math.ceil(height / size)
    columns = sampling_ratio or math.ceil(width / size)
    result = np.zeros((size, size, feature.shape[2]))
    for row in range(size):
        for column in range(size):
            for i in range(rows):
                for j in range(columns):
                    y = y1 + (row + (i + 0.5) / rows) * height / size
                    x = x1 + (column + (j + 0.5) / columns) * width / size
                    result[row, column] += sample(feature, y, x)
    return result / max(rows * columns, 1)


def pyramid(seed: int = 0, images: int = 2, channels: int = 3) -> dict[int, tf.Tensor]:
    generator = np.random.default_rng(seed)
    return {
        level: tf.constant(
            generator.normal(size=(images, IMAGE_SIZE[0] >> level, IMAGE_SIZE[1] >> level, channels)), tf.float32
        )
        for level in LEVELS
    }


def boxes_of_all_kinds() -> np.ndarray:
    """Return boxes of two images: on all levels, at all borders, outside of the image, thin, tiny, and without area."""
    generator = np.random.default_rng(7)
    size = np.exp(generator.uniform(np.log(4), np.log(1000), (2, 20, 1))) * np.exp(
        generator.uniform(-0.4, 0.4, (2, 20, 2))
    )
    center = generator.uniform(0, 1, (2, 20, 2)) * IMAGE_SIZE
    special = [
        [0, 0, *IMAGE_SIZE],
        [0, 0, 0, 0],
        [50, 60, 50, 90],
        [IMAGE_SIZE[0] - 6, IMAGE_SIZE[1] - 9, *IMAGE_SIZE],
        [0, 0, 5, 7],
        [-40, -40, -4, -4],
        [-3, -3, 6, 6],
        [IMAGE_SIZE[0] + 3, 5, IMAGE_SIZE[0] + 30, 50],
        [10, 20, 10.5, 20.25],
        [-500, -500, 700, 900],
    ]
    boxes = np.concatenate([center - size / 2, center + size / 2], axis=-1)
    return np.concatenate([boxes, np.broadcast_to(np.array(special, float), (2, 10, 4))], axis=1).astype(np.float32)
