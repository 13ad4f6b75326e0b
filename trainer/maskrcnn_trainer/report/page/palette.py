"""Colors of the page in both themes.

The eight colors of series differ by at least 18 in CIELAB for normal sight and for each of the three kinds of color
blindness, by the matrices of Machado et al., A physiologically-based model for simulation of color vision deficiency
(2009), and have a contrast of at least 3:1 with the background. Texts have 4.5:1 (WCAG 2.2, 1.4.3 and 1.4.11). Each
series also has its own dashes and markers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from maskrcnn_trainer.report.content import Role

SERIES_COLORS = 8
HEAT_BOUNDS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 1.0)
"""Largest share of each level of a heat map; narrow at the low end, where confusions are."""

HEAT_LEVELS = len(HEAT_BOUNDS)


@dataclass(frozen=True)
class Theme:
    """Colors of one theme, as ``#rrggbb``.

    Attributes:
        background: of the page.
        card: of tiles and charts.
        line: of borders and grids.
        ink, muted, link: of texts.
        true, false, missed: of texts that name the role of a shown object.
        warning: background of a mark, under ``ink``.
        series: SERIES_COLORS colors of lines and bars; the first is for the total.
        coldest, hottest: of a heat map's levels 1 and HEAT_LEVELS.
    """

    background: str
    card: str
    line: str
    ink: str
    muted: str
    link: str
    true: str
    false: str
    missed: str
    warning: str
    series: tuple[str, ...]
    coldest: str
    hottest: str


LIGHT = Theme(
    background="#ffffff", card="#f6f8fa", line="#d4dae1", ink="#1b1f24", muted="#57606a", link="#1a56b8",
    true="#14633d", false="#a3300f", missed="#4b3a8c", warning="#ffe9b8",
    series=("#1b1f24", "#2a4fd8", "#e4572e", "#4c8a68", "#a873e8", "#7a3a1c", "#5f1d8c", "#cf5fae"),
    coldest="#d3e4f7", hottest="#08316e",
)  # fmt: skip
DARK = Theme(
    background="#14171c", card="#1c2128", line="#39414c", ink="#e6e9ee", muted="#a3adb9", link="#8fbcff",
    true="#72d6a2", false="#ff9a7a", missed="#c3b3ff", warning="#5a4300",
    series=("#e6e9ee", "#6dbcf5", "#f0c48e", "#b07a3c", "#eb6a88", "#86b82a", "#2c78c0", "#9a48f0"),
    coldest="#27405f", hottest="#b4d8ff",
)  # fmt: skip
PICTURE_COLORS: Mapping[Role, tuple[int, int, int]] = {
    "true": (63, 217, 139), "false": (224, 49, 26), "missed": (185, 165, 255),
}  # fmt: skip
"""Red, green, and blue of the outlines in pictures, which lie on photographs in both themes. Green and red differ in
lightness too, for readers to whom their hues look alike. A found object is where its true detection is."""

THEMES: Mapping[str, Theme] = {"light": LIGHT, "dark": DARK}


def heat(theme: Theme, level: int) -> tuple[str, str]:
    """Return fill and text color of a heat map's level, 1..HEAT_LEVELS, as ``#rrggbb``."""
    share = (level - 1) / (HEAT_LEVELS - 1)
    fill = _hex(
        tuple(low + (high - low) * share for low, high in zip(_rgb(theme.coldest), _rgb(theme.hottest), strict=True))
    )
    return fill, max(("#000000", "#ffffff"), key=lambda text: contrast(fill, text))


def heat_level(share: float | None) -> int:
    """Return the level of a share in 0..1: 0 (no fill) for None and 0, and 1..HEAT_LEVELS otherwise."""
    if share is None or not share > 0:
        return 0
    return 1 + next((level for level, bound in enumerate(HEAT_BOUNDS) if share <= bound), HEAT_LEVELS - 1)


def contrast(first: str, second: str) -> float:
    """Return the contrast of two colors, 1..21, by WCAG 2.2 (definition of contrast ratio)."""
    dark, light = sorted((_luminance(first), _luminance(second)))
    return (light + 0.05) / (dark + 0.05)


def linear(color: str) -> tuple[float, ...]:
    """Return linear red, green, and blue of an sRGB color, 0..1 (IEC 61966-2-1)."""
    parts = (part / 255 for part in _rgb(color))
    return tuple(part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)


def _luminance(color: str) -> float:
    red, green, blue = linear(color)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _rgb(color: str) -> tuple[int, ...]:
    return tuple(int(color[at : at + 2], 16) for at in (1, 3, 5))


def _hex(parts: tuple[float, ...]) -> str:
    return "#" + "".join(f"{round(part):02x}" for part in parts)
