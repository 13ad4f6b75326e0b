"""Conditions that are written without the steps, and conditions that stay unchanged."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.core.notice import NOTICE_LENGTH, cleaned, notice, raw_conditions, with_notice

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
STALLED = notice(Reason.STATUS_REFUSED, "422", stalled=True)
TRYING = notice(Reason.API_SERVER_ERROR, "503", stalled=False)
FOREIGN = {"type": "Audited", "status": "Perhaps", "more": ["of", "a", "later", "release"]}


def condition(kind: str, status: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": "R", "lastTransitionTime": "2025-12-31T00:00:00Z", **more}


def states(conditions: Any) -> dict[str, tuple[str, str]]:
    return {item["type"]: (item["status"], item.get("reason", "")) for item in conditions}


def test_refused_status_is_stalled_and_not_reconciling() -> None:
    before = [condition("Reconciling", "True"), condition("Ready", "False"), condition("Succeeded", "Unknown"), FOREIGN]
    after = with_notice(before, STALLED, 3, NOW)
    assert states(after) == {
        "Ready": ("False", "StatusRefused"),
        "Succeeded": ("Unknown", "R"),
        "Audited": ("Perhaps", ""),
        "Stalled": ("True", "StatusRefused"),
    }
    assert FOREIGN in after


def test_failing_server_keeps_it_reconciling() -> None:
    before = [condition("Reconciling", "True"), condition("Ready", "Unknown"), condition("Succeeded", "Unknown")]
    assert states(with_notice(before, TRYING, 3, NOW)) == {
        "Reconciling": ("True", "ApiServerError"),
        "Ready": ("Unknown", "ApiServerError"),
        "Succeeded": ("Unknown", "R"),
    }


@pytest.mark.parametrize("kind", ["Succeeded", "Suspended"])
def test_failing_server_keeps_ready_true(kind: str) -> None:
    before = [condition(kind, "True"), condition("Succeeded", "True"), condition("Ready", "True")]
    after = states(with_notice(before, TRYING, 3, NOW))
    assert after["Ready"] == ("True", "R")
    assert after[kind] == ("True", "R")
    assert after["Reconciling"] == ("True", "ApiServerError")


@pytest.mark.parametrize("said", [STALLED, TRYING])
def test_experiment_without_conditions_gets_those_that_every_status_has(said: Any) -> None:
    after = with_notice([], said, 3, NOW)
    assert {"Ready", "Succeeded"} < {item["type"] for item in after}
    assert all(item["observedGeneration"] == 3 for item in after)
    assert all(item["lastTransitionTime"] == "2026-01-01T12:00:00Z" for item in after)


@pytest.mark.parametrize("said", [STALLED, TRYING])
def test_notice_that_is_already_written_changes_nothing(said: Any) -> None:
    before = with_notice([condition("Ready", "False"), FOREIGN], said, 3, NOW)
    assert with_notice(before, said, 3, NOW.replace(hour=13)) == before


def test_time_of_a_condition_whose_status_is_unchanged_stays() -> None:
    [_, ready, _] = with_notice([condition("Succeeded", "Unknown"), condition("Ready", "False")], STALLED, 3, NOW)
    assert ready["lastTransitionTime"] == "2025-12-31T00:00:00Z"


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("a\tb\n\x00c\x7f", "a b c"),
        ("caf\udce9", "caf?"),
        ("é", "é"),
        ("x" * NOTICE_LENGTH, "x" * NOTICE_LENGTH),
        ("x" * 5000, "x" * (NOTICE_LENGTH - 3) + "..."),
    ],
)
def test_message_is_cleaned_and_cut(message: str, text: str) -> None:
    assert cleaned(message) == text
    assert notice(Reason.STATUS_REFUSED, message, stalled=True).message == text


@pytest.mark.parametrize(
    "stored",
    [{}, {"status": None}, {"status": []}, {"status": {"conditions": {}}}, {"status": {"conditions": ["x", 1]}}],
)
def test_invalid_conditions_are_ignored(stored: dict[str, Any]) -> None:
    assert raw_conditions(stored) == ()


def test_time_of_a_condition_whose_status_changes_is_new() -> None:
    [_, ready, _] = with_notice([condition("Succeeded", "Unknown"), condition("Ready", "True")], STALLED, 3, NOW)
    assert ready["lastTransitionTime"] == "2026-01-01T12:00:00Z"
