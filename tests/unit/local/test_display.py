from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from maskrcnn_operator.api.status import ExperimentStatus, Metric, Progress, StepState, StepStatus
from maskrcnn_operator.core.plan import Event
from maskrcnn_operator.local.display import LiveDisplay, PlainDisplay, progress_text

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
PROGRESS = Progress(
    step="train",
    iteration=300,
    total_iterations=1000,
    percentage=30,
    eta="0:12:30",
    metrics=(Metric(name="loss", value="0.6123456"), Metric(name="ARm", value="0.1")),
)
STATUS = ExperimentStatus(
    steps=(
        StepStatus(name="train", state=StepState.RUNNING, reason="Training", attempt=2),
        StepStatus(name="evaluate", state=StepState.PENDING, reason="WaitingForSteps"),
    )
)


def test_a_line_of_progress() -> None:
    assert progress_text(PROGRESS) == "300/1000 (30 %), 0:12:30 left, loss 0.6123"
    assert progress_text(Progress(step="train")) == "running"


def test_plain_lines_come_at_most_every_ten_seconds(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    display = PlainDisplay()
    for seconds in range(25):
        progress = PROGRESS.model_copy(update={"iteration": 300 + seconds})
        display.update(STATUS, {"train": progress}, NOW + timedelta(seconds=seconds))
    display.update(STATUS, {"train": progress}, NOW + timedelta(seconds=99))
    display.update(STATUS, {"train": progress}, NOW + timedelta(seconds=199))
    display.tell(Event("Warning", "StepFailed", "step train: Error"))
    assert [record.getMessage()[:17] for record in caplog.records] == [
        "train: 300/1000 (",
        "train: 310/1000 (",
        "train: 320/1000 (",
        "train: 324/1000 (",
        "step train: Error",
    ]


def test_the_live_table() -> None:
    output = io.StringIO()
    display = LiveDisplay(Console(file=output, force_terminal=True, width=120), "experiment shapes")
    display.update(STATUS, {"train": PROGRESS}, NOW)
    display.close()
    shown = output.getvalue()
    for text in ("experiment shapes", "Running (Training), attempt 2", "300/1000, 0:12:30 left", "loss 0.6123"):
        assert text in shown
