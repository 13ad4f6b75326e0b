from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from maskrcnn_trainer.data.rpn_targets import (
    RpnTargetSettings,
    match_anchors,
    rpn_targets,
    sample_anchors,
)
from maskrcnn_trainer.model.anchors import generate_anchors

pytestmark = pytest.mark.trainer

SETTINGS = RpnTargetSettings(positive_overlap=0.7, negative_overlap=0.3, batch_size_per_im=32, fg_fraction=0.5)
ARCHITECTURE = SimpleNamespace(
    min_level=2,
    max_level=4,
    num_scales=1,
    aspect_ratios=((1.0, 1.0), (1.4, 0.7), (0.7, 1.4)),
    anchor_scale=4,
    anchor_offset=0.5,
    anchor_rounding="none",
)
ANCHORS = generate_anchors(ARCHITECTURE, (64, 96))


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    centers = rng.uniform([0, 0], [64, 96], (count, 2))
    sides = np.exp(rng.uniform(np.log(3), np.log(60), (count, 2)))
    boxes = np.concatenate([centers - sides / 2, centers + sides / 2], axis=1)
    return np.clip(boxes, 0, [64, 96, 64, 96]).astype(np.float32)


def reference_overlaps(anchors: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return overlaps [A, n] pair by pair, in float32, since rounding decides which of equal anchors is first."""
    overlaps = np.zeros((len(anchors), len(boxes)), np.float32)
    for i, a in enumerate(anchors):
        for j, b in enumerate(boxes):
            height = min(a[2], b[2]) - max(a[0], b[0])
            width = min(a[3], b[3]) - max(a[1], b[1])
            if height > 0 and width > 0:
                both = height * width
                total = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
                overlaps[i, j] = both / (total - both)
    return overlaps


def reference_match(overlaps: np.ndarray, positive: float, negative: float) -> tuple[np.ndarray, np.ndarray]:
    labels = np.full(len(overlaps), -1)
    nearest = np.zeros(len(overlaps), int)
    if overlaps.shape[1] == 0:
        return np.zeros(len(overlaps), int), nearest
    for i, row in enumerate(overlaps):
        nearest[i] = int(np.argmax(row))
        if row.max() >= positive:
            labels[i] = 1
        elif row.max() < negative:
            labels[i] = 0
    for j in reversed(range(overlaps.shape[1])):  # the first box is written last, so it wins
        if overlaps[:, j].max() > 0:
            best = int(np.argmax(overlaps[:, j]))
            labels[best], nearest[best] = 1, j
    return labels, nearest


@pytest.mark.parametrize("chunk", [1, 4])
@pytest.mark.parametrize("count", [0, 1, 3, 11])
def test_matching_equals_the_reference(count: int, chunk: int) -> None:
    boxes = random_boxes(np.random.default_rng(count), count)
    labels, nearest = reference_match(reference_overlaps(ANCHORS, boxes), 0.7, 0.3)
    found = match_anchors(ANCHORS, boxes, SETTINGS, chunk)
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_array_equal(np.asarray(found.boxes)[labels == 1], nearest[labels == 1])
    assert (labels == 1).sum() >= min(count, 1)


@pytest.mark.parametrize("chunk", [1, 3])
def test_equal_overlaps_go_to_the_first(chunk: int) -> None:
    anchors = np.array([[0, 0, 10, 10], [0, 10, 10, 20], [0, 100, 10, 110], [0, 0, 10, 10]], np.float32)
    # The first box touches anchors 0 and 1 (and 3) equally; the others share anchor 2 as their best.
    boxes = np.array([[0, 5, 10, 15], [0, 103, 10, 113], [0, 98, 10, 108], [0, 97, 10, 107]], np.float32)
    found = match_anchors(anchors, boxes, SETTINGS, chunk)
    assert found.labels.numpy().tolist() == [1, -1, 1, -1]
    assert found.boxes.numpy()[[0, 2]].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("shift", "label"), [(0.0, 1), (3.0, -1), (9.0, 0)], ids=["at the upper", "between", "below the lower"]
)
def test_thresholds(shift: float, label: int) -> None:
    # The second anchor overlaps 0.5 exactly at shift 0. The first one is the box, so that it takes the forced match.
    anchors = np.array([[0, 0, 10, 20], [0, 0 - shift, 10, 10 - shift]], np.float32)
    settings = RpnTargetSettings(0.5, 0.3, 8, 0.5)
    found = match_anchors(anchors, np.array([[0, 0, 10, 20]], np.float32), settings)
    assert found.labels.numpy().tolist() == [1, label]


def test_overlap_equal_to_the_lower_threshold_is_ignored() -> None:
    anchors = np.array([[0, 0, 10, 20], [0, 0, 10, 5]], np.float32)
    found = match_anchors(anchors, anchors[:1], RpnTargetSettings(0.7, 0.25, 8, 0.5))
    assert found.labels.numpy().tolist() == [1, -1]


def test_padding_changes_nothing() -> None:
    boxes = random_boxes(np.random.default_rng(5), 6)
    padded = np.concatenate([boxes, np.full((10, 4), -1, np.float32)])
    for chunk in (1, 4, 16):
        plain, more = match_anchors(ANCHORS, boxes, SETTINGS, 1), match_anchors(ANCHORS, padded, SETTINGS, chunk)
        np.testing.assert_array_equal(plain.labels, more.labels)
        np.testing.assert_array_equal(plain.boxes, more.boxes)


def test_without_boxes_everything_is_background() -> None:
    labels, targets = rpn_targets(ANCHORS, np.zeros((0, 4), np.float32), tf.constant(3, tf.int64), 1, SETTINGS)
    values, counts = np.unique(labels, return_counts=True)
    assert values.tolist() == [-1, 0]
    assert counts[1] == 32
    assert not np.any(targets)


def test_box_targets_lead_back_to_the_boxes() -> None:
    boxes = random_boxes(np.random.default_rng(8), 9)
    _, targets = rpn_targets(ANCHORS, boxes, tf.constant(3, tf.int64), 1, SETTINGS)
    labels, nearest = reference_match(reference_overlaps(ANCHORS, boxes), 0.7, 0.3)
    deltas = targets.numpy().astype(np.float64)
    assert not np.any(deltas[labels != 1])
    matched = np.flatnonzero(labels == 1)
    sides = ANCHORS[matched, 2:] - ANCHORS[matched, :2]
    centers = (ANCHORS[matched, 2:] + ANCHORS[matched, :2]) / 2 + deltas[matched, :2] * sides
    half = np.exp(deltas[matched, 2:]) * sides / 2
    np.testing.assert_allclose(np.concatenate([centers - half, centers + half], 1), boxes[nearest[matched]], atol=1e-3)


@pytest.mark.parametrize(
    ("positives", "negatives", "expected"), [(100, 100, (16, 16)), (5, 100, (5, 27)), (100, 3, (16, 3)), (0, 9, (0, 9))]
)
def test_sample_sizes(positives: int, negatives: int, expected: tuple[int, int]) -> None:
    labels = np.array([1] * positives + [0] * negatives + [-1] * 20, np.int32)
    np.random.default_rng(0).shuffle(labels)
    sampled = sample_anchors(tf.constant(labels), tf.constant(7, tf.int64), 123, SETTINGS).numpy()
    assert ((sampled == 1).sum(), (sampled == 0).sum()) == expected
    assert np.all((sampled == labels) | (sampled == -1))


def test_sampling_is_uniform_and_depends_on_seed_and_position_alone() -> None:
    labels = tf.constant([1] * 40 + [0] * 60)
    settings = RpnTargetSettings(0.7, 0.3, 20, 0.5)
    draw = tf.function(lambda position: sample_anchors(labels, position, 9, settings))
    drawn = np.stack([draw(tf.constant(position, tf.int64)) for position in range(1000)])
    # 10 of 40 and 10 of 60: means 250 and 166.7, standard deviations 13.7 and 11.8.
    assert np.all(np.abs((drawn[:, :40] == 1).sum(0) - 250) < 5 * 13.7)
    assert np.all(np.abs((drawn[:, 40:] == 0).sum(0) - 166.7) < 5 * 11.8)
    np.testing.assert_array_equal(draw(tf.constant(4, tf.int64)), drawn[4])
    other = sample_anchors(labels, tf.constant(4, tf.int64), 10, settings).numpy()
    assert not np.array_equal(other, drawn[4])


def test_pipeline_and_training_step_agree_also_when_compiled() -> None:
    rng = np.random.default_rng(2)
    # With whole pixels and anchors of short binary fractions, no overlap depends on rounding.
    exact = SimpleNamespace(**{**vars(ARCHITECTURE), "aspect_ratios": ((1.0, 1.0), (2.0, 0.5))})
    anchors = generate_anchors(exact, (64, 96))
    images = [np.round(random_boxes(rng, count)) for count in (7, 0, 12)]
    positions = np.array([5, 6, 2**40], np.int64)
    padded = np.full((3, 16, 4), -1, np.float32)
    for row, boxes in zip(padded, images, strict=True):
        row[: len(boxes)] = boxes

    @tf.function(input_signature=[tf.TensorSpec([None, 4]), tf.TensorSpec([], tf.int64)])
    def in_pipeline(boxes: tf.Tensor, position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return rpn_targets(anchors, boxes, position, 77, SETTINGS)

    single = [in_pipeline(boxes, position) for boxes, position in zip(images, positions, strict=True)]

    def in_step(boxes: tf.Tensor, positions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        rows = zip(tf.unstack(boxes), tf.unstack(positions), strict=True)
        labels, targets = zip(*(rpn_targets(anchors, *row, 77, SETTINGS, chunk=16) for row in rows), strict=True)
        return tf.stack(labels), tf.stack(targets)

    for compiled in (False, True):
        labels, targets = tf.function(in_step, jit_compile=compiled)(tf.constant(padded), tf.constant(positions))
        np.testing.assert_array_equal(labels, np.stack([one[0] for one in single]))
        np.testing.assert_allclose(targets, np.stack([one[1] for one in single]), atol=1e-5)
