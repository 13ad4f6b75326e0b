"""Parts of a Grafana dashboard for its picture: panels, queries, names of series, numbers; without I/O."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scripts.prometheus_api import Series

_SPECIAL = re.compile(r"([\\^$*+?.()|\[\]{}])")
_PLACEHOLDER = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_LABEL_VALUES = re.compile(r"label_values\((.*),\s*(\w+)\)")


@dataclass(frozen=True)
class Target:
    """One query of a panel."""

    letter: str
    expression: str
    legend: str
    instant: bool


@dataclass(frozen=True)
class Panel:
    """One panel with its position on the grid of 24 columns."""

    kind: str
    title: str
    x: int
    y: int
    width: int
    height: int
    targets: tuple[Target, ...]
    unit: str
    lowest: float | None
    highest: float | None
    thresholds: tuple[tuple[float, str], ...]
    source: Mapping[str, Any] = field(repr=False)


def panels(dashboard: Mapping[str, Any]) -> list[Panel]:
    """Return the panels of a dashboard in order, including rows."""
    return [_panel(panel) for panel in dashboard["panels"]]


def _panel(panel: Mapping[str, Any]) -> Panel:
    defaults = panel.get("fieldConfig", {}).get("defaults", {})
    steps = defaults.get("thresholds", {}).get("steps", ())
    return Panel(
        kind=panel["type"],
        title=panel["title"],
        x=panel["gridPos"]["x"],
        y=panel["gridPos"]["y"],
        width=panel["gridPos"]["w"],
        height=panel["gridPos"]["h"],
        targets=tuple(
            Target(item["refId"], item["expr"], item.get("legendFormat", ""), bool(item.get("instant")))
            for item in panel.get("targets", ())
        ),
        unit=defaults.get("unit", "none"),
        lowest=defaults.get("min"),
        highest=defaults.get("max"),
        thresholds=tuple((-math.inf if step["value"] is None else step["value"], step["color"]) for step in steps),
        source=panel,
    )


def variables(dashboard: Mapping[str, Any], label_values: Callable[[str, str], Iterable[str]]) -> dict[str, str]:
    """Return the value of each variable of a dashboard while All is selected.

    Args:
        dashboard: the dashboard.
        label_values: returns the values of a label on the series of a selector.

    Raises:
        ValueError: a variable's definition isn't supported.
    """
    found: dict[str, str] = {}
    for variable in dashboard["templating"]["list"]:
        if variable["type"] != "query":
            continue
        if "allValue" in variable:
            found[variable["name"]] = variable["allValue"]
            continue
        asked = _LABEL_VALUES.fullmatch(variable["definition"])
        if asked is None:
            raise ValueError(
                f"variable {variable['name']}: unsupported definition {variable['definition']}, expected label_values()"
            )
        values = label_values(substituted(asked[1], found), asked[2])
        found[variable["name"]] = "|".join(_SPECIAL.sub(r"\\\\\1", value) for value in values)
    return found


def substituted(expression: str, values: Mapping[str, str], rate_seconds: float = 60.0) -> str:
    """Return a query with its variables replaced by their values.

    Raises:
        KeyError: a variable of the query has no value.
    """
    known = {**values, "__rate_interval": f"{math.ceil(rate_seconds)}s"}
    return re.sub(r"\$\{?(\w+)\}?", lambda found: known[found[1]], expression)


def legend(target: Target, labels: Mapping[str, str]) -> str:
    """Return the name of a series by its target's format."""
    if not target.legend:
        return ", ".join(f"{name}={value}" for name, value in labels.items())
    return _PLACEHOLDER.sub(lambda found: labels.get(found[1], ""), target.legend)


def table(panel: Panel, answers: Mapping[str, Sequence[Series]]) -> tuple[list[str], list[list[str]]]:
    """Return heading and rows of a table: one row for series with equal common labels, columns in the panel's order.

    Args:
        panel: the panel.
        answers: series by the letter of the target.
    """
    organized = next(item["options"] for item in panel.source["transformations"] if item["id"] == "organize")
    units = {item["matcher"]["options"]: item["properties"][0]["value"]
             for item in panel.source["fieldConfig"]["overrides"]}  # fmt: skip
    known = [set(series.labels) for found in answers.values() for series in found]
    common = sorted(set.intersection(*known)) if known else []
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for letter, found in answers.items():
        name = f"Value #{letter}"
        for series in found:
            row = rows.setdefault(tuple(series.labels[label] for label in common), {})
            row.update(series.labels)
            title = organized["renameByName"].get(name, name)
            row[name] = number(series.points[-1][1], units.get(title, panel.unit))
    order = organized["indexByName"]
    columns = [
        name for name in sorted(order, key=lambda name: int(order[name])) if any(name in row for row in rows.values())
    ]
    heading = [organized["renameByName"].get(name, name) for name in columns]
    return heading, [[row.get(name, "") for name in columns] for _, row in sorted(rows.items())]


def color_of(panel: Panel, value: float) -> str:
    """Return the name of a value's color by the panel's thresholds."""
    chosen = "text"
    for least, name in panel.thresholds:
        if value >= least:
            chosen = name
    return chosen


def number(value: float, unit: str) -> str:
    """Format a number for readers, in one of the units that the dashboard uses."""
    if math.isnan(value):
        return "NaN"
    if unit == "percentunit":
        return f"{_short(100 * value)}%"
    if unit == "s":
        return _duration(value)
    if unit == "bytes":
        return _scaled(value, 1024.0, ("B", "KiB", "MiB", "GiB", "TiB"))
    return _scaled(value, 1000.0, ("", "k", "M", "G", "T"))


def _short(value: float) -> str:
    digits = 0 if abs(value) >= 100 or value == int(value) else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 4
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _scaled(value: float, base: float, names: Sequence[str]) -> str:
    place = 0
    while abs(value) >= base and place < len(names) - 1:
        value, place = value / base, place + 1
    return f"{_short(value)} {names[place]}".strip()


def _duration(seconds: float) -> str:
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        if abs(seconds) >= size:
            return f"{_short(seconds / size)} {name}"
    return f"{_short(seconds * 1000)} ms" if seconds else "0 s"


def ticks(low: float, high: float, most: int = 5, base: float = 10.0) -> list[float]:
    """Return evenly spaced round numbers from at most ``low`` to at least ``high``.

    Args:
        low: smallest value.
        high: largest value.
        most: approximate maximum of numbers.
        base: 10 for steps of 1, 2 or 5 times a power of ten; 2 for powers of two.
    """
    if high <= low:
        high = low + (abs(low) or 1.0)
    rough = (high - low) / max(1, most - 1)
    power = base ** math.floor(math.log(rough, base))
    step = next(
        size * power for size in ((1, 2, 5, 10, 20) if base == 10.0 else (1, 2, 4)) if size * power >= rough * 0.999
    )
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def pieces(points: Sequence[tuple[float, float]], gap: float) -> list[list[tuple[float, float]]]:
    """Split a line at gaps longer than ``gap``; drop values that aren't finite."""
    found: list[list[tuple[float, float]]] = []
    for at, value in points:
        if not math.isfinite(value):
            continue
        if found and at - found[-1][-1][0] <= gap:
            found[-1].append((at, value))
        else:
            found.append([(at, value)])
    return found
