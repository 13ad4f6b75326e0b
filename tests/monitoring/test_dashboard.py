"""The dashboard's file: its queries use documented metrics, and its panels don't overlap."""

from __future__ import annotations

import re

import pytest
from tests.monitoring import promql, vocabulary

METRICS = vocabulary.metrics()
QUERIES = list(vocabulary.dashboard_queries())
MADE_BY_US = {name for name in METRICS if name.startswith("maskrcnn_")}


@pytest.mark.parametrize(("title", "query"), QUERIES, ids=[f"{title}-{i}" for i, (title, _) in enumerate(QUERIES)])
def test_query_uses_metrics_and_labels_that_exist(title: str, query: str) -> None:
    found = promql.uses(query)
    assert found
    for use in found:
        assert use.metric in METRICS
        assert use.labels <= METRICS[use.metric], use
    assert promql.grouping_labels(query) <= frozenset.union(*(METRICS[use.metric] for use in found))


def test_every_metric_is_in_a_panel_or_an_alert() -> None:
    asked = {use.metric for _, query in QUERIES for use in promql.uses(query)}
    asked |= {use.metric for alert in vocabulary.alerts() for use in promql.uses(alert["expr"])}
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in MADE_BY_US} <= families


def test_queries_use_variables_of_the_dashboard() -> None:
    known = {variable["name"] for variable in vocabulary.dashboard()["templating"]["list"]} | {"__rate_interval"}
    named = {name for _, query in QUERIES for name in re.findall(r"\$\{?(\w+)", query)}
    assert named <= known
    assert known - named == {"datasource"}


def test_rates_use_the_interval_that_grafana_chooses() -> None:
    for title, query in QUERIES:
        assert re.findall(r"\[(.*?)\]", query) == ["$__rate_interval"] * query.count("rate("), title


def test_panels_have_unique_ids_and_do_not_overlap() -> None:
    panels = vocabulary.dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: dict[tuple[int, int], str] = {}
    for panel in panels:
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24
        for x in range(grid["x"], grid["x"] + grid["w"]):
            for y in range(grid["y"], grid["y"] + grid["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]


def test_panels_use_the_selected_data_source() -> None:
    for panel in vocabulary.dashboard()["panels"]:
        for target in panel.get("targets", ()):
            assert target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_selectors_and_grouping_labels_are_found_in_an_expression() -> None:
    query = (
        'sum by (le) (rate(a_bucket{job=~"x{y}(z)", code!="2"}[$__rate_interval])) / on (job) group_left () b offset 1h'
        " > 0.5 and absent(c) or vector(0) unless d{} == 1e-3"
    )
    assert [(use.metric, set(use.labels)) for use in promql.uses(query)] == [
        ("a_bucket", {"job", "code"}), ("b", set()), ("c", set()), ("d", set()),
    ]  # fmt: skip
    assert promql.grouping_labels(query) == {"le", "job"}
