from __future__ import annotations

import math

import pytest

from maskrcnn_trainer.report.page.numbers import NOT_RECORDED, count, fraction, measured, percent, points, significant


@pytest.mark.parametrize(
    ("value", "shown"), [(0.5274, "0.527"), (0.0, "0.000"), (-1.0, "–"), (None, "–"), (math.nan, "–")]
)
def test_metric_has_three_decimals_and_an_undefined_one_is_a_dash(value: float | None, shown: str) -> None:
    assert fraction(value) == shown


def test_points_have_one_decimal() -> None:
    assert (points(21.34), points(None)) == ("21.3", "–")


@pytest.mark.parametrize(
    ("share", "shown"), [(0.421, "42%"), (0.098, "9.8%"), (0.0996, "10%"), (0.0, "0%"), (None, "–")]
)
def test_small_percentage_has_a_decimal(share: float | None, shown: str) -> None:
    assert percent(share) == shown


def test_count_has_separated_thousands_and_a_missing_one_is_not_recorded() -> None:
    assert (count(1584), count(None)) == ("1,584", NOT_RECORDED)


def test_measured_value_has_its_unit_and_a_missing_one_is_not_recorded() -> None:
    assert (measured(88.4, "MB"), measured(math.inf), measured(None, "MB")) == ("88.4 MB", "inf", NOT_RECORDED)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1584.2, "1,584"), (12.34, "12.3"), (0.00442, "0.00442"), (1.2e-7, "1.2e-07"), (-3.14159, "-3.14"), (0, "0"),
        (2.5e12, "2.50e+12"),
    ],
)  # fmt: skip
def test_value_has_three_significant_digits(value: float, shown: str) -> None:
    assert significant(value) == shown
