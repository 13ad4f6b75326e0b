"""RoIAlign compared with loops that follow ONNX's description of RoiAlign-16."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.python.framework.config import disable_op_determinism
from tests.trainer.model.roi_align_reference import (
    LEVELS,
    boxes_of_all_kinds,
    level_of,
    pooled_by_loops,
    pyramid,
)

from maskrcnn_trainer.model.roi_align import Implementation, roi_align
from maskrcnn_trainer.model.roi_levels import pyramid_level

pytestmark = pytest.mark.trainer

WAYS: list[tuple[Implementation, bool]] = [("sparse", False), ("gather", False), ("gather", True)]


@pytest.mark.parametrize(("implementation", "jit_compile"), WAYS)
@pytest.mark.parametrize(("size", "max_level"), [(7, 6), (14, 5)])
def test_values_are_those_of_onnx(implementation: Implementation, jit_compile: bool, size: int, max_level: int) -> None:
    features, boxes = pyramid(), boxes_of_all_kinds()

    @tf.function(jit_compile=jit_compile)
    def run(features: dict[int, tf.Tensor], boxes: tf.Tensor) -> tf.Tensor:
        return roi_align(features, boxes, size, 2, max_level, implementation=implementation)

    pooled = run(features, tf.constant(boxes)).numpy()
    assert pooled.shape == (2, 30, size, size, 3)
    levels = set()
    for image in range(2):
        for roi, box in enumerate(boxes[image]):
            level = level_of(box, 2, max_level)
            levels.add(level)
            expected = pooled_by_loops(features[level][image].numpy(), box, 2.0**-level, size)
            np.testing.assert_allclose(pooled[image, roi], expected, atol=1e-5)
    assert levels == set(range(2, max_level + 1))


@pytest.mark.parametrize(("implementation", "jit_compile"), WAYS)
def test_gradient_is_the_adjoint_of_the_pooling(implementation: Implementation, jit_compile: bool) -> None:
    """Pooling is linear in the features: the gradient of <pool(F), U> is the U-weighted sum of the loops' weights."""
    features, boxes = pyramid(1, channels=1), boxes_of_all_kinds()[:, ::3]
    generator = np.random.default_rng(2)
    upstream = generator.normal(size=(2, boxes.shape[1], 3, 3, 1)).astype(np.float32)

    @tf.function(jit_compile=jit_compile)
    def gradient(features: dict[int, tf.Tensor], boxes: tf.Tensor) -> dict[int, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(features)
            total = tf.reduce_sum(roi_align(features, boxes, 3, 2, 6, implementation=implementation) * upstream)
        return tape.gradient(total, features)

    found = gradient(features, tf.constant(boxes))
    expected = {level: np.zeros(feature.shape) for level, feature in features.items()}
    for image in range(2):
        for roi, box in enumerate(boxes[image]):
            level = level_of(box, 2, 6)
            height, width = features[level].shape[1:3]
            # Each cell has a channel that is 1 only there, so the loops return the weight of every cell.
            one_each = np.eye(height * width).reshape(height, width, -1)
            weights = pooled_by_loops(one_each, box, 2.0**-level, 3)
            share = np.einsum("ijk,ij->k", weights, upstream[image, roi, :, :, 0])
            expected[level][image, :, :, 0] += share.reshape(height, width)
    for level in LEVELS:
        np.testing.assert_allclose(found[level], expected[level], atol=1e-5)


def test_no_gradient_flows_into_boxes() -> None:
    boxes = tf.constant(boxes_of_all_kinds())
    for implementation in ("sparse", "gather"):
        with tf.GradientTape() as tape:
            tape.watch(boxes)
            total = tf.reduce_sum(roi_align(pyramid(), boxes, 2, 2, 6, implementation=implementation))
        assert tape.gradient(total, boxes) is None


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("implementation", ["sparse", "gather"])
def test_sixteen_bit_features_are_summed_in_float32(dtype: str, implementation: Implementation) -> None:
    """The result equals float32 pooling of the rounded features, except for a final rounding; so do gradients."""
    features = {level: tf.cast(feature, dtype) for level, feature in pyramid().items()}
    wide = {level: tf.cast(feature, tf.float32) for level, feature in features.items()}
    boxes = tf.constant(boxes_of_all_kinds())
    pooled, gradients = [], []
    for inputs in (features, wide):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            pooled.append(roi_align(inputs, boxes, 7, 2, 6, implementation=implementation))
            total = tf.reduce_sum(tf.cast(pooled[-1], tf.float32))
        gradients.append(tape.gradient(total, inputs))
    assert pooled[0].dtype == dtype
    np.testing.assert_array_equal(pooled[0], tf.cast(pooled[1], dtype))
    for level in LEVELS:
        assert gradients[0][level].dtype == dtype
        np.testing.assert_array_equal(gradients[0][level], tf.cast(gradients[1][level], dtype))


def test_positions_stay_exact_at_1344_pixels_with_sixteen_bit_features() -> None:
    """On a ramp over a wide map, positions in 16 bits would be wrong by whole cells."""
    ramp = np.broadcast_to((np.arange(336) % 4)[None, None, :, None], (1, 8, 336, 1)).astype(np.float32)
    features = {2: tf.constant(ramp, tf.bfloat16)}
    box = np.array([4.0, 1309.0, 20.0, 1331.0], np.float32)
    pooled = roi_align(features, tf.constant(box[None, None]), 7, 2, 2)
    expected = pooled_by_loops(ramp[0], box, 0.25, 7)
    np.testing.assert_allclose(tf.cast(pooled, tf.float32)[0, 0], expected, atol=0.01)


def test_boxes_of_several_images_in_one_row() -> None:
    features, boxes = pyramid(), boxes_of_all_kinds()
    images = np.array([1, 0, 0, 1, 1, 0], np.int32)
    chosen = boxes[images, np.arange(6)]
    all_pooled = roi_align(features, tf.constant(boxes), 7, 2, 6).numpy()
    for implementation in ("sparse", "gather"):
        pooled = roi_align(
            features, tf.constant(chosen[None]), 7, 2, 6, image_index=images[None], implementation=implementation
        )
        np.testing.assert_allclose(pooled[0], all_pooled[images, np.arange(6)], atol=1e-6)


def test_boxes_that_are_not_finite_do_not_crash() -> None:
    boxes = tf.constant([[[math.nan, 0.0, 5.0, 5.0], [0.0, 0.0, math.inf, 5.0], [0.0, 0.0, 0.0, 0.0]]])
    for implementation in ("sparse", "gather"):
        pooled = roi_align(pyramid(images=1), boxes, 2, 2, 6, implementation=implementation)
        np.testing.assert_array_equal(pooled[0, :2], tf.stack([pooled[0, 2]] * 2))


@settings(max_examples=30)
@given(
    height=st.integers(0, 2000).map(float),
    width=st.integers(0, 2000).map(float),
    levels=st.sampled_from([(2, 6), (2, 5)]),
)
def test_level_of_a_box(height: float, width: float, levels: tuple[int, int]) -> None:
    box = np.array([0.0, 0.0, height, width], np.float32)
    assert int(pyramid_level(tf.constant(box), *levels)) == level_of(box, *levels)


def test_levels_at_their_limits() -> None:
    sides = [0.0, 55.9, 111.99, 112.0, 223.99, 224.0, 447.99, 448.0, 895.9, 896.0, 5000.0]
    boxes = tf.constant([[3.0, 3.0, 3.0 + side, 3.0 + side] for side in sides])
    assert pyramid_level(boxes, 2, 6).numpy().tolist() == [2, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]


def test_missing_level_and_sparse_under_xla_are_refused() -> None:
    features, boxes = pyramid(), tf.constant(boxes_of_all_kinds())
    with pytest.raises(ValueError, match="level 7"):
        roi_align(features, boxes, 7, 2, 7)
    with pytest.raises(ValueError, match="no XLA kernel"):
        roi_align(features, boxes, 7, 2, 6, compiled=True, implementation="sparse")


@pytest.fixture(name="as_on_gpu")
def _as_on_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Choose implementations and types as on a machine with a GPU."""
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda _kind: [tf.config.LogicalDevice("GPU:0", "GPU")])


@pytest.fixture(name="deterministic")
def _deterministic() -> Iterator[None]:
    tf.config.experimental.enable_op_determinism()
    yield
    disable_op_determinism()


def pooled_and_gradients(implementation: Implementation = "auto", dtype: str = "float32") -> list[np.ndarray]:
    """Return pooled features of all kinds of boxes, and the gradients of their squares, of a new graph."""
    features = {level: tf.cast(feature, dtype) for level, feature in pyramid().items()}
    return [tensor.numpy() for tensor in traced(implementation, dtype)(features)]


def traced(implementation: Implementation = "auto", dtype: str = "float32") -> tf.types.experimental.ConcreteFunction:
    @tf.function(autograph=False)
    def run(features: dict[int, tf.Tensor]) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(features)
            pooled = roi_align(features, tf.constant(boxes_of_all_kinds()), 7, 2, 6, implementation=implementation)
            total = tf.reduce_sum(tf.cast(pooled, tf.float32) ** 2)
        return [pooled, *tape.gradient(total, features).values()]

    shapes = {level: tf.TensorSpec(feature.shape, dtype) for level, feature in pyramid().items()}
    return run.get_concrete_function(shapes)


def large_operations(graph: tf.Graph) -> list[tf.Operation]:
    """Return the operations with an input or output of more than 10,000 elements, but for constants."""
    return [
        operation
        for operation in graph.get_operations()
        if operation.type != "Const"
        and any((tensor.shape.num_elements() or 0) > 10_000 for tensor in (*operation.inputs, *operation.outputs))
    ]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_values_on_a_gpu_are_bit_for_bit_those_of_gather_on_a_cpu(dtype: str, request: pytest.FixtureRequest) -> None:
    on_cpu = pooled_and_gradients("gather", dtype)
    request.getfixturevalue("as_on_gpu")
    for one, two in zip(pooled_and_gradients(dtype=dtype), on_cpu, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.usefixtures("as_on_gpu")
def test_index_arithmetic_on_a_gpu_is_not_in_int32_which_runs_on_the_host() -> None:
    types = {
        tensor.dtype
        for operation in large_operations(traced().graph)
        for tensor in (*operation.inputs, *operation.outputs)
        if (tensor.shape.num_elements() or 0) > 10_000
    }
    assert types == {tf.float32, tf.int64}


def test_rewriting_of_graphs_does_not_join_the_sums_of_all_taps() -> None:
    """TensorFlow joins additions that don't wait for each other, which holds all products and adds in another order."""
    features, boxes = pyramid(), tf.constant(boxes_of_all_kinds())
    eager = roi_align(features, boxes, 7, 2, 6, implementation="gather")
    np.testing.assert_array_equal(pooled_and_gradients("gather")[0], eager)


@pytest.mark.usefixtures("as_on_gpu")
def test_gradient_on_a_gpu_is_scattered_unless_operations_are_deterministic(request: pytest.FixtureRequest) -> None:
    def ways() -> set[str]:
        types = {operation.type for operation in large_operations(traced().graph)}
        return {name for name in types if "Scatter" in name or "Segment" in name}

    assert ways() == {"TensorScatterAdd"}
    request.getfixturevalue("deterministic")
    assert ways() == {"UnsortedSegmentSum"}


@pytest.mark.usefixtures("as_on_gpu", "deterministic")
def test_deterministic_gradients_equal_those_of_the_sparse_product_and_are_the_same_in_each_run() -> None:
    expected = pooled_and_gradients("sparse")
    first, second = pooled_and_gradients(), pooled_and_gradients()
    for one, two, sparse in zip(first, second, expected, strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_allclose(one, sparse, rtol=1e-5, atol=1e-5)
