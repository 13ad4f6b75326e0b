"""Horovod's cycle time: longer on CPUs, unless the user sets it."""

from __future__ import annotations

import os
import sys
from types import ModuleType

import pytest
import tensorflow as tf

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.training.distributed import DistributedContext

pytestmark = pytest.mark.trainer


@pytest.fixture
def cycles(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """Return the values of HOROVOD_CYCLE_TIME with which Horovod was started."""
    seen: list[str | None] = []
    package, module = ModuleType("horovod"), ModuleType("horovod.tensorflow")
    module.__dict__["init"] = lambda: seen.append(os.environ.get("HOROVOD_CYCLE_TIME"))
    package.__dict__["tensorflow"] = module
    monkeypatch.setitem(sys.modules, "horovod", package)
    monkeypatch.setitem(sys.modules, "horovod.tensorflow", module)
    # set for monkeypatch, which restores it although the code under test changes it
    monkeypatch.setenv("HOROVOD_CYCLE_TIME", "")
    monkeypatch.delenv("HOROVOD_CYCLE_TIME")
    return seen


def test_cycle_on_cpus_takes_ten_milliseconds(cycles: list[str | None]) -> None:
    DistributedContext(0, 2).initialize()
    assert cycles == ["10"]


def test_cycle_time_of_the_user_stays(cycles: list[str | None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOROVOD_CYCLE_TIME", "3")
    DistributedContext(0, 2).initialize()
    assert cycles == ["3"]


def test_gpus_keep_the_default_of_horovod(cycles: list[str | None], monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = tf.config.PhysicalDevice("/physical_device:GPU:0", "GPU")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [gpu] if kind == "GPU" else [])
    DistributedContext(0, 2).initialize()
    assert cycles == [None]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"HOROVOD_RANK": "1", "HOROVOD_SIZE": "1"}, "HOROVOD_RANK: 1 must be less than HOROVOD_SIZE, 1"),
        ({"HOROVOD_SIZE": "2"}, "HOROVOD_SIZE: 2 processes without HOROVOD_GLOO_RENDEZVOUS_ADDR"),
    ],
)
def test_variables_that_are_not_those_of_a_worker_process_are_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidInput, match=message):
        DistributedContext.from_environ()
