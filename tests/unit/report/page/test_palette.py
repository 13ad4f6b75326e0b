from __future__ import annotations

import itertools

import numpy as np
import pytest

from maskrcnn_trainer.report.page.palette import HEAT_LEVELS, SERIES_COLORS, THEMES, contrast, heat, heat_level, linear

# Machado et al. 2009, table 1, severity 1.0
SIGHTS = {
    "normal": np.eye(3),
    "protanopia": np.array([
        [0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998],
    ]),
    "deuteranopia": np.array([
        [0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881],
    ]),
    "tritanopia": np.array([
        [1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900],
    ]),
}  # fmt: skip


def lab(color: str, sight: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return a color as CIELAB under D65, as someone with this sight sees it."""
    to_xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    xyz = to_xyz @ np.clip(SIGHTS[sight] @ np.array(linear(color)), 0, 1) / np.array([0.95047, 1.0, 1.08883])
    scaled = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * scaled[1] - 16, 500 * (scaled[0] - scaled[1]), 200 * (scaled[1] - scaled[2])])


def test_contrast_of_known_colors() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.478, abs=1e-3)


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("theme", THEMES)
def test_colors_of_series_can_be_distinguished(theme: str, sight: str) -> None:
    colors = THEMES[theme].series
    assert len(colors) == SERIES_COLORS
    for first, second in itertools.combinations(colors, 2):
        assert np.linalg.norm(lab(first, sight) - lab(second, sight)) >= 18, (first, second)


@pytest.mark.parametrize("theme", THEMES)
def test_texts_have_enough_contrast(theme: str) -> None:
    found = THEMES[theme]
    for background in (found.background, found.card):
        for text in (found.ink, found.muted, found.link, found.true, found.false, found.missed):
            assert contrast(text, background) >= 4.5, (text, background)
    assert contrast(found.ink, found.warning) >= 4.5
    assert contrast(found.ink, heat(found, 2)[0]) >= 4.5, "numbers over the bars of cells"


@pytest.mark.parametrize("theme", THEMES)
def test_lines_and_bars_have_enough_contrast(theme: str) -> None:
    found = THEMES[theme]
    for color, background in itertools.product(found.series, (found.background, found.card)):
        assert contrast(color, background) >= 3, (color, background)


@pytest.mark.parametrize("theme", THEMES)
def test_numbers_in_heat_maps_have_enough_contrast(theme: str) -> None:
    for level in range(1, HEAT_LEVELS + 1):
        fill, text = heat(THEMES[theme], level)
        assert contrast(fill, text) >= 4.5, level


@pytest.mark.parametrize("theme", THEMES)
def test_shades_of_heat_maps_ascend(theme: str) -> None:
    fills = [heat(THEMES[theme], level)[0] for level in range(1, HEAT_LEVELS + 1)]
    away = [contrast(fill, THEMES[theme].card) for fill in fills]
    assert away == sorted(away)
    assert away[0] > 1.15


@pytest.mark.parametrize(
    ("share", "level"), [(None, 0), (0.0, 0), (float("nan"), 0), (0.001, 1), (0.02, 1), (0.021, 2), (1.0, 9), (1.5, 9)]
)
def test_share_has_its_level(share: float | None, level: int) -> None:
    assert heat_level(share) == level
