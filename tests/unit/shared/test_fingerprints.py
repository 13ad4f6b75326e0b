"""Recognition of results that another release wrote with another fingerprint of the same step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskrcnn_trainer.launch import LaunchSettings, launch
from maskrcnn_trainer.model_files.model_file import ModelFile, write_model_file
from maskrcnn_trainer.results.ownership import claim
from maskrcnn_trainer.results.run_file import read_run
from maskrcnn_trainer.shared.fingerprints import as_members, fingerprint_of, fingerprints_in
from maskrcnn_trainer.task.artifacts import read_result
from maskrcnn_trainer.task.environment import TaskEnvironment

OLD = "aaaaaaaa111111111111111111111111-v1"
"""Fingerprint of version 1, the only one that an older release computes."""
EDITED = "cccccccc333333333333333333333333-v1"
"""Fingerprint of version 1 after an edit that only version 1 covers."""
NEW = "bbbbbbbb222222222222222222222222-v2"
OTHER = "dddddddd444444444444444444444444-v2"

BY_OLDER_OPERATOR = (OLD,)
BOTH = (OLD, NEW)


def start(directory: Path, *fingerprints: str) -> None:
    *older, recorded = fingerprints
    claim(directory, experiment_uid="uid", attempt=1, fingerprint=recorded, older_fingerprints=older)


def environment(directory: Path, *fingerprints: str) -> TaskEnvironment:
    given = {
        "MASKRCNN_RESULTS_DIR": str(directory),
        "MASKRCNN_FINGERPRINT": fingerprints[0],
        "MASKRCNN_TERMINATION_LOG": str(directory.parent / "termination.log"),
    }
    if len(fingerprints) > 1:
        given["MASKRCNN_FINGERPRINTS"] = " ".join(fingerprints)
    return TaskEnvironment.from_environ(given)


def finish(directory: Path, *fingerprints: str) -> None:
    """Write the results of a finished evaluation."""
    start(directory, *fingerprints)
    (directory / "metrics.json").write_text("{}")
    artifacts = {"metrics": {"path": str(directory / "metrics.json"), "bytes": 2}}
    result = {"version": 1, "task": "evaluate", "code": 0, **as_members(fingerprints), "artifacts": artifacts}
    (directory / "result.json").write_text(json.dumps(result))


def run(directory: Path, *fingerprints: str) -> tuple[int, dict[str, Any]]:
    """Start a task that fails because its spec is missing, unless there is nothing to do."""
    task = ("evaluate", "-m", str(directory.parent / "absent.tlt"), "-e", str(directory.parent / "absent.yaml"))
    code = launch(LaunchSettings(1, 0, 1, None, task), environment(directory, *fingerprints))
    return code, json.loads((directory.parent / "termination.log").read_text())


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.parent.iterdir() if path.is_dir()}


def as_an_older_release_reads(file: Path) -> str:
    found = json.loads(file.read_text())["fingerprint"]
    assert isinstance(found, str)
    return found


@pytest.mark.parametrize(
    ("written", "given"),
    [
        (BY_OLDER_OPERATOR, BOTH),
        (BOTH, BOTH),
        (BOTH, BY_OLDER_OPERATOR),
        # an edit has changed a field that only version 1 covers
        (BOTH, (EDITED, NEW)),
    ],
)
def test_results_of_any_of_the_fingerprints_stay_and_are_up_to_date(
    tmp_path: Path, written: tuple[str, ...], given: tuple[str, ...]
) -> None:
    directory = tmp_path / "evaluate"
    finish(directory, *written)
    code, said = run(directory, *given)
    assert (code, said["upToDate"], said["fingerprint"]) == (0, True, given[-1])
    assert names(directory) == {"evaluate"}


def test_results_of_none_of_the_fingerprints_are_moved_aside_and_moved_back(tmp_path: Path) -> None:
    directory = tmp_path / "evaluate"
    finish(directory, *BY_OLDER_OPERATOR)
    start(directory, EDITED, OTHER)
    assert names(directory) == {"evaluate", "evaluate.aaaaaaaa"}
    code, said = run(directory, *BOTH)
    assert (code, said["upToDate"]) == (0, True)
    assert names(directory) == {"evaluate", "evaluate.cccccccc"}


def test_results_moved_aside_by_an_older_release_are_moved_back(tmp_path: Path) -> None:
    """The older release names the directory by its only fingerprint."""
    directory = tmp_path / "evaluate"
    finish(directory, *BOTH)
    directory.rename(tmp_path / f"evaluate.{OLD[:8]}")
    start(directory, OTHER)
    code, said = run(directory, EDITED, NEW)
    assert (code, said["upToDate"]) == (0, True)


def test_an_older_release_recognizes_every_file(tmp_path: Path) -> None:
    directory = tmp_path / "evaluate"
    finish(directory, *BOTH)
    assert as_an_older_release_reads(directory / "run.json") == OLD
    assert as_an_older_release_reads(directory / "result.json") == OLD
    state = as_members(BOTH)
    assert state["fingerprint"] == OLD


def test_a_directory_of_an_older_release_gets_the_new_name_as_well(tmp_path: Path) -> None:
    """The next edit may change only the old fingerprint."""
    directory = tmp_path / "evaluate"
    finish(directory, *BY_OLDER_OPERATOR)
    before = (directory / "result.json").stat().st_mtime_ns
    assert run(directory, *BOTH)[0] == 0
    assert read_result(directory, NEW) is not None
    found = read_run(directory)
    assert found is not None
    assert found.fingerprints == BOTH
    # still older than files that the user changes afterwards
    assert (directory / "result.json").stat().st_mtime_ns == before
    code, said = run(directory, EDITED, NEW)
    assert (code, said["upToDate"]) == (0, True)
    assert names(directory) == {"evaluate"}


def test_a_result_of_another_fingerprint_is_not_renamed(tmp_path: Path) -> None:
    directory = tmp_path / "evaluate"
    finish(directory, OTHER)
    start(directory, *BOTH)
    assert json.loads((tmp_path / "evaluate.dddddddd" / "result.json").read_text())["fingerprint"] == OTHER


@pytest.mark.parametrize("saved", [BY_OLDER_OPERATOR, BOTH, (EDITED, NEW)])
def test_checkpoints_of_any_of_the_fingerprints_stay_without_run_file(tmp_path: Path, saved: tuple[str, ...]) -> None:
    directory = tmp_path / "train"
    directory.mkdir()
    model = ModelFile({}, {}, {}, 7, {"kernel": np.zeros(3, np.float32)}, state=as_members(saved))
    write_model_file(directory / "model.step-7.tlt", model, None)
    start(directory, *BOTH)
    assert (directory / "model.step-7.tlt").exists()
    assert names(directory) == {"train"}


@pytest.mark.parametrize(
    ("saved", "expected", "found"),
    [
        (BY_OLDER_OPERATOR, BOTH, NEW),
        ((EDITED, NEW), BOTH, NEW),
        (BOTH, BY_OLDER_OPERATOR, OLD),
        ((EDITED, OTHER), BOTH, EDITED),
        ((), BOTH, None),
        (BOTH, (), OLD),
    ],
)
def test_a_checkpoint_counts_as_recorded_where_it_shares_a_fingerprint(
    saved: tuple[str, ...], expected: tuple[str, ...], found: str | None
) -> None:
    assert fingerprint_of(as_members(saved), expected) == found


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({}, ()),
        ({"fingerprint": None, "fingerprints": [NEW]}, ()),
        ({"fingerprint": 7}, ()),
        ({"fingerprint": OLD}, (OLD,)),
        ({"fingerprint": OLD, "fingerprints": None}, (OLD,)),
        ({"fingerprint": OLD, "fingerprints": [OLD, 7]}, (OLD,)),
        ({"fingerprint": OLD, "fingerprints": [NEW]}, (OLD, NEW)),
        ({"fingerprint": OLD, "fingerprints": [OLD, NEW]}, (OLD, NEW)),
    ],
)
def test_invalid_list_of_fingerprints_is_ignored(content: dict[str, Any], found: tuple[str, ...]) -> None:
    assert fingerprints_in(content) == found


def test_a_task_of_an_older_operator_has_one_fingerprint(tmp_path: Path) -> None:
    found = environment(tmp_path, OLD)
    assert (found.fingerprint, found.older_fingerprints, found.fingerprints) == (OLD, (), (OLD,))
    assert TaskEnvironment.from_environ({}).fingerprints == ()
    assert environment(tmp_path, *BOTH).fingerprint == NEW
