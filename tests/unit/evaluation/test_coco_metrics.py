"""COCO's metrics of manually computed cases, and of the public result files by pycocotools' authors."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from tests.unit.evaluation.coco import evaluate_coco

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.evaluation.coco_metrics import METRIC_NAMES, GroundTruth

SIDE = 200


def rle(x: int, y: int, width: int, height: int) -> dict[str, Any]:
    mask = np.zeros((SIDE, SIDE), np.uint8, order="F")
    mask[y : y + height, x : x + width] = 1
    encoded: dict[str, Any] = coco_mask.encode(mask)
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def truth(*boxes: tuple[int, int, int, int, int, int], **more: Any) -> dict[str, Any]:
    """Return ground truth from tuples (image, category, x, y, width, height)."""
    return {
        "images": [{"id": number, "width": SIDE, "height": SIDE} for number in (1, 2, 3)],
        "categories": [{"id": 5, "name": "five"}, {"id": 9, "name": "nine"}],
        "annotations": [
            {"id": number, "image_id": image, "category_id": category, "bbox": list(box), "area": box[2] * box[3],
             "iscrowd": 0, "segmentation": rle(*box)} | more
            for number, (image, category, *box) in enumerate(boxes)
        ],
    }  # fmt: skip


def found(image: int, category: int, *box: int, score: float = 0.9) -> dict[str, Any]:
    return {
        "image_id": image,
        "category_id": category,
        "bbox": list(box),
        "score": score,
        "segmentation": rle(*box),
    }


def test_perfect_detections() -> None:
    boxes = [(1, 5, 10, 10, 20, 20), (1, 9, 60, 60, 50, 50), (2, 5, 0, 0, 100, 100)]
    metrics = evaluate_coco(GroundTruth(truth(*boxes)), [found(*box) for box in boxes])
    assert list(metrics.values) == [*METRIC_NAMES, *(f"mask_{name}" for name in METRIC_NAMES)]
    assert all(value == pytest.approx(1.0) for value in metrics.values.values())
    assert metrics.per_class == {
        5: pytest.approx({"AP": 1.0, "AP50": 1.0, "mask_AP": 1.0, "mask_AP50": 1.0}),
        9: pytest.approx({"AP": 1.0, "AP50": 1.0, "mask_AP": 1.0, "mask_AP50": 1.0}),
    }
    assert all(isinstance(category, int) for category in json.loads(json.dumps(list(metrics.per_class))))


def test_overlap_decides_thresholds() -> None:
    # 100x100 against 100x80 inside it: IoU 0.8, met at 0.5, 0.55, ..., 0.8, seven of ten thresholds
    metrics = evaluate_coco(GroundTruth(truth((1, 5, 0, 0, 100, 100))), [found(1, 5, 0, 0, 100, 80)])
    assert metrics.values["AP"] == pytest.approx(0.7)
    assert metrics.values["AP50"] == metrics.values["AP75"] == pytest.approx(1.0)
    assert metrics.values["ARmax1"] == pytest.approx(0.7)
    assert metrics.values["APs"] == -1.0
    assert metrics.values["mask_AP"] == pytest.approx(0.7)
    assert metrics.per_class[9] == {"AP": -1.0, "AP50": -1.0, "mask_AP": -1.0, "mask_AP50": -1.0}


def test_a_false_alarm_before_the_hit_halves_precision() -> None:
    ground_truth = GroundTruth(truth((1, 5, 0, 0, 100, 100)))
    results = [found(1, 5, 100, 100, 90, 90, score=0.9), found(1, 5, 0, 0, 100, 100, score=0.5)]
    assert evaluate_coco(ground_truth, results).values["AP"] == pytest.approx(0.5)


def test_only_the_images_seen_count() -> None:
    ground_truth = GroundTruth(truth((1, 5, 0, 0, 100, 100), (2, 5, 0, 0, 100, 100)))
    results = [found(1, 5, 0, 0, 100, 100)]
    assert evaluate_coco(ground_truth, results, [1]).values["ARmax100"] == pytest.approx(1.0)
    assert evaluate_coco(ground_truth, results, [1, 2]).values["ARmax100"] == pytest.approx(0.5)
    assert evaluate_coco(ground_truth, results, [1, 3]).values["ARmax100"] == pytest.approx(1.0)


def test_the_area_of_a_mask_is_that_of_the_mask() -> None:
    # For an unmatched mask detection COCO uses the mask's area: a box of 40x40 px with a mask of 30x30 px is small.
    ground_truth = GroundTruth(truth((1, 5, 0, 0, 20, 20)))
    stray = found(1, 5, 100, 100, 30, 30, score=0.95) | {"bbox": [95, 95, 40, 40]}
    values = evaluate_coco(ground_truth, [stray, found(1, 5, 0, 0, 20, 20, score=0.5)]).values
    assert values["mask_APs"] == pytest.approx(0.5)
    assert values["APs"] == pytest.approx(1.0)


def test_more_than_100_detections() -> None:
    boxes = [(1, 5, 10 * (number % 15), 10 * (number // 15), 8, 8) for number in range(150)]
    results = [found(*box, score=0.99 - number / 1000) for number, box in enumerate(boxes)]
    ground_truth = GroundTruth(truth(*boxes))
    standard = evaluate_coco(ground_truth, results)
    values = evaluate_coco(ground_truth, results, max_detections=200).values
    assert {name: values[name] for name in standard.values} == standard.values
    assert values["ARmax100"] == pytest.approx(100 / 150)
    assert values["AP"] == pytest.approx(67 / 101)
    extra = {name: value for name, value in values.items() if name not in standard.values}
    names = ["AP_max200", "AP50_max200", "ARmax200"]
    assert extra == pytest.approx({prefix + name: 1.0 for prefix in ("", "mask_") for name in names})
    assert evaluate_coco(ground_truth, results, max_detections=30).values == standard.values


def test_crowds_are_neither_missed_nor_false() -> None:
    content = truth((1, 5, 0, 0, 100, 100), (1, 5, 110, 110, 80, 80))
    content["annotations"][1]["iscrowd"] = 1
    results = [found(1, 5, 120, 120, 20, 20, score=0.95), found(1, 5, 0, 0, 100, 100, score=0.5)]
    values = evaluate_coco(GroundTruth(content), results).values
    assert values["AP"] == values["mask_AP"] == pytest.approx(1.0)


def test_no_detections_at_all() -> None:
    values = evaluate_coco(GroundTruth(truth((1, 5, 0, 0, 100, 100))), []).values
    assert values["AP"] == values["mask_ARmax100"] == 0.0


def test_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    evaluate_coco(GroundTruth(truth((1, 5, 0, 0, 100, 100))), [])
    assert capsys.readouterr().out == ""


def test_polygons_and_plain_run_lengths_are_read() -> None:
    content = truth((1, 5, 0, 0, 100, 100), (2, 5, 0, 0, 200, 100))
    content["annotations"][0]["segmentation"] = [[0, 0, 100, 0, 100, 100, 0, 100]]
    content["annotations"][1]["segmentation"] = {
        "size": [SIDE, SIDE],
        "counts": [0] + [100, 100] * SIDE,
    }
    results = [found(1, 5, 0, 0, 100, 100), found(2, 5, 0, 0, 200, 100)]
    assert evaluate_coco(GroundTruth(content), results).values["mask_AP"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        (None, "segmentation is missing"),
        ([], "the list of polygons is empty"),
        ([[1, 2]], "polygon 0: 1 points"),
        ([["a", "b"] * 4], "polygon 0: not a list of numbers"),
        ([[0, 0, 9, 0, float("nan"), 9]], "polygon 0: not a list of numbers"),
        ([[0, 0, 1e30, 0, 9, 1e30]], "polygon 0: coordinate 1e+30 is farther from the 200x200 image"),
        ({"size": [3, 3], "counts": [9]}, "run lengths have size [3, 3]"),
        ({"counts": [3]}, "run lengths have size None"),
        ({"size": [SIDE, SIDE], "counts": [0, 2**31]}, "run lengths cover 2147483648 pixels of 40000"),
        ({"size": [SIDE, SIDE], "counts": "not run lengths"}, "not COCO's compressed run lengths"),
    ],
)
def test_object_without_usable_mask_counts_for_boxes_only(
    segmentation: Any, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    content = truth((1, 5, 0, 0, 100, 100), (2, 5, 0, 0, 100, 100))
    content["annotations"][1]["segmentation"] = segmentation
    values = evaluate_coco(GroundTruth(content), [found(1, 5, 0, 0, 100, 100)]).values
    assert values["ARmax100"] == pytest.approx(0.5)
    assert values["mask_ARmax100"] == pytest.approx(1.0)
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [caplog.messages[-1]]
    assert "1 of 2 objects have no usable mask and count for the box metrics only: annotation 1: " in caplog.text
    assert reason in caplog.text


def test_boxes_are_measured_where_no_object_has_a_mask(caplog: pytest.LogCaptureFixture) -> None:
    content = truth(*[(1, 5, 10 * number, 0, 9, 9) for number in range(5)])
    for annotation in content["annotations"]:
        del annotation["segmentation"]
    results = [found(1, 5, 10 * number, 0, 9, 9) for number in range(5)]
    values = evaluate_coco(GroundTruth(content), results).values
    assert values["AP"] == pytest.approx(1.0)
    assert values["mask_AP"] == -1.0
    assert "5 of 5 objects have no usable mask and count for the box metrics only; mask metrics are -1: " in caplog.text
    assert caplog.text.count("segmentation is missing") == 3


def test_two_points_next_to_a_polygon_are_dropped_as_in_conversion() -> None:
    # pycocotools alone would take the four numbers for a box and refuse the list
    content = truth((1, 5, 0, 0, 100, 100))
    content["annotations"][0]["segmentation"] = [[0, 0, 100, 100], [0, 0, 100, 0, 100, 100, 0, 100]]
    assert evaluate_coco(GroundTruth(content), [found(1, 5, 0, 0, 100, 100)]).values["mask_AP"] == pytest.approx(1.0)


@pytest.mark.parametrize("absent", ["iscrowd", "area"])
@pytest.mark.parametrize("value", ["missing", None])
def test_missing_iscrowd_is_0_and_missing_area_that_of_the_mask(absent: str, value: str | None) -> None:
    content = truth((1, 5, 0, 0, 20, 20))
    content["annotations"][0] |= {"bbox": [0, 0, 40, 40], absent: value}
    if value == "missing":
        del content["annotations"][0][absent]
    values = evaluate_coco(GroundTruth(content), [found(1, 5, 0, 0, 20, 20)]).values
    assert values["mask_APs"] == pytest.approx(1.0)
    assert values["mask_APm"] == -1.0


def test_boxes_of_which_none_can_be_used_are_refused() -> None:
    with pytest.raises(InvalidInput, match="2 of 2 boxes have no area or leave their image"):
        GroundTruth(truth((1, 5, 0, 0, 0, 0), (1, 5, 900, 900, 10, 10)))


def test_boxes_written_as_corners_are_warned_about_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    content = truth((1, 5, 150, 10, 20, 20), (2, 5, 10, 150, 30, 40), (3, 5, 0, 0, 200, 200))
    for annotation in content["annotations"]:
        x, y, width, height = annotation["bbox"]
        annotation["bbox"] = [x, y, x + width, y + height]
    GroundTruth(content)
    assert [record.getMessage() for record in caplog.records] == [
        "valJsonFile: 2 of 3 boxes have no area or leave their image by more than a pixel, such as "
        "[150.0, 10.0, 170.0, 30.0] in image 1; bbox must be x, y, width, height in pixels, not x1, y1, x2, y2"
    ]


def test_rounded_boxes_at_the_border_are_not_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    content = truth((1, 5, 0, 0, 200, 200))
    content["annotations"][0]["bbox"] = [-0.4, -0.4, 200.9, 200.9]
    GroundTruth(content)
    assert caplog.text == ""


def test_images_keep_their_file_names() -> None:
    content = truth((1, 5, 0, 0, 100, 100))
    content["images"][0]["file_name"] = "a.jpg"
    assert [image["file_name"] for image in GroundTruth(content).images.values()] == ["a.jpg", "", ""]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("annotations"), "annotations is missing: a list is expected"),
        (lambda c: c["images"][0].pop("id"), r"images\[0\]: id missing"),
        (lambda c: c["images"][0].pop("height"), r"images\[0\] \(id 1\): height missing"),
        (lambda c: c["categories"][0].pop("id"), r"categories\[0\]: id missing"),
        (lambda c: c["annotations"].append("x"), r'annotations\[1\]: "x": an object is expected'),
        (lambda c: c["annotations"][0].update(bbox=None), "bbox null: four numbers"),
        (lambda c: c["annotations"][0].update(bbox="1 2 3 4"), 'bbox "1 2 3 4": four numbers'),
        (lambda c: c["annotations"][0].update(area="10"), 'area "10": a number of pixels'),
        (lambda c: c["annotations"][0].update(iscrowd="0"), 'iscrowd "0": the number 0 or 1'),
        (lambda c: c["annotations"][0].update(image_id="1"), 'image_id "1": a whole number is expected: 1'),
        (lambda c: c["annotations"][0].update(segmentation="x"), 'segmentation "x": a list of polygons'),
    ],
)
def test_wrong_content_is_refused_by_field_and_value(change: Callable[[dict[str, Any]], Any], message: str) -> None:
    content = truth((1, 5, 0, 0, 100, 100))
    change(content)
    with pytest.raises(InvalidInput, match=message):
        GroundTruth(content)


SIZE = [SIDE, SIDE]
ODD = [
    *(None, True, "", "0", "\0", "x" * 300, -1, 0, 2**31, 2**63, 10**400, 0.5, float("nan"), float("inf"), -1e308),
    *([], [[]], [None], [1, 2, 3, 4], [[1e30] * 6], [0] * 4, [10**400] * 4, {}, {"size": 3}),
    *({"size": SIZE, "counts": counts} for counts in (None, [-1, 40001], [10**400], "\u20ac")),
    {"size": [10**9, 10**9], "counts": [10**18]},
]


@pytest.mark.parametrize("section", ["images", "categories", "annotations"])
def test_any_value_in_any_field_is_refused_in_words_or_evaluated(section: str) -> None:
    plain = truth((1, 5, 0, 0, 100, 100))
    for field, value in itertools.product([*plain[section][0], "file_name", "area", "iscrowd"], ODD):
        content = copy.deepcopy(plain)
        content[section][0][field] = value
        try:
            ground_truth = GroundTruth(content)
        except InvalidInput as error:
            assert len(str(error)) < 400, (field, value)
            continue
        assert evaluate_coco(ground_truth, [found(1, 5, 0, 0, 100, 100)]).values["AP"] >= -1, (field, value)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "[]", ""])
def test_file_that_is_no_annotation_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "broken.json").write_text(text)
    with pytest.raises(InvalidInput, match=r"broken.json: (not valid JSON|holds \[\]|line 1: arrays)"):
        GroundTruth.load(tmp_path / "broken.json")
    with pytest.raises(InvalidInput, match=r"nowhere.json: cannot be read"):
        GroundTruth.load(tmp_path / "nowhere.json")


@pytest.mark.data
@pytest.mark.parametrize(("kind", "prefix"), [("bbox", ""), ("segm", "mask_")])
def test_the_public_results_give_the_published_statistics(test_data: Path, kind: str, prefix: str) -> None:
    folder = test_data / "cocoeval"
    ground_truth = GroundTruth.load(folder / "instances_val2014_100.json")
    results = json.loads((folder / f"instances_val2014_fake{kind}100_results.json").read_text())
    expected = json.loads((folder / "expected_pycocotools_stats.json").read_text())[kind]
    values = evaluate_coco(ground_truth, results, kinds=(kind,)).values
    assert values == pytest.approx(
        {prefix + name: value for name, value in zip(METRIC_NAMES, expected, strict=True)}, abs=1e-6
    )
