"""Proposals compared with plain loops."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from maskrcnn_trainer.model.anchors import AnchorRounding, anchors_per_level, generate_anchors
from maskrcnn_trainer.model.proposals import propose

pytestmark = pytest.mark.trainer

IMAGE_SIZE = (64, 96)


@dataclass
class Geometry:
    min_level: int = 2
    max_level: int = 5
    num_scales: int = 1
    aspect_ratios: tuple[tuple[float, float], ...] = ((1.0, 1.0), (1.4, 0.7), (0.7, 1.4))
    anchor_scale: float = 4.0
    anchor_offset: float = 0.5
    anchor_rounding: AnchorRounding = "none"


ANCHORS = generate_anchors(Geometry(), IMAGE_SIZE)
LEVEL_SIZES = anchors_per_level(Geometry(), IMAGE_SIZE)


def decoded(anchor: np.ndarray, delta: np.ndarray, clip_small: bool = False) -> np.ndarray:
    y1, x1, y2, x2 = (float(c) for c in anchor)
    dy, dx, dh, dw = (float(d) for d in delta)
    cap = math.log(1000 / 16)
    y, x = (y1 + y2) / 2 + dy * (y2 - y1), (x1 + x2) / 2 + dx * (x2 - x1)
    least = -cap if clip_small else -math.inf
    h, w = ((y2 - y1) * math.exp(max(min(dh, cap), least)), (x2 - x1) * math.exp(max(min(dw, cap), least)))
    box = np.array([y - h / 2, x - w / 2, y + h / 2, x + w / 2])
    return np.clip(box, 0, [*IMAGE_SIZE, *IMAGE_SIZE])


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    height, width = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if height <= 0 or width <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return height * width / (sum(areas) - height * width)


def proposals_of_an_image(
    logits: np.ndarray,
    deltas: np.ndarray,
    *,
    pre: int,
    post: int,
    threshold: float,
    min_size: float,
    ranks: np.ndarray | None = None,
    clip_small: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    ranks = logits if ranks is None else ranks
    survivors: list[tuple[float, float, np.ndarray]] = []
    first = 0
    for size in LEVEL_SIZES.values():
        order = sorted(range(first, first + size), key=lambda i: (-ranks[i], i))[:pre]
        kept: list[tuple[float, float, np.ndarray]] = []
        for i in order:
            box = decoded(ANCHORS[i], deltas[i], clip_small)
            side = min(box[2] - box[0], box[3] - box[1])
            if side > 0 and side >= min_size and all(overlap(box, other) <= threshold for *_, other in kept):
                kept.append((float(ranks[i]), float(logits[i]), box))
        survivors += kept
        first += size
    survivors.sort(key=lambda survivor: -survivor[0])
    boxes, scores = np.zeros((post, 4)), np.zeros(post)
    for row, (_, logit, box) in enumerate(survivors[:post]):
        boxes[row], scores[row] = box, 1 / (1 + math.exp(-logit))
    return boxes, scores


def random_outputs(seed: int, spread: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 3, (2, len(ANCHORS))).astype(np.float32)
    return logits, generator.normal(0, spread, (2, len(ANCHORS), 4)).astype(np.float32)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize(
    ("pre", "post", "min_size", "spread"), [(60, 40, 0.0, 0.3), (1000, 50, 8.0, 0.3), (20, 100, 10.0, 2.0)]
)
def test_the_same_as_plain_loops(jit_compile: bool, pre: int, post: int, min_size: float, spread: float) -> None:
    @tf.function(jit_compile=jit_compile)
    def run(logits: tf.Tensor, deltas: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return propose(
            logits,
            deltas,
            ANCHORS,
            LEVEL_SIZES,
            IMAGE_SIZE,
            pre_nms_topn=pre,
            post_nms_topn=post,
            nms_threshold=0.7,
            min_size=min_size,
            compiled=jit_compile,
        )

    logits, deltas = random_outputs(3, spread)
    boxes, scores = run(logits, deltas)
    assert boxes.shape == (2, post, 4)
    for image in range(2):
        expected_boxes, expected_scores = proposals_of_an_image(
            logits[image], deltas[image], pre=pre, post=post, threshold=0.7, min_size=min_size
        )
        np.testing.assert_allclose(scores[image], expected_scores, atol=1e-6)
        np.testing.assert_allclose(boxes[image], expected_boxes, atol=1e-3)


@pytest.mark.parametrize(("jit_compile", "pre"), [(False, 1000), (True, 40)])
def test_scores_that_saturate_are_ranked_by_anchor(jit_compile: bool, pre: int) -> None:
    """Of logits from 11 on, which have 70 different scores here, the order is lost."""

    @tf.function(jit_compile=jit_compile)
    def run(logits: tf.Tensor, deltas: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return propose(
            logits,
            deltas,
            ANCHORS,
            LEVEL_SIZES,
            IMAGE_SIZE,
            pre_nms_topn=pre,
            post_nms_topn=60,
            nms_threshold=0.7,
            rank_by_sigmoid=True,
            compiled=jit_compile,
        )

    # exp(-logit) is near a multiple of float32's step above 1, so every library rounds 1 + exp(-logit) to the same.
    generator = np.random.default_rng(7)
    steps = generator.integers(0, 70, (2, len(ANCHORS)))
    logits = -np.log((np.maximum(steps, 0.2) + generator.uniform(-0.1, 0.1, steps.shape)) * 2.0**-23)
    logits, ranks = logits.astype(np.float32), -steps.astype(np.float32)
    _, deltas = random_outputs(4)
    boxes, scores = run(logits, deltas)
    for image in range(2):
        expected_boxes, expected_scores = proposals_of_an_image(
            logits[image], deltas[image], pre=pre, post=60, threshold=0.7, min_size=0.0, ranks=ranks[image]
        )
        np.testing.assert_allclose(scores[image], expected_scores, atol=1e-6)
        np.testing.assert_allclose(boxes[image], expected_boxes, atol=1e-3)


def test_missing_proposals_are_zero_if_ranked_by_scores() -> None:
    """The first image has none: a logit of -200 has a score of 0, and one that isn't a number is missing."""
    logits = np.full((2, len(ANCHORS)), -200.0, np.float32)
    logits[0, ::2] = np.nan
    logits[1, [5, 700, 900]] = [2.0, 20.0, 30.0]
    boxes, scores = propose(
        logits,
        np.zeros((2, len(ANCHORS), 4), np.float32),
        ANCHORS,
        LEVEL_SIZES,
        IMAGE_SIZE,
        pre_nms_topn=50,
        post_nms_topn=30,
        nms_threshold=1.0,
        rank_by_sigmoid=True,
    )
    np.testing.assert_array_equal(boxes[0], np.zeros((30, 4)))
    np.testing.assert_array_equal(scores[0], np.zeros(30))
    np.testing.assert_allclose(scores[1], [1.0, 1.0, 1 / (1 + math.exp(-2.0)), *[0.0] * 27], rtol=1e-6)
    np.testing.assert_allclose(boxes[1, :3], np.clip(ANCHORS[[700, 900, 5]], 0, [*IMAGE_SIZE] * 2), atol=1e-4)


def test_shrinking_of_proposals_is_capped_if_asked_for() -> None:
    logits, deltas = random_outputs(5)
    deltas[..., 2:] -= 4.5
    boxes, scores = propose(
        logits,
        deltas,
        ANCHORS,
        LEVEL_SIZES,
        IMAGE_SIZE,
        pre_nms_topn=60,
        post_nms_topn=40,
        nms_threshold=0.7,
        clip_small_deltas=True,
    )
    for image in range(2):
        expected_boxes, expected_scores = proposals_of_an_image(
            logits[image], deltas[image], pre=60, post=40, threshold=0.7, min_size=0.0, clip_small=True
        )
        np.testing.assert_allclose(scores[image], expected_scores, atol=1e-6)
        np.testing.assert_allclose(boxes[image], expected_boxes, atol=1e-3)


def test_limits_are_per_level_before_and_over_all_after_suppression() -> None:
    """Level 2 has the best logits, but is limited like the others."""
    logits, deltas = random_outputs(0)
    logits[:, : LEVEL_SIZES[2]] += 50
    _, scores = propose(
        logits, deltas * 0, ANCHORS, LEVEL_SIZES, IMAGE_SIZE, pre_nms_topn=5, post_nms_topn=20, nms_threshold=1.0
    )
    np.testing.assert_array_equal((scores > 0.9999).numpy().sum(axis=1), [5, 5])


def test_equal_logits_keep_the_order_of_the_anchors() -> None:
    logits = np.zeros((1, len(ANCHORS)), np.float32)
    boxes, scores = propose(
        logits,
        np.zeros((1, len(ANCHORS), 4), np.float32),
        ANCHORS,
        LEVEL_SIZES,
        IMAGE_SIZE,
        pre_nms_topn=6,
        post_nms_topn=12,
        nms_threshold=1.0,
    )
    second = LEVEL_SIZES[2]
    expected = np.clip(np.concatenate([ANCHORS[:6], ANCHORS[second : second + 6]]), 0, [*IMAGE_SIZE, *IMAGE_SIZE])
    np.testing.assert_allclose(boxes[0], expected, atol=1e-4)
    np.testing.assert_array_equal(scores[0], np.full(12, 0.5))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_missing_proposals_are_zero(jit_compile: bool) -> None:
    """All boxes are outside of the image, far too small, not a number, or have a score of 0."""

    @tf.function(jit_compile=jit_compile)
    def run(logits: tf.Tensor, deltas: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return propose(
            logits,
            deltas,
            ANCHORS,
            LEVEL_SIZES,
            IMAGE_SIZE,
            pre_nms_topn=50,
            post_nms_topn=30,
            nms_threshold=0.7,
            min_size=1.0,
            compiled=jit_compile,
        )

    logits, deltas = random_outputs(1)
    off, tiny = np.zeros_like(deltas), np.zeros_like(deltas)
    off[..., 0] = 100.0
    tiny[..., 2] = -10.0
    cases = [(logits, off), (logits, tiny), (logits * np.nan, deltas * np.nan), (logits * 0 - 200, deltas)]
    for case_logits, case_deltas in cases:
        boxes, scores = run(case_logits.astype(np.float32), case_deltas)
        np.testing.assert_array_equal(boxes, np.zeros((2, 30, 4)))
        np.testing.assert_array_equal(scores, np.zeros((2, 30)))


def test_no_gradient_flows() -> None:
    logits, deltas = (tf.constant(part) for part in random_outputs(2))
    with tf.GradientTape() as tape:
        tape.watch([logits, deltas])
        boxes, scores = propose(
            logits, deltas, ANCHORS, LEVEL_SIZES, IMAGE_SIZE, pre_nms_topn=10, post_nms_topn=10, nms_threshold=0.7
        )
        total = tf.reduce_sum(boxes) + tf.reduce_sum(scores)
    assert tape.gradient(total, [logits, deltas]) == [None, None]


def test_level_sizes_that_do_not_sum_to_the_anchors_are_refused() -> None:
    logits, deltas = random_outputs(2)
    with pytest.raises(ValueError, match="sum to 10"):
        propose(logits, deltas, ANCHORS, [5, 5], IMAGE_SIZE, pre_nms_topn=10, post_nms_topn=10, nms_threshold=0.7)


def test_proposals_for_a_gpu_are_those_of_the_cpu(
    on_cpu_and_for_gpu: Callable[[Callable[[], Any]], tuple[Any, Any]],
) -> None:
    generator = np.random.default_rng(11)
    logits = tf.constant(generator.normal(size=(2, len(ANCHORS))), tf.float32)
    deltas = tf.constant(generator.normal(scale=0.3, size=(2, len(ANCHORS), 4)), tf.float32)

    def compute() -> tuple[tf.Tensor, tf.Tensor]:
        return propose(
            logits, deltas, ANCHORS, LEVEL_SIZES, IMAGE_SIZE, pre_nms_topn=100, post_nms_topn=60, nms_threshold=0.7
        )

    on_cpu, for_gpu = on_cpu_and_for_gpu(compute)
    assert float(tf.reduce_min(on_cpu[1])) > 0.0
    for ours, theirs in zip(for_gpu, on_cpu, strict=True):
        np.testing.assert_array_equal(ours, theirs)
