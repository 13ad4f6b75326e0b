"""Display of a staging: bytes, files, and rate in log lines and records."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from maskrcnn_trainer.staging.display import MB, StagingDisplay


class Records:
    """Reporter that keeps its records."""

    def __init__(self) -> None:
        self.running_records: list[dict[str, Any]] = []

    def running(self, message: str, **fields: Any) -> None:
        self.running_records.append({"message": message, **fields})


class Clock:
    """Clock that the test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_records_have_files_bytes_rate_and_time_left() -> None:
    records, clock = Records(), Clock()
    display = StagingDisplay(lambda: records, clock=clock)  # type: ignore[arg-type,return-value]
    display.begin(3, 300 * MB, files_to_load=2, bytes_to_load=200 * MB)
    clock.now = 20.0
    display.loaded(50 * MB)
    display.whole()
    clock.now = 40.0
    display.loaded(50 * MB)
    last = records.running_records[-1]
    assert last["message"] == "Loading inputs: 100.0 MB of 200.0 MB"
    assert (last["step"], last["total_steps"]) == (1, 2)
    assert last["eta"] == 40.0
    assert last["graphical"] == {"input_bytes": 100.0 * MB, "input_bytes_per_second": 2.5 * MB}
    display.end()


def test_nothing_to_load_writes_no_record(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    display = StagingDisplay(lambda: pytest.fail("a record begins"))
    display.begin(2, 20 * MB, files_to_load=0, bytes_to_load=0)
    display.end()
    assert "Inputs: 2 files, 20.0 MB; to load: 0 files, 0.0 MB" in caplog.text


def test_bytes_that_another_process_has_loaded_are_not_expected(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    display = StagingDisplay()
    display.begin(2, 200 * MB, files_to_load=2, bytes_to_load=200 * MB)
    display.loaded(150 * MB)
    display.correct(-50 * MB)
    display.whole()
    display.whole()
    display.end()
    assert "Loading inputs: 150/150 MB (100%), files 2/2" in caplog.text


def test_same_reason_to_wait_is_logged_once_in_fifteen_seconds(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    display = StagingDisplay(clock=clock)
    for clock.now in (0.0, 5.0, 14.0, 16.0):
        display.waiting("the store is busy")
    assert len(caplog.records) == 2
