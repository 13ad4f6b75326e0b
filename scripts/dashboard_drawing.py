"""Drawing of dashboard panels with Pillow, like Grafana's view, as one image for the docs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

from PIL import Image, ImageDraw, ImageFont
from scripts.dashboard_model import Panel, color_of, legend, number, pieces, table, ticks
from scripts.prometheus_api import Series

SHARPNESS = 2
"""Factor of supersampling, because Pillow doesn't antialias lines."""
COLUMN, ROW, GAP = 50, 34, 8
SIDE = 10
TITLE, LEGEND_LINE, TABLE_LINE = 26, 16, 21
INK, FAINT, GRID, PAPER, CARD = "#24292e", "#6b7280", "#e5e7eb", "#f4f5f7", "#ffffff"
NAMED = {"green": "#1f9d55", "red": "#d64545", "text": INK}
LINES = (
    "#2f6fbf", "#d9772b", "#3a9d5d", "#b8435a", "#7a5ab5", "#c2a21f",
    "#2a9da8", "#8a6d4f", "#d36fb2", "#5c7080", "#87a330", "#3d4f9f",
)  # fmt: skip
FAILED = ("Failed", "InvalidSpec", "WorkspaceNotShared", "CacheNotShared")

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Window:
    """Time range of the picture, in seconds since 1970."""

    start: float
    end: float
    step: float


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size * SHARPNESS)


class Canvas:
    """Canvas with the coordinates of the final picture, drawn by Pillow at a larger scale."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width * SHARPNESS, height * SHARPNESS), PAPER)
        self._draw = ImageDraw.Draw(self.image)

    def box(self, box: Box, fill: str, outline: str | None = None) -> None:
        """Draw a filled rectangle with round corners."""
        scaled = [value * SHARPNESS for value in box]
        self._draw.rounded_rectangle(scaled, radius=4 * SHARPNESS, fill=fill, outline=outline, width=SHARPNESS)

    def line(self, points: Sequence[tuple[float, float]], color: str, width: float = 1.0) -> None:
        """Draw a line through points, or a dot if there is only one."""
        scaled = [(x * SHARPNESS, y * SHARPNESS) for x, y in points]
        if len(scaled) == 1:
            (x, y), r = scaled[0], 1.6 * SHARPNESS
            self._draw.ellipse((x - r, y - r, x + r, y + r), fill=color)
            return
        self._draw.line(scaled, fill=color, width=max(1, round(width * SHARPNESS)), joint="curve")

    def text(self, at: tuple[float, float], text: str, color: str = INK, size: int = 11, anchor: str = "la") -> None:
        """Draw one line of text; ``anchor`` is Pillow's."""
        self._draw.text((at[0] * SHARPNESS, at[1] * SHARPNESS), text, fill=color, font=_font(size), anchor=anchor)

    def width(self, text: str, size: int = 11) -> float:
        """Return the width of a text."""
        return self._draw.textlength(text, font=_font(size)) / SHARPNESS

    def fitted(self, text: str, width: float, size: int = 11) -> str:
        """Return the text, shortened to ``width``."""
        if self.width(text, size) <= width:
            return text
        while text and self.width(text + "...", size) > width:
            text = text[:-1]
        return text + "..."


def picture(
    panels: Sequence[Panel], answers: Mapping[int, Mapping[str, Sequence[Series]]], window: Window
) -> Image.Image:
    """Return the picture of a dashboard.

    Args:
        panels: panels of the dashboard.
        answers: series by the index of the panel and the letter of its query.
        window: time range of the picture.
    """
    bottom = max(panel.y + panel.height for panel in panels)
    canvas = Canvas(24 * COLUMN + 2 * SIDE, bottom * ROW + 2 * SIDE)
    for index, panel in enumerate(panels):
        left, top = SIDE + panel.x * COLUMN, SIDE + panel.y * ROW
        box = (left, top, left + panel.width * COLUMN - GAP, top + panel.height * ROW - GAP)
        if panel.kind == "row":
            canvas.text((left + 2, top + ROW / 2), panel.title, size=15, anchor="lm")
            continue
        canvas.box(box, CARD, GRID)
        canvas.text((box[0] + 8, box[1] + 7), panel.title, size=12)
        found = answers.get(index, {})
        if not any(found.values()):
            canvas.text(((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), "no data", FAINT, anchor="mm")
        elif panel.kind == "stat":
            _stat(canvas, panel, found, box)
        elif panel.kind == "table":
            _table(canvas, panel, found, box)
        else:
            _lines(canvas, panel, found, box, window)
    size = (canvas.image.width // SHARPNESS, canvas.image.height // SHARPNESS)
    return canvas.image.resize(size, Image.Resampling.LANCZOS)


def _stat(canvas: Canvas, panel: Panel, found: Mapping[str, Sequence[Series]], box: Box) -> None:
    values = [(legend(target, series.labels), series.points[-1][1])
              for target in panel.targets for series in found[target.letter]]  # fmt: skip
    width = (box[2] - box[0]) / len(values)
    for place, (name, value) in enumerate(values):
        middle = box[0] + (place + 0.5) * width
        named = NAMED["red"] if name in FAILED else INK
        color = NAMED[color_of(panel, value)] if panel.thresholds else named
        center = (box[1] + box[3]) / 2 + 8
        canvas.text((middle, center), number(value, panel.unit), color, size=24, anchor="mm")
        if len(values) > 1:
            canvas.text((middle, center + 26), canvas.fitted(name, width - 6), FAINT, anchor="mm")


def _table(canvas: Canvas, panel: Panel, found: Mapping[str, Sequence[Series]], box: Box) -> None:
    heading, rows = table(panel, found)
    room = int((box[3] - box[1] - TITLE - 8) // TABLE_LINE) - 1
    lines = [heading, *rows[:room]]
    widths = [max(canvas.width(text) for text in column) + 16 for column in zip(*lines, strict=True)]
    stretch = (box[2] - box[0] - 16) / sum(widths)
    for index, row in enumerate(lines):
        x, y = float(box[0] + 8), box[1] + TITLE + 6 + index * TABLE_LINE
        canvas.line([(x, y + TABLE_LINE - 3), (box[2] - 8, y + TABLE_LINE - 3)], GRID)
        for text, width in zip(row, widths, strict=True):
            color = FAINT if index == 0 else NAMED["red"] if text in FAILED else INK
            canvas.text((x, y + 2), canvas.fitted(text, width * stretch - 6), color)
            x += width * stretch
    if len(rows) > room:
        canvas.text((box[2] - 8, box[1] + 7), f"{len(rows) - room} more", FAINT, anchor="ra")


def _lines(canvas: Canvas, panel: Panel, found: Mapping[str, Sequence[Series]], box: Box, window: Window) -> None:
    named = [(legend(target, series.labels), series.points)
             for target in panel.targets for series in found[target.letter]]  # fmt: skip
    named = [(name, points) for name, points in named if any(math.isfinite(value) for _, value in points)]
    values = [value for _, points in named for _, value in points if math.isfinite(value)] or [0.0]
    marks = ticks(
        min(values) if panel.lowest is None else panel.lowest,
        max(values) if panel.highest is None else panel.highest,
        base=2.0 if panel.unit == "bytes" else 10.0,
    )
    names = _legend_lines(canvas, [name for name, _ in named], box[2] - box[0] - 16)
    margin = max(canvas.width(number(mark, panel.unit), 10) for mark in marks) + 8
    left, right = box[0] + 8 + margin, box[2] - 12
    top, bottom = box[1] + TITLE + 4, box[3] - 22 - len(names) * LEGEND_LINE

    def place(at: float, value: float) -> tuple[float, float]:
        across = (at - window.start) / (window.end - window.start)
        up = (value - marks[0]) / (marks[-1] - marks[0])
        return left + across * (right - left), bottom - up * (bottom - top)

    for mark in marks:
        _, y = place(window.start, mark)
        canvas.line([(left, y), (right, y)], GRID, 0.5)
        canvas.text((left - 5, y), number(mark, panel.unit), FAINT, 10, "rm")
    for at in _times(window):
        x, _ = place(at, marks[0])
        shown = datetime.fromtimestamp(at, UTC)
        canvas.text(
            (x, bottom + 4),
            f"{shown:%H:%M:%S}" if window.end - window.start < 900 else f"{shown:%H:%M}",
            FAINT,
            10,
            "ma",
        )
    for index, (_, points) in enumerate(named):
        for piece in pieces(points, 4 * window.step):
            canvas.line([place(*point) for point in piece], LINES[index % len(LINES)], 1.4)
    for number_of, line in enumerate(names):
        y = box[3] - 4 - (len(names) - number_of) * LEGEND_LINE
        for index, x, text in line:
            start = box[0] + 10 + x
            canvas.line([(start, y + 7), (start + 11, y + 7)], LINES[index % len(LINES)], 2.5)
            canvas.text((start + 15, y + 1), text, INK, 10)


def _times(window: Window) -> list[float]:
    """Return five evenly spaced times, away from both edges."""
    span = window.end - window.start
    return [window.start + span * (0.1 + 0.2 * index) for index in range(5)]


def _legend_lines(canvas: Canvas, names: Sequence[str], width: float) -> list[list[tuple[int, float, str]]]:
    """Return at most two lines of names as (index, x, text); the last entry counts the names that don't fit."""
    lines: list[list[tuple[int, float, str]]] = [[]]
    x = 0.0
    for index, name in enumerate(names):
        text = canvas.fitted(name, width - 30, 10)
        needed = canvas.width(text, 10) + 30
        if x + needed > width and lines[-1]:
            if len(lines) == 2:
                last_index, last_x, _ = lines[-1][-1]
                lines[-1][-1] = (last_index, last_x, f"and {len(names) - index + 1} more")
                break
            lines.append([])
            x = 0.0
        lines[-1].append((index, x, text))
        x += needed
    return lines
