"""COCO's metrics on cases worked out by hand, and the public result files of pycocotools' authors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.evaluation.coco_metrics import METRIC_NAMES, GroundTruth, evaluate_coco

SIDE = 200


def rle(x: int, y: int, width: int, height: int) -> dict[str, Any]:
    mask = np.zeros((SIDE, SIDE), np.uint8, order="F")
    mask[y : y + height, x : x + width] = 1
    encoded: dict[str, Any] = coco_mask.encode(mask)
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def truth(*boxes: tuple[int, int, int, int, int, int], **more: Any) -> dict[str, Any]:
    """Ground truth of (image, category, x, y, width, height)."""
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
    # Of an unmatched mask detection COCO asks the mask's area: 40x40 px of box but only 30x30 px of mask is small.
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
    "segmentation", [[], [[1, 2]], None, "x", {"size": [3, 3], "counts": [9]}, {"counts": [3]}, [["a", "b"] * 4]]
)
def test_an_unreadable_mask_is_left_out(segmentation: Any, caplog: pytest.LogCaptureFixture) -> None:
    content = truth((1, 5, 0, 0, 100, 100), (2, 5, 0, 0, 100, 100))
    content["annotations"][1]["segmentation"] = segmentation
    values = evaluate_coco(GroundTruth(content), [found(1, 5, 0, 0, 100, 100)]).values
    assert values["ARmax100"] == pytest.approx(1.0)
    assert "1 annotations cannot be read" in caplog.text


def test_wrong_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no image with id 77"):
        evaluate_coco(GroundTruth(truth()), [found(77, 5, 0, 0, 10, 10)])
    with pytest.raises(InvalidInput, match="no list 'annotations'"):
        GroundTruth({"images": []} | {"categories": []})
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(InvalidInput, match="broken.json cannot be read"):
        GroundTruth.load(tmp_path / "broken.json")
    with pytest.raises(InvalidInput, match="nowhere.json cannot be read"):
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
