"""Specs that depend on the number of processes."""

from __future__ import annotations

from typing import Any

import pytest

from maskrcnn_trainer.spec import parse_spec
from maskrcnn_trainer.spec.worker_group import problems_of_processes


def messages(processes: int, *, xla: bool = True, **model: Any) -> list[str]:
    spec = {"totalSteps": 1, "initLearningRate": 0.01, "dataConfig": {"imageSize": [128, 128], "numClasses": 2}}
    read = parse_spec({**spec, "xla": xla, "maskrcnnConfig": model})
    return [str(problem) for problem in problems_of_processes(read, processes)]


def test_compiled_step_can_not_exchange_batch_statistics() -> None:
    (found,) = messages(2, freezeBn=False)
    assert found.startswith("xla: true with 2 processes needs maskrcnnConfig.syncBn false or freezeBn true")


@pytest.mark.parametrize(
    ("processes", "model", "xla"),
    [
        (1, {"freezeBn": False}, True),
        (2, {"freezeBn": False}, False),
        (2, {"freezeBn": True}, True),
        (2, {"freezeBn": False, "syncBn": False}, True),
        (2, {"freezeBn": False, "freezeBlocks": [0, 1, 2, 3, 4]}, True),
    ],
)
def test_step_without_that_exchange_is_accepted(processes: int, model: dict[str, Any], xla: bool) -> None:
    assert messages(processes, xla=xla, **model) == []
