"""Parts that all charts share: the drawing area, its axes, texts, and the samples of a legend."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from maskrcnn_trainer.report.page.markup import Markup, element, joined, shortened
from maskrcnn_trainer.report.page.palette import SERIES_COLORS
from maskrcnn_trainer.report.page.scales import Axis

WIDTH = 380
"""Units of a chart's width: one pixel each on a phone, so that texts keep their size on the narrowest screen."""

FONT_SIZE = 11
DASHES = (None, "7 3", "2 3", "10 3 2 3", "5 2", "1 2", "9 2 1 2 1 2", "4 4")
MARKERS = (
    "M-3 0a3 3 0 1 0 6 0a3 3 0 1 0 -6 0z", "M-3 -3h6v6h-6z", "M0 -4L4 3H-4z", "M0 -4L4 0L0 4L-4 0z",
    "M-3 -3L3 3M-3 3L3 -3", "M0 -4V4M-4 0H4", "M0 4L4 -3H-4z", "M-3 0H3",
)  # fmt: skip
"""Paths of the markers around the origin, one for each color."""


@dataclass(frozen=True)
class Area:
    """Drawing area within a chart, in units from the top left corner."""

    left: float
    top: float
    right: float
    bottom: float

    def x(self, axis: Axis, value: float) -> float:
        """Return the horizontal position of a value."""
        return self.left + axis.at(value) * (self.right - self.left)

    def y(self, axis: Axis, value: float) -> float:
        """Return the vertical position of a value."""
        return self.bottom - axis.at(value) * (self.bottom - self.top)


def drawing(label: str, height: float, *parts: Markup, width: float = WIDTH, class_: str = "chart") -> Markup:
    """Return an inline SVG that scales with its container; ``label`` is read by screen readers."""
    return element(
        "svg", *parts, class_=class_, role="img", aria_label=label, viewBox=f"0 0 {rounded(width)} {rounded(height)}",
    )  # fmt: skip


def rounded(value: float) -> str:
    """Return a coordinate with at most one decimal."""
    text = f"{value:.1f}"
    return text.removesuffix(".0") if text != "-0.0" else "0"


def text(x: float, y: float, content: str, *, class_: str | None = None, anchor: str | None = None) -> Markup:
    """Return a text whose baseline starts, or is anchored, at a point."""
    return element("text", content, x=rounded(x), y=rounded(y), class_=class_, text_anchor=anchor)


def text_width(content: str, size: float = FONT_SIZE) -> float:
    """Return an estimate of a text's width in units: wide letters count as one em, others as 0.6."""
    return size * sum(1.0 if unicodedata.east_asian_width(letter) in "WF" else 0.6 for letter in content)


def fitted(content: str, width: float, size: float = FONT_SIZE) -> str:
    """Return a text shortened to an estimated width."""
    if text_width(content, size) <= width:
        return content
    return next(
        (cut for cut in (shortened(content, n) for n in range(min(len(content), 80), 1, -1))
         if text_width(cut, size) <= width), "…",
    )  # fmt: skip


def style_class(number: int) -> str:
    """Return the CSS class with the color of a series."""
    return f"s{number % SERIES_COLORS}"


def dash(number: int) -> str | None:
    """Return the dash pattern of a series; beyond SERIES_COLORS the colors repeat with other dashes."""
    return DASHES[(number + number // SERIES_COLORS) % len(DASHES)]


def marker(number: int, x: float, y: float) -> Markup:
    """Return the marker of a series at a point."""
    moved = f"translate({rounded(x)} {rounded(y)})"
    return element("path", d=MARKERS[number % SERIES_COLORS], class_=f"m {style_class(number)}", transform=moved)


def frame(area: Area, horizontal: Axis, vertical: Axis) -> Markup:
    """Return the grid, the ticks, and both labels of a chart; that of the vertical axis lies above it."""
    parts = []
    for tick, label in zip(vertical.ticks, vertical.texts(), strict=True):
        y = area.y(vertical, tick)
        parts.append(_line(area.left, y, area.right, y, "grid"))
        parts.append(text(area.left - 5, y + 4, label, anchor="end"))
    parts.append(frame_below(area, horizontal))
    parts += [
        _line(area.left, area.bottom, area.right, area.bottom, "axis"),
        text(2, 11, vertical.label, class_="name"),
    ]
    return joined(parts)


def frame_below(area: Area, horizontal: Axis) -> Markup:
    """Return the vertical lines of the grid, and ticks and label of the horizontal axis."""
    parts = []
    for tick, label in zip(horizontal.ticks, horizontal.texts(), strict=True):
        x = area.x(horizontal, tick)
        parts.append(_line(x, area.top, x, area.bottom, "grid"))
        parts.append(text(x, area.bottom + 14, label, anchor="end" if _crosses(x, label) else "middle"))
    parts += [
        _line(area.left, area.top, area.left, area.bottom, "axis"),
        text((area.left + area.right) / 2, area.bottom + 30, horizontal.label, class_="name", anchor="middle"),
    ]
    return joined(parts)


def area_for(vertical: Axis, height: float) -> Area:
    """Return the drawing area that leaves room for both axes of a chart of width WIDTH."""
    widest = max((text_width(label) for label in vertical.texts()), default=0.0)
    return Area(left=widest + 9, top=20, right=WIDTH - 8, bottom=height - 36)


def legend(names: Sequence[tuple[int, str]], *, filled: bool = False) -> Markup:
    """Return the legend of numbered series as a list, with a sample of line and marker, or of the fill."""
    items = [
        element("li", _swatch(number) if filled else _sample(number), element("bdi", shortened(name, 60)))
        for number, name in names
    ]
    return element("ul", *items, class_="legend")


def _sample(number: int) -> Markup:
    line = element("path", d="M1 6H27", class_=f"l {style_class(number)}", stroke_dasharray=dash(number))
    return element("svg", line, marker(number, 14, 6), class_="sample", viewBox="0 0 28 12", aria_hidden="true")


def _swatch(number: int) -> Markup:
    square = element("rect", width="12", height="12", class_=f"b {style_class(number)}")
    return element("svg", square, class_="swatch", viewBox="0 0 12 12", aria_hidden="true")


def _line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    return element("path", d=f"M{rounded(x1)} {rounded(y1)}L{rounded(x2)} {rounded(y2)}", class_=class_)


def _crosses(x: float, label: str) -> bool:
    return x + text_width(label) / 2 > WIDTH
