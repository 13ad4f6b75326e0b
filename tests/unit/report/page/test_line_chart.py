from __future__ import annotations

import math
import re

from tests.unit.report.page.html_reading import read, words

from maskrcnn_trainer.report.page.line_chart import Line, line_chart, thinned
from maskrcnn_trainer.report.page.scales import axis

UNIT = axis("score", low=0.0, high=1.0)


def lines_in(drawn: str) -> list[str]:
    """Return the paths of lines, without those of legend and axes."""
    return re.findall(r'<path d="([^"]+)" class="l ', drawn.split("<ul", maxsplit=1)[0])


def test_chart_has_axes_with_units_and_a_legend() -> None:
    lines = [Line(name, [(0.0, 1.0), (1.0, 3.0)], number) for number, name in enumerate(("train", "retrain"))]
    drawn = line_chart("Speed", lines, UNIT, axis("images/s", [0.0, 3.0]))
    reader = read(drawn)
    assert {"score", "0.2", "images/s", "3", "train"} <= {text for _, text in reader.texts}
    assert reader.problems == []


def test_single_line_has_no_legend_unless_it_must_be_named() -> None:
    line = Line("loss", [(0.0, 1.0), (1.0, 3.0)], 0)
    assert "<li>" not in line_chart("Loss", [line], UNIT, UNIT)
    assert "<li>" in line_chart("Loss", [line], UNIT, UNIT, named=True)


def test_points_are_drawn_at_their_values() -> None:
    drawn = line_chart("x", [Line("a", [(0.0, 0.0), (1.0, 1.0)], 1)], UNIT, axis("y", low=0.0, high=1.0))
    (path,) = lines_in(drawn)
    (x0, y0), (x1, y1) = (tuple(map(float, point.split())) for point in path.removeprefix("M").split("L"))
    assert (x0 < 60, x1 > 300) == (True, True)
    assert (y0 > 200, y1 < 30) == (True, True)


def test_missing_values_leave_a_gap() -> None:
    points = [(0.0, 0.1), (0.2, 0.2), (0.4, None), (0.5, math.nan), (0.6, 0.3), (1.0, 0.1)]
    (path,) = lines_in(line_chart("x", [Line("a", points, 1)], UNIT, UNIT))
    assert [piece.count("L") for piece in path.split("M")[1:]] == [1, 1]


def test_single_point_is_drawn() -> None:
    assert len(lines_in(line_chart("x", [Line("a", [(0.5, 0.5)], 1)], UNIT, UNIT))) == 1


def test_chart_without_values_is_named_so() -> None:
    assert "no values" in words(line_chart("x", [Line("a", [(0.5, None)], 1)], UNIT, UNIT))


def test_each_series_differs_in_dashes_or_markers_and_not_in_color_alone() -> None:
    drawn = line_chart("x", [Line(str(number), [(0.0, 0.0), (1.0, 1.0)], number) for number in range(16)], UNIT, UNIT)
    samples = [
        (re.findall(r'stroke-dasharray="([^"]*)"', item), re.findall(r'<path d="([^"]+)" class="m', item))
        for item in drawn.split("<li>")[1:]
    ]
    assert len({str(sample) for sample in samples}) == 16


def test_line_has_the_dashes_and_the_color_of_its_sample() -> None:
    line = Line("a", [(0.0, 0.0), (1.0, 1.0)], 2)
    drawn, legend = line_chart("x", [line], UNIT, UNIT, named=True).split("<ul")
    style = 'class="l s2" stroke-dasharray="2 3"'
    assert (style in drawn, style in legend) == (True, True)


def test_thin_line_has_no_entry_in_the_legend() -> None:
    drawn = line_chart("x", [Line("thin", [(0.0, 0.0), (1.0, 1.0)], None)], UNIT, UNIT)
    assert "<li>" not in drawn
    assert len(lines_in(drawn)) == 1


def test_mark_is_a_vertical_line() -> None:
    assert 'class="mark"' in line_chart("x", [], UNIT, UNIT, mark=0.5)


def test_long_line_keeps_its_extremes_and_ends() -> None:
    points = [(float(x), 1.0) for x in range(20_000)]
    points[7_777] = (7777.0, 9.0)
    points[11_111] = (11111.0, -9.0)
    kept = thinned(points)
    assert len(kept) < 1000
    assert {points[0], points[7_777], points[11_111]} <= set(kept)
    assert kept == sorted(kept)


def test_long_line_keeps_its_gaps() -> None:
    points: list[tuple[float, float | None]] = [(float(x), None if 5_000 < x < 6_000 else 1.0) for x in range(20_000)]
    assert any(y is None for _, y in thinned(points))


def test_hostile_name_is_escaped() -> None:
    drawn = line_chart("<x", [Line('"><script>', [(0.0, 0.0), (1.0, 1.0)], 0)], UNIT, UNIT)
    assert read(drawn).problems == []
    assert '"><script>' in words(drawn)
