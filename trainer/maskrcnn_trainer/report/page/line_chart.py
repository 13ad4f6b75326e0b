"""Line charts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from maskrcnn_trainer.report.page.markup import Markup, element, joined
from maskrcnn_trainer.report.page.scales import Axis, is_drawn
from maskrcnn_trainer.report.page.svg import (
    Area,
    area_for,
    dash,
    drawing,
    frame,
    legend,
    marker,
    rounded,
    style_class,
    text,
)

HEIGHT = 250
MARKERS_ON_A_LINE = 4
DRAWN_COLUMNS = 300
"""Columns in which a long line is drawn, each with its lowest and its highest point: one to two pixels wide."""

Point = tuple[float, float | None]


@dataclass(frozen=True)
class Line:
    """Line of a chart.

    Attributes:
        name: name in the legend.
        points: x ascending, and y; None, and a y that isn't finite, leave a gap.
        style: number of the series, which has a color, dashes, and a marker; None for a thin gray line without a name
            in the legend.
    """

    name: str
    points: Sequence[Point]
    style: int | None


def line_chart(
    label: str,
    lines: Sequence[Line],
    horizontal: Axis,
    vertical: Axis,
    *,
    mark: float | None = None,
    named: bool = False,
) -> Markup:
    """Return a chart of lines with its legend, which a single line doesn't need.

    Args:
        label: content of the chart in a few words.
        lines: drawn in this order, thin ones first.
        horizontal: axis that covers x of all points.
        vertical: axis that covers y.
        mark: x of a vertical line, such as the chosen score.
        named: whether a single line has a legend too, because the title isn't about that line alone.
    """
    area = area_for(vertical, HEIGHT)
    ordered = sorted(lines, key=lambda line: line.style is not None)
    marked = []
    if mark is not None:
        x = area.x(horizontal, mark)
        marked.append(element("path", d=f"M{rounded(x)} {rounded(area.top)}V{rounded(area.bottom)}", class_="mark"))
    drawn = joined(_drawn(line, area, horizontal, vertical) for line in ordered)
    empty = not any(is_drawn(y) for line in lines for _, y in line.points)
    nothing = text((area.left + area.right) / 2, (area.top + area.bottom) / 2, "no values", anchor="middle")
    picture = drawing(
        label, HEIGHT, frame(area, horizontal, vertical), *marked, drawn, *([nothing] if empty else [])
    )  # fmt: skip
    if len(lines) == 1 and not named:
        return picture
    return joined([picture, legend([(line.style, line.name) for line in lines if line.style is not None])])


def thinned(points: Sequence[Point]) -> list[Point]:
    """Return at most the first lowest and highest point of each of DRAWN_COLUMNS columns, and where a gap is, a gap."""
    if len(points) <= 2 * DRAWN_COLUMNS:
        return list(points)
    first, last = points[0][0], points[-1][0]
    width = (last - first) / DRAWN_COLUMNS or 1.0
    columns: dict[int, list[Point]] = {}
    for point in points:
        columns.setdefault(int((point[0] - first) / width), []).append(point)
    kept: list[Point] = []
    for column in columns.values():
        values = [(y, at) for at, (_, y) in enumerate(column) if is_drawn(y)]
        gaps = [at for at, (_, y) in enumerate(column) if not is_drawn(y)]
        chosen = {min(values)[1], max(values, key=lambda value: (value[0], -value[1]))[1]} if values else set()
        kept += [column[at] for at in sorted(chosen | set(gaps[:1]))]
    return kept


def _drawn(line: Line, area: Area, horizontal: Axis, vertical: Axis) -> Markup:
    pieces: list[list[tuple[float, float]]] = [[]]
    for x, y in thinned(line.points):
        if is_drawn(y) and math.isfinite(x):
            pieces[-1].append((area.x(horizontal, x), area.y(vertical, y)))
        elif pieces[-1]:
            pieces.append([])
    path = "".join(
        "M" + "L".join(f"{rounded(x)} {rounded(y)}" for x, y in (piece if len(piece) > 1 else piece * 2))
        for piece in pieces if piece
    )  # fmt: skip
    if not path:
        return Markup("")
    title = element("title", line.name)
    if line.style is None:
        return element("path", title, d=path, class_="l thin")
    markers = joined(
        marker(line.style, x, y) for x, y in _places([point for piece in pieces for point in piece], line.style)
    )
    return joined(
        [
            element("path", title, d=path, class_=f"l {style_class(line.style)}", stroke_dasharray=dash(line.style)),
            markers,
        ]
    )


def _places(points: Sequence[tuple[float, float]], style: int) -> list[tuple[float, float]]:
    """Return the points with a marker: all of a short line, else some, which differ from line to line."""
    if len(points) <= 12:
        return list(points)
    gap = len(points) / MARKERS_ON_A_LINE
    return [points[int((number + (0.15 + 0.1 * (style % 8))) * gap)] for number in range(MARKERS_ON_A_LINE)]
