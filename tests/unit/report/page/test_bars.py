from __future__ import annotations

import re

from tests.unit.report.page.html_reading import read, words

from maskrcnn_trainer.report.page.bars import Bar, bar_chart
from maskrcnn_trainer.report.page.scales import axis

SCALE = axis("objects", [100.0], low=0.0)


def widths(drawn: str) -> list[float]:
    """Return the widths of the bars' parts, without those of the legend."""
    return [float(found) for found in re.findall(r'<rect x="[^"]+" y="[^"]+" width="([^"]+)"', drawn)]


def test_length_of_a_bar_is_its_value() -> None:
    whole, half, nothing = widths(
        bar_chart("x", [Bar("a", (100,), "100"), Bar("b", (50,), "50"), Bar("c", (0,), "0")], SCALE)
    )
    assert abs(whole / half - 2) < 0.01
    assert nothing == 0


def test_parts_lie_one_after_the_other() -> None:
    drawn = bar_chart("x", [Bar("a", (25, 50, 25), "100")], SCALE, parts=("small", "medium", "large"))
    first, second, third = re.findall(r'<rect x="([^"]+)" y="[^"]+" width="([^"]+)"', drawn)
    assert abs(float(first[0]) + float(first[1]) - float(second[0])) < 0.11
    assert abs(float(second[0]) + float(second[1]) - float(third[0])) < 0.11
    assert "smallmediumlarge" in words(drawn)


def test_bars_have_names_values_and_the_unit() -> None:
    texts = {text for _, text in read(bar_chart("x", [Bar("disc", (12,), "12 of them")], SCALE)).texts}
    assert {"disc", "12 of them", "objects"} <= texts


def test_long_hostile_name_is_cut_and_escaped() -> None:
    drawn = bar_chart("x", [Bar("<img src=x onerror=alert(1)>" * 20, (1,), "<1")], SCALE)
    assert read(drawn).problems == []
    assert "…" in drawn


def test_chart_without_bars_is_empty() -> None:
    assert read(bar_chart("x", [], SCALE)).problems == []
