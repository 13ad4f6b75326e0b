"""Operations of a training step and of inference that would run on the host of a GPU, without a GPU.

    python benchmarks/gpu_placement.py [--dtypes float32 mixed_float16] [--image-size 832 1344] [--batch 4]

Prints them by size, with the line that makes each, and the totals; then the scatters of a deterministic training step,
which TensorFlow computes on the host. Ends with 1 if one of them is large.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

from gpu_graphs import Workload, deterministic_operations, inference_graph, training_graph
from host_ops import HostOp, elements_of, host_ops, operations, place_of
from kernel_registrations import read_registrations

LARGE = 10_000
"""Elements in or out that an operation on the host may have."""


def large(found: Sequence[HostOp]) -> list[HostOp]:
    """Return the operations and tensors with more than `LARGE` elements."""
    return [one for one in found if one.is_over(LARGE)]


def totals(found: Sequence[HostOp]) -> tuple[int, int]:
    """Return the number of operations that compute on the host, and how many of them do in every step."""
    computed = [one for one in found if one.computed]
    return len(computed), sum(not one.constant for one in computed)


def large_scatters(graph: tf.Graph) -> list[str]:
    """Return the scatters with more than `LARGE` elements in or out, each with type, shape, and place.

    With deterministic operations TensorFlow computes ``TensorScatterAdd`` and its relatives on the host, and copies
    their inputs and outputs. Sums of segments have deterministic kernels for GPUs.
    """
    found = []
    for op in operations(graph):
        if "Scatter" in op.type:
            sizes = elements_of(op.inputs), elements_of(op.outputs)
            if any(size is None or size > LARGE for size in sizes):
                shape = op.outputs[0].shape if op.outputs else op.inputs[-1].shape
                found.append(f"{op.type} {shape} {place_of(op)}")
    return found


def listing(found: Sequence[HostOp], limit: int) -> list[str]:
    """Return a line for each kind of operation, the largest first, at most ``limit``."""
    kinds = Counter(replace(one, name="") for one in found)
    ordered = sorted(kinds, key=lambda one: (one.elements is not None, -(one.elements or 0), one.place))
    return [
        f"{kinds[one]:4} x {'?' if one.elements is None else f'{one.elements:,}':>11}  {one.operation} {one.dtypes}"
        f" {one.shape} {one.place}: {one.cause}{', constant' if one.constant else ''}"
        for one in ordered[:limit]
    ]


def main() -> int:
    """Print all lists; return 1 if an operation is too large."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "mixed_float16"])
    parser.add_argument("--image-size", nargs=2, type=int, default=[832, 1344])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--lines", type=int, default=40, help="lines of each list")
    arguments = parser.parse_args()
    registrations = read_registrations()
    print(f"kernels of tensorflow {registrations.tensorflow}")
    failed = False
    for dtype in arguments.dtypes:
        workload = Workload(dtype, tuple(arguments.image_size), arguments.batch)
        network = workload.network()
        for name, trace in (("training step", training_graph), ("inference", inference_graph)):
            found = host_ops(trace(workload, network), registrations, large=LARGE)
            too_large = large(found)
            on_host, in_every_step = totals(found)
            print(
                f"\n{name}, {dtype}: {on_host} operations on the host, {in_every_step} of them in every step and"
                f" {on_host - in_every_step} constant; {len(too_large)} large ones"
            )
            print("\n".join(listing(found, arguments.lines)))
            failed |= bool(too_large)
        with deterministic_operations():
            scatters = large_scatters(training_graph(workload, network))
        print(f"\ndeterministic training step, {dtype}: {len(scatters)} scatters of more than {LARGE:,} elements")
        print("\n".join(f"{count:4} x {scatter}" for scatter, count in Counter(scatters).most_common()))
        failed |= bool(scatters)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
