"""Final detections compared with plain loops."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from maskrcnn_trainer.model.detections import detect, most_candidates

pytestmark = pytest.mark.trainer

IMAGE_SIZE = (128, 160)
WEIGHTS = (10.0, 10.0, 5.0, 5.0)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    height, width = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if height <= 0 or width <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return height * width / (sum(areas) - height * width)


def detections_of_an_image(
    logits: np.ndarray,
    deltas: np.ndarray,
    proposals: np.ndarray,
    proposal_scores: np.ndarray,
    count: int,
    *,
    threshold: float = 0.0,
    limit: int = 1000,
    least: float = 0.0,
    cap: float = math.inf,
) -> list[tuple[float, int, np.ndarray]]:
    pairs = []
    for roi, row in enumerate(logits.astype(np.float64)):
        probabilities = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
        y1, x1, y2, x2 = (float(c) for c in proposals[roi])
        if proposal_scores[roi] == 0 or y2 <= y1 or x2 <= x1:
            continue
        pairs += [(-probabilities[c], roi, c) for c in range(1, len(row)) if probabilities[c] > threshold]
    kept: list[tuple[float, int, np.ndarray]] = []
    for negative, roi, c in sorted(pairs)[:limit]:
        y1, x1, y2, x2 = (float(p) for p in proposals[roi])
        dy, dx, dh, dw = (float(d) / w for d, w in zip(deltas[roi, c], WEIGHTS, strict=True))
        y, x = (y1 + y2) / 2 + dy * (y2 - y1), (x1 + x2) / 2 + dx * (x2 - x1)
        h, w = (y2 - y1) * math.exp(max(dh, -cap)), (x2 - x1) * math.exp(max(dw, -cap))
        box = np.clip([y - h / 2, x - w / 2, y + h / 2, x + w / 2], 0, [*IMAGE_SIZE, *IMAGE_SIZE])
        side = min(box[2] - box[0], box[3] - box[1])
        if side > 0 and side >= least and all(k[1] != c or overlap(k[2], box) <= 0.5 for k in kept):
            kept.append((-negative, c, box))
    return kept[:count]


def head_outputs(rois: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2, (2, rois, classes)).astype(np.float32)
    deltas = generator.normal(0, 1, (2, rois, classes, 4)).astype(np.float32)
    corner, size = generator.uniform(-10, 120, (2, rois, 2)), generator.uniform(8, 60, (2, rois, 2))
    boxes = np.clip(np.concatenate([corner, corner + size], axis=-1), 0, [*IMAGE_SIZE, *IMAGE_SIZE]).astype(np.float32)
    scores = generator.uniform(0.1, 1, (2, rois)).astype(np.float32)
    scores[:, ::7] = 0
    boxes[:, 3::7] = 0
    return logits, deltas, boxes, scores


Found = tuple[tf.Tensor, tf.Tensor, tf.Tensor]


def check_padding(found: Found, image: int, used: int) -> None:
    for part in found:
        np.testing.assert_array_equal(part[image, used:], 0)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize(("rois", "classes", "count"), [(60, 4, 100), (300, 6, 100), (5, 3, 20)])
def test_the_same_as_plain_loops(jit_compile: bool, rois: int, classes: int, count: int) -> None:
    """Cases: 180 pairs; 1,500 pairs, of which 1,000 are used; 10 pairs for 20 detections."""

    @tf.function(jit_compile=jit_compile)
    def run(*inputs: tf.Tensor) -> Found:
        return detect(*inputs, IMAGE_SIZE, WEIGHTS, count, 0.5, compiled=jit_compile)

    inputs = head_outputs(rois, classes)
    found = boxes, labels, scores = run(*inputs)
    assert boxes.shape == (2, count, 4)
    assert labels.dtype == tf.int32
    for image in range(2):
        expected = detections_of_an_image(*(part[image] for part in inputs), count)
        used = len(expected)
        assert used > 0
        np.testing.assert_array_equal(labels[image, :used], [c for _, c, _ in expected])
        np.testing.assert_allclose(scores[image, :used], [score for score, _, _ in expected], atol=1e-6)
        np.testing.assert_allclose(boxes[image, :used], [box for _, _, box in expected], atol=1e-3)
        check_padding(found, image, used)


@pytest.mark.parametrize(
    ("jit_compile", "settings", "expected"),
    [
        (False, {"score_threshold": 0.3}, {"threshold": 0.3}),
        (False, {"candidate_limit": 7}, {"limit": 7}),
        (False, {"candidate_limit": None}, {"limit": 100_000}),
        (False, {"score_threshold": 0.3, "candidate_limit": None}, {"threshold": 0.3, "limit": 100_000}),
        (False, {"least_side": 20.0}, {"least": 20.0}),
        (
            True,
            {"score_threshold": 0.1, "candidate_limit": 100_000, "least_side": 20.0},
            {"threshold": 0.1, "limit": 100_000, "least": 20.0},
        ),
    ],
)
def test_settings_are_those_of_plain_loops(
    jit_compile: bool, settings: dict[str, Any], expected: dict[str, Any]
) -> None:
    @tf.function(jit_compile=jit_compile)
    def run(*inputs: tf.Tensor, **settings: Any) -> Found:
        return detect(*inputs, IMAGE_SIZE, WEIGHTS, 1000, 0.5, compiled=jit_compile, **settings)

    inputs = head_outputs(300, 6)
    found = boxes, labels, scores = run(*inputs, **settings)
    for image in range(2):
        parts = [part[image] for part in inputs]
        rows = detections_of_an_image(*parts, 1000, **expected)
        assert [c for _, c, _ in rows] != [c for _, c, _ in detections_of_an_image(*parts, 1000)]
        np.testing.assert_array_equal(labels[image, : len(rows)], [c for _, c, _ in rows])
        np.testing.assert_allclose(scores[image, : len(rows)], [score for score, _, _ in rows], atol=1e-6)
        np.testing.assert_allclose(boxes[image, : len(rows)], [box for _, _, box in rows], atol=1e-3)
        check_padding(found, image, len(rows))


@pytest.mark.parametrize(
    ("limit", "threshold", "expected"),
    [(None, 0.0, 80_000), (None, 0.05, 20_000), (None, 0.3, 3_000), (None, 0.001, 80_000), (3839, 0.05, 3839)],
)
def test_at_most_1_by_threshold_classes_of_a_box_are_candidates(
    limit: int | None, threshold: float, expected: int
) -> None:
    assert most_candidates(1000, 80, limit, threshold) == expected


def test_shrinking_of_detections_is_capped_if_asked_for() -> None:
    logits, deltas, proposals, scores = head_outputs(20, 4)
    deltas[..., 2:] -= 5.0 * 4.5
    boxes, labels, _ = detect(logits, deltas, proposals, scores, IMAGE_SIZE, WEIGHTS, 40, 0.5, clip_small_deltas=True)
    for image in range(2):
        parts = [part[image] for part in (logits, deltas, proposals, scores)]
        rows = detections_of_an_image(*parts, 40, cap=math.log(1000 / 16))
        np.testing.assert_array_equal(labels[image, : len(rows)], [c for _, c, _ in rows])
        np.testing.assert_allclose(boxes[image, : len(rows)], [box for _, _, box in rows], atol=1e-3)


def test_only_the_thousand_best_pairs_enter() -> None:
    """The thousand best pairs are copies of one box, so the other box, which ranks after them, is ignored."""
    rois = 1200
    logits = np.full((1, rois, 2), 0.0, np.float32)
    logits[0, :, 1] = np.linspace(5, 4, rois)
    proposals = np.zeros((1, rois, 4), np.float32)
    proposals[0, :1000] = [10, 10, 50, 50]
    proposals[0, 1000:] = [60, 60, 100, 100]
    deltas = np.zeros((1, rois, 2, 4), np.float32)
    found = detect(logits, deltas, proposals, np.ones((1, rois), np.float32), IMAGE_SIZE, WEIGHTS, 10, 0.5)
    np.testing.assert_allclose(found[0][0, 0], [10, 10, 50, 50], atol=1e-4)
    check_padding(found, 0, 1)


def test_of_equal_scores_the_first_proposal_then_the_first_class_wins() -> None:
    proposals = np.array([[[0, 0, 20, 20], [40, 40, 60, 60], [80, 80, 100, 100]]], np.float32)
    logits, deltas = np.zeros((1, 3, 3), np.float32), np.zeros((1, 3, 3, 4), np.float32)
    boxes, labels, scores = detect(logits, deltas, proposals, np.ones((1, 3), np.float32), IMAGE_SIZE, WEIGHTS, 5, 0.5)
    np.testing.assert_array_equal(labels[0], [1, 2, 1, 2, 1])
    np.testing.assert_allclose(boxes[0, :, 0], [0, 0, 40, 40, 80], atol=1e-5)
    np.testing.assert_allclose(scores[0], np.full(5, 1 / 3), rtol=1e-6)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_padding_and_broken_numbers_are_never_detected(jit_compile: bool) -> None:
    @tf.function(jit_compile=jit_compile)
    def run(*inputs: tf.Tensor) -> Found:
        return detect(*inputs, IMAGE_SIZE, WEIGHTS, 10, 0.5, compiled=jit_compile)

    logits, deltas, boxes, scores = head_outputs(20, 4)
    for broken in (
        (logits, deltas, boxes, scores * 0),
        (logits, deltas, boxes * 0, scores),
        (logits * np.nan, deltas, boxes, scores),
    ):
        found = run(*broken)
        for image in range(2):
            check_padding(found, image, 0)


@pytest.mark.parametrize("count", [20, 2000])
def test_detections_for_a_gpu_are_those_of_the_cpu(
    on_cpu_and_for_gpu: Callable[[Callable[[], Any]], tuple[Any, Any]], count: int
) -> None:
    outputs = [tf.constant(value) for value in head_outputs(40, 5, seed=4)]

    def compute() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        return detect(*outputs, IMAGE_SIZE, WEIGHTS, count, 0.5)

    on_cpu, for_gpu = on_cpu_and_for_gpu(compute)
    assert for_gpu[1].dtype == tf.int32
    assert for_gpu[1].shape == (2, count)
    for ours, theirs in zip(for_gpu, on_cpu, strict=True):
        np.testing.assert_array_equal(ours, theirs)
