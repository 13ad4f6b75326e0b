"""All implementations of suppression, compared with a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from maskrcnn_trainer.model import nms
from maskrcnn_trainer.model.nms import Implementation, greedy_nms

pytestmark = pytest.mark.trainer

WAYS: list[tuple[Implementation, bool]] = [
    ("kernel", False),
    ("loop", False),
    ("loop", True),
    ("matrix", False),
    ("matrix", True),
]


def kept_one_by_one(
    boxes: np.ndarray, valid: np.ndarray, threshold: float, classes: np.ndarray | None = None
) -> np.ndarray:
    kept: list[int] = []
    for i, box in enumerate(boxes):
        if not valid[i]:
            continue
        for j in kept:
            if classes is not None and classes[i] != classes[j]:
                continue
            other = boxes[j]
            height = max(0.0, min(box[2], other[2]) - max(box[0], other[0]))
            width = max(0.0, min(box[3], other[3]) - max(box[1], other[1]))
            union = (box[2] - box[0]) * (box[3] - box[1]) + (other[2] - other[0]) * (other[3] - other[1])
            if height * width > threshold * (union - height * width):
                break
        else:
            kept.append(i)
    mask = np.zeros(len(boxes), bool)
    mask[kept] = True
    return mask


def crowded(seed: int, groups: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return boxes around a few centers, every ninth invalid, with three classes."""
    generator = np.random.default_rng(seed)
    center = generator.integers(0, 4, (groups, count, 2)) * 30 + generator.normal(0, 4, (groups, count, 2))
    size = generator.uniform(15, 40, (groups, count, 2))
    boxes = np.concatenate([center - size / 2, center + size / 2], axis=-1).astype(np.float32)
    return boxes, generator.random((groups, count)) > 1 / 9, generator.integers(0, 3, (groups, count)).astype(np.int32)


@pytest.mark.parametrize(("implementation", "jit_compile"), WAYS)
@pytest.mark.parametrize("by_class", [False, True])
def test_the_same_boxes_as_one_by_one(implementation: Implementation, jit_compile: bool, by_class: bool) -> None:
    @tf.function(jit_compile=jit_compile)
    def run(boxes: tf.Tensor, valid: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
        return greedy_nms(
            boxes,
            valid,
            0.5,
            max_output=80,
            classes=classes if by_class else None,
            num_classes=3 if by_class else 1,
            implementation=implementation,
        )

    for seed in range(4):
        boxes, valid, classes = crowded(seed, groups=3, count=80)
        kept = run(boxes, valid, classes).numpy()
        expected = [
            kept_one_by_one(b, v, 0.5, c if by_class else None) for b, v, c in zip(boxes, valid, classes, strict=True)
        ]
        np.testing.assert_array_equal(kept, expected)
        assert 0 < kept.sum() < valid.sum()


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), threshold=st.sampled_from([0.0, 0.3, 0.7, 1.0]), limit=st.integers(1, 30))
def test_the_first_survivors_are_the_same_with_a_limit(seed: int, threshold: float, limit: int) -> None:
    boxes, valid, classes = crowded(seed, groups=1, count=30)
    expected = np.flatnonzero(kept_one_by_one(boxes[0], valid[0], threshold, classes[0]))
    for implementation in ("kernel", "loop", "matrix"):
        kept = greedy_nms(
            boxes, valid, threshold, max_output=limit, classes=classes, num_classes=3, implementation=implementation
        )
        np.testing.assert_array_equal(np.flatnonzero(kept[0])[:limit], expected[:limit])


@pytest.mark.parametrize(("implementation", "jit_compile"), WAYS)
def test_edges(implementation: Implementation, jit_compile: bool) -> None:
    """Boxes that overlap only a dropped one, or by the threshold, stay; of two equal boxes the first stays."""

    @tf.function(jit_compile=jit_compile)
    def run(boxes: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
        return greedy_nms(boxes, valid, 0.5, max_output=4, implementation=implementation)

    chain = [[0.0, 0.0, 10.0, 10.0], [0.0, 3.0, 10.0, 13.0], [0.0, 6.0, 10.0, 16.0], [50.0, 50.0, 60.0, 60.0]]
    half = [[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 5.0], [50.0, 50.0, 60.0, 60.0], [50.0, 50.0, 60.0, 60.0]]
    none = [[0.0, 0.0, 0.0, 0.0]] * 4
    boxes = tf.constant([chain, half, half, none])
    valid = tf.constant([[True] * 4, [True] * 4, [False, True, False, True], [False] * 4])
    expected = [
        [True, False, True, True],
        [True, True, True, False],
        [False, True, False, True],
        [False, False, False, False],
    ]
    np.testing.assert_array_equal(run(boxes, valid), expected)


@pytest.mark.parametrize(("implementation", "jit_compile"), WAYS)
@pytest.mark.parametrize("shape", [(2, 0), (0, 3), (0, 0)])
def test_no_boxes_or_no_groups_give_an_empty_result(
    implementation: Implementation, jit_compile: bool, shape: tuple[int, int]
) -> None:
    @tf.function(jit_compile=jit_compile)
    def run(boxes: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
        return greedy_nms(boxes, valid, 0.5, max_output=4, implementation=implementation)

    kept = run(tf.zeros([*shape, 4]), tf.zeros(shape, tf.bool))
    assert (kept.dtype, kept.shape) == (tf.bool, shape)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("by_class", [False, True])
@pytest.mark.parametrize("pairs", [1, 3 * 80 * 33, 3 * 80 * 80])
def test_blocks_of_pairs_give_the_result_of_a_loop(
    monkeypatch: pytest.MonkeyPatch, jit_compile: bool, by_class: bool, pairs: int
) -> None:
    """Groups have boxes that are equal, invalid, or not finite, and the last block is shorter or as long as others."""
    monkeypatch.setattr(nms, "PAIRS_AT_ONCE", pairs)
    boxes, valid, classes = crowded(5, groups=3, count=80)
    boxes[:, 60:] = boxes[:, 20:40]
    boxes[0, 10:20], valid[0, 10:20] = np.nan, False

    def kept(implementation: Implementation) -> np.ndarray:
        @tf.function(jit_compile=jit_compile)
        def run(boxes: tf.Tensor, valid: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
            of_classes = {"classes": classes, "num_classes": 3} if by_class else {}
            return greedy_nms(boxes, valid, 0.4, max_output=80, implementation=implementation, **of_classes)

        return run(boxes, valid, classes).numpy()

    found = kept("matrix")
    np.testing.assert_array_equal(found, kept("loop"))
    assert 0 < found.sum() < valid.sum()


def operations(graph: tf.Graph) -> list[tf.Operation]:
    """Return the operations of a graph and of its loops."""
    found = list(graph.get_operations())
    for operation in graph.get_operations():
        for name in ("cond", "body"):
            if operation.type in ("While", "StatelessWhile"):
                found += operations(graph._get_function(operation.get_attr(name).name).graph)
    return found


def traced_matrix(shape: list[int]) -> tf.Graph:
    @tf.function(autograph=False)
    def run(boxes: tf.Tensor, valid: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
        return greedy_nms(boxes, valid, 0.7, max_output=1000, classes=classes, num_classes=2, implementation="matrix")

    types = tf.float32, tf.bool, tf.int32
    specs = [tf.TensorSpec([*shape, 4] if dtype == tf.float32 else shape, dtype) for dtype in types]
    return run.get_concrete_function(*specs).graph


@pytest.mark.parametrize("count", [2000, 6000])
def test_memory_for_pairs_is_bounded_whatever_their_number(count: int) -> None:
    graph = traced_matrix([20, count])
    tensors = [tensor for operation in operations(graph) for tensor in operation.outputs]
    largest = max(tensor.shape.num_elements() or 0 for tensor in tensors)
    assert nms.PAIRS_AT_ONCE * 0.9 < largest <= nms.PAIRS_AT_ONCE
    loops = [operation for operation in graph.get_operations() if operation.type == "StatelessWhile"]
    assert [loop.get_attr("parallel_iterations") for loop in loops] == [1]


def test_matrix_does_not_compare_integers_which_a_gpu_leaves_to_the_host() -> None:
    compared = {
        operation.inputs[0].dtype
        for operation in operations(traced_matrix([2, 1000]))
        if operation.type in ("Greater", "Equal", "Less") and operation.outputs[0].shape.num_elements() > 1
    }
    assert compared == {tf.float32, tf.float16}
