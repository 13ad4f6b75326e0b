#!/usr/bin/env python
"""Result of the quickstart: a table of its metrics, one picture of detections, and the path of the report."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from maskrcnn_trainer.evaluation.drawing import Image, write_image
from maskrcnn_trainer.images.decode import decode_image
from maskrcnn_trainer.shared.messages import REPORT_FILE

COLUMNS = 4
ROWS = 2
SIDE = 384
"""Pixels of each image in the picture."""


def main() -> int:
    """Print the table, write the picture, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, default=Path("workspace"))
    experiment = parser.parse_args().workspace / "quickstart"
    # outside the results directories of the steps, which may have only files that steps have written
    picture = experiment / "detections.png"
    annotated = sorted((experiment / "inference" / "images_annotated").iterdir())
    write_image(picture, tiled([decode_image(path) for path in annotated[: COLUMNS * ROWS]]))
    Console(width=120).print(table(experiment))
    print(f"Detections: {picture}")
    report = experiment / REPORT_FILE
    print(f"Report: {report}" if report.exists() else f"No report is there; make it: maskrcnn report -r {experiment}")
    return 0


def table(experiment: Path) -> Table:
    """Return the metrics of the trained model, and the number of its detections by class."""
    metrics = json.loads((experiment / "train" / "result.json").read_text())["metrics"]
    found = json.loads((experiment / "inference" / "predictions.json").read_text())
    names = {category["id"]: category["name"] for category in found["categories"]}
    counts = Counter(names[annotation["category_id"]] for annotation in found["annotations"])
    shown = Table(title="quickstart", title_justify="left")
    for column in ("AP", "AP50", "mask AP", "mask AP50"):
        shown.add_column(column, justify="right")
    for name in names.values():
        shown.add_column(f"{name}s detected", justify="right")
    shown.add_row(
        *(f"{metrics[name]:.4f}" for name in ("AP", "AP50", "mask_AP", "mask_AP50")),
        *(str(counts[name]) for name in names.values()),
    )
    return shown


def tiled(images: list[Image]) -> Image:
    """Return images, uint8 RGB, next to each other in rows of ``COLUMNS``, each ``SIDE`` pixels wide and high."""
    resized = [cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) for image in images]
    return np.concatenate(
        [np.concatenate(resized[start : start + COLUMNS], axis=1) for start in range(0, len(resized), COLUMNS)]
    )


if __name__ == "__main__":
    sys.exit(main())
