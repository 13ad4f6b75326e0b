"""COCO's metrics of a large validation set: pycocotools on rank 0, compared with matching on every rank.

    python benchmarks/evaluation_scale.py [--images 5000] [--detections 100]

Detections and ground truth are synthetic: images of 480x640 pixels, 80 categories, 7 objects per image, no score
threshold. Ranks are processes of this machine.

* before: every rank sends its COCO results as pickles to all others; rank 0 runs pycocotools on all images, for boxes,
  then for masks, while the others wait.
* now: every rank matches its own images and sends arrays to rank 0, which computes the metrics. During training the
  matching runs in threads next to the network; here it is timed alone.

Seconds are CPU seconds of the busiest rank, which exclude other work on the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import pickle
import time
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from safetensors.numpy import load, save

from maskrcnn_trainer.evaluation.coco_matching import DetectionMatches
from maskrcnn_trainer.evaluation.coco_metrics import METRIC_NAMES, CocoMatching, GroundTruth

HEIGHT, WIDTH = 480, 640
CATEGORIES = 80
OBJECTS = 7
SHAPES, VARIANTS = 400, 6


def shapes() -> list[list[tuple[list[float], dict[str, Any]]]]:
    """Return ellipses of all sizes as (box, run lengths), each with several slightly different variants."""
    generator = np.random.default_rng(1)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    found = []
    for _ in range(SHAPES):
        side = np.exp(generator.uniform(np.log(10), np.log(300)))
        y, x = generator.uniform(side / 2, HEIGHT - side / 2), generator.uniform(side / 2, WIDTH - side / 2)
        alike = []
        for _ in range(VARIANTS):
            dy, dx, factor = *generator.normal(0, 0.06 * side, 2), generator.uniform(0.85, 1.15)
            inside = (rows - y - dy) ** 2 + (columns - x - dx) ** 2 < (factor * side / 2) ** 2
            rle = coco_mask.encode(np.asfortranarray(inside.astype(np.uint8)))
            alike.append((coco_mask.toBbox(rle).tolist(), {"size": rle["size"], "counts": rle["counts"].decode()}))
        found.append(alike)
    return found


def made_up(images: int, detections: int, number: int = OBJECTS) -> tuple[dict[str, Any], list[list[dict[str, Any]]]]:
    """Return a synthetic COCO data set with this number of objects per image, and the results of each, best first."""
    pool, generator = shapes(), np.random.default_rng(2)
    annotations: list[dict[str, Any]] = []
    results = []
    for image in range(1, images + 1):
        categories = generator.integers(1, CATEGORIES + 1, 12)
        objects = [(int(category), int(generator.integers(SHAPES))) for category in categories[:number]]
        for category, shape in objects:
            box, rle = pool[shape][0]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image, "category_id": category, "bbox": box,
                 "area": box[2] * box[3] * 0.78, "iscrowd": 0, "segmentation": rle}
            )  # fmt: skip
        found = []
        for score in np.sort(generator.beta(0.4, 3, detections))[::-1]:
            if generator.uniform() < 0.3 + 0.6 * score:
                category, shape = objects[int(generator.integers(number))]
            else:
                category, shape = int(generator.choice(categories)), int(generator.integers(SHAPES))
            box, rle = pool[shape][int(generator.integers(VARIANTS))]
            found.append(
                {"image_id": image, "category_id": category, "bbox": box, "score": round(float(score), 7),
                 "segmentation": rle}
            )  # fmt: skip
        results.append(found)
    dataset = {
        "images": [{"id": image, "height": HEIGHT, "width": WIDTH} for image in range(1, images + 1)],
        "annotations": annotations,
        "categories": [{"id": category, "name": str(category)} for category in range(1, CATEGORIES + 1)],
    }
    return dataset, results


def by_pycocotools(dataset: dict[str, Any], results: list[dict[str, Any]]) -> tuple[float, list[float]]:
    """Return the CPU seconds of rank 0, which don't depend on the number of ranks, and the metrics."""
    started = time.process_time()
    values: list[float] = []
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = dataset
        truth.createIndex()
        for kind in ("bbox", "segm"):
            left_out = "bbox" if kind == "segm" else ""
            own = [{name: value for name, value in found.items() if name != left_out} for found in results]
            evaluation = COCOeval(truth, truth.loadRes(own), kind)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            values += evaluation.stats.tolist()
    return time.process_time() - started, values


def matched(rank: int, ranks: int, truth: GroundTruth, results: list[list[dict[str, Any]]]) -> tuple[float, bytes]:
    """Return the CPU seconds of one rank, and the bytes that it sends."""
    started = time.process_time()
    matching = CocoMatching(truth)
    parts = [matching.of_image(number, results[number - 1]) for number in range(rank + 1, len(results) + 1, ranks)]
    payload: bytes = save(DetectionMatches.joined(parts).arrays())
    return time.process_time() - started, payload


def main() -> None:
    """Run both approaches, check that the metrics are equal, and print the times."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--detections", type=int, default=100)
    arguments = parser.parse_args()
    dataset, results = made_up(arguments.images, arguments.detections)
    truth = GroundTruth(dataset)
    everything = [found for image in results for found in image]
    # the JSON round trip copies run lengths that detections share, because those of a network are all different
    pickled = len(pickle.dumps(json.loads(json.dumps(everything))))
    slow, expected = by_pycocotools(dataset, everything)
    print(f"before: {slow:.1f} s on rank 0, every rank receives {pickled / 1e6:.1f} MB", flush=True)
    for ranks in (1, 2):
        with multiprocessing.get_context("fork").Pool(ranks) as pool:
            work = [(rank, ranks, truth, results) for rank in range(ranks)]
            answers = pool.starmap(matched, work, chunksize=1)
        started = time.process_time()
        metrics = CocoMatching(truth).metrics([DetectionMatches(**load(payload)) for _, payload in answers])
        last = time.process_time() - started
        busiest = max(seconds for seconds, _ in answers)
        arrived = sum(len(payload) for _, payload in answers)
        values = [metrics.values[prefix + name] for prefix in ("", "mask_") for name in METRIC_NAMES]
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-12)
        print(
            f"now, {ranks} ranks: {busiest:.1f} s of matching on each, {last:.1f} s of metrics on rank 0, "
            f"which receives {arrived / 1e6:.1f} MB: {slow / (busiest + last):.2f} times as fast, "
            f"{ranks * pickled / arrived:.0f} times fewer bytes",
            flush=True,
        )


if __name__ == "__main__":
    main()
