"""Horizontal bars, each of one or of several stacked parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from maskrcnn_trainer.report.page.markup import Markup, element, joined
from maskrcnn_trainer.report.page.scales import Axis
from maskrcnn_trainer.report.page.svg import (
    WIDTH,
    Area,
    drawing,
    fitted,
    frame_below,
    legend,
    rounded,
    style_class,
    text,
    text_width,
)

ROW = 24
LARGEST_BAR_NAME = 110


@dataclass(frozen=True)
class Bar:
    """Bar of a chart.

    Attributes:
        name: at its left.
        parts: lengths, each at least 0, drawn one after the other.
        value: text at its right, with a value that is also in the content.
        style: series of the first part; the next part has the next one.
    """

    name: str
    parts: tuple[float, ...]
    value: str
    style: int = 1


def bar_chart(label: str, bars: Sequence[Bar], horizontal: Axis, *, parts: Sequence[str] = ()) -> Markup:
    """Return a chart of horizontal bars.

    Args:
        label: content of the chart in a few words.
        bars: from top to bottom.
        horizontal: axis from 0, which covers the sum of each bar's parts.
        parts: names of the parts for the legend, if each bar has several.
    """
    left = min(LARGEST_BAR_NAME, max((text_width(bar.name) for bar in bars), default=0)) + 8
    right = max((text_width(bar.value) for bar in bars), default=0) + 10
    area = Area(left=left, top=6, right=WIDTH - right, bottom=10 + ROW * max(len(bars), 1))
    drawn = joined(_drawn(bar, area, horizontal, area.top + 2 + ROW * row) for row, bar in enumerate(bars))
    picture = drawing(label, area.bottom + 36, frame_below(area, horizontal), drawn)
    first = bars[0].style if bars else 1
    return joined(
        [picture, legend([(first + number, part) for number, part in enumerate(parts)], filled=True)]
        if parts
        else [picture]
    )


def _drawn(bar: Bar, area: Area, horizontal: Axis, top: float) -> Markup:
    name = fitted(bar.name, LARGEST_BAR_NAME)
    drawn = [element("g", element("title", bar.name), text(area.left - 6, top + 15, name, anchor="end"))]
    end, total = area.left, 0.0
    for number, part in enumerate(bar.parts):
        total += max(part, 0.0)
        start, end = end, area.x(horizontal, total)
        drawn.append(
            element("rect", x=rounded(start), y=rounded(top + 3), width=rounded(end - start), height=str(ROW - 8),
                    class_=f"b {style_class(bar.style + number)}")
        )  # fmt: skip
    drawn.append(text(end + 4, top + 15, bar.value, class_="value"))
    return joined(drawn)
