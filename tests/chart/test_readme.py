"""Table of values in the chart's README, generated from values.yaml."""

from __future__ import annotations

from scripts.chart_readme import README, Row, render, rows
from tests.chart.conftest import CHART

VALUES = """
# The image.
image:
  repository: operator
  tag: ""
# Of the
# operator's pods.
resources:
  requests: {cpu: 100m}
replicas: 2
"""


def test_comment_describes_the_key_below_it_or_its_first_leaf() -> None:
    assert rows(VALUES) == [
        Row("image.repository", "operator", "The image."),
        Row("image.tag", "", ""),
        Row("resources.requests", {"cpu": "100m"}, "Of the operator's pods."),
        Row("replicas", 2, ""),
    ]


def test_table_has_every_value_and_is_up_to_date() -> None:
    text = (CHART / "values.yaml").read_text()
    assert README.read_text() == render(text)
    assert {row.path for row in rows(text)} >= {
        "image.repository",
        "trainer.queueName",
        "networkPolicy.gangs",
        "networkPolicy.objectStores",
    }
