"""What is held of any operator that a Prometheus scrapes, on the API server alone or on a cluster with nodes."""

from __future__ import annotations

import math
import subprocess
import time

from scripts.dashboard_drawing import Window
from scripts.dashboard_model import panels
from scripts.dashboard_picture import ask
from scripts.prometheus_api import Prometheus
from tests.monitoring import vocabulary
from tests.monitoring.tools import tool

POINTS = 120


def last_minutes(minutes: float) -> Window:
    """The time up to now."""
    end, span = time.time(), 60 * minutes
    return Window(end - span, end, span / POINTS)


def complaints(exposed: str) -> list[str]:
    """What ``promtool check metrics`` says of a /metrics page; Python's own process_* metrics are not ours to name."""
    checked = subprocess.run(
        [tool("promtool"), "check", "metrics"], input=exposed, capture_output=True, text=True, check=False
    )
    return [line for line in (checked.stdout + checked.stderr).splitlines() if not line.startswith("process_")]


def unanswered(api: Prometheus, window: Window, rate_seconds: float) -> list[str]:
    """The dashboard's queries that return no number over a time: title of the panel and letter of the query."""
    dashboard = vocabulary.dashboard()
    shown = panels(dashboard)
    return [
        f"{shown[index].title} {letter}"
        for index, answers in ask(api, dashboard, shown, window, rate_seconds).items()
        for letter, series in answers.items()
        if not any(math.isfinite(value) for one in series for _, value in one.points)
    ]


def unhealthy_rules(api: Prometheus) -> dict[str, str]:
    """The chart's alerts that the server does not evaluate well, with what it says of them; empty where all are."""
    found = {
        rule["name"]: rule.get("lastError", "") or rule["health"]
        for group in api.get("rules")["groups"]
        for rule in group["rules"]
    }
    return {
        alert["alert"]: found.get(alert["alert"], "not loaded")
        for alert in vocabulary.alerts()
        if found.get(alert["alert"]) != "ok"
    }


def firing(api: Prometheus, alert: str) -> list[dict[str, str]]:
    """The labels with which an alert fires now."""
    return [
        item["labels"]
        for item in api.get("alerts")["alerts"]
        if item["labels"]["alertname"] == alert and item["state"] == "firing"
    ]
