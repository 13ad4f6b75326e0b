"""Checks of an operator that a Prometheus server scrapes, in the apiserver and the cluster tier."""

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
    """Return a window of some minutes that ends now."""
    end, span = time.time(), 60 * minutes
    return Window(end - span, end, span / POINTS)


def complaints(exposed: str) -> list[str]:
    """Return the complaints of ``promtool check metrics`` about a /metrics page.

    Those about ``process_*`` are ignored, since prometheus_client names these metrics.
    """
    checked = subprocess.run(
        [tool("promtool"), "check", "metrics"], input=exposed, capture_output=True, text=True, check=False
    )
    return [line for line in (checked.stdout + checked.stderr).splitlines() if not line.startswith("process_")]


def unanswered(api: Prometheus, window: Window, rate_seconds: float) -> list[str]:
    """Return the dashboard's queries without a finite value in a window, as the panel's title and the query's letter.

    Args:
        api: of the Prometheus server.
        window: time of the queries.
        rate_seconds: value of ``$__rate_interval``.
    """
    dashboard = vocabulary.dashboard()
    shown = panels(dashboard)
    return [
        f"{shown[index].title} {letter}"
        for index, answers in ask(api, dashboard, shown, window, rate_seconds).items()
        for letter, series in answers.items()
        if not any(math.isfinite(value) for one in series for _, value in one.points)
    ]


def unhealthy_rules(api: Prometheus) -> dict[str, str]:
    """Return the error, or the health, of each of the chart's alerts that the server can't evaluate, by name."""
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
    """Return the labels of each firing instance of an alert."""
    return [
        item["labels"]
        for item in api.get("alerts")["alerts"]
        if item["labels"]["alertname"] == alert and item["state"] == "firing"
    ]
