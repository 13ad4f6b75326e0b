"""Skipped objects: counted whenever they are seen, logged once."""

from __future__ import annotations

import logging

import pytest

from maskrcnn_operator.cluster.resources import JOBS, PODS
from maskrcnn_operator.metrics import process
from maskrcnn_operator.runtime import unreadable
from maskrcnn_operator.runtime.unreadable import UnreadableObjects


def counted(kind: str) -> float:
    return process.REGISTRY.get_sample_value("maskrcnn_operator_unreadable_objects_total", {"kind": kind}) or 0.0


def test_an_object_is_counted_each_time_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    left_out, before = UnreadableObjects(), counted("pods")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            left_out(PODS, "lab", "nuclei-0", ValueError("resourceVersion isn't a whole number"))
        left_out(JOBS, "lab", "nuclei-0", ValueError("x"))
    assert counted("pods") == before + 3
    assert [record.getMessage() for record in caplog.records] == [
        "pods lab/nuclei-0 can't be read and is skipped: ValueError: resourceVersion isn't a whole number",
        "jobs lab/nuclei-0 can't be read and is skipped: ValueError: x",
    ]


def test_log_line_is_clean_and_short(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        UnreadableObjects()(PODS, "lab\n\udce9", "x" * 1_000, ValueError("\udce9\n" * 1_000))
    (line,) = (record.getMessage() for record in caplog.records)
    line.encode()
    assert "\n" not in line
    assert len(line) < 600


def test_at_most_a_thousand_objects_are_remembered(caplog: pytest.LogCaptureFixture) -> None:
    left_out = UnreadableObjects()
    with caplog.at_level(logging.WARNING):
        for number in range(1_001):
            left_out(PODS, "lab", str(number), ValueError("x"))
        assert len(left_out._logged) == 1_000
        left_out(PODS, "lab", "1000", ValueError("x"))
        assert len(caplog.records) == 1_001
        left_out(PODS, "lab", "0", ValueError("x"))
    assert len(caplog.records) == 1_002


def test_object_that_is_seen_again_and_again_is_logged_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unreadable, "_LOGGED", 2)
    left_out = UnreadableObjects()
    with caplog.at_level(logging.WARNING):
        for name in ("often", "a", "often", "b", "often"):
            left_out(PODS, "lab", name, ValueError("x"))
    assert len(caplog.records) == 3
