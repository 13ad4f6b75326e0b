"""Task table of the trainer is complete; tests/trainer/spec/test_task_table.py compares it with runs of the tasks."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.written_files import is_written_by

import maskrcnn_trainer
from maskrcnn_trainer.results.ours import is_ours, is_temporary, may_stand_unclaimed
from maskrcnn_trainer.spec.task_name import TaskName
from maskrcnn_trainer.spec.task_table import TASKS
from maskrcnn_trainer.task.arguments import KEY_FLAGS, SPEC_FLAGS, IgnoredFlag, TaskParser

ROOT = Path(maskrcnn_trainer.__file__).parent
TABLES = ("spec/task_table.py", "spec/url_fields.py", "results/task_files.py")

KNOWN = {
    "results/ownership.py: TRAINING_LOCK",
    "results/history.py: HISTORY_FILE",
    "results/evaluated_images.py: EVALUATED_FILE",
}
"""A function that its name gives to trainings, and that training alone calls; formats of one file, each in a module."""

NO_PATHS = frozenset({"-t", "--tag", "-el", "--excluded-layers"})
"""Flags of tasks whose value is a text, but no path."""


def text_flags(name: TaskName) -> Iterator[str]:
    """Return the flags of a task whose value may be any text."""
    parser = TaskParser(add_help=False)
    importlib.import_module(TASKS[name].module).add_arguments(parser)
    for action in parser._actions:
        is_switch = action.nargs == 0 or isinstance(action, IgnoredFlag)
        if not is_switch and action.choices is None and action.type not in (int, float):
            yield from action.option_strings


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


@pytest.mark.parametrize("name", list(TaskName))
def test_files_with_a_meaning_are_files_of_the_task(name: TaskName) -> None:
    entry = TASKS[name]
    named = [*entry.appended, *filter(None, [entry.evaluations])]
    assert [file for file in named if not any(re.fullmatch(pattern, file) for pattern in entry.files)] == []


def test_checkpoint_of_a_training_has_its_step() -> None:
    checkpoint = TASKS[TaskName.TRAIN].checkpoint
    assert checkpoint is not None
    match = checkpoint.fullmatch("model.step-20.tlt")
    assert match is not None
    assert match["step"] == "20"


@pytest.mark.parametrize("name", list(TaskName))
def test_every_flag_of_a_path_is_an_input_or_an_output_of_the_task(name: TaskName) -> None:
    entry = TASKS[name]
    paths = set(text_flags(name)) - {*SPEC_FLAGS, *KEY_FLAGS} - NO_PATHS
    assert paths - {*entry.input_flags, *entry.output_flags} == set(), f"add to the entry of {name.value}"
    assert {*entry.input_flags, *entry.output_flags} - paths == set(), f"{name.value} has no such flag of a path"


def test_no_flag_is_an_input_of_one_task_and_an_output_of_another() -> None:
    inputs = {flag for entry in TASKS.values() for flag in entry.input_flags}
    assert inputs.isdisjoint(flag for entry in TASKS.values() for flag in entry.output_flags)


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


def knowledge_of_tasks(file: Path) -> Iterator[str]:
    """Yield the names of tasks in a module, and the names of a task's files that it imports from the table."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "TaskName":
            if node.attr.isupper():
                yield f"TaskName.{node.attr}"
        elif isinstance(node, ast.ImportFrom) and node.module == "maskrcnn_trainer.spec.task_table":
            yield from (alias.name for alias in node.names if alias.name not in ("TASKS", "TaskEntry"))


def test_only_tables_and_packages_of_tasks_distinguish_tasks() -> None:
    # a report shows what each task has done
    packages = {entry.module.split(".")[1] for entry in TASKS.values()} | {"report"}
    found = {
        f"{path}: {known}"
        for path in (file.relative_to(ROOT) for file in sorted(ROOT.rglob("*.py")))
        if str(path) not in TABLES and path.parts[0] not in packages
        for known in knowledge_of_tasks(ROOT / path)
    }
    assert found - KNOWN == set(), f"put what these modules know of single tasks into one of {TABLES}"
    assert found >= KNOWN, "no longer there: take it from KNOWN"
