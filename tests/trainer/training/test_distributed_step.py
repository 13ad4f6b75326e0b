"""A step of two ranks over Horovod equals one process that averages the gradients of the two half-batches."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tensorflow as tf

from maskrcnn_trainer.launch.rendezvous import RendezvousHost, slots_of

pytestmark = pytest.mark.trainer

SCRIPT = Path(__file__).with_name("rank_step.py")


@pytest.fixture(scope="module")
def rank_step() -> ModuleType:
    spec = importlib.util.spec_from_file_location("rank_step", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, np.ndarray]:
    """Return what rank 0 of two has saved."""
    output = tmp_path_factory.mktemp("ranks") / "two.npz"
    host = RendezvousHost.start("127.0.0.1", 0, nodes=1, processes=2)
    try:
        processes = [
            subprocess.Popen(
                [sys.executable, str(SCRIPT), str(output)],
                env={**os.environ, **slot.environment("127.0.0.1", host.port, "lo"), "MASKRCNN_THREADS": "1"},
            )
            for slot in slots_of(0, nodes=1, processes=2)
        ]
        assert [process.wait(timeout=300) for process in processes] == [0, 0]
    finally:
        host.close()
    return dict(np.load(output))


def test_two_ranks_are_the_mean_of_their_gradients(rank_step: ModuleType, two: Mapping[str, np.ndarray]) -> None:
    # Rank 0 gets these from the rank that trains on the second half-batch: losses, gradients, and flag.
    vector, gradients = rank_step.training_step(None)._gradients(rank_step.half_batch(1), tf.constant(1.0))
    theirs = [*gradients, tf.concat([vector, [1.0]], axis=0)]

    def mix(tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        return [(one + other) / 2.0 for one, other in zip(tensors, theirs, strict=True)]

    alone = rank_step.training_step(mix)
    before = rank_step.variables_of(alone)
    measured = alone(rank_step.half_batch(0), tf.constant([0.0]))

    np.testing.assert_allclose(two["loss"], measured["total_loss"], rtol=1e-5)
    np.testing.assert_allclose(two["flags"], [0.5])
    assert list(two["ranks"]) == [0, 1]
    assert list(two["sent"]) == [0, 1, 1, 1]
    moved = 0
    for name, variable in rank_step.variables_of(alone).items():
        np.testing.assert_allclose(two[name], variable, atol=1e-5, rtol=1e-5, err_msg=name)
        moved += not np.array_equal(variable, before[name])
    assert moved > 50


def test_statistics_of_each_rank_are_averaged(rank_step: ModuleType, two: Mapping[str, np.ndarray]) -> None:
    """Without synchronization each rank normalizes by its own images; the stored statistics are the ranks' mean."""
    alone = []
    for rank in range(2):
        step = rank_step.training_step(None, freeze_bn=False)
        step._gradients(rank_step.half_batch(rank), tf.constant(1.0))
        alone.append(rank_step.statistics_of(step))
    assert np.abs(alone[0] - alone[1]).max() > 0.1
    one, other = two["statistics-by-rank"]
    np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(one, (alone[0] + alone[1]) / 2, rtol=1e-4, atol=1e-5)


def test_synchronized_statistics_are_those_of_all_images(two: Mapping[str, np.ndarray]) -> None:
    one, other = two["statistics-synchronized"]
    np.testing.assert_array_equal(one, other)
    assert np.abs(one - two["statistics-by-rank"][0]).max() > 0.01
