"""Matches of images, split over ranks and joined, are bit-identical to pycocotools on the whole data set."""

from __future__ import annotations

import contextlib
import copy
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskrcnn_trainer.evaluation.coco_curves import accumulate
from maskrcnn_trainer.evaluation.coco_matching import DetectionMatches, match_image
from maskrcnn_trainer.evaluation.coco_metrics import CocoMatching, GroundTruth

SIDE = 64
LIMITS = (1, 10, 100, 150)
CATEGORIES = (3, 7, 40)


def rle(x: int, y: int, width: int, height: int) -> dict[str, Any]:
    mask = np.zeros((SIDE, SIDE), np.uint8, order="F")
    mask[y : y + height, x : x + width] = 1
    encoded: dict[str, Any] = coco_mask.encode(mask)
    return {**encoded, "counts": encoded["counts"].decode()}


def random_box(generator: np.random.Generator) -> list[int]:
    x, y = generator.integers(0, SIDE - 8, 2)
    width, height = generator.integers(4, 60, 2)
    return [int(x), int(y), int(min(width, SIDE - x)), int(min(height, SIDE - y))]


@pytest.fixture(scope="module")
def made_up() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return ground truth with crowds, and detections near objects and elsewhere, with many equal scores."""
    generator = np.random.default_rng(4)
    annotations, results = [], []
    for image in range(40):
        for _ in range(generator.integers(0, 7)):
            box = random_box(generator)
            category = int(generator.choice(CATEGORIES[:2]))
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image, "category_id": category, "bbox": box,
                 "area": float(box[2] * box[3] * generator.choice([1, 4, 20])), "segmentation": rle(*box),
                 "iscrowd": int(generator.uniform() < 0.15)}
            )  # fmt: skip
            for _ in range(generator.integers(0, 4)):
                near = [max(0, value + int(generator.integers(-3, 4))) for value in box[:2]]
                near += [min(box[2], SIDE - near[0]), min(box[3], SIDE - near[1])]
                results.append(result_of(image, category, near, generator))
        for _ in range(200 if image == 5 else generator.integers(0, 6)):
            results.append(result_of(image, int(generator.choice([*CATEGORIES, 99])), random_box(generator), generator))
    order = generator.permutation(40).tolist()
    return {
        "images": [{"id": image, "width": SIDE, "height": SIDE} for image in order],
        "annotations": annotations,
        "categories": [{"id": category, "name": str(category)} for category in CATEGORIES],
    }, results


def result_of(image: int, category: int, box: list[int], generator: np.random.Generator) -> dict[str, Any]:
    score = round(float(generator.integers(1, 12)) / 12, 7)
    return {"image_id": image, "category_id": category, "bbox": box, "score": score, "segmentation": rle(*box)}


def by_pycocotools(
    dataset: dict[str, Any], results: list[dict[str, Any]], kind: str, limits: Sequence[int] = LIMITS
) -> dict[str, Any]:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(dataset)  # masks are replaced in it
        truth.createIndex()
        stripped = [{key: value for key, value in found.items() if key != "bbox"} for found in results]
        evaluation = COCOeval(truth, truth.loadRes(stripped if kind == "segm" else results), kind)
        evaluation.params.maxDets = list(limits)
        evaluation.evaluate()
        evaluation.accumulate()
    curves: dict[str, Any] = evaluation.eval
    return curves


def shares(
    truth: GroundTruth, results: list[dict[str, Any]], kinds: Sequence[str], ranks: int
) -> tuple[DetectionMatches, dict[int, int]]:
    categories = {category: place for place, category in enumerate(sorted(truth.category_names))}
    by_rank = []
    places = {image: place for place, image in enumerate(sorted(truth.image_ids))}
    for rank in range(ranks):
        own = truth.image_ids[rank::ranks]
        share = truth.restricted_to(own)
        by_rank.append(
            DetectionMatches.joined(
                [
                    match_image(
                        share.of_image(image), [found for found in results if found["image_id"] == image],
                        image=places[image], categories=categories, kinds=kinds, limit=LIMITS[-1],
                    )
                    for image in own
                ]
            )
        )  # fmt: skip
    return DetectionMatches.joined(by_rank), categories


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_curves_of_joined_ranks_are_those_of_pycocotools(
    made_up: tuple[dict[str, Any], list[dict[str, Any]]], ranks: int
) -> None:
    dataset, results = made_up
    matches, categories = shares(GroundTruth(dataset), results, ("bbox", "segm"), ranks)
    for number, kind in enumerate(("bbox", "segm")):
        expected = by_pycocotools(dataset, [found for found in results if found["category_id"] != 99], kind)
        curves = accumulate(matches, number, 2, len(categories), LIMITS)
        np.testing.assert_array_equal(curves.precision, expected["precision"], err_msg=kind)
        np.testing.assert_array_equal(curves.recall, expected["recall"], err_msg=kind)
        assert (curves.precision[:, :, 0] > 0).any()
        assert (curves.precision[:, :, 2] == -1).all(), "no object of the last category"


@pytest.mark.data
@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize("ranks", [1, 3])
def test_curves_of_the_public_results_are_those_of_pycocotools(test_data: Path, kind: str, ranks: int) -> None:
    folder = test_data / "cocoeval"
    dataset = json.loads((folder / "instances_val2014_100.json").read_text())
    results = json.loads((folder / f"instances_val2014_fake{kind}100_results.json").read_text())
    expected = by_pycocotools(dataset, results, kind)
    matches, categories = shares(GroundTruth(dataset), results, (kind,), ranks)
    curves = accumulate(matches, 0, 1, len(categories), LIMITS)
    np.testing.assert_array_equal(curves.precision, expected["precision"])
    np.testing.assert_array_equal(curves.recall, expected["recall"])


def test_objects_without_a_mask_count_by_box_alone() -> None:
    box = [4, 4, 20, 20]
    truth = [{"id": 1, "image_id": 0, "category_id": 3, "bbox": box, "area": 400.0, "iscrowd": 0}]
    found = {"image_id": 0, "category_id": 3, "bbox": box, "score": 0.9, "segmentation": rle(4, 4, 20, 20)}
    matches = match_image(truth, [found], image=0, categories={3: 0}, kinds=("bbox", "segm"), limit=100)
    assert matches.objects[0, :, 0].tolist() == [1, 0]
    assert accumulate(matches, 0, 2, 1, (100,)).precision[0, 0, 0, 0, 0] == pytest.approx(1.0)
    assert accumulate(matches, 1, 2, 1, (100,)).precision[0, 0, 0, 0, 0] == -1.0


def test_share_of_a_rank_keeps_the_ids_and_numbers_of_all_images(
    made_up: tuple[dict[str, Any], list[dict[str, Any]]],
) -> None:
    dataset, _ = made_up
    whole = GroundTruth(dataset)
    first, second, other, *_ = dict.fromkeys(annotation["image_id"] for annotation in whole.annotations)
    part = whole.restricted_to([first, second])
    assert part.image_ids == whole.image_ids
    assert {annotation["image_id"] for annotation in part.annotations} == {first, second}
    assert part.of_image(first) == whole.of_image(first) != []
    assert part.of_image(other) == []
    assert whole.of_image(other) != []
    assert CocoMatching(part).number(other) == CocoMatching(whole).number(other)
