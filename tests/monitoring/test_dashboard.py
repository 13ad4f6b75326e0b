"""The dashboard on paper: what it asks for is documented, and its panels lie beside each other."""

from __future__ import annotations

import re

import pytest
from tests.monitoring import promql, vocabulary

METRICS = vocabulary.metrics()
QUERIES = list(vocabulary.dashboard_queries())
MADE_BY_US = {name for name in METRICS if name.startswith("maskrcnn_")}


@pytest.mark.parametrize(("title", "query"), QUERIES, ids=[f"{title}-{i}" for i, (title, _) in enumerate(QUERIES)])
def test_a_query_asks_for_metrics_and_labels_that_are_there(title: str, query: str) -> None:
    found = promql.uses(query)
    assert found
    for use in found:
        assert use.metric in METRICS
        assert use.labels <= METRICS[use.metric], use
    assert promql.grouping_labels(query) <= frozenset.union(*(METRICS[use.metric] for use in found))


def test_every_metric_is_shown_or_watched() -> None:
    asked = {use.metric for _, query in QUERIES for use in promql.uses(query)}
    asked |= {use.metric for alert in vocabulary.alerts() for use in promql.uses(alert["expr"])}
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in MADE_BY_US} <= families


def test_every_variable_that_a_query_names_is_one_of_the_dashboard() -> None:
    known = {variable["name"] for variable in vocabulary.dashboard()["templating"]["list"]} | {"__rate_interval"}
    named = {name for _, query in QUERIES for name in re.findall(r"\$\{?(\w+)", query)}
    assert named <= known
    assert known - named == {"datasource"}


def test_a_rate_is_taken_over_the_interval_that_grafana_chooses() -> None:
    for title, query in QUERIES:
        assert re.findall(r"\[(.*?)\]", query) == ["$__rate_interval"] * query.count("rate("), title


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    panels = vocabulary.dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: dict[tuple[int, int], str] = {}
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]


def test_the_data_source_is_the_one_that_the_reader_chooses() -> None:
    for panel in vocabulary.dashboard()["panels"]:
        for target in panel.get("targets", ()):
            assert target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_the_expressions_are_read_as_they_are_meant() -> None:
    query = (
        'sum by (le) (rate(a_bucket{job=~"x{y}(z)", code!="2"}[$__rate_interval])) / on (job) group_left () b offset 1h'
        " > 0.5 and absent(c) or vector(0) unless d{} == 1e-3"
    )
    assert [(use.metric, set(use.labels)) for use in promql.uses(query)] == [
        ("a_bucket", {"job", "code"}), ("b", set()), ("c", set()), ("d", set()),
    ]  # fmt: skip
    assert promql.grouping_labels(query) == {"le", "job"}
