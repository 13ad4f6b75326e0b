"""Evaluation over batches and ranks with synthetic detections."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.unit.evaluation.coco import evaluate_coco

from maskrcnn_trainer.detector import Detections
from maskrcnn_trainer.errors import InvalidInput, TryAgain
from maskrcnn_trainer.evaluation.coco_metrics import GroundTruth
from maskrcnn_trainer.evaluation.evaluator import (
    EvaluationResult,
    Evaluator,
    log_metrics,
    write_evaluation,
)

SIDE = 64
NUM_IMAGES = 7


class RawIds:
    def to_raw(self, model_id: int) -> int:
        return model_id * 10


def object_box(image: int) -> tuple[int, int, int, int]:
    """Return x, y, width, height of the single object of an image of 32x32 pixels."""
    return 2 + image, 3, 12, 10 + image


@pytest.fixture
def ground_truth() -> GroundTruth:
    annotations = []
    for image in range(NUM_IMAGES):
        x, y, width, height = object_box(image)
        polygon = [x, y, x + width, y, x + width, y + height, x, y + height]
        annotations.append(
            {"id": image, "image_id": 100 + image, "category_id": 10 + 10 * (image % 2), "bbox": [x, y, width, height],
             "area": width * height, "iscrowd": 0, "segmentation": [polygon]}
        )  # fmt: skip
    return GroundTruth(
        {
            "images": [{"id": 100 + image, "width": 32, "height": 32} for image in range(NUM_IMAGES + 2)],
            "categories": [{"id": 10, "name": "ten"}, {"id": 20, "name": "twenty"}],
            "annotations": annotations,
        }
    )


NOTHING = Detections(
    np.zeros((0, 4), np.float32), np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros((0, 28, 28), np.float32)
)


def detect(images: NDArray[Any]) -> list[Detections]:
    """Detect the object of each image, whose number is in its first pixel."""
    found = []
    for image in images[:, 0, 0, 0].astype(int):
        x, y, width, height = (2 * value for value in object_box(image))
        box = np.array([[y, x, y + height, x + width]], np.float32)
        classes, scores = np.array([1 + image % 2], np.int32), np.array([0.9], np.float32)
        found.append(Detections(box, classes, scores, np.full((1, 28, 28), 20.0, np.float32)))
    return found


def batches(numbers: list[int], size: int = 2) -> Iterator[dict[str, Any]]:
    for start in range(0, len(numbers), size):
        chosen = numbers[start : start + size]
        padded = chosen + [chosen[-1]] * (size - len(chosen))
        images = np.zeros((size, SIDE, SIDE, 3), np.float32)
        images[:, 0, 0, 0] = padded
        yield {
            "images": images,
            "image_info": np.tile(np.array([SIDE, SIDE, 0.5, 32, 32], np.float32), (size, 1)),
            "source_id": np.array([str(100 + number).encode() for number in padded], object),
            "valid": np.arange(size) < len(chosen),
        }


def test_every_image_counts_once(ground_truth: GroundTruth, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    evaluator = Evaluator(detect, lambda: batches(list(range(NUM_IMAGES))), RawIds(), ground_truth)
    result = evaluator.evaluate(keep_results=True)
    assert result is not None
    assert result.num_images == len(result.results) == NUM_IMAGES
    assert {item["category_id"] for item in result.results} == {10, 20}
    assert result.metrics["AP"] == result.metrics["mask_AP50"] == pytest.approx(1.0)
    assert set(result.per_class) == {10, 20}
    assert result.previews == []
    assert "Evaluating: 7 images" in caplog.text
    again = evaluator.evaluate(keep_results=True)
    assert again is not None
    assert again.results == result.results


def test_places_of_images_are_those_of_their_first_records(ground_truth: GroundTruth) -> None:
    result = Evaluator(detect, lambda: batches([4, 1, 4, 0, 1, 2], size=4), RawIds(), ground_truth).evaluate()
    assert result is not None
    assert list(result.images.items()) == [(104, 0), (101, 1), (100, 3), (102, 5)]


def gang(
    shares: list[list[int]], ground_truth: GroundTruth, **settings: Any
) -> tuple[EvaluationResult, list[NDArray[np.uint8]]]:
    """Evaluate each share of images on its own rank with its ground truth; return the data that rank 0 collected."""
    sent: list[NDArray[np.uint8]] = []

    def only_sends(own: NDArray[np.uint8]) -> None:
        sent.append(own)

    for rank, share in enumerate(shares[1:], start=1):
        part = ground_truth.restricted_to(100 + image for image in share)
        other = Evaluator(
            detect, functools.partial(batches, share), RawIds(), part, rank=rank, collect=only_sends, **settings
        )
        assert other.evaluate() is None
    part = ground_truth.restricted_to(100 + image for image in shares[0])
    first = Evaluator(
        detect, lambda: batches(shares[0]), RawIds(), part, collect=lambda own: [own, *sent], **settings
    ).evaluate()
    assert first is not None
    return first, sent


def test_ranks_are_joined_once_and_an_image_seen_twice_counts_once(ground_truth: GroundTruth) -> None:
    alone = Evaluator(detect, lambda: batches(list(range(NUM_IMAGES))), RawIds(), ground_truth).evaluate()
    assert alone is not None
    first, sent = gang([[0, 2, 4, 6, 6], [1, 3, 5, 6]], ground_truth)
    assert len(sent) == 1
    assert (first.metrics, first.per_class) == (alone.metrics, alone.per_class)
    assert first.num_images == first.num_detections == NUM_IMAGES


def test_more_ranks_than_images_give_the_metrics_of_one(ground_truth: GroundTruth) -> None:
    alone = Evaluator(detect, lambda: batches([0, 1]), RawIds(), ground_truth).evaluate()
    assert alone is not None
    first, sent = gang([[], [1], [0]], ground_truth)
    assert len(sent) == 2
    assert first.metrics == alone.metrics
    assert first.num_images == 2


def test_ranks_send_a_few_bytes_a_detection(ground_truth: GroundTruth) -> None:
    # a detection as a pickled COCO result with its run lengths has at least 200 bytes
    _, (few,) = gang([[0], [1, 2]], ground_truth)
    _, (many,) = gang([[0], [1, 2, 3, 4, 5, 6]], ground_truth)
    assert len(many) - len(few) <= 4 * 100


def test_detections_are_kept_on_request_only(ground_truth: GroundTruth) -> None:
    evaluator = Evaluator(detect, lambda: batches(list(range(NUM_IMAGES))), RawIds(), ground_truth)
    plain, kept = evaluator.evaluate(), evaluator.evaluate(keep_results=True)
    assert plain is not None
    assert kept is not None
    assert (plain.results, plain.num_detections) == ([], NUM_IMAGES)
    assert [result["image_id"] for result in kept.results] == [100 + image for image in range(NUM_IMAGES)]


def test_ground_truth_is_restricted_to_images_seen_not_to_those_with_detections(ground_truth: GroundTruth) -> None:
    def blind(images: NDArray[Any]) -> list[Detections]:
        return [
            NOTHING if image == 2 else found for image, found in zip(images[:, 0, 0, 0], detect(images), strict=True)
        ]

    result = Evaluator(blind, lambda: batches([0, 2]), RawIds(), ground_truth).evaluate()
    assert result is not None
    assert result.num_images == 2
    assert result.metrics["ARmax100"] == pytest.approx(0.5)


def test_interim_metrics_are_of_the_images_so_far_and_change_nothing(
    ground_truth: GroundTruth, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    numbers = list(range(NUM_IMAGES))
    plain = Evaluator(detect, lambda: batches(numbers), RawIds(), ground_truth).evaluate()
    assert "After" not in caplog.text
    told = Evaluator(detect, lambda: batches(numbers), RawIds(), ground_truth, report_frequency=2).evaluate()
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("After")]
    expected = "AP 1.0000, AP50 1.0000, mask_AP 1.0000, mask_AP50 1.0000"
    assert lines == [f"After 4 images: {expected}", f"After 7 images: {expected}"]
    assert plain is not None
    assert told is not None
    assert told.metrics == plain.metrics


def test_classes_without_ground_truth_are_not_logged(
    ground_truth: GroundTruth, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    evaluated = evaluate_coco(ground_truth, [], [100, 102])
    log_metrics(evaluated, ground_truth.category_names)
    assert set(evaluated.per_class) == {10, 20}
    assert [line.split()[1] for line in caplog.messages if line.startswith("class ")] == ["ten"]


def test_previews_are_the_first_images(ground_truth: GroundTruth) -> None:
    result = Evaluator(detect, lambda: batches([4, 1, 2, 3]), RawIds(), ground_truth).evaluate(previews=3)
    assert result is not None
    assert [preview.results[0]["image_id"] for preview in result.previews] == [104, 101, 102]
    assert all(preview.image.shape == (32, 32, 3) for preview in result.previews)
    drawn = result.previews[0].drawn({10: "ten", 20: "twenty"})
    assert drawn.dtype == np.uint8
    assert drawn.shape == (32, 32, 3)


def test_metrics_and_detections_are_written_as_files(ground_truth: GroundTruth, tmp_path: Path) -> None:
    result = Evaluator(detect, lambda: batches(list(range(NUM_IMAGES))), RawIds(), ground_truth).evaluate(
        keep_results=True
    )
    assert result is not None
    metrics_path, detections_path = write_evaluation(tmp_path / "out", result, ground_truth.category_names, step=40)
    metrics = json.loads(metrics_path.read_text())
    assert metrics["step"] == 40
    assert metrics["metrics"] == result.metrics
    assert metrics["num_images"] == metrics["num_detections"] == NUM_IMAGES
    assert [item["name"] for item in metrics["per_class"]] == ["ten", "twenty"]
    assert metrics["per_class"][0]["mask_AP"] == pytest.approx(1.0)
    stored = json.loads(detections_path.read_text())
    seen = [100 + image for image in range(NUM_IMAGES)]
    assert evaluate_coco(ground_truth, stored, seen).values == result.metrics
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["detections.json", "metrics.json"]


def test_nothing_is_written_once_another_run_has_taken_over(ground_truth: GroundTruth, tmp_path: Path) -> None:
    result = Evaluator(detect, lambda: batches([0]), RawIds(), ground_truth).evaluate()
    assert result is not None

    def taken_over() -> None:
        raise TryAgain("another run took over")

    with pytest.raises(TryAgain):
        write_evaluation(tmp_path, result, {}, before_write=taken_over)
    assert list(tmp_path.iterdir()) == []


def test_image_missing_from_the_ground_truth_is_refused(ground_truth: GroundTruth) -> None:
    with pytest.raises(InvalidInput, match="no image with id '150'"):
        Evaluator(detect, lambda: batches([50]), RawIds(), ground_truth).evaluate()


def test_empty_data_set_is_refused(ground_truth: GroundTruth) -> None:
    with pytest.raises(InvalidInput, match="no image to evaluate"):
        Evaluator(detect, lambda: iter(()), RawIds(), ground_truth).evaluate()
