"""Heat maps: matrices whose cells are shaded by a share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from maskrcnn_trainer.report.page.markup import Markup, element, joined
from maskrcnn_trainer.report.page.palette import HEAT_BOUNDS, heat_level
from maskrcnn_trainer.report.page.svg import Area, drawing, fitted, rounded, text, text_width

LARGEST_WITH_NUMBERS = 13
SMALLEST_CELL, LARGEST_CELL = 36.0, 56.0
LARGEST_CELL_NAME = 110


def heat_map(
    label: str, names: Sequence[str], shares: Sequence[Sequence[float | None]], texts: Sequence[Sequence[str]],
    describe: Callable[[int, int], str],
) -> Markup:  # fmt: skip
    """Return a square matrix with names at its left and above it; numbers in the cells while they are few.

    Args:
        label: content of the chart in a few words.
        names: [N] of rows and columns.
        shares: [N, N] in 0..1, which give the shade; None has none.
        texts: [N, N] shown in cells, and in large matrices only where the pointer is.
        describe: sentence about the cell of a row and a column, shown where the pointer is.
    """
    numbered = len(names) <= LARGEST_WITH_NUMBERS
    widest = max((text_width(shown) + 8 for row in texts for shown in row), default=0.0)
    cell = max(SMALLEST_CELL, min(LARGEST_CELL, 260 / len(names)), widest) if numbered else 12.0
    height = min(cell, 38.0)
    size = 11 if numbered else 9
    room = min(LARGEST_CELL_NAME, max(text_width(name, size) for name in names)) + 8
    # Names above narrow columns are upright, so that they don't overlap.
    angle, slope = (-45, 0.72) if numbered else (-90, 1.0)
    left, top = max(room, 40.0), room * slope + 24
    width = left + cell * len(names) + (room * slope if numbered else 2)
    parts = [text(2, 11, "truth ↓  detected as →", class_="name")]
    for number, name in enumerate(names):
        shown, title = fitted(name, LARGEST_CELL_NAME, size), element("title", name)
        y, x = top + height * (number + 0.5) + size * 0.36, left + cell * (number + 0.5)
        parts.append(element("text", title, shown, x=rounded(left - 5), y=rounded(y), text_anchor="end"))
        above = f"translate({rounded(x + (0 if numbered else 3))} {rounded(top - 5)}) rotate({angle})"
        parts.append(element("text", title, shown, transform=above))
    for row, values in enumerate(shares):
        for column, share in enumerate(values):
            level = heat_level(share)
            if numbered or level:
                x, y = left + cell * column, top + height * row
                in_cell = texts[row][column] if numbered else None
                place = Area(left=x, top=y, right=x + cell, bottom=y + height)
                parts.append(_cell(place, level, in_cell, describe(row, column)))
    border = element(
        "rect", x=rounded(left), y=rounded(top), width=rounded(cell * len(names)), height=rounded(height * len(names)),
        class_="border",
    )  # fmt: skip
    class_ = "heat" if numbered else "heat fine"
    picture = drawing(label, top + height * len(names) + 2, *parts, border, width=width, class_=class_)
    return element("div", picture, class_="map", style=f"--w:{rounded(width)}px")


def heat_legend() -> Markup:
    """Return the shades with the largest share of each."""
    shades = (
        element("span", element("i", class_=f"h{level}"), f"{bound:.0%}") for level, bound in enumerate(HEAT_BOUNDS, 1)
    )
    return element("p", "share of the row, up to ", *shades, class_="shades")


def _cell(place: Area, level: int, shown: str | None, title: str) -> Markup:
    width, height = place.right - place.left, place.bottom - place.top
    square = element(
        "rect", element("title", title), x=rounded(place.left), y=rounded(place.top), width=rounded(width),
        height=rounded(height), class_=f"h{level}",
    )  # fmt: skip
    if shown is None:
        return square
    return joined(
        [square, text(place.left + width / 2, place.top + height / 2 + 4, shown, class_=f"t{level}", anchor="middle")]
    )
