"""Drawing of the dashboard's panels: positions of lines, and panels without data."""

from __future__ import annotations

from scripts.dashboard_drawing import LINES, Window, picture
from scripts.dashboard_model import panels
from scripts.prometheus_api import Series
from tests.monitoring import vocabulary

SHOWN = panels(vocabulary.dashboard())


def test_rising_series_is_drawn_from_lower_left_to_upper_right() -> None:
    """Draw a series that rises from 0 to 1 over the window."""
    shown = next(found for found in SHOWN if found.title == "Progress of the current step")
    index = SHOWN.index(shown)
    rising = Series({"namespace": "lab", "experiment": "nuclei"}, tuple((float(at), at / 100) for at in range(101)))
    drawn = picture(SHOWN, {index: {"A": [rising]}}, Window(0.0, 100.0, 1.0))
    color = tuple(int(LINES[0][place : place + 2], 16) for place in (1, 3, 5))
    left, top = 10 + shown.x * 50, 10 + shown.y * 34
    plot = drawn.crop((left, top, left + shown.width * 50 - 8, top + shown.height * 34 - 50))  # without the legend
    found = [
        (x, y)
        for x in range(plot.width)
        for y in range(plot.height)
        if all(abs(a - b) < 40 for a, b in zip(plot.getpixel((x, y)), color, strict=True))  # type: ignore[arg-type]
    ]
    (first_x, first_y), (last_x, last_y) = min(found), max(found)
    assert first_x < 0.2 * plot.width < 0.9 * plot.width < last_x
    assert first_y > last_y + 100


def test_panel_without_data_differs_from_one_with_data() -> None:
    shown = [found for found in SHOWN if found.kind == "timeseries"]
    empty = picture(shown, {}, Window(0.0, 100.0, 1.0))
    some = picture(shown, {0: {"A": [Series({}, ((50.0, 0.5),))]}}, Window(0.0, 100.0, 1.0))
    assert empty.size == some.size
    assert empty.tobytes() != some.tobytes()
