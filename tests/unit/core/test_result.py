from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from maskrcnn_operator.api.status import Artifact, Metric, StepState
from maskrcnn_operator.core.plan import Settings
from maskrcnn_operator.core.progress import progress_of
from maskrcnn_operator.core.restart import back_off, exit_reason
from maskrcnn_operator.core.result import TaskResult, parse_result
from maskrcnn_operator.core.runs import RunState

from .world import World

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_a_termination_message() -> None:
    text = (
        '{"version":1,"task":"train","code":0,"fingerprint":"f","attempt":1,"modelPath":"/workspace/m.tlt",'
        '"metrics":{"AP":0.377},"artifacts":{"model":{"path":"/workspace/m.tlt","bytes":123}},'
        '"checkpointStep":120000,"error":null}'
    )
    result = parse_result(text)
    assert result is not None
    assert (result.code, result.fingerprint, result.attempt, result.model_path) == (0, "f", 1, "/workspace/m.tlt")
    assert result.metrics == (Metric(name="AP", value="0.377"),)
    assert result.artifacts == {"model": Artifact(path="/workspace/m.tlt", bytes=123)}
    assert result.checkpoint_step == 120000


def test_a_result_that_was_there_already() -> None:
    content = {"code": 0, "fingerprint": "f"}
    said = [parse_result(json.dumps(content | more)) for more in ({"upToDate": True}, {}, {"upToDate": "no"})]
    assert [result and result.up_to_date for result in said] == [True, False, False]


def test_an_error() -> None:
    result = parse_result(json.dumps({"code": 64, "error": {"reason": "InvalidData", "message": "no image"}}))
    assert result is not None
    assert (result.reason, result.message, result.metrics) == ("InvalidData", "no image", ())


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '"x"', "{}", '{"code":"x"}', '{"code":0,"artifacts":{"a":{}}}', '{"code":0,"error":3}'],
)
def test_nonsense_is_no_result(text: str) -> None:
    assert parse_result(text) is None


def test_progress_of_records() -> None:
    record: dict[str, Any] = {
        "step": 300,
        "total_steps": 1000,
        "eta": "0:12:30",
        "graphical": {"loss": 0.61, "learning_rate": 0.02},
        "kpi": {},
        "checkpointStep": 200,
    }
    progress = progress_of("train", record, None, NOW)
    assert progress is not None
    assert (progress.iteration, progress.total_iterations, progress.percentage) == (300, 1000, 30)
    assert (progress.estimated_remaining_seconds, progress.eta, progress.checkpoint_step) == (750, "0:12:30", 200)
    later = progress_of("train", {"kpi": {"AP": 0.3}}, progress, NOW)
    assert later is not None
    assert {metric.name: metric.value for metric in later.metrics} == {
        "loss": "0.61",
        "learning_rate": "0.02",
        "AP": "0.3",
    }
    assert later.iteration == 300
    assert progress_of("train", {"status": "STARTED"}, progress, NOW) == progress
    other = progress_of("evaluate", {"step": 1}, progress, NOW)
    assert other is not None
    assert (other.step, other.total_iterations, other.metrics) == ("evaluate", None, ())


def test_nonsense_in_a_record_is_passed_over() -> None:
    found = progress_of("train", {"step": 4, "kpi": 3, "graphical": {"loss": "NaN"}, "eta": 7}, None, NOW)
    assert found is not None
    assert (found.iteration, found.metrics, found.eta) == (4, (), None)
    assert progress_of("train", {"step": -1, "total_steps": True}, None, NOW) is None


def test_back_off_doubles_from_ten_seconds_to_five_minutes() -> None:
    seconds = [back_off(failures, Settings()) / timedelta(seconds=1) for failures in (1, 2, 3, 4, 5, 6, 7, 1000)]
    assert seconds == [10, 20, 40, 80, 160, 300, 300, 300]


@pytest.mark.parametrize(
    ("code", "said", "reason"),
    [
        (64, "InvalidData", "InvalidData"),
        (64, "", "InvalidInput"),
        (70, "Whatever", "WorkspaceFull"),
        (75, "", "TryAgain"),
        (137, "", "OutOfMemory"),
        (143, "", "Stopped"),
        (1, "", "Error"),
        (None, "", "Error"),
    ],
)
def test_what_an_exit_code_means(code: int | None, said: str, reason: str) -> None:
    assert exit_reason(code, said) == reason


def test_a_step_whose_result_was_there_is_up_to_date(training: World) -> None:
    found = TaskResult(0, training.newest("train").fingerprint, model_path="/workspace/m.tlt", up_to_date=True)
    training.change("train", state=RunState.SUCCEEDED, exit_code=0, ended=training.now, result=found)
    training.look()
    assert (training.step("train").state, training.step("train").reason) == (StepState.SUCCEEDED, "UpToDate")
