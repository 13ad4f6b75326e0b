"""Copies of inputs by URL: where a task finds them, and how it names them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from maskrcnn_trainer.shared.variables import STAGED_INPUTS_VARIABLE
from maskrcnn_trainer.spec import ExperimentSpec
from maskrcnn_trainer.spec.parsing import parse_spec
from maskrcnn_trainer.spelling import as_written
from maskrcnn_trainer.task.staged_inputs import (
    StagedInputs,
    hand_on_staged_inputs,
    staged_file,
    staged_inputs,
    staged_path,
    staged_paths,
    use_inputs_of_parent,
    use_staged_inputs,
    with_staged_paths,
)
from maskrcnn_trainer.task.workspace import manifest_path, manifest_paths, real_path

INPUTS = StagedInputs(
    paths={"s3://b/m.tlt": "/c/staged/0/m.tlt", "s3://b/r/t-*": "/c/staged/1/t-*"},
    urls={"/c/staged/0": "s3://b", "/c/staged/1": "s3://b/r"},
)


@pytest.fixture(autouse=True)
def inputs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(STAGED_INPUTS_VARIABLE, raising=False)
    use_staged_inputs(INPUTS)
    yield
    use_staged_inputs(StagedInputs())


def spec_with(**data: str) -> ExperimentSpec:
    return parse_spec(
        {"totalSteps": 4, "initLearningRate": 0.1, "dataConfig": {"numClasses": 2, "imageSize": [128, 128], **data}}
    )


def test_input_is_found_at_its_copy_and_a_path_where_it_is() -> None:
    assert staged_path("s3://b/m.tlt") == "/c/staged/0/m.tlt"
    assert staged_path("/data/m.tlt") == "/data/m.tlt"


def test_url_of_a_file_is_its_path() -> None:
    assert staged_path("file:///data/m.tlt") == "/data/m.tlt"


def test_each_pattern_of_a_list_is_replaced() -> None:
    assert staged_paths("s3://b/r/t-*, /data/x-*,file:///y") == "/c/staged/1/t-*, /data/x-*,/y"


def test_spec_has_paths_in_the_fields_that_a_task_reads() -> None:
    spec = spec_with(trainingFilePattern="s3://b/r/t-*", validationFilePattern="s3://b/r/t-*")
    found = with_staged_paths(spec, ("data_config", "training_file_pattern"))
    assert found.data_config.training_file_pattern == "/c/staged/1/t-*"
    assert found.data_config.validation_file_pattern == "s3://b/r/t-*"


def test_spec_has_the_copies_of_paths_in_the_workspace() -> None:
    use_staged_inputs(StagedInputs(paths={"/workspace/exp/convert/t-*": "/c/staged/0/t-*"}))
    spec = spec_with(trainingFilePattern="/workspace/exp/convert/t-*, /workspace/other/t-*")
    found = with_staged_paths(spec, ("data_config", "training_file_pattern"))
    assert found.data_config.training_file_pattern == "/c/staged/0/t-*, /workspace/other/t-*"


def test_spec_without_urls_is_the_same() -> None:
    spec = spec_with(trainingFilePattern="/data/t-*")
    assert with_staged_paths(spec, ("data_config", "training_file_pattern"), ("checkpoint",)) is spec


def test_results_and_messages_name_urls() -> None:
    assert manifest_path("/c/staged/0/m.tlt") == "s3://b/m.tlt"
    assert manifest_paths({"a": ["/c/staged/1/t-*,/x/y"]}) == {"a": ["s3://b/r/t-*,/x/y"]}
    assert as_written("/c/staged/1/t-0: damaged; /c/staged/10/t-0") == "s3://b/r/t-0: damaged; /c/staged/10/t-0"


def test_recorded_url_is_found_below_a_staged_place(tmp_path: Path) -> None:
    (tmp_path / "t-0").touch()
    use_staged_inputs(StagedInputs(urls={str(tmp_path): "s3://b/r"}))
    assert staged_file("s3://b/r/t-0") == real_path("s3://b/r/t-0") == tmp_path / "t-0"
    assert staged_file("s3://b/r/t-1") is None
    assert staged_file("s3://b/records") is None


def test_child_process_has_the_inputs_of_its_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STAGED_INPUTS_VARIABLE, "")  # restored after the test
    hand_on_staged_inputs(INPUTS, tmp_path / "handed-on")
    use_staged_inputs(StagedInputs())
    use_inputs_of_parent()
    assert staged_inputs() == INPUTS


def test_process_without_a_parent_that_has_staged_has_none() -> None:
    use_inputs_of_parent()
    assert staged_inputs() == StagedInputs()
