"""A step of two ranks over Horovod equals one process that averages the gradients of the two half-batches."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
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


def test_two_ranks_are_the_mean_of_their_gradients(rank_step: ModuleType, tmp_path: Path) -> None:
    output = tmp_path / "two.npz"
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
    two = np.load(output)

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
