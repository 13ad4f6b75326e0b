"""Alerts: they are well formed, use metrics that exist, fire when they should, and have an entry in the docs."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from tests.monitoring import promql, vocabulary
from tests.monitoring.tools import tool

ALERTS = vocabulary.alerts()
METRICS = vocabulary.metrics()
STATE_LABELS = {"state", "reason", "step"}


def names(alert: Mapping[str, Any]) -> str:
    return str(alert["alert"])


@pytest.mark.parametrize("alert", ALERTS, ids=names)
def test_alert_has_severity_summary_description_and_runbook(alert: Mapping[str, Any]) -> None:
    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
    assert set(alert["annotations"]) == {"summary", "description", "runbook"}
    assert alert["annotations"]["runbook"] == f"docs/how-to/alerts.md#{alert['alert'].lower()}"
    assert alert["annotations"]["summary"].endswith(".")


@pytest.mark.parametrize("alert", ALERTS, ids=names)
def test_alert_uses_metrics_and_labels_that_exist(alert: Mapping[str, Any]) -> None:
    found = promql.uses(alert["expr"])
    assert found
    for use in found:
        assert use.metric in METRICS
        assert use.labels <= METRICS[use.metric], use
    known = frozenset.union(*(METRICS[use.metric] for use in found))
    assert promql.grouping_labels(alert["expr"]) <= known


def test_names_of_alerts_are_unique() -> None:
    assert len({names(alert) for alert in ALERTS}) == len(ALERTS)


def test_each_alert_is_tested_firing_and_not_firing() -> None:
    tested = [
        (item["alertname"], bool(item.get("exp_alerts")))
        for test in yaml.safe_load(vocabulary.RULE_TESTS.read_text())["tests"]
        for item in test["alert_rule_test"]
    ]
    assert set(tested) == {(names(alert), fires) for alert in ALERTS for fires in (True, False)}


def test_rules_are_valid_for_promtool() -> None:
    checked = subprocess.run(
        [tool("promtool"), "check", "rules", str(vocabulary.RULES)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"SUCCESS: {len(ALERTS)} rules found" in checked.stdout


def test_rules_pass_their_promtool_tests() -> None:
    done = subprocess.run(
        [tool("promtool"), "test", "rules", str(vocabulary.RULE_TESTS)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout
