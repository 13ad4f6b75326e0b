"""Numbers as the page shows them. A number that isn't recorded is named so; an undefined one is a dash."""

from __future__ import annotations

import math

from maskrcnn_trainer.report.page.markup import Markup, element

DASH = "–"
NOT_RECORDED: Markup = element("span", "not recorded", class_="absent")


def fraction(value: float | None) -> str:
    """Return a metric in 0..1 with three decimals; a dash if it is None, negative (undefined), or not finite."""
    return f"{value:.3f}" if value is not None and math.isfinite(value) and value >= 0 else DASH


def threshold(score: float) -> str:
    """Return a score as a threshold: rounded down, so that the detection with this score is kept.

    It has three decimals, or more if it would be 0.
    """
    decimals = next((number for number in range(3, 12) if math.floor(score * 10**number) > 0), 3)
    return f"{math.floor(score * 10**decimals) / 10**decimals:.{decimals}f}"


def points(value: float | None) -> str:
    """Return points of AP (0..100) with one decimal; a dash if undefined."""
    return f"{value:.1f}" if value is not None and math.isfinite(value) else DASH


def percent(share: float | None) -> str:
    """Return a share in 0..1 as a whole percentage, with one decimal below 10%; a dash if undefined."""
    if share is None or not math.isfinite(share):
        return DASH
    return f"{share:.0%}" if share >= 0.0995 or share == 0 else f"{share:.1%}"


def count(number: int | None) -> str:
    """Return a number of things with separated thousands; NOT_RECORDED if None."""
    return NOT_RECORDED if number is None else f"{number:,}"


def measured(value: float | None, unit: str = "") -> str:
    """Return a measured value with three significant digits and its unit; NOT_RECORDED if None."""
    if value is None:
        return NOT_RECORDED
    if not math.isfinite(value):
        return str(value)
    return f"{significant(value)} {unit}".rstrip()


def significant(value: float) -> str:
    """Return a finite number with three significant digits: 1,584, 12.3, 0.00442, 1.2e-07."""
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(value)))
    if magnitude >= 2:
        return f"{value:,.0f}" if magnitude < 9 else f"{value:.2e}"
    return f"{value:.{2 - magnitude}f}" if magnitude >= -4 else f"{value:.1e}"
