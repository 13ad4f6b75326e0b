#!/usr/bin/env python
"""What the demo gave: COCO metrics of the evaluation, and a picture of ground truth beside detections."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from maskrcnn_trainer.evaluation.coco_metrics import GroundTruth
from maskrcnn_trainer.evaluation.drawing import comparison_picture, objects_of_results, read_image, write_image
from maskrcnn_trainer.evaluation.evaluator import read_detections

PICTURES = 4
MIN_SCORE = 0.5
WANTED_MASK_AP50 = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, default=Path("workspace"))
    workspace = parser.parse_args().workspace
    evaluation = workspace / "shapes" / "evaluate"
    truth = GroundTruth.load(workspace / "raw" / "shapes" / "val.json")
    picture = evaluation / "detections.png"
    write_image(picture, side_by_side(workspace, truth, evaluation))

    metrics = json.loads((evaluation / "metrics.json").read_text())["metrics"]
    for name in ("AP", "AP50", "mask_AP", "mask_AP50"):
        print(f"{name:10s} {metrics[name]:.4f}")
    reached = "reached" if metrics["mask_AP50"] >= WANTED_MASK_AP50 else "NOT reached"
    print(f"mask AP50 of {WANTED_MASK_AP50} {reached}; ground truth beside detections: {picture}")


def side_by_side(workspace: Path, truth: GroundTruth, evaluation: Path) -> np.ndarray:
    """The first validation images, each with its ground truth at the left and its detections at the right."""
    detections = read_detections(evaluation / "detections.json")
    names = truth.category_names
    rows = []
    for image in truth.coco.dataset["images"][:PICTURES]:
        found = [result for result in detections if result["image_id"] == image["id"]]
        rows.append(
            (
                read_image(workspace / "raw" / "shapes" / "images" / image["file_name"]),
                objects_of_results(truth.of_image(image["id"]), names),
                objects_of_results(found, names, min_score=MIN_SCORE),
            )
        )
    return comparison_picture(rows)


if __name__ == "__main__":
    main()
