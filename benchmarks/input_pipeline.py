"""Images/s of the input pipeline, and the cost of its parts.

    python benchmarks/input_pipeline.py [--data DIR] [--sets nuclei coco] [--sizes 256 512] [--seconds 15]

DIR holds data sets in the layout of MASKRCNN_TEST_DATA (default: $MASKRCNN_TEST_DATA, else ../shared/data), which are
first converted to records in a temporary folder. Alternatively, records are read from --records DIR/<set>/train-*. The
benchmark prints three tables:

1. the whole pipeline (batch 2, 200 instances, 3 anchors per cell, flip on), with and without RPN targets;
2. RPN targets alone: in the pipeline (only the existing boxes, one image after another) and in a training step (200
   padded boxes, 16 at once), as a graph and compiled by XLA, on this machine's CPUs;
3. mask crops alone: ours (part of the PNG inflated, NumPy), OpenCV (whole PNG decoded, affine warp) and TensorFlow (one
   instance after another in ``tf.map_fn``: decode_png, crop_and_resize).

Results on two shared virtual cores of an AMD EPYC (TensorFlow 2.18.1, with other work on the machine; only numbers in
the same line are comparable):

- Mask crops dominate. Nuclei (46 objects per image): ours 17 ms, OpenCV 29 to 38, TensorFlow 21 to 43; COCO (9
  objects): 7, 8 to 9, 8 to 14. Ours is used: it is exact, whereas the warp rounds positions to 1/32 pixel, and it
  doesn't unpack rows below the object. Most of the remaining time is inflating, and zlib's runs of distance 1 (Z_RLE,
  or level 6) inflate five times slower than the matches of its level 1: masks written at level 1 take 6.4 ms and 2.9 to
  3.8 ms, with records of up to twice the size.
- RPN targets in the pipeline: 4 ms per image for nuclei at 256, 22 to 25 ms at 512; COCO 2 and 5 to 9. On the same
  processor the training step, which has to process all 200 padded boxes, needs 14 to 17 and 53 to 121 ms (COCO 13 to 25
  and 42 to 104), compiled or not; no GPU was measured. They are computed in the pipeline, in parallel to the step.
- Whole pipeline, with RPN targets / without: nuclei 60 / 69 images/s at 256 and 26 / 35 at 512; COCO 155 / 149 and
  114 / 136. Masks written at level 1: nuclei 69 / 65 and 44 / 84; COCO 173 / 205 and 115 / 149.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from typing import Any

import cv2
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from maskrcnn_trainer.data import examples
from maskrcnn_trainer.data.class_map import ClassMap
from maskrcnn_trainer.data.masks import CROP_BORDER, crop_masks
from maskrcnn_trainer.data.pipeline import training_dataset
from maskrcnn_trainer.data.reader import RecordReader
from maskrcnn_trainer.data.records import RecordIndex, index_records
from maskrcnn_trainer.data.rpn_targets import RpnTargetSettings, rpn_targets
from maskrcnn_trainer.data.summary import record_summary
from maskrcnn_trainer.model.anchors import generate_anchors
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.spec import ExperimentSpec

ROOT = Path(__file__).resolve().parent.parent
INSTANCES = 200
SETS = {"nuclei": (2, 4), "coco": (91, 8)}  # classes, anchor scale


def make_spec(name: str, size: int) -> ExperimentSpec:
    """Return the spec for a data set and an image size."""
    classes, anchor_scale = SETS[name]
    return ExperimentSpec.model_validate(
        {
            "init_learning_rate": 0.01,
            "total_steps": 1,
            "train_batch_size": 2,
            "data_config": {"image_size": [size, size], "num_classes": classes, "max_num_instances": INSTANCES},
            "maskrcnn_config": {"anchor_scale": anchor_scale},
        }
    )


def records_of(name: str, data: Path, records: Path | None, scratch: Path) -> RecordIndex:
    """Return the records of a data set; convert them first if ``records`` is None."""
    folder = records / name if records else scratch / name
    if records is None:
        from maskrcnn_trainer.conversion import convert_dataset

        convert_dataset(
            str(data / name / "images"),
            str(data / name / "instances_train.json"),
            str(folder),
            tag="train",
            num_shards=4,
        )
    return index_records(str(folder / "train-*"))


def rate(step: Callable[[], object], seconds: float, warm: int = 3) -> float:
    """Return the calls per second, after ``warm`` calls that aren't timed."""
    for _ in range(warm):
        step()
    calls, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        step()
        calls += 1
    return calls / (time.perf_counter() - start)


def whole_pipeline(name: str, index: RecordIndex, size: int, with_rpn_targets: bool, seconds: float) -> float:
    """Return the images/s of the whole pipeline."""
    spec = make_spec(name, size)
    classes = spec.data_config.num_classes
    class_map = ClassMap(tuple(range(1, classes)), ("",) * (classes - 1), classes)
    anchors = generate_anchors(Architecture.from_spec(spec), spec.data_config.image_size)
    dataset = training_dataset(
        index, spec, class_map, anchors, start=0, rank=0, ranks=1, with_rpn_targets=with_rpn_targets
    )
    batches = iter(dataset)
    return rate(lambda: next(batches), seconds, warm=10) * spec.train_batch_size


def calls_of(function: Callable[..., object], inputs: Iterable[tuple[Any, ...]]) -> Callable[[], object]:
    """Return a function that calls ``function`` with each tuple of arguments in ``inputs``."""
    arguments = list(inputs)
    return lambda: list(itertools.starmap(function, arguments))


def objects_of(index: RecordIndex, count: int) -> list[tuple[NDArray[Any], list[bytes]]]:
    """Return the boxes (in fractions of the image) and mask PNGs of ``count`` records spread over the data set."""
    reader = RecordReader(index)
    found = []
    for record in np.linspace(0, len(index) - 1, count).astype(int):
        _, _, objects = examples.parse_example(tf.constant(reader.read(int(record))))
        boxes = np.clip(objects.boxes.numpy()[:INSTANCES], 0, 1)
        found.append((boxes, list(objects.masks.numpy()[:INSTANCES])))
    return found


def rpn_variants(name: str, objects: list[tuple[NDArray[Any], list[bytes]]], size: int) -> dict[str, float]:
    """Return the milliseconds per image of each way to compute RPN targets."""
    spec = make_spec(name, size)
    settings = RpnTargetSettings.from_config(spec.maskrcnn_config)
    anchors = tf.constant(generate_anchors(Architecture.from_spec(spec), (size, size)))
    position = tf.constant(1, tf.int64)

    @tf.function(input_signature=[tf.TensorSpec([None, 4])])  # type: ignore[untyped-decorator]  # no types in TensorFlow
    def one(boxes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return rpn_targets(anchors, boxes, position, 1, settings)

    def in_step(boxes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return rpn_targets(anchors, boxes, position, 1, settings, chunk=16)

    dynamic = [tf.constant(boxes * size) for boxes, _ in objects]
    padded = [tf.pad(boxes, [[0, INSTANCES - len(boxes)], [0, 0]], constant_values=-1.0) for boxes in dynamic]
    functions = (
        ("pipeline", one, dynamic),
        ("step, graph", tf.function(in_step), padded),
        ("step, XLA", tf.function(in_step, jit_compile=True), padded),
    )
    return {
        label: 1e3 / rate(calls_of(function, zip(inputs, strict=True)), 3, 1) / len(inputs)
        for label, function, inputs in functions
    }


def opencv_crops(pngs: list[bytes], boxes: NDArray[Any], size: int) -> NDArray[Any]:
    """Return the mask crops as OpenCV computes them."""
    crops = np.zeros((len(pngs), size + 2 * CROP_BORDER, size + 2 * CROP_BORDER), np.uint8)
    for crop, png, (y1, x1, y2, x2) in zip(crops, pngs, boxes, strict=True):
        mask = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
        if mask is None:
            raise ValueError("OpenCV cannot read a mask of the records")
        height, width = mask.shape
        down, across = (y2 - y1) * height / size, (x2 - x1) * width / size
        matrix = np.array([[across, 0, (x1 * width) + across / 2 - 0.5], [0, down, (y1 * height) + down / 2 - 0.5]])
        crop[CROP_BORDER:-CROP_BORDER, CROP_BORDER:-CROP_BORDER] = cv2.warpAffine(
            mask * np.uint8(255),
            matrix,
            (size, size),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
    return crops


def mask_variants(objects: list[tuple[NDArray[Any], list[bytes]]], size: int = 112) -> dict[str, float]:
    """Return the milliseconds per image of each way to crop masks, on one thread (TensorFlow uses all)."""
    signature = [tf.TensorSpec([None], tf.string), tf.TensorSpec([None, 4])]

    @tf.function(input_signature=signature)  # type: ignore[untyped-decorator]  # no types in TensorFlow
    def in_graph(pngs: tf.Tensor, boxes: tf.Tensor) -> tf.Tensor:
        def one(item: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            mask = tf.cast(tf.io.decode_png(item[0], channels=1), tf.float32) * 255.0
            crop = tf.image.crop_and_resize(mask[None], item[1][None], [0], [size, size])[0, ..., 0]
            return tf.cast(tf.pad(crop, [[CROP_BORDER, CROP_BORDER], [CROP_BORDER, CROP_BORDER]]), tf.uint8)

        side = size + 2 * CROP_BORDER
        return tf.map_fn(one, (pngs, boxes), fn_output_signature=tf.TensorSpec([side, side], tf.uint8))

    cv2.setNumThreads(1)
    variants: dict[str, Callable[[NDArray[Any], list[bytes]], object]] = {
        "ours": lambda boxes, pngs: crop_masks(pngs, boxes, False, size),
        "OpenCV": lambda boxes, pngs: opencv_crops(pngs, boxes, size),
        "TensorFlow": lambda boxes, pngs: in_graph(tf.constant(pngs, tf.string, [len(pngs)]), tf.constant(boxes)),
    }
    return {label: 1e3 / rate(calls_of(function, objects), 3, 1) / len(objects) for label, function in variants.items()}


def main() -> None:
    """Run the benchmark and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("MASKRCNN_TEST_DATA", ROOT.parent / "shared" / "data"))
    )
    parser.add_argument("--records", type=Path, help="converted sets, DIR/<set>/train-*, instead of --data")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--sizes", nargs="+", type=int, default=[256, 512])
    parser.add_argument("--seconds", type=float, default=15, help="duration of each row of the first table")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as scratch:
        for name in arguments.sets:
            index = records_of(name, arguments.data, arguments.records, Path(scratch))
            start = time.perf_counter()
            summary = record_summary(index)
            print(
                f"{name}: {len(index)} records, {summary.num_instances.mean():.1f} objects each, "
                f"scanned in {time.perf_counter() - start:.2f} s"
            )
            objects = objects_of(index, 24)
            for size in arguments.sizes:
                inside, outside = (
                    whole_pipeline(name, index, size, where, arguments.seconds) for where in (True, False)
                )
                print(f"  {size}: {inside:6.1f} images/s with RPN targets, {outside:6.1f} without")
                for label, cost in rpn_variants(name, objects, size).items():
                    print(f"  {size}: RPN targets, {label:12s} {cost:7.2f} ms per image")
            for label, cost in mask_variants(objects).items():
                print(f"  mask crops, {label:12s} {cost:7.2f} ms per image")


if __name__ == "__main__":
    main()
