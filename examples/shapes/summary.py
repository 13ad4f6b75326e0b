#!/usr/bin/env python
"""Results of the demo: a table of its models, a picture of ground truth and detections, and the report's path."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from comparison import comparison_picture
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from maskrcnn_trainer.evaluation.coco_metrics import GroundTruth
from maskrcnn_trainer.evaluation.drawing import objects_of_results, write_image
from maskrcnn_trainer.images.decode import decode_image
from maskrcnn_trainer.model_files.model_file import read_model_file
from maskrcnn_trainer.shared.messages import REPORT_FILE

PICTURES = 4
MIN_SCORE = 0.5
EXPECTED_MASK_AP50 = 0.4


@dataclass(frozen=True)
class Row:
    """A model: the step that created it, the step whose ``.tlt`` has its weights, and the step that evaluated it."""

    title: str
    maker: str
    weights: str
    evaluation: str


ROWS = (
    Row("trained", "train", "train", "evaluate"),
    Row("pruned and trained again", "retrain", "retrain", "evaluate-pruned"),
    Row("the same as ONNX", "export-fp32", "retrain", "evaluate-fp32"),
    Row("the same as ONNX, INT8", "export", "retrain", "evaluate-int8"),
)


def main() -> int:
    """Print the table and write the picture; return 1 if the expected mask AP50 isn't reached."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, default=Path("workspace"))
    workspace = parser.parse_args().workspace
    evaluation = workspace / "shapes" / "evaluate"
    truth = GroundTruth.load(workspace / "raw" / "shapes" / "val.json")
    # not in the results directory of a step, which may contain only files of the step
    picture = workspace / "shapes" / "detections.png"
    write_image(picture, side_by_side(workspace, truth, evaluation))

    Console(width=120).print(table(workspace / "shapes"))
    reached = metrics_of(evaluation)["mask_AP50"]
    outcome = "reached" if reached >= EXPECTED_MASK_AP50 else "NOT reached"
    print(
        f"mask AP50 of {EXPECTED_MASK_AP50} {outcome}: {reached:.4f}; picture of ground truth and detections: {picture}"
    )
    print(report_line(workspace / "shapes"))
    return 0 if reached >= EXPECTED_MASK_AP50 else 1


def report_line(experiment: Path) -> str:
    """Return the line that names the report of the experiment, or the command that makes it."""
    report = experiment / REPORT_FILE
    return f"Report: {report}" if report.exists() else f"No report is there; make it: maskrcnn report -r {experiment}"


def table(experiment: Path) -> Table:
    """Return a table with AP, mask AP, trainable parameters, file size, and images/s of each model."""
    shown = Table(title="models", title_justify="left")
    for column in ("model", "AP", "AP50", "mask AP", "mask AP50", "parameters", "file", "images/s"):
        shown.add_column(column, justify="left" if column == "model" else "right")
    for row in ROWS:
        metrics = metrics_of(experiment / row.evaluation)
        measured = json.loads((experiment / row.evaluation / "metrics.json").read_text())
        shown.add_row(
            row.title,
            *(f"{metrics[name]:.4f}" for name in ("AP", "AP50", "mask_AP", "mask_AP50")),
            f"{parameters(model_of(experiment / row.weights)):,}",
            f"{model_of(experiment / row.maker).stat().st_size / 2**20:.1f} MiB",
            f"{measured['images_per_second']:.2f}",
        )
    return shown


def metrics_of(step: Path) -> dict[str, Any]:
    """Return the metrics that an evaluate step has written."""
    metrics: dict[str, Any] = json.loads((step / "metrics.json").read_text())["metrics"]
    return metrics


def model_of(step: Path) -> Path:
    """Return the path on this machine of the model that a step produced."""
    result = json.loads((step / "result.json").read_text())
    return step / Path(result["modelPath"]).name


def parameters(model: Path) -> int:
    """Return the number of weights in a model file, without batch-norm statistics."""
    variables = read_model_file(model, with_optimizer=False).variables
    return sum(value.size for name, value in variables.items() if "moving_" not in name)


def side_by_side(workspace: Path, truth: GroundTruth, evaluation: Path) -> NDArray[np.uint8]:
    """Return a picture of the first validation images, with ground truth on the left and detections on the right."""
    detections = json.loads((evaluation / "detections.json").read_text())
    names = truth.category_names
    rows = []
    for image in list(truth.images.values())[:PICTURES]:
        found = [result for result in detections if result["image_id"] == image["id"]]
        rows.append(
            (
                decode_image(workspace / "raw" / "shapes" / "images" / image["file_name"]),
                objects_of_results(truth.of_image(image["id"]), names),
                objects_of_results(found, names, min_score=MIN_SCORE),
            )
        )
    return comparison_picture(rows)


if __name__ == "__main__":
    sys.exit(main())
