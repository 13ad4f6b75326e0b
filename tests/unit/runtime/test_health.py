"""Liveness and readiness."""

from __future__ import annotations

import time

import pytest

from maskrcnn_operator.runtime.health import Health


def test_a_process_that_never_listed_is_alive_and_not_ready() -> None:
    health = Health(lambda: False, list)
    assert health.problems() == []
    assert not health.ready


def test_an_old_list_costs_neither_liveness_nor_readiness(monkeypatch: pytest.MonkeyPatch) -> None:
    health = Health(lambda: True, list)
    later = time.monotonic() + 86_400
    health._beat = later
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert health.problems() == []
    assert health.ready


def test_a_late_event_loop_costs_liveness() -> None:
    health = Health(lambda: True, list)
    health._beat = time.monotonic() - 20
    assert "event loop" in health.problems()[0]


def test_a_task_that_has_ended_costs_liveness() -> None:
    health = Health(lambda: True, lambda: ["The task election returned"])
    assert health.problems() == ["The task election returned"]
