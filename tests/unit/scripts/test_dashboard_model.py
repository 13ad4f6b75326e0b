"""Dashboard as data: queries, names of series, and the text and ticks of numbers."""

from __future__ import annotations

import math

import pytest
from scripts.dashboard_model import (
    Panel,
    Target,
    color_of,
    legend,
    number,
    panels,
    pieces,
    substituted,
    table,
    ticks,
    variables,
)
from scripts.prometheus_api import Series
from tests.monitoring import vocabulary

DASHBOARD = vocabulary.dashboard()
SHOWN = panels(DASHBOARD)


def panel(title: str, kind: str = "") -> Panel:
    return next(found for found in SHOWN if found.title == title and kind in ("", found.kind))


def test_every_variable_is_set_to_all() -> None:
    asked = []

    def label_values(selector: str, label: str) -> list[str]:
        asked.append((selector, label))
        return ["ops/a", "b.c"]

    assert variables(DASHBOARD, label_values) == {"job": r"ops/a|b\\.c", "namespace": ".*", "experiment": ".*"}
    assert asked == [("maskrcnn_operator_leader", "job")]


def test_variables_are_replaced_in_queries() -> None:
    query = 'rate(a{job=~"$job"}[$__rate_interval])'
    assert substituted(query, {"job": "x|y"}, 7.2) == 'rate(a{job=~"x|y"}[8s])'
    with pytest.raises(KeyError, match="other"):
        substituted("a{b=~'$other'}", {"job": "x"})


@pytest.mark.parametrize(
    ("target", "labels", "name"),
    [
        (
            Target("A", "x", "{{namespace}}/{{ experiment }} box", False),
            {"namespace": "a", "experiment": "b"},
            "a/b box",
        ),
        (Target("A", "x", "{{gone}}", False), {"namespace": "a"}, ""),
        (Target("A", "x", "", False), {"code": "200", "verb": "get"}, "code=200, verb=get"),
    ],
)
def test_series_is_named_by_the_legend_of_its_target(target: Target, labels: dict[str, str], name: str) -> None:
    assert legend(target, labels) == name


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.3, "percentunit", "30%"),
        (0.1234, "percentunit", "12.3%"),
        (0.0, "s", "0 s"),
        (0.0123, "s", "12.3 ms"),
        (5400, "s", "1.5 h"),
        (3 * 2**20, "bytes", "3 MiB"),
        (1234, "none", "1.23 k"),
        (0.61, "none", "0.61"),
        (-2.0, "none", "-2"),
        (math.nan, "none", "NaN"),
    ],
)
def test_number_is_formatted_with_its_unit(value: float, unit: str, text: str) -> None:
    assert number(value, unit) == text


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.5, 1]),
        (0, 0.9, [0, 0.5, 1]),
        (0, 112, [0, 50, 100, 150]),
        (0, 0, [0, 0.5, 1]),
        (3, 3, [3, 4, 5, 6]),
        (-1, 1, [-1, -0.5, 0, 0.5, 1]),
    ],
)
def test_ticks_are_round_and_enclose_the_range(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == expected


def test_ticks_of_bytes_are_powers_of_two() -> None:
    assert ticks(0, 100 * 2**20, base=2.0) == [0, 2**25, 2**26, 3 * 2**25, 2**27]


def test_line_is_interrupted_where_values_are_missing() -> None:
    points = [(0, 1.0), (1, 2.0), (9, 3.0), (10, math.nan), (11, 4.0)]
    assert pieces(points, 4) == [[(0, 1.0), (1, 2.0)], [(9, 3.0), (11, 4.0)]]
    assert pieces([(0, math.nan)], 4) == []


def test_table_joins_the_queries_by_experiment() -> None:
    shown = panel("Experiments", "table")

    def series(value: float, **labels: str) -> Series:
        return Series(labels, ((0.0, value),))

    both = {"namespace": "lab", "experiment": "nuclei"}
    answers = {
        "A": [series(1, **both, state="Running"), series(1, namespace="a", experiment="b", state="Failed")],
        "B": [series(1, **both, step="train", reason="Training")],
        "C": [series(0.42, **both)],
        "G": [series(7200, **both), series(60, namespace="a", experiment="b")],
    }
    assert table(shown, answers) == (
        ["Namespace", "Experiment", "State", "Step", "Reason", "Progress", "Age"],
        [["a", "b", "Failed", "", "", "", "1 min"], ["lab", "nuclei", "Running", "train", "Training", "42%", "2 h"]],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("title", "value", "color"),
    [("Leaders", 0, "red"), ("Leaders", 1, "green"), ("Leaders", 2, "red"), ("Need attention", 0, "green")],
)
def test_number_has_the_color_of_its_threshold(title: str, value: float, color: str) -> None:
    assert color_of(panel(title), value) == color
