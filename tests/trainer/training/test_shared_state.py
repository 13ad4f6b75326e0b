"""A resumed training's state is broadcast to all ranks as variables."""

from __future__ import annotations

import importlib.util
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from maskrcnn_trainer.training.distributed import DistributedContext
from maskrcnn_trainer.training.loss_scale import LossScale
from maskrcnn_trainer.training.shared_state import restore_on_all_ranks, training_state
from maskrcnn_trainer.training.step import TrainStep

pytestmark = pytest.mark.trainer

LARGEST_OBJECT_BYTES = 1000


class Sender(DistributedContext):
    """Rank 0 of two, which records the values that it broadcasts."""

    def __init__(self) -> None:
        super().__init__(rank=0, size=2)
        self.objects: list[Any] = []
        self.tensors: list[list[np.ndarray]] = []

    def broadcast_object(self, value: Any) -> Any:
        self.objects.append(value)
        return value

    def broadcast_variables(self, variables: Sequence[tf.Variable]) -> None:
        self.tensors.append([variable.numpy() for variable in variables])


class Receiver(DistributedContext):
    """Rank 1 of two."""

    def __init__(self, sender: Sender) -> None:
        super().__init__(rank=1, size=2)
        self._sender = sender

    def broadcast_object(self, value: Any) -> Any:
        assert value in (None, False)
        return self._sender.objects.pop(0)

    def broadcast_variables(self, variables: Sequence[tf.Variable]) -> None:
        for variable, value in zip(variables, self._sender.tensors.pop(0), strict=True):
            variable.assign(value)


@pytest.fixture
def steps() -> list[TrainStep]:
    spec = importlib.util.spec_from_file_location("rank_step", Path(__file__).with_name("rank_step.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return [module.training_step(None) for _ in range(2)]


def test_other_ranks_get_the_state_without_large_objects(steps: list[TrainStep]) -> None:
    first, second = steps
    start = training_state(first, first.network)
    state = {name: np.full_like(value, number + 1) for number, (name, value) in enumerate(start.items())}
    sender = Sender()
    restore_on_all_ranks(state, first, first.network, sender)
    assert sum(len(pickle.dumps(value)) for value in sender.objects) < LARGEST_OBJECT_BYTES
    restore_on_all_ranks(None, second, second.network, Receiver(sender))
    received = training_state(second, second.network)
    assert received.keys() == state.keys()
    for name, value in state.items():
        np.testing.assert_array_equal(received[name], value, err_msg=name)


def test_nothing_is_broadcast_if_nothing_is_resumed(steps: list[TrainStep]) -> None:
    sender = Sender()
    restore_on_all_ranks(None, steps[0], steps[0].network, sender)
    assert (sender.objects, sender.tensors) == ([False], [])


def test_every_entry_of_the_loss_scale_is_a_broadcast_variable() -> None:
    scale = LossScale()
    scale.restore({name: np.asarray(number + 2) for number, name in enumerate(scale.state())})
    assert [variable.numpy() for variable in scale.variables] == list(scale.state().values())
