"""ROIAlign, forward and backward, compared with tf.image.crop_and_resize and 2 x 2 average pooling.

    python benchmarks/roi_align.py --image-size 256 256 --batch 2
    python benchmarks/roi_align.py --image-size 832 1344 --batch 4 --only "sparse, adaptive"

Times are the best of several rounds in which the implementations alternate; on a busy machine only ratios are
comparable. "adaptive" is sampling_ratio 0. Peak memory is that of the process above its memory before the first call;
it is of one implementation if ``--only`` names one.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from maskrcnn_trainer.model.anchors import feature_size
from maskrcnn_trainer.model.roi_align import Implementation, roi_align
from maskrcnn_trainer.model.roi_levels import pyramid_level

MIN_LEVEL, MAX_LEVEL = 2, 6

Pooling = Callable[[dict[int, tf.Tensor], tf.Tensor, int], tf.Tensor]
Forward = Callable[[dict[int, tf.Tensor], tf.Tensor], tf.Tensor]


def crop_and_pool(features: dict[int, tf.Tensor], boxes: tf.Tensor, size: int) -> tf.Tensor:
    """Compute the same values with one call of crop_and_resize, on a map of all levels, each with a repeated border."""
    batch, rois = boxes.shape[:2]
    width = features[MIN_LEVEL].shape[2] + 2
    tops, parts, top = [], [], 0
    for feature in features.values():
        bordered = tf.concat([feature[:, :1], feature, feature[:, -1:]], 1)
        bordered = tf.concat([bordered[:, :, :1], bordered, bordered[:, :, -1:]], 2)
        parts.append(tf.pad(bordered, [[0, 0], [0, 0], [0, width - bordered.shape[2]], [0, 0]]))
        tops.append(top)
        top += bordered.shape[1]
    level = pyramid_level(boxes, MIN_LEVEL, MAX_LEVEL) - MIN_LEVEL
    scale = tf.gather(tf.constant([2.0**-level for level in features], tf.float32), level)[..., None]
    corner = tf.gather(tf.constant([[first + 0.5, 0.5] * 2 for first in tops], tf.float32), level)
    start, end = tf.split(boxes * scale + corner, 2, axis=-1)
    half_step = (end - start) / (4 * size)
    limits = tf.constant([top - 1, width - 1] * 2, tf.float32)
    samples = tf.concat([start + half_step, end - half_step], -1) / limits
    images = tf.repeat(tf.range(batch), rois)
    crops = tf.image.crop_and_resize(
        tf.concat(parts, 1), tf.stop_gradient(tf.reshape(samples, [-1, 4])), images, [2 * size, 2 * size]
    )
    pooled = tf.nn.avg_pool2d(crops, 2, 2, "VALID")
    return tf.reshape(pooled, [batch, rois, size, size, -1])


def pool_by(implementation: Implementation, sampling_ratio: int) -> Pooling:
    """Return the pooling of this project by an implementation."""

    def pool(features: dict[int, tf.Tensor], boxes: tf.Tensor, size: int) -> tf.Tensor:
        pooled = partial(roi_align, sampling_ratio=sampling_ratio, implementation=implementation)
        return pooled(features, boxes, size, MIN_LEVEL, MAX_LEVEL)

    return pool


CANDIDATES: dict[str, tuple[Pooling, bool]] = {
    "crop_and_resize": (crop_and_pool, False),
    "sparse": (pool_by("sparse", 2), False),
    "gather": (pool_by("gather", 2), False),
    "gather, XLA": (pool_by("gather", 2), True),
    "sparse, adaptive": (pool_by("sparse", 0), False),
    "gather, adaptive": (pool_by("gather", 0), False),
    "gather, adaptive, XLA": (pool_by("gather", 0), True),
}


def memory_in_mib(field: str) -> float:
    """Return the memory of this process: field ``VmRSS``, now, or ``VmHWM``, the largest."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def random_inputs(
    image_size: tuple[int, int], batch: int, rois: int, channels: int
) -> tuple[dict[int, tf.Tensor], tf.Tensor]:
    """Return random feature maps by level, and random boxes."""
    generator = np.random.default_rng(0)
    features = {
        level: tf.constant(generator.normal(size=(batch, *feature_size(image_size, level), channels)), tf.float32)
        for level in range(MIN_LEVEL, MAX_LEVEL + 1)
    }
    sides = np.exp(generator.uniform(np.log(12), np.log(min(image_size)), (batch, rois, 1)))
    sides = sides * np.exp(generator.uniform(-0.5, 0.5, (batch, rois, 2)))
    centers = generator.uniform(0, 1, (batch, rois, 2)) * image_size
    boxes = np.concatenate([centers - sides / 2, centers + sides / 2], axis=-1)
    return features, tf.constant(np.clip(boxes, 0, [*image_size, *image_size]), tf.float32)


def main() -> None:
    """Run the benchmark and print one line per implementation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-size", type=int, nargs=2, default=(256, 256), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--channels", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=CANDIDATES, default=list(CANDIDATES), metavar="IMPLEMENTATION")
    parser.add_argument("--boxes", type=int, nargs=2, default=(512, 128), help="boxes of an image for 7 and 14 bins")
    arguments = parser.parse_args()
    for size, rois in zip((7, 14), arguments.boxes, strict=True):
        features, boxes = random_inputs(tuple(arguments.image_size), arguments.batch, rois, arguments.channels)
        functions = {}
        for name in arguments.only:
            pool, jit_compile = CANDIDATES[name]

            def forward(
                features: dict[int, tf.Tensor], boxes: tf.Tensor, pool: Pooling = pool, size: int = size
            ) -> tf.Tensor:
                return pool(features, boxes, size)

            def both(features: dict[int, tf.Tensor], boxes: tf.Tensor, forward: Forward = forward) -> tf.Tensor:
                with tf.GradientTape() as tape:
                    tape.watch(features)
                    loss = tf.reduce_sum(forward(features, boxes) ** 2)
                return tape.gradient(loss, features)

            functions[name] = [tf.function(f, jit_compile=jit_compile, autograph=False) for f in (forward, both)]
        Path("/proc/self/clear_refs").write_text("5")  # resets the largest memory
        before = memory_in_mib("VmRSS")
        best = {name: [float("inf")] * 2 for name in functions}
        for _ in range(arguments.rounds + 1):
            for name, pair in functions.items():
                for which, function in enumerate(pair):
                    start = time.perf_counter()
                    tf.nest.map_structure(lambda tensor: tensor.numpy(), function(features, boxes))
                    best[name][which] = min(best[name][which], time.perf_counter() - start)
        for name, (forward_time, both_time) in best.items():
            print(
                f"{arguments.batch} x {rois} boxes, {size} x {size}, {name:21s} "
                f"forward {1e3 * forward_time:7.1f} ms, with backward {1e3 * both_time:7.1f} ms"
            )
        print(
            f"{arguments.batch} x {rois} boxes, {size} x {size}: {memory_in_mib('VmHWM') - before:.0f} MiB at the peak"
        )


if __name__ == "__main__":
    main()
