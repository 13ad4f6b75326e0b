"""Stage of the GPU check that detects: images/s of the network with its input in host memory."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from gpu_check_data import Records, spec_of
from gpu_check_network import device, peak_gib, prepare
from gpu_check_plan import Options
from gpu_check_stages_train import settings
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.model.predict import InferenceSettings, PaddedDetections, predict


def detector(options: Options) -> Callable[[tf.Tensor], PaddedDetections]:
    """Return the function from images to detections, of a network with random weights."""
    spec = spec_of(options, Records())
    network = MaskRCNN(Architecture.from_spec(spec), dtype=options.dtype, seed=1)
    chosen = InferenceSettings.from_spec(spec, network.architecture)
    function: Callable[[tf.Tensor], PaddedDetections] = tf.function(
        lambda images: predict(network, images, chosen, compiled=options.xla),
        jit_compile=options.xla or None,
        autograph=False,
    )
    return function


def random_images(options: Options, count: int) -> tf.Tensor:
    """Return normalized images in host memory, float32 [count, H, W, 3]."""
    values = np.random.default_rng(count).normal(size=(count, options.height, options.width, 3))
    with tf.device("/CPU:0"):
        return tf.constant(values.astype(np.float32))


def inference(options: Options, say: Callable[..., None]) -> None:
    """Measure each batch size, from images in host memory to detections in host memory."""
    prepare(options)
    detect = detector(options)
    for size in options.batch_sizes:
        images = random_images(options, size)
        seconds = []
        for _ in range(1 + options.warm + options.steps):
            began = time.perf_counter()
            found = detect(images)
            for part in found:
                part.numpy()
            seconds.append(time.perf_counter() - began)
        timed = seconds[1 + options.warm :]
        say(
            device=device(),
            images_s=round(size * len(timed) / sum(timed), 2),
            median_ms=round(1e3 * float(np.median(timed)), 1),
            first_s=round(seconds[0], 2),
            peak_gib=peak_gib(),
            **{**settings(options), "batch": size},
        )
