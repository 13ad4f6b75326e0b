from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from tests.unit.accepted import refused

from maskrcnn_operator.api.status import Artifact, Metric, StepState
from maskrcnn_operator.core.result import TaskResult, format_number, parse_result
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
    assert (result.exit_code, result.fingerprint, result.attempt, result.model_path) == (0, "f", 1, "/workspace/m.tlt")
    assert result.metrics == (Metric(name="AP", value="0.377"),)
    assert result.artifacts == {"model": Artifact(path="/workspace/m.tlt", bytes=123)}
    assert result.checkpoint_step == 120000


@pytest.mark.parametrize("facts", [{"images": 343, "classes": [{"id": 1, "name": "person"}]}, None, 7, ["x"]])
def test_facts_of_a_result_are_ignored(facts: object) -> None:
    content = {"code": 0, "fingerprint": "f", "metrics": {"AP": 0.5}}
    assert parse_result(json.dumps(content | {"facts": facts})) == parse_result(json.dumps(content))


def test_result_that_already_existed() -> None:
    content = {"code": 0, "fingerprint": "f"}
    said = [parse_result(json.dumps(content | more)) for more in ({"upToDate": True}, {}, {"upToDate": "no"})]
    assert [result and result.up_to_date for result in said] == [True, False, False]


@pytest.mark.parametrize("number", ["-1", "1.5", '"6"', "true", "1000001", "null"])
def test_invalid_number_of_a_later_attempt_is_left_out(number: str) -> None:
    text = f'{{"code": 75, "error": {{"reason": "Superseded", "message": "m", "laterAttempt": {number}}}}}'
    result = parse_result(text)
    assert result is not None
    assert (result.reason, result.later_attempt) == ("Superseded", None)


def test_number_of_a_later_attempt_is_read() -> None:
    result = parse_result('{"code": 75, "error": {"reason": "Superseded", "message": "m", "laterAttempt": 6}}')
    assert result is not None
    assert result.later_attempt == 6


def test_error_has_reason_and_message() -> None:
    result = parse_result(json.dumps({"code": 64, "error": {"reason": "InvalidData", "message": "no image"}}))
    assert result is not None
    assert (result.reason, result.message, result.metrics) == ("InvalidData", "no image", ())


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '"x"', "{}", '{"code":"x"}', '{"code":0,"artifacts":{"a":{}}}', '{"code":0,"error":3}'],
)
def test_invalid_text_is_not_a_result(text: str) -> None:
    assert parse_result(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"code":0,"metrics":' + "[" * 2_000 + "]" * 2_000 + "}",
        '{"code":1e999}',
        '{"code":' + "9" * 5_000 + "}",
        '{"code":256}',
        '{"code":-1}',
        '{"code":true}',
        '{"code":"0"}',
        '{"code":0,"fingerprint":7}',
        '{"code":0,"fingerprint":"\\udce9"}',
        '{"code":0,"modelPath":["/workspace/m.tlt"]}',
        '{"code":0,"modelPath":"' + "x" * 5_000 + '"}',
        '{"code":0,"artifacts":{"a":7}}',
        '{"code":0,"artifacts":{"a":{"path":"\\udce9"}}}',
        json.dumps({"code": 0, "artifacts": {str(number): {"path": "/x"} for number in range(65)}}),
        b"\xff\xfe\x00",
    ],
)
def test_result_with_invalid_identity_is_unreadable(text: str | bytes) -> None:
    assert parse_result(text) is None


def test_values_out_of_bounds_are_left_out_or_cut() -> None:
    text = (
        '{"code":1,"attempt":1e300,"checkpointStep":1e300,"error":{"reason":"\\udce9","message":"LONG"},"upToDate":1,'
        '"artifacts":{"a":{"path":"/x","bytes":1000000000000000000000,"sha256":7},"b":{"path":"/y","bytes":"2"}},'
        '"metrics":{"AP":0.5,"nan":NaN,"inf":1e999,"long":DIGITS,"true":true,"text":"1","\\udce9":1,"\\udcea":2}}'
    )
    result = parse_result(text.replace("LONG", "\\udce9" * 5_000).replace("DIGITS", "9" * 30))
    assert result is not None
    assert (result.exit_code, result.attempt, result.checkpoint_step, result.up_to_date) == (1, 0, None, False)
    assert (result.reason, result.message) == ("\ufffd", "\ufffd" * 4_096)
    assert result.artifacts == {"a": Artifact(path="/x"), "b": Artifact(path="/y")}
    assert result.metrics == (Metric(name="AP", value="0.5"), Metric(name="\ufffd", value="1"))


@pytest.mark.parametrize(
    "path",
    [
        *(None, 7, "", ["/workspace/report.html"], "/" + "x" * 4_096),
        *("/workspace/\udce9.html", "/workspace/report.html\nFailed", "/workspace/\x1b[2Jreport.html"),
    ],
)
def test_result_with_an_invalid_report_is_taken_without_it(path: object) -> None:
    content = {"code": 0, "fingerprint": "f", "modelPath": "/workspace/m.tlt"}
    result = parse_result(json.dumps(content | {"reportPath": path}))
    assert result == parse_result(json.dumps(content))
    assert result is not None
    assert result.report_path is None


def test_longest_path_of_a_report_is_taken() -> None:
    path = "/" + "x" * 4_095
    result = parse_result(json.dumps({"code": 0, "reportPath": path}))
    assert result is not None
    assert result.report_path == path


def test_metrics_are_bounded_in_number() -> None:
    result = parse_result(json.dumps({"code": 0, "metrics": {f"metric-{number}": 1 for number in range(1_000)}}))
    assert result is not None
    assert len(result.metrics) == 256


WORDS = (
    '{"code":0,"checkpointStep":1e300}',
    '{"code":0,"checkpointStep":99999999999999999999}',
    '{"code":0,"artifacts":{"a":{"path":"/x","bytes":1000000000000000000000}}}',
    '{"code":0,"metrics":{"\\udce9":1,"\\udcea":2}}',
    '{"code":0,"reportPath":"/workspace/\\udce9"}',
    '{"code":64,"error":{"reason":"\\udce9","message":"\\udce9"}}',
    '{"code":64,"error":{"reason":"x","message":"' + "x" * 50_000 + '"}}',
)


@pytest.mark.parametrize("word", WORDS)
def test_status_with_any_result_of_a_task_is_accepted(training: World, word: str) -> None:
    result = parse_result(word)
    assert result is not None
    state = RunState.FAILED if result.exit_code else RunState.SUCCEEDED
    training.change("train", state=state, exit_code=result.exit_code, ended=training.now, result=result)
    training.settle()
    assert list(refused(training.experiment.status.to_json())) == []


def test_result_of_another_fingerprint_is_unreadable(training: World) -> None:
    attempt = training.newest("train").attempt
    other = TaskResult(0, "another-v1", attempt=attempt, model_path="/workspace/old.tlt")
    training.change("train", state=RunState.SUCCEEDED, exit_code=0, ended=training.now, result=other)
    training.look()
    step = training.step("train")
    assert (step.state, step.reason, step.model_path) == (StepState.PENDING, "ResultUnreadable", None)


def test_a_steps_message_is_bounded_and_cleaned(training: World) -> None:
    training.change("train", state=RunState.FAILED, exit_code=64, ended=training.now, message="\udce9" * 100_000)
    training.settle()
    assert training.step("train").message == "\ufffd" * 8_192
    assert list(refused(training.experiment.status.to_json())) == []


def test_step_whose_result_already_existed_is_up_to_date(training: World) -> None:
    found = TaskResult(0, training.newest("train").fingerprint, model_path="/workspace/m.tlt", up_to_date=True)
    training.change("train", state=RunState.SUCCEEDED, exit_code=0, ended=training.now, result=found)
    training.look()
    assert (training.step("train").state, training.step("train").reason) == (StepState.SUCCEEDED, "UpToDate")


def test_exit_code_of_the_result_is_used_if_that_of_the_process_is_unknown(training: World) -> None:
    training.fail("train", None, result=TaskResult(64, reason="InvalidData", message="no image"))
    step = training.step("train")
    assert (step.state, step.reason, step.exit_code) == (StepState.FAILED, "InvalidData", 64)


def test_exit_code_of_the_process_overrides_that_of_the_result(training: World) -> None:
    training.fail("train", 137, result=TaskResult(64))
    step = training.step("train")
    assert (step.state, step.exit_code) == (StepState.PENDING, 137)
    assert step.message.startswith("OutOfMemory")


def test_message_of_the_task_overrides_that_of_the_executor(training: World) -> None:
    training.fail("train", 64, message="pod x: exit code 64", result=TaskResult(64, message="no image"))
    assert training.step("train").message == "no image"


def test_a_result_without_a_fingerprint_is_taken(training: World) -> None:
    training.change("train", state=RunState.SUCCEEDED, ended=training.now, result=TaskResult(0, model_path="/m.tlt"))
    training.settle()
    assert (training.step("train").state, training.step("train").model_path) == (StepState.SUCCEEDED, "/m.tlt")


def test_a_step_whose_run_was_adopted_is_up_to_date(training: World) -> None:
    found = TaskResult(0, training.newest("train").fingerprint, model_path="/workspace/m.tlt")
    training.change("train", state=RunState.SUCCEEDED, ended=training.now, result=found, adopted=True)
    training.look()
    assert training.step("train").reason == "UpToDate"


def test_numbers_up_to_their_bound_are_taken() -> None:
    artifacts = {str(number): {"path": "/x", "bytes": 2**63 - 1} for number in range(64)}
    result = parse_result(json.dumps({"code": 255, "attempt": 2**31 - 1, "artifacts": artifacts}))
    assert result is not None
    assert (result.exit_code, result.attempt, len(result.artifacts)) == (255, 2**31 - 1, 64)
    assert result.artifacts["0"] == Artifact(path="/x", bytes=2**63 - 1)


@pytest.mark.parametrize(
    ("number", "text"),
    [(2**63 - 1, str(2**63 - 1)), (2**63, ""), (-(2**63), ""), (0.12345678, "0.1234568"), (1e-05, "1e-05"), (True, "")],
)
def test_a_number_is_a_short_decimal_text(number: float, text: str) -> None:
    assert format_number(number) == text


def test_an_attempt_beyond_the_range_of_the_status_is_left_out() -> None:
    result = parse_result(json.dumps({"code": 0, "attempt": 2**31}))
    assert result is not None
    assert result.attempt == 0
