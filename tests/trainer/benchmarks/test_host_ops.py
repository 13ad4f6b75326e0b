"""Operations on the host, found in small graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import tensorflow as tf

from host_ops import HostOp, elements_of, host_ops, operations
from kernel_registrations import read_registrations

pytestmark = pytest.mark.trainer

KERNELS = read_registrations()
INTEGERS = tf.TensorSpec([200], tf.int32)
LONG_INTEGERS = tf.TensorSpec([200], tf.int64)
NUMBERS = tf.TensorSpec([200], tf.float32)


def graph_of(function: Callable[..., Any], *signature: tf.TensorSpec) -> tf.Graph:
    return tf.function(function, autograph=False).get_concrete_function(*signature).graph


def found_in(function: Callable[..., Any], *signature: tf.TensorSpec, large: int = 1000) -> list[HostOp]:
    return [
        one for one in host_ops(graph_of(function, *signature), KERNELS, large=large) if one.operation != "Identity"
    ]


def kinds(found: list[HostOp]) -> list[tuple[str, str]]:
    return [(one.operation, one.cause) for one in found]


def test_arithmetic_of_int32_runs_on_the_host_and_that_of_other_numbers_does_not() -> None:
    [found] = found_in(lambda a, b, c: (a * a, b * b, c * c), INTEGERS, LONG_INTEGERS, NUMBERS)
    assert (found.operation, found.cause, found.dtypes, found.elements) == ("Mul", "host memory", "int32,int32", 400)
    assert found.computed
    assert not found.constant


def test_operation_without_a_kernel_for_its_dtypes_is_found() -> None:
    found = found_in(lambda a: tf.gather(tf.cast(a, tf.uint8), [1, 2]), NUMBERS)
    assert kinds(found) == [("GatherV2", "no GPU kernel")]


def test_operation_placed_on_the_cpu_is_found() -> None:
    def function(a: tf.Tensor) -> tf.Tensor:
        with tf.device("/CPU:0"):
            return a + a

    assert [one.operation for one in found_in(function, NUMBERS)] == ["AddV2"]


def test_branch_with_the_most_elements_is_counted() -> None:
    def function(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        short, long = (lambda: a[:20] * a[:20]), (lambda: tf.tile(a * a, [2])[:20])
        return tf.switch_case(tf.cast(b[0], tf.int32), [short, long, lambda: a[:20]]), tf.cond(b[1] > 0.0, short, long)

    elements = [one.elements for one in found_in(function, INTEGERS, NUMBERS) if one.operation == "Mul"]
    assert elements == [400, 400]


def test_condition_and_body_of_a_loop_and_called_functions_are_searched() -> None:
    called = tf.function(lambda a: a // a, autograph=False)

    def function(a: tf.Tensor) -> tf.Tensor:
        return tf.while_loop(lambda b: tf.reduce_max(b) < 5, lambda b: (called(b) + b,), (a,))[0]

    found = {one.operation for one in found_in(function, INTEGERS)}
    assert found >= {"Max", "Less", "FloorDiv", "AddV2"}
    assert {op.type for op in operations(graph_of(function, INTEGERS))} >= found


def test_large_input_in_host_memory_of_an_operation_on_the_gpu_is_found() -> None:
    def function(a: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
        return tf.reshape(a, shape)

    shape = tf.TensorSpec([3], tf.int64)
    assert found_in(function, NUMBERS, shape) == []
    [found] = found_in(function, NUMBERS, shape, large=2)
    assert (found.cause, found.elements, found.computed) == ("input shape in host memory", 3, False)


def test_large_argument_in_host_memory_is_found() -> None:
    found = found_in(lambda a, b: (tf.cast(a, tf.int64), b), INTEGERS, LONG_INTEGERS, large=199)
    assert [(one.operation, one.dtypes, one.computed) for one in found] == [("Placeholder", "", False)]


def test_what_depends_on_shapes_only_is_constant() -> None:
    found = found_in(lambda a: tf.reshape(a, tf.shape(a)[:1] // tf.constant([2]) * 2), NUMBERS)
    assert {one.operation for one in found} == {"StridedSlice", "FloorDiv", "Mul"}
    assert all(one.constant for one in found)


def test_unknown_size_counts_as_too_large() -> None:
    found = found_in(lambda a: a * a, tf.TensorSpec([None], tf.int32))
    assert [one.elements for one in found if one.operation == "Mul"] == [None]
    assert all(one.is_over(10) for one in found)


def test_variables_have_no_elements() -> None:
    variable = tf.Variable(tf.zeros([50]))
    graph = graph_of(lambda a: a + variable, tf.TensorSpec([50], tf.float32))
    [read] = [op for op in operations(graph) if op.type == "ReadVariableOp"]
    assert (elements_of(read.inputs), elements_of(read.outputs)) == (0, 50)
