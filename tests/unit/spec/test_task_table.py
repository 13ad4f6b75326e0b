"""Task table of the trainer is complete; tests/trainer/spec/test_task_table.py compares it with runs of the tasks."""

from __future__ import annotations

import importlib
import re

import pytest
from tests.unit.written_files import is_written_by

from maskrcnn_trainer.results.ours import is_ours, is_temporary, may_stand_unclaimed
from maskrcnn_trainer.spec.task_name import TaskName
from maskrcnn_trainer.spec.task_table import TASKS


def test_every_task_has_an_entry() -> None:
    assert [name for name in TaskName if name not in TASKS] == []


@pytest.mark.parametrize("name", list(TaskName))
def test_module_of_a_task_has_the_functions_that_the_command_line_calls(name: TaskName) -> None:
    entry = TASKS[name]
    command = importlib.import_module(entry.module)
    expected = ["add_arguments", "run", *(["check"] if entry.several_processes else [])]
    assert [function for function in expected if not callable(getattr(command, function, None))] == []


@pytest.mark.parametrize("name", list(TaskName))
def test_the_names_of_a_task_are_patterns_without_named_groups_where_they_are_joined(name: TaskName) -> None:
    entry = TASKS[name]
    assert entry.files
    assert [pattern for pattern in entry.files if re.compile(pattern).groupindex] == []


def test_a_file_is_of_the_task_that_writes_it() -> None:
    assert is_written_by(TaskName.PRUNE, "model.tlt")
    assert not is_written_by(TaskName.TRAIN, "model.tlt")
    assert is_written_by(TaskName.TRAIN, ".train.lock")
    assert is_ours("model.tlt")
    for common in ("run.json", "result.json", "status.json", "termination.json", "logs/attempt-1.log"):
        assert all(is_written_by(name, common) for name in TaskName)


def test_a_finished_task_leaves_no_temporary_file() -> None:
    for path in (".model.tlt.12.partial", ".t.convert-x1/t_warnings.json"):
        assert is_temporary(path)
        assert may_stand_unclaimed(path)
        assert not any(is_written_by(name, path) for name in TaskName)
