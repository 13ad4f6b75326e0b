"""Errors by type, compared with tidecv 1.0.1 in an environment of its own (``make test-report``)."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from tests.unit.report.scenes import random_scene

from maskrcnn_trainer.evaluation.coco_metrics import GroundTruth
from maskrcnn_trainer.report.comparison import compare, evaluated_images
from maskrcnn_trainer.report.content import Errors, Kind
from maskrcnn_trainer.report.matching import coco_matches
from maskrcnn_trainer.report.tide import errors

ROOT = Path(__file__).resolve().parents[2]
WORKSPACE = Path(os.environ.get("REPORT_WORKSPACE", ROOT / "workspace"))
POINTS = 0.01
Scene = tuple[GroundTruth, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def tidecv() -> str:
    """Return the interpreter of tidecv's environment."""
    python = os.environ.get("TIDECV_PYTHON")
    if not python:
        pytest.skip("TIDECV_PYTHON isn't set: run make test-report")
    return python


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("crowds", [False, True])
@pytest.mark.parametrize("categories", [1, 5])
def test_random_scenes(tidecv: str, categories: int, crowds: bool, ties: bool) -> None:
    scenes = [random_scene(seed, categories=categories, crowds=crowds, ties=ties) for seed in range(8)]
    assert_equal(tidecv, [without_bounds(*scene) for scene in scenes])


@pytest.mark.data
@pytest.mark.parametrize("name", ["coco/instances_val.json", "nuclei/instances_val.json"])
def test_made_up_detections_of_real_annotations(tidecv: str, test_data: Path, name: str) -> None:
    truth = GroundTruth.load(test_data / name)
    assert_equal(tidecv, [(truth, moved_objects(truth))])


@pytest.mark.data
def test_public_detections_of_coco(tidecv: str, test_data: Path) -> None:
    folder = test_data / "cocoeval"
    truth = GroundTruth.load(folder / "instances_val2014_100.json")
    present = truth.evaluated_categories(truth.image_ids)
    results = json.loads((folder / "instances_val2014_fakesegm100_results.json").read_text())
    for result in results:
        result["bbox"] = coco_mask.toBbox(result["segmentation"]).tolist()
    assert_equal(tidecv, [(truth, [result for result in results if result["category_id"] in present])])
    # tidecv counts a class with detections but without objects as AP 0.
    mine, (theirs,) = ours(truth, results, "segm"), by_tidecv(tidecv, [(truth, results, "segm")])
    assert (round(mine.ap50 or 0, 1), round(theirs["ap50"], 1)) == (56.2, 51.8)


@pytest.mark.parametrize(
    ("experiment", "annotations"),
    [("shapes", "{workspace}/raw/shapes/val.json"), ("nuclei-p1", "{data}/nuclei/instances_val.json")],
)
def test_detections_of_our_models(tidecv: str, test_data: Path, experiment: str, annotations: str) -> None:
    files = sorted(WORKSPACE.glob(f"{experiment}/evaluate*/detections.json"))
    if not files:
        pytest.skip(f"no evaluation of {experiment} in {WORKSPACE}: run make demo, or make bench-nuclei")
    truth = GroundTruth.load(annotations.format(workspace=WORKSPACE, data=test_data))
    assert_equal(tidecv, [(truth, json.loads(path.read_text())) for path in files])


def assert_equal(tidecv: str, scenes: Sequence[Scene]) -> None:
    kinds: tuple[Kind, ...] = ("bbox", "segm")
    cases = [(*scene, kind) for scene in scenes for kind in kinds]
    for case, theirs in zip(cases, by_tidecv(tidecv, cases), strict=True):
        mine = ours(*case)
        assert mine.lost == pytest.approx(theirs["lost"], abs=POINTS)
        assert mine.false_positives == pytest.approx(theirs["false_positives"], abs=POINTS)
        assert mine.false_negatives == pytest.approx(max(theirs["false_negatives"], 0), abs=POINTS)
        # The two differ in the recalls at which precision is read, see EXACT_RECALLS.
        assert mine.ap50 == pytest.approx(theirs["ap50"], abs=0.5)


def ours(truth: GroundTruth, results: list[dict[str, Any]], kind: Kind) -> Errors:
    evaluated = evaluated_images(results, truth, truth.image_ids)
    comparison = compare(evaluated, kind)
    return errors(comparison, coco_matches(comparison, 0.5), evaluated.category_ids)


def without_bounds(truth: GroundTruth, results: list[dict[str, Any]]) -> Scene:
    """Return the detections without those of which exactly half lies on a crowd: COCO ignores them, tidecv doesn't."""
    evaluated = evaluated_images(results, truth, truth.image_ids)
    comparison = compare(evaluated, "segm")
    left_out = set(comparison.detections.index[comparison.crowd_ious == 0.5].tolist())
    return truth, [result for number, result in enumerate(results) if number not in left_out]


def by_tidecv(python: str, cases: Sequence[tuple[GroundTruth, list[dict[str, Any]], Kind]]) -> list[dict[str, Any]]:
    content = [
        {
            "kind": kind,
            "images": sorted(truth.image_ids),
            "classes": sorted(truth.category_names),
            "objects": truth.annotations,
            "detections": results,
        }
        for truth, results, kind in cases
    ]
    run = subprocess.run(
        [python, str(Path(__file__).with_name("tidecv_errors.py"))],
        input=json.dumps(content, default=bytes.decode),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    answer: list[dict[str, Any]] = json.loads(run.stdout)
    return answer


def moved_objects(truth: GroundTruth) -> list[dict[str, Any]]:
    """Return detections near the objects, with rectangles as masks, some of them of another class."""
    generator = np.random.default_rng(3)
    present = sorted(truth.evaluated_categories(truth.image_ids))
    results = []
    for one in truth.annotations:
        image = truth.images[one["image_id"]]
        for _ in range(int(generator.integers(0, 4))):
            spread = float(generator.choice([0.03, 0.15, 0.4]))
            x, y, width, height = one["bbox"]
            x = float(np.clip(x + generator.normal(0, spread) * width, 0, image["width"] - 2))
            y = float(np.clip(y + generator.normal(0, spread) * height, 0, image["height"] - 2))
            box = [x, y, max(1.0, min(width, image["width"] - x)), max(1.0, min(height, image["height"] - y))]
            own = one["category_id"] in present and generator.uniform() < 0.7
            rle = coco_mask.frPyObjects(np.array([box]), image["height"], image["width"])[0]
            results.append(
                {
                    "image_id": one["image_id"],
                    "category_id": one["category_id"] if own else int(generator.choice(present)),
                    "bbox": box,
                    "score": round(float(generator.uniform()), 7),
                    "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
                }
            )
    return results
