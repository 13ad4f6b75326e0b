"""Progress as log lines and as a bar."""

from __future__ import annotations

import io
import logging
from typing import Any, cast

import pytest
from rich.console import Console
from rich.progress import Progress

from maskrcnn_trainer.task.progress_bar import BarMeter, ReportedProgress, progress_bar
from maskrcnn_trainer.task.reporter import Reporter

PIPE = Console(file=io.StringIO(), force_terminal=False)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Records:
    """Reporter that stores its records."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.steps: list[tuple[int, int]] = []

    def running(self, message: str = "", **fields: Any) -> None:
        if message:
            self.messages.append(message)
        else:
            assert list(fields["graphical"]) == ["images_per_second"]
            self.steps.append((fields["step"], fields["total_steps"]))


def test_log_lines_are_rare_and_the_last_is_always_there(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    with progress_bar("Training", 100, "steps", interval=10, console=PIPE, clock=clock) as progress:
        for step in range(100):
            clock.now += 0.5
            progress.advance(loss=1.0 / (step + 1), learning_rate=2e-5)
    assert [record.message for record in caplog.records] == [
        "Training: 20/100 steps (20%), loss 0.0500, learning_rate 2.00e-05, 2.0000 steps/s, ETA 0:00:40",
        "Training: 40/100 steps (40%), loss 0.0250, learning_rate 2.00e-05, 2.0000 steps/s, ETA 0:00:30",
        "Training: 60/100 steps (60%), loss 0.0167, learning_rate 2.00e-05, 2.0000 steps/s, ETA 0:00:20",
        "Training: 80/100 steps (80%), loss 0.0125, learning_rate 2.00e-05, 2.0000 steps/s, ETA 0:00:10",
        "Training: 100/100 steps (100%), loss 0.0100, learning_rate 2.00e-05, 2.0000 steps/s, ETA 0:00:00",
    ]


def test_a_resumed_run_counts_from_where_it_was(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    with progress_bar("Training", 100, "steps", initial=60, console=PIPE, clock=clock) as progress:
        clock.now += 10
        progress.advance(20)
        assert progress.rate == 2.0
        assert progress.eta == 10.0
    assert caplog.messages == ["Training: 80/100 steps (80%), 2.0000 steps/s, ETA 0:00:10"]


def test_an_unknown_total(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with progress_bar("Reading", None, "records", console=PIPE, clock=Clock()) as progress:
        progress.advance(7)
        assert progress.eta is None
    assert caplog.messages == ["Reading: 7 records"]


def test_a_bar_on_a_terminal() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120)
    log = logging.Logger("loud", level=logging.INFO)
    with progress_bar("Evaluating", 10, "images", console=console, log=log) as progress:
        progress.advance(10, loss=0.5)
    assert "Evaluating" in screen.getvalue()
    assert "10/10 images" in screen.getvalue()
    assert "loss 0.5000" in screen.getvalue()


def test_a_silent_rank_shows_no_bar() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120)
    log = logging.Logger("quiet", level=logging.WARNING)
    with progress_bar("Evaluating", 10, "images", console=console, log=log) as progress:
        progress.advance(10)
    assert screen.getvalue() == ""
    assert progress.done == 10


def test_progress_is_reported_every_ten_seconds_and_counted_in_one_phase() -> None:
    clock, records = Clock(), Records()
    with ReportedProgress(cast(Reporter, records), "Converting", "images", clock=clock) as progress:
        for phase in ("Checking", "Converting"):
            for done in range(1, 7):
                clock.now += 4
                progress.at(phase, done, 6)
    assert records.messages == ["Checking: 3 of 6 images", "Checking: 6 of 6 images"]
    assert records.steps == [(3, 6), (6, 6)]


def test_each_phase_has_a_bar_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with ReportedProgress(cast(Reporter, Records()), "Converting", "images") as progress:
        progress.at("Checking", 6, 6)
        progress.at("Converting", 2, 6, unreadable=1)
    assert [message.partition(",")[0] for message in caplog.messages] == [
        "Checking: 6/6 images (100%)",
        "Converting: 2/6 images (33%)",
    ]
    assert "unreadable 1" in caplog.messages[1]


def test_bar_follows_a_total_that_changes() -> None:
    bar = Progress(console=Console(file=io.StringIO(), force_terminal=True))
    meter = BarMeter("Loading", 40, "MB", 0, lambda: 0.0, bar=bar)
    meter.total = 60
    meter.advance(50)
    assert (bar.tasks[0].completed, bar.tasks[0].total) == (50, 60)
