"""Termination message of a task: valid JSON even when parts of it have to be left out."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest

from maskrcnn_trainer.shared.messages import TaskFailure
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.termination import (
    encode_termination_message,
    termination_message,
    with_checkpoint_step,
    write_termination_message,
)


@pytest.fixture
def environment() -> TaskEnvironment:
    return TaskEnvironment(fingerprint="9f2c-v1", attempt=3)


@pytest.mark.parametrize("text", ["x" * 10_000, "ü\n" * 3000, "\U0001f600" * 2000])
def test_a_long_error_is_cut(environment: TaskEnvironment, text: str) -> None:
    metrics = {f"AP_{index}": 0.5 for index in range(20)}
    message = termination_message("train", 64, environment, metrics=metrics, error=TaskFailure("InvalidData", text))
    encoded = encode_termination_message(message)
    assert 3980 <= len(encoded) <= 4000
    cut = json.loads(encoded)
    assert cut["error"]["message"].endswith("…")
    assert text.startswith(cut["error"]["message"][:-1])
    assert cut["metrics"] == metrics


def test_metrics_are_cut_after_the_error(environment: TaskEnvironment) -> None:
    message = termination_message("evaluate", 0, environment, metrics={f"AP_{index:04d}": 0.5 for index in range(1000)})
    cut = json.loads(encode_termination_message(message))
    assert list(cut["metrics"])[:2] == ["AP_0000", "AP_0001"]
    assert len(encode_termination_message(message)) <= 4000
    assert cut["task"] == "evaluate"


def test_log_that_cannot_be_written_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    log = tmp_path / "termination-log"
    environment = TaskEnvironment(fingerprint="9f2c-v1", termination_log=str(log))
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
        write_termination_message(environment, termination_message("train", 1, environment))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caplog.messages == [f"{log}: the termination message could not be written: File too large"]


def test_step_of_the_checkpoint_is_replaced_and_nothing_else(environment: TaskEnvironment) -> None:
    message = termination_message("train", 143, environment, checkpoint_step=40, metrics={"AP": 0.5})
    changed = json.loads(with_checkpoint_step(encode_termination_message(message), 30))
    assert changed == json.loads(encode_termination_message(message)) | {"checkpointStep": 30}


@pytest.mark.parametrize("message", [b"", b"{", b"[]"])
def test_message_that_is_not_one_has_no_step(message: bytes) -> None:
    with pytest.raises(ValueError):
        with_checkpoint_step(message, 30)
