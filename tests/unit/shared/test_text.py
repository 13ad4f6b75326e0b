"""Formatting of values in messages, which is short for values of any size, and of durations."""

from __future__ import annotations

from typing import Any

import pytest

from maskrcnn_trainer.shared.text import DURATION, format_seconds, shown


class Counting(list[Any]):
    """List that counts the items that were read."""

    seen = 0

    def __iter__(self) -> Any:
        for item in super().__iter__():
            self.seen += 1
            yield item


def test_long_value_is_only_rendered_up_to_the_limit() -> None:
    value = Counting(range(100_000))
    assert shown(value, 20) == "[0, 1, 2, 3, 4, 5..."
    assert value.seen < 20


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, "ä"]}, '{"a": [1, "ä"]}'),
        ("x" * 100, '"' + "x" * 16 + "..."),
        (["x" * 100], '["' + "x" * 15 + "..."),
        (10**5000, "a value of type int"),
        (("a", 1.5), '["a", 1.5]'),
    ],
    ids=["mapping", "text", "text in list", "number", "tuple"],
)
def test_value_is_json_of_at_most_limit_characters(value: object, text: str) -> None:
    assert shown(value, 20) == text


def test_list_within_itself_is_shown_in_part() -> None:
    value: list[Any] = [1]
    value.append(value)
    assert shown(value) == "[1, ..."


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00:00"), (750.4, "0:12:30"), (59.6, "0:01:00"), (129600, "36:00:00"), (-3, "0:00:00")]
)
def test_duration_has_hours_minutes_and_seconds(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_duration_has_ascii_digits_only() -> None:
    assert all(DURATION.fullmatch(text) for text in (format_seconds(750), "1 day, 0:00:10", "12 days, 23:59:59"))
    assert not any(DURATION.fullmatch(text) for text in ("\u0660:12:30", "0:12:30\n", "12:30", "soon"))


@pytest.mark.parametrize(
    "value", ["s3://data/a?sig=s3cr3t", ["s3://k:s3cr3t@data/a"], {"url": "s3://data/a?sig=s3cr3t"}]
)
def test_value_is_shown_without_secrets(value: object) -> None:
    assert "s3cr3t" not in shown(value)
    assert "s3://" in shown(value)
