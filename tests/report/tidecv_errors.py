"""Errors of a scene by tidecv, as JSON on standard output; run by the interpreter of tidecv's own environment.

    tidecv_errors.py < SCENE

The scene has ``kind`` (bbox or segm), ``images`` (ids), ``classes`` (ids), and ``objects`` and ``detections`` as COCO
annotations and results.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from tidecv import TIDE, Data


def errors(scene: dict[str, Any]) -> dict[str, Any]:
    """Return AP50 in points, the cost of each type of error, and the number of errors by type."""
    truth, found = Data("truth"), Data("found")
    for image in scene["images"]:
        truth.add_image(image, str(image))
    for category in scene["classes"]:
        truth.add_class(category, str(category))
    for one in scene["objects"]:
        add = truth.add_ignore_region if one["iscrowd"] else truth.add_ground_truth
        add(one["image_id"], one["category_id"], one["bbox"], one.get("segmentation"))
    for one in scene["detections"]:
        found.add_detection(one["image_id"], one["category_id"], one["score"], one["bbox"], one.get("segmentation"))
    run = TIDE(mode=TIDE.BOX if scene["kind"] == "bbox" else TIDE.MASK).evaluate(truth, found)
    special = {error.short_name: value for error, value in run.fix_special_errors().items()}
    return {
        "ap50": run.ap,
        "lost": {error.short_name: value for error, value in run.fix_main_errors().items()},
        "false_positives": special["FalsePos"],
        "false_negatives": special["FalseNeg"],
        "counts": {error.short_name: value for error, value in run.count_errors().items()},
    }


if __name__ == "__main__":
    json.dump([errors(scene) for scene in json.load(sys.stdin)], sys.stdout)
