"""Checked detections and metrics."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from tests.unit.report import scenes

from maskrcnn_trainer.report.inputs import detections
from maskrcnn_trainer.report.inputs.detections import are_run_lengths, read_detections, read_metrics
from maskrcnn_trainer.report.inputs.files import NotRecorded, Unreadable

SIZES = {1: (scenes.SIDE, scenes.SIDE), "a": (scenes.SIDE, scenes.SIDE)}
FOUND = scenes.found(1, 1, (10, 10, 20, 20), 0.5)


def written(folder: Path, content: Any) -> Path:
    (folder / "detections.json").write_text(json.dumps(content))
    return folder


def test_detections_are_returned_as_they_are(tmp_path: Path) -> None:
    results = [FOUND, scenes.found(1, 2, (0, 0, 200, 200), 1), scenes.found(1, 1, (3, 3, 1, 1), 0, mask=False)]
    results.append(results[0] | {"image_id": "a"})
    assert read_detections(written(tmp_path, results), SIZES) == results  # type: ignore[arg-type]


def test_no_detection_is_a_valid_result(tmp_path: Path) -> None:
    assert read_detections(written(tmp_path, []), SIZES) == []  # type: ignore[arg-type]


def test_missing_file_is_not_recorded(tmp_path: Path) -> None:
    with pytest.raises(NotRecorded, match="doesn't exist"):
        read_detections(tmp_path, {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 2}, "image_id"),
        ({"image_id": True}, "image_id"),
        ({"image_id": [1]}, "image_id"),
        ({"category_id": "1"}, "category_id"),
        ({"category_id": 2**40}, "category_id"),
        ({"score": 1.5}, "score"),
        ({"score": float("nan")}, "score"),
        ({"score": "0.5"}, "score"),
        ({"bbox": [1, 2, 3]}, "bbox"),
        ({"bbox": [1, 2, 3, float("inf")]}, "bbox"),
        ({"bbox": [1, 2, 3, -4]}, "bbox"),
        ({"bbox": [1, 2, 3, 1e30]}, "bbox"),
        ({"bbox": {"x": 1}}, "bbox"),
        ({"segmentation": [[1, 1, 5, 5, 9, 1]]}, "compressed run lengths"),
        ({"segmentation": {"size": [200, 200], "counts": [40000]}}, "compressed run lengths"),
        ({"segmentation": {"size": [200, 200], "counts": "é"}}, "compressed run lengths"),
        ({"segmentation": {"size": [100, 400], "counts": "PXQ1"}}, "has size"),
        ({"segmentation": {"size": [200.0, 200], "counts": "PXQ1"}}, "has size"),
        ({"segmentation": {"size": [200, 200], "counts": "PXQ1"}}, "isn't valid run lengths"),
        ({"segmentation": {"size": [200, 200], "counts": ""}}, "isn't valid run lengths"),
    ],
)
def test_invalid_detection_is_refused_with_its_position(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    folder = written(tmp_path, [FOUND, copy.deepcopy(FOUND) | change])
    with pytest.raises(Unreadable, match=rf"/detections.json: .*entry.*{message}|mask from entry 0 on {message}"):
        read_detections(folder, SIZES)  # type: ignore[arg-type]


@pytest.mark.parametrize("content", ["{}", "[1]", "[[]]", "[", "NaN", "[" * 5000])
def test_other_content_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "detections.json").write_text(content)
    with pytest.raises(Unreadable):
        read_detections(tmp_path, SIZES)  # type: ignore[arg-type]


def test_larger_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detections, "LARGEST_DETECTIONS", 100)
    with pytest.raises(Unreadable, match="at most 100 bytes"):
        read_detections(written(tmp_path, [FOUND]), SIZES)  # type: ignore[arg-type]


def random_masks(count: int) -> tuple[list[bytes], list[int]]:
    generator = np.random.default_rng(3)
    texts, pixels = [], []
    for _ in range(count):
        height, width = (int(side) for side in generator.integers(1, 60, 2))
        mask = (generator.random((height, width)) < generator.random()).astype(np.uint8)
        texts.append(coco_mask.encode(np.asfortranarray(mask))["counts"])
        pixels.append(height * width)
    return texts, pixels


def test_run_lengths_of_any_mask_are_valid() -> None:
    texts, pixels = random_masks(200)
    assert are_run_lengths(texts, pixels)
    assert all(are_run_lengths([text], [count]) for text, count in zip(texts, pixels, strict=True))


def test_one_wrong_mask_among_many_is_found() -> None:
    texts, pixels = random_masks(50)
    for position in range(50):
        assert not are_run_lengths(texts, [*pixels[:position], pixels[position] + 1, *pixels[position + 1 :]])


@pytest.mark.parametrize(
    "text",
    [
        b"PXQ",  # ends in the middle of a number
        b"PXQ1/",  # a character below code 48
        b"PXQ1p",  # one above code 111
        b"PPPPPPPP0",  # a number of more than 35 bits
        b"5P~O5",  # a negative run
    ],
)
def test_run_lengths_on_which_pycocotools_would_read_or_write_elsewhere_are_refused(text: bytes) -> None:
    assert not are_run_lengths([text], [10])


def test_negative_runs_that_add_up_are_refused() -> None:
    # 20, -5, 25 pixels
    assert not are_run_lengths([b"d0KI1"], [40])
    assert not are_run_lengths([b"d0KI"[:3] + b"i0"], [40])


def test_metrics_have_only_finite_numbers(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(
        '{"metrics": {"AP": 0.5, "AP50": NaN, "x": "1", "y": true, "big": 1' + "0" * 400 + '}, "num_images": 4,'
        ' "per_class": [{"category_id": 3, "name": "a", "AP": 0.25}, {"category_id": -1}, 5], "images_per_second": 2}'
    )
    found = read_metrics(tmp_path)
    assert found.values == {"AP": 0.5}
    assert found.by_class == {3: {"AP": 0.25}}
    assert (found.images, found.images_per_second) == (4, 2.0)


def test_metrics_of_other_types_are_not_recorded(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"metrics": [1], "num_images": -2, "per_class": {"a": 1}}')
    found = read_metrics(tmp_path)
    assert (found.values, found.by_class, found.images, found.images_per_second) == ({}, {}, None, None)
