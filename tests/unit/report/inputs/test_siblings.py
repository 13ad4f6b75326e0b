"""Steps next to one in a working directory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from maskrcnn_trainer.report.inputs.siblings import siblings_in_store
from maskrcnn_trainer.shared.variables import (
    INPUT_FINGERPRINTS_VARIABLE,
    RESULTS_DIR_VARIABLE,
    WORKSPACE_URL_VARIABLE,
    WORKSPACE_VARIABLE,
)
from maskrcnn_trainer.task.staged_inputs import StagedInputs, use_staged_inputs


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(WORKSPACE_VARIABLE, "/copies")
    monkeypatch.setenv(WORKSPACE_URL_VARIABLE, "s3://lab/ws")
    monkeypatch.setenv(RESULTS_DIR_VARIABLE, "/copies/shapes/evaluate")
    monkeypatch.setenv(INPUT_FINGERPRINTS_VARIABLE, json.dumps({"train": ["f1"]}))
    yield
    use_staged_inputs(StagedInputs())


def test_step_of_a_working_directory_has_siblings_in_object_storage() -> None:
    found = siblings_in_store(Path("/copies/shapes/evaluate"))
    assert found is not None
    assert (found.experiment, found.own, found.copy) == ("/workspace/shapes", "evaluate", None)


def test_steps_are_read_whose_fingerprints_or_paths_the_task_is_given() -> None:
    use_staged_inputs(
        StagedInputs(paths={"/workspace/shapes/prune/model.tlt": "/c/0/model.tlt", "/workspace/other/a/b": "/c/1/b"})
    )
    found = siblings_in_store(Path("/copies/shapes/evaluate"))
    assert found is not None
    assert found.read == {"train", "prune"}


def test_copy_is_that_of_the_experiment() -> None:
    use_staged_inputs(StagedInputs(paths={"/workspace/shapes": "/c/0/shapes"}))
    found = siblings_in_store(Path("/copies/shapes/evaluate"))
    assert found is not None
    assert found.copy == Path("/c/0/shapes")


@pytest.mark.parametrize("directory", ["/copies/shapes", "/copies/shapes/evaluate/deep", "/elsewhere/shapes/evaluate"])
def test_other_directory_has_no_siblings_in_object_storage(directory: str) -> None:
    assert siblings_in_store(Path(directory)) is None


def test_workspace_that_is_a_directory_has_its_steps_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WORKSPACE_URL_VARIABLE)
    assert siblings_in_store(Path("/copies/shapes/evaluate")) is None
