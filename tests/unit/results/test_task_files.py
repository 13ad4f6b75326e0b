"""Tasks with an entry in the table of files that their names don't distinguish from a user's own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.unit.results.directories import A, B, C, assert_refused, start

from maskrcnn_trainer.report.content import Report
from maskrcnn_trainer.report.page.page import page
from maskrcnn_trainer.results.contents import remove_ours
from maskrcnn_trainer.results.task_files import TASK_FILES
from maskrcnn_trainer.spec.task_name import TaskName
from maskrcnn_trainer.spec.task_table import TASKS
from maskrcnn_trainer.task.files import compact_json

WITH_ENTRY = {
    TaskName.DATASET_CONVERT: "a user's own shards have the same names",
    TaskName.TRAIN: "a training outside of an experiment writes checkpoints too; they contain their fingerprint",
    TaskName.EVALUATE: "a user may have an images.json of their own",
    TaskName.INFERENCE: "results are named like the user's images",
}
WITHOUT_ENTRY = {
    TaskName.PRUNE: "the name of its only file is fixed; an interrupted run starts over, so it reads no fingerprint",
    TaskName.EXPORT: "the names of its files are fixed; an interrupted run starts over, so it reads no fingerprint",
}
"""Reason of each task why it has an entry, or why it needs none."""

OPEN = re.compile(r"\\d|[*+\[]")
"""Part of a pattern that matches any number of names."""


@pytest.mark.parametrize("name", TaskName)
def test_each_task_states_whether_it_has_an_entry(name: TaskName) -> None:
    assert (name in WITH_ENTRY) != (name in WITHOUT_ENTRY), f"state here whether {name.value} needs an entry, and why"
    assert (name in TASK_FILES) is (name in WITH_ENTRY)


@pytest.mark.parametrize("name", WITHOUT_ENTRY)
def test_names_of_a_task_without_an_entry_are_fixed(name: TaskName) -> None:
    assert [pattern for pattern in TASKS[name].files if OPEN.search(pattern)] == []


@pytest.mark.parametrize("name", sorted(WITH_ENTRY.keys() - {TaskName.EVALUATE}))
def test_task_with_an_entry_has_a_name_that_is_not_fixed(name: TaskName) -> None:
    assert any(OPEN.search(pattern) for pattern in TASKS[name].files)


WRITTEN = {
    "images.json": b'{"version": 1, "evaluatedOn": "0123", "images": []}',
    "history.jsonl": b'{"step":10,"losses":{}}\n',
    "report.html": page(Report("a", "2026-11-29T10:00:00Z", "1", ())).encode(),
    "report.json": compact_json(Report("a", "2026-11-29T10:00:00Z", "1", ()).to_json()),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_usual_name_is_recognized_by_its_content(tmp_path: Path, name: str) -> None:
    start(tmp_path / "step", A)
    (tmp_path / "step" / name).write_bytes(WRITTEN[name])
    start(tmp_path / "step", B)
    assert [path.name for path in tmp_path.iterdir() if (path / name).exists()] == ["step.aaaaaaaa"]
    (tmp_path / "step" / name).write_bytes(b'{"images": []}')
    assert_refused(tmp_path / "step", C, name)


@pytest.mark.parametrize("name", WRITTEN)
def test_deletion_keeps_a_users_file_with_a_usual_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b'{"images": []}')
    assert remove_ours(tmp_path) == [name]
    (tmp_path / name).write_bytes(WRITTEN[name])
    assert remove_ours(tmp_path) == []
    assert not tmp_path.exists()
