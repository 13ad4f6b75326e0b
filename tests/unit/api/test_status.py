"""A status that another writer has changed can be used in calculations and written back."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.unit.accepted import refused

from maskrcnn_operator.api.status import ExperimentStatus
from maskrcnn_operator.core.limits import active_time

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def read(**fields: Any) -> ExperimentStatus:
    return ExperimentStatus.model_validate_json(json.dumps(fields))


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-22T12:00:00Z", NOON),
        ("2026-11-22T12:00:00", NOON),
        ("2026-11-22T13:30:00+01:30", NOON),
        ("0001-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59-12:00", datetime(3000, 1, 1, tzinfo=UTC)),
    ],
)
def test_times_can_be_compared_and_moved(text: str, moment: datetime) -> None:
    status = read(activeSince=text, completionTime=text)
    assert status.completion_time == moment
    assert active_time(status, NOON) == max(timedelta(), NOON - moment)
    assert moment + timedelta(seconds=2**31)


@pytest.mark.parametrize("number", [2**62, 10**30, 10**400], ids=["2^62", "10^30", "10^400"])
def test_numbers_are_limited_so_that_they_can_be_written_back(number: int) -> None:
    step = {"name": "train", "attempt": number, "restarts": number, "exitCode": number, "checkpointStep": number}
    status = read(activeSeconds=number, restarts=number, steps=[step], progress={"step": "train", "iteration": number})
    assert active_time(status, NOON) == timedelta(seconds=10**10)
    (first,) = status.steps
    raised = status.model_copy(update={"steps": (first.model_copy(update={"attempt": first.attempt + 1}),)})
    assert list(refused(raised.to_json())) == []
