"""Termination messages of processes that have written none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from maskrcnn_trainer.launch.endings import conclude, message_of_code
from maskrcnn_trainer.launch.processes import Ended
from maskrcnn_trainer.launch.settings import LaunchSettings
from maskrcnn_trainer.task.environment import TaskEnvironment

SETTINGS = LaunchSettings(1, 0, 2, None, ("train",))


@pytest.mark.parametrize(("code", "reason"), [(143, "Stopped"), (1, "ProcessFailed"), (70, "WorkspaceFull")])
def test_exit_code_of_a_task_without_a_message_has_a_reason(code: int, reason: str) -> None:
    message = message_of_code(code, TaskEnvironment(), SETTINGS, Path("/work"), checkpoint_step=None)
    assert message.error is not None
    assert message.error.reason == reason


@pytest.mark.parametrize(("code", "reason"), [(143, "Stopped"), (3, "ProcessFailed")])
def test_process_that_has_reported_nothing_has_a_reason(tmp_path: Path, code: int, reason: str) -> None:
    environment = TaskEnvironment(termination_log=str(tmp_path / "termination.json"))
    assert conclude([Ended(1, code), Ended(0, 0)], environment, SETTINGS) == code
    error = json.loads((tmp_path / "termination.json").read_text())["error"]
    assert error["reason"] == reason
    assert error["message"].startswith("process 1 ")
