"""Operations of a training step and of inference that would run on the host of a GPU, at the size of COCO images."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest
import tensorflow as tf

from gpu_graphs import Workload, deterministic_operations, inference_graph, pooling_graph, training_graph
from gpu_placement import LARGE, large, large_scatters, listing, totals
from host_ops import CONDITIONALS, LOOPS, HostOp, host_ops, operations, place_of
from kernel_registrations import read_registrations

pytestmark = pytest.mark.trainer

AWAITED = CONDITIONALS | LOOPS | {"Unique", "UniqueV2", "Where"}
"""Operations whose branch, end, or size depends on values."""

MOST_OF_TRAINING = 148
MOST_OF_TRAINING_IN_EVERY_STEP = 25
MOST_OF_INFERENCE = 65
MOST_OF_INFERENCE_IN_EVERY_STEP = 17
MOST_OF_ADAPTIVE_POOLING = 53
MOST_OF_ADAPTIVE_POOLING_IN_EVERY_STEP = 51
"""Operations on the host: most of them compute with shapes, once, before the first step. Those of adaptive pooling
count its loops and have at most two elements."""

WAITS = {
    "Where training/rpn_branch.py": 5,
    "StatelessWhile model/nms.py": 2,
    "Case training/mask_branch.py": 1,
    "If training/step.py": 1,
}
"""Where the host reads values in a training step (docs/contributing/testing.md); the outer loop of NMS reads none."""


@dataclass(frozen=True)
class Placed:
    """Operations on the host in the graphs of one number format, and values that the host reads in a training step."""

    training: list[HostOp]
    inference: list[HostOp]
    waits: Counter[str]


@pytest.fixture(scope="module", params=["float32", "mixed_float16"])
def placed(request: pytest.FixtureRequest) -> Placed:
    registrations, workload = read_registrations(), Workload(request.param)
    network = workload.network()
    step = training_graph(workload, network)
    graphs = step, inference_graph(workload, network)
    waiting = Counter(f"{op.type} {place_of(op).partition(':')[0]}" for op in operations(step) if op.type in AWAITED)
    return Placed(*(host_ops(graph, registrations, large=LARGE) for graph in graphs), waiting)


@pytest.mark.parametrize("part", ["training", "inference"])
def test_no_large_operation_runs_on_the_host(placed: Placed, part: str) -> None:
    assert listing(large(getattr(placed, part)), 20) == []


@pytest.mark.parametrize(
    ("part", "most", "most_in_every_step"),
    [
        ("training", MOST_OF_TRAINING, MOST_OF_TRAINING_IN_EVERY_STEP),
        ("inference", MOST_OF_INFERENCE, MOST_OF_INFERENCE_IN_EVERY_STEP),
    ],
)
def test_few_small_operations_run_on_the_host(placed: Placed, part: str, most: int, most_in_every_step: int) -> None:
    found = getattr(placed, part)
    on_host, in_every_step = totals(found)
    assert on_host <= most, "\n".join(listing(found, 100))
    assert in_every_step <= most_in_every_step, "\n".join(listing([one for one in found if not one.constant], 40))


def test_host_waits_only_at_known_places(placed: Placed) -> None:
    assert placed.waits == WAITS


def test_deterministic_training_step_has_no_large_scatter() -> None:
    workload = Workload()
    with deterministic_operations():
        assert large_scatters(training_graph(workload, workload.network())) == []


@pytest.mark.parametrize("dtype", ["float32", "mixed_float16"])
def test_adaptive_pooling_runs_on_the_gpu(dtype: str) -> None:
    found = host_ops(pooling_graph(Workload(dtype), sampling_ratio=0), read_registrations(), large=LARGE)
    assert listing(large(found), 20) == []
    on_host, in_every_step = totals(found)
    assert on_host <= MOST_OF_ADAPTIVE_POOLING, "\n".join(listing(found, 100))
    assert in_every_step <= MOST_OF_ADAPTIVE_POOLING_IN_EVERY_STEP, "\n".join(listing(found, 100))


def test_deterministic_adaptive_pooling_has_no_large_scatter() -> None:
    with deterministic_operations():
        assert large_scatters(pooling_graph(Workload(), sampling_ratio=0)) == []


def test_large_scatters_are_found_in_functions_and_small_ones_are_not() -> None:
    def function(a: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        small = tf.scatter_nd([[1]], [2.0], [100])
        large = tf.while_loop(lambda b: b[0] < size, lambda b: (tf.tensor_scatter_nd_add(b, [[1]], [2.0]),), (a,))[0]
        return small, large, tf.math.unsorted_segment_sum(a, tf.zeros([20_000], tf.int32), 20_000)

    signature = tf.TensorSpec([20_000], tf.float32), tf.TensorSpec([], tf.float32)
    graph = tf.function(function, autograph=False).get_concrete_function(*signature).graph
    assert large_scatters(graph) == ["TensorScatterAdd (20000,) ?"]
