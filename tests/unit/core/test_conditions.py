"""What the conditions of an experiment say, within what the API server takes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from tests.unit.accepted import refused

from maskrcnn_operator.api.problems import Problem
from maskrcnn_operator.core.conditions import conditions, invalid

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize("character", ["x", "ü", "\U0001f600", "\udce9"])
def test_a_message_is_cut_at_the_characters_that_the_definition_allows(character: str) -> None:
    told = conditions(invalid((Problem("", character * 40_000),)), (), 1, NOW)
    assert {len(condition.message) for condition in told} == {32_768}
    assert list(refused({"conditions": [condition.to_json() for condition in told]})) == []
