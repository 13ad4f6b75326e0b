"""The termination message of a task stays valid JSON whatever it has to leave out."""

from __future__ import annotations

import json

import pytest

from maskrcnn_trainer.environment import TaskEnvironment
from maskrcnn_trainer.shared.messages import Failure
from maskrcnn_trainer.termination import encode_termination_message, termination_message


@pytest.fixture
def environment() -> TaskEnvironment:
    return TaskEnvironment(fingerprint="9f2c", attempt=3)


@pytest.mark.parametrize("text", ["x" * 10_000, "ü\n" * 3000, "\U0001f600" * 2000])
def test_a_long_error_is_cut(environment: TaskEnvironment, text: str) -> None:
    metrics = {f"AP_{index}": 0.5 for index in range(20)}
    message = termination_message("train", 64, environment, metrics=metrics, error=Failure("InvalidData", text))
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
