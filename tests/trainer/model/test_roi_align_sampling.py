"""RoIAlign with any number of samples, and not aligned, compared with loops in float64."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.config import disable_op_determinism
from tests.trainer.model.roi_align_reference import (
    IMAGE_SIZE,
    LEVELS,
    boxes_of_all_kinds,
    level_of,
    pooled_by_loops,
    pyramid,
)

from maskrcnn_trainer.model import roi_align_adaptive
from maskrcnn_trainer.model.roi_align import Implementation, roi_align
from maskrcnn_trainer.model.roi_align_adaptive import largest_window

pytestmark = pytest.mark.trainer

BOTH: list[Implementation] = ["sparse", "gather"]
BINS, FEW_BINS = 7, 2


@functools.cache
def boxes() -> np.ndarray:
    """Return [2, 15, 4]: some of all kinds, and others whose number of samples or level is at a limit."""
    more = [
        [60, 0, 68, 192],  # the whole width, 8 pixels high
        [-20, 41, 500, 45],  # a column that leaves the map
        [10, 10, 122, 122],  # the bound of a level
        [9, -20, 233, 204],  # and of the next one
        [8, 16, 64, 72],  # two cells of level 2 in each of 7 bins
        [60, 50, 20, 10],  # sides in the wrong order
        [30, 12, 30, 40],  # without area
        [127, 190, 128, 192],  # less than a cell, at a corner
        [128, 150, 131, 170],  # below the map by less than a cell
        [-300, -300, -200, -200],
    ]
    kinds = boxes_of_all_kinds()
    return np.concatenate([[kinds[0, ::3], kinds[1, 1::3]], np.array(more, np.float32).reshape(2, 5, 4)], axis=1)


def some_boxes() -> np.ndarray:
    """Return every other box."""
    return boxes()[:, ::2]


@functools.cache
def pooled_by_definition(sampling_ratio: int, aligned: bool) -> np.ndarray:
    features = pyramid()
    return np.stack(
        [
            [
                pooled_by_loops(
                    features[level_of(box, 2, 5)][image].numpy(),
                    box,
                    2.0 ** -level_of(box, 2, 5),
                    BINS,
                    sampling_ratio=sampling_ratio,
                    aligned=aligned,
                )
                for box in of_image
            ]
            for image, of_image in enumerate(boxes())
        ]
    )


@functools.cache
def gradient_by_definition(sampling_ratio: int, aligned: bool) -> dict[int, np.ndarray]:
    """Return the transpose of the loops times `upstream`, by level."""
    expected = {level: np.zeros(feature.shape) for level, feature in pyramid(channels=1).items()}
    for image in range(2):
        for roi, box in enumerate(some_boxes()[image]):
            level = level_of(box, 2, 6)
            height, width = expected[level].shape[1:3]
            # Each cell has a channel that is 1 only there, so the loops return the weight of every cell.
            one_each = np.eye(height * width).reshape(height, width, -1)
            weights = pooled_by_loops(
                one_each, box, 2.0**-level, FEW_BINS, sampling_ratio=sampling_ratio, aligned=aligned
            )
            share = np.einsum("ijk,ij->k", weights, upstream()[image, roi, :, :, 0])
            expected[level][image, :, :, 0] += share.reshape(height, width)
    return expected


def upstream() -> np.ndarray:
    shape = (2, some_boxes().shape[1], FEW_BINS, FEW_BINS, 1)
    return np.random.default_rng(2).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("implementation", BOTH)
@pytest.mark.parametrize("sampling", [(0, True), (0, False), (1, True), (2, False), (3, True)])
def test_values_are_those_of_the_definition(sampling: tuple[int, bool], implementation: Implementation) -> None:
    ratio, aligned = sampling
    pooled = roi_align(
        pyramid(), boxes(), BINS, 2, 5, sampling_ratio=ratio, aligned=aligned, implementation=implementation
    )
    np.testing.assert_allclose(pooled, pooled_by_definition(*sampling), atol=2e-5)


@pytest.mark.parametrize(
    ("sampling", "implementation", "jit_compile"),
    [
        *((sampling, implementation, False) for implementation in BOTH for sampling in [(0, True), (1, False)]),
        ((0, False), "gather", True),
    ],
)
def test_gradients_are_those_of_the_definition(
    sampling: tuple[int, bool], implementation: Implementation, jit_compile: bool
) -> None:
    """Pooling is linear, so the gradient times the features is the sum itself."""
    ratio, aligned = sampling

    def run(features: dict[int, tf.Tensor], boxes: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            tape.watch(features)
            pool = functools.partial(roi_align, sampling_ratio=ratio, aligned=aligned, implementation=implementation)
            total = tf.reduce_sum(pool(features, boxes, FEW_BINS, 2, 6) * upstream())
        return total, list(tape.gradient(total, features).values())

    # A trace without XLA would take longer than the computation.
    called = tf.function(run, jit_compile=True, autograph=False) if jit_compile else run
    features = pyramid(channels=1)
    total, gradients = called(features, tf.constant(some_boxes()))
    expected = gradient_by_definition(*sampling)
    for level, gradient in zip(LEVELS, gradients, strict=True):
        np.testing.assert_allclose(gradient, expected[level], atol=2e-5, err_msg=f"level {level}")
    np.testing.assert_allclose(total, sum(np.sum(expected[level] * features[level]) for level in LEVELS), atol=1e-4)


@pytest.mark.parametrize(("implementation", "jit_compile"), [("sparse", False), ("gather", False), ("gather", True)])
def test_adaptive_sampling_of_three_cells_a_bin_is_that_of_three_samples(
    implementation: Implementation, jit_compile: bool
) -> None:
    """Rounding must not add a fourth sample to a side of 21 cells for 7 bins: as float32, 21 times 1 / 7 is above 3."""
    starts = np.random.default_rng(0).integers(0, 11, (1, 30, 2)) * 4.0
    placed = tf.constant(np.concatenate([starts, starts + 84.0], axis=-1), tf.float32)

    def run(features: dict[int, tf.Tensor], placed: tf.Tensor) -> tf.Tensor:
        return roi_align(features, placed, 7, 2, 6, sampling_ratio=0, implementation=implementation)

    called = tf.function(run, jit_compile=True, autograph=False) if jit_compile else run
    fixed = roi_align(pyramid(images=1), placed, 7, 2, 6, sampling_ratio=3)
    np.testing.assert_allclose(called(pyramid(images=1), placed), fixed, atol=1e-5)


@pytest.mark.parametrize("implementation", BOTH)
def test_box_without_a_side_has_no_samples_if_aligned_and_else_is_a_cell_long(implementation: Implementation) -> None:
    """As in torchvision and ONNX Runtime."""
    flat = tf.constant([[[30.0, 12.0, 30.0, 40.0], [40.0, 60.0, 20.0, 80.0]]])
    as_cells = tf.constant([[[30.0, 12.0, 34.0, 40.0], [40.0, 60.0, 44.0, 80.0]]])
    features = pyramid(images=1)
    pool = functools.partial(roi_align, features, output_size=7, min_level=2, max_level=6, sampling_ratio=0)
    assert not np.any(pool(boxes=flat, implementation=implementation))
    widened = pool(boxes=flat, aligned=False, implementation=implementation)
    np.testing.assert_array_equal(widened, pool(boxes=as_cells, aligned=False, implementation=implementation))


@pytest.mark.parametrize("implementation", BOTH)
@pytest.mark.parametrize("aligned", [True, False])
def test_adaptive_sampling_of_boxes_that_are_not_finite_or_huge(implementation: Implementation, aligned: bool) -> None:
    huge = [[-1e38, -1e38, 1e38, 1e38], [-3e38, 0.0, 3e38, 9.0], [1e30, 0.0, 2e30, 5.0], [0.0, -1e9, 8.0, 1e9]]
    broken = [[math.nan, 0.0, 5.0, 5.0], [0.0, 0.0, math.inf, 5.0], [0.0, 0.0, 0.0, 0.0]]
    pooled = roi_align(
        pyramid(images=1),
        tf.constant([broken + huge], tf.float32),
        2,
        2,
        6,
        sampling_ratio=0,
        aligned=aligned,
        implementation=implementation,
    )
    assert np.all(np.isfinite(pooled))
    np.testing.assert_array_equal(pooled[0, :2], tf.stack([pooled[0, 2]] * 2))


@pytest.mark.parametrize("implementation", BOTH)
def test_adaptive_sampling_reads_no_cells_of_other_images(implementation: Implementation) -> None:
    features = pyramid()
    broken = {level: tf.stack([feature[0], feature[1] * math.nan]) for level, feature in features.items()}
    inputs = tf.constant(boxes())
    pooled, expected = (
        roi_align(maps, inputs, 3, 2, 6, sampling_ratio=0, implementation=implementation) for maps in (broken, features)
    )
    np.testing.assert_array_equal(pooled[0], expected[0])


@pytest.mark.parametrize("aligned", [True, False])
def test_window_holds_all_cells_of_boxes_in_all_proportions(aligned: bool) -> None:
    """The boxes have nearly the largest area of their level; without one of their cells the mean of ones is less."""
    height, width = 208, 336
    features = {level: tf.ones([1, height >> level - 2, width >> level - 2, 1]) for level in LEVELS}
    tall = np.concatenate([np.arange(1, height) + 0.02, [0.01, 0.5, 1.5, 2.3, 2.7]])
    wide = np.minimum(783.9 / tall, width - 0.1)
    start = np.minimum(1.49, np.array([height, width]) - np.stack([tall, wide], axis=1))
    inputs = 4 * np.concatenate([start, start + np.stack([tall, wide], axis=1)], axis=1)
    pooled = roi_align(
        features,
        tf.constant(inputs[None], tf.float32),
        7,
        2,
        6,
        sampling_ratio=0,
        aligned=aligned,
        implementation="gather",
    )
    np.testing.assert_allclose(pooled, np.ones(pooled.shape), atol=1e-5)


def test_largest_window_is_a_few_rows_of_the_map_or_the_whole_map() -> None:
    """Five rows need a side of more than 2 cells, so that the other is below 392: all 336 columns. Six: 784 / 3 + 2."""
    assert largest_window((208, 336), 2, 6) == 5 * 336
    assert largest_window((336, 208), 2, 6) == 5 * 336
    assert largest_window((13, 21), 6, 6) == 13 * 21


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("implementation", BOTH)
def test_adaptive_sampling_sums_sixteen_bit_features_in_float32(dtype: str, implementation: Implementation) -> None:
    rounded = {level: tf.cast(feature, dtype) for level, feature in pyramid().items()}
    wide = {level: tf.cast(feature, tf.float32) for level, feature in rounded.items()}
    pooled, gradients = [], []
    for inputs in (rounded, wide):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            pooled.append(roi_align(inputs, boxes(), 3, 2, 6, sampling_ratio=0, implementation=implementation))
            total = tf.reduce_sum(tf.cast(pooled[-1], tf.float32))
        gradients.append(tape.gradient(total, inputs))
    assert pooled[0].dtype == dtype
    np.testing.assert_array_equal(pooled[0], tf.cast(pooled[1], dtype))
    for level in LEVELS:
        np.testing.assert_array_equal(gradients[0][level], tf.cast(gradients[1][level], dtype))


def test_boxes_are_pooled_the_same_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = adaptive_and_gradients("gather")
    monkeypatch.setattr(roi_align_adaptive, "ELEMENTS_AT_ONCE", 9 * 9 * 1536)
    for one, two in zip(adaptive_and_gradients("gather"), expected, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5)


@pytest.fixture(name="deterministic_on_gpu")
def _deterministic_on_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Choose implementations and types as on a machine with a GPU, with op determinism."""
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda _kind: [tf.config.LogicalDevice("GPU:0", "GPU")])
    tf.config.experimental.enable_op_determinism()
    yield
    disable_op_determinism()


@pytest.mark.usefixtures("deterministic_on_gpu")
def test_adaptive_gradients_with_op_determinism_are_right_and_the_same_in_each_run() -> None:
    expected = adaptive_and_gradients("sparse", traced=True)
    first, second = adaptive_and_gradients("auto"), adaptive_and_gradients("auto")
    for one, two, sparse in zip(first, second, expected, strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_allclose(one, sparse, rtol=1e-5, atol=1e-5)


def adaptive_and_gradients(implementation: Implementation, *, traced: bool = False) -> list[np.ndarray]:
    """Return pooled features and the gradients of their squares."""

    def run(features: dict[int, tf.Tensor]) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(features)
            pooled = roi_align(features, boxes(), 3, 2, 6, sampling_ratio=0, implementation=implementation)
            total = tf.reduce_sum(pooled**2)
        return [pooled, *tape.gradient(total, features).values()]

    called = tf.function(run, autograph=False) if traced else run
    return [tensor.numpy() for tensor in called(pyramid())]


def test_windows_are_not_stored_for_a_gradient_under_a_persistent_tape() -> None:
    """TensorFlow stores the values of a loop's rounds with TensorListPushBack for the gradient of the loop."""

    @tf.function(autograph=False)
    def run(features: dict[int, tf.Tensor]) -> list[tf.Tensor]:
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(features)
            pooled = roi_align(features, boxes(), 3, 2, 6, sampling_ratio=0, implementation="gather")
        return list(tape.gradient(pooled, features).values())

    functions = run.get_concrete_function(pyramid()).graph.as_graph_def().library.function
    operations = {node.op for function in functions for node in function.node_def}
    assert "TensorListSetItem" in operations
    assert "TensorListPushBack" not in operations


def test_level_above_the_highest_one_used_has_no_gradient_and_changes_nothing() -> None:
    features = pyramid()
    inputs = tf.constant([[[0.0, 0.0, *IMAGE_SIZE], [-500.0, -500.0, 700.0, 900.0]]] * 2)
    with tf.GradientTape() as tape:
        tape.watch(features)
        pooled = roi_align(features, inputs, 3, 2, 5, sampling_ratio=0)
    assert tape.gradient(pooled, features[6]) is None
    without = {level: features[level] for level in range(2, 6)}
    np.testing.assert_array_equal(pooled, roi_align(without, inputs, 3, 2, 5, sampling_ratio=0))


def test_negative_number_of_samples_is_refused() -> None:
    with pytest.raises(ValueError, match=r"sampling_ratio: -1 is not"):
        roi_align(pyramid(), boxes(), 7, 2, 6, sampling_ratio=-1)
