"""Working copy of a step in object storage: arguments that name it, variables, and its directory."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.launch.stored_launches import STORED, URL

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.launch.working_copy import (
    local_task,
    make_room_for_log,
    outlasts_attempt,
    refuse_other_outputs,
    variables_set,
    working_copy,
)
from maskrcnn_trainer.task.environment import TaskEnvironment

DIRECTORY = Path("/copies/exp/train")


@pytest.mark.parametrize(
    ("written", "local"),
    [
        (URL, "/copies/exp/train"),
        (f"{URL}/", "/copies/exp/train/"),
        (f"{URL}/model.onnx", "/copies/exp/train/model.onnx"),
        (f"--results-dir={URL}", "--results-dir=/copies/exp/train"),
        ("/workspace/exp/train", "/copies/exp/train"),
        ("/workspace/exp/train/model.onnx", "/copies/exp/train/model.onnx"),
    ],
)
def test_argument_that_names_the_results_becomes_a_path(written: str, local: str) -> None:
    assert local_task(("export", "-o", written), STORED, DIRECTORY) == ("export", "-o", local)


@pytest.mark.parametrize(
    "written", [f"{URL}2", f"{URL}2/x", "s3://bucket/results/exp", "/workspace/exp/train2", "/workspace/other/train"]
)
def test_other_arguments_stay(written: str) -> None:
    task = ("export", "-m", written, f"--model={written}")
    assert local_task(task, STORED, DIRECTORY) == task


@pytest.mark.parametrize(
    "output",
    [("-o", f"{URL}2"), ("--output-file=s3://bucket/elsewhere",), ("--output_file", "s3://bucket/elsewhere")],
)
def test_output_at_another_url_is_refused(output: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInput) as error:
        refuse_other_outputs(("export", "-m", "model.tlt", *output), STORED)
    flag = output[0].partition("=")[0]
    assert str(error.value) == f"{flag}: the value must be the URL of MASKRCNN_RESULTS_DIR ({URL}), or lie below it"


@pytest.mark.parametrize("path", ["model.onnx", "/copies/exp/train2", "/copies/exp/train/../x", "/workspace/exp/other"])
def test_output_at_a_path_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(InvalidInput, match=f"^-o: '{path}' must be the URL of MASKRCNN_RESULTS_DIR"):
        refuse_other_outputs(("export", "-o", path), replace(STORED, working_dir="/copies"))


def test_path_without_a_working_directory_is_refused() -> None:
    with pytest.raises(InvalidInput, match="^-d: '/copies/exp/train' must be the URL"):
        refuse_other_outputs(("train", "-d", "/copies/exp/train"), STORED)


@pytest.mark.parametrize(
    "task",
    [
        ("export", "-o", URL),
        ("export", "-o", f"{URL}/model.onnx"),
        ("export", "-o", "/workspace/exp/train/model.onnx"),
        ("export", "-o", "/copies/exp/train/model.onnx"),
        ("export", "--cal-data-file", "/elsewhere/images.tensorfile"),
        ("export", "-m", "s3://bucket/model.tlt"),
        ("export", "-o"),
    ],
)
def test_output_in_the_results_and_inputs_by_url_are_accepted(task: tuple[str, ...]) -> None:
    refuse_other_outputs(task, replace(STORED, working_dir="/copies"))


def test_variables_are_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKRCNN_A", "before")
    monkeypatch.delenv("MASKRCNN_B", raising=False)
    with variables_set({"MASKRCNN_A": "within", "MASKRCNN_B": "within"}):
        assert (os.environ["MASKRCNN_A"], os.environ["MASKRCNN_B"]) == ("within", "within")
    assert (os.environ["MASKRCNN_A"], os.environ.get("MASKRCNN_B")) == ("before", None)


def test_given_directory_stays_and_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with working_copy(replace(STORED, working_dir="work")) as directory:
        assert directory == tmp_path / "work"
    assert directory.is_dir()


def test_temporary_directory_is_removed() -> None:
    with working_copy(STORED) as directory:
        (directory / "exp").mkdir()
    assert not directory.exists()


@pytest.mark.parametrize(("below", "made"), [("work/exp/train", True), ("elsewhere", False)])
def test_directory_of_a_log_is_created_only_in_the_working_copy(tmp_path: Path, below: str, *, made: bool) -> None:
    file = tmp_path / below / "termination.json"
    make_room_for_log(TaskEnvironment(termination_log=str(file)), replace(STORED, working_dir=str(tmp_path / "work")))
    assert file.parent.is_dir() is made


@pytest.mark.parametrize(
    ("directory", "environ", "expected"),
    [("/state", {}, True), (None, {}, False), ("/scratch", {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, False)],
)
def test_working_copy_outlasts_an_attempt_in_a_directory_of_this_machine(
    directory: str | None, environ: dict[str, str], *, expected: bool
) -> None:
    assert outlasts_attempt(replace(STORED, working_dir=directory), environ) is expected
