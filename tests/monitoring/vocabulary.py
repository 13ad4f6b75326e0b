"""Documented metrics, alerts, and queries of the dashboard, read from their files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "charts" / "maskrcnn-operator" / "files"
RULES = FILES / "rules.yaml"
RULE_TESTS = Path(__file__).with_name("rules_test.yaml")
DASHBOARD = FILES / "dashboard.json"
METRICS_PAGE = ROOT / "docs" / "reference" / "metrics.md"

_ROW = re.compile(r"^\| `(\w+\*?)` \| ([\w, ]+) \| (.*?) \|", re.MULTILINE)
_SUFFIXES = {"histogram": ("_bucket", "_sum", "_count")}
TARGET_LABELS = frozenset({"job", "instance", "namespace"})
"""Labels that Prometheus adds to each series of a target."""
PROCESS_METRICS = ("process_cpu_seconds_total", "process_resident_memory_bytes", "process_start_time_seconds")


def metrics() -> dict[str, frozenset[str]]:
    """Return the labels of each series in docs/reference/metrics.md, including those of the target, by name."""
    found: dict[str, frozenset[str]] = {}
    for name, kind, labels in _ROW.findall(METRICS_PAGE.read_text(encoding="utf-8")):
        own = frozenset(re.findall(r"`(\w+)`", labels))
        if name == "process_*":
            found |= dict.fromkeys(PROCESS_METRICS, TARGET_LABELS)
            continue
        for suffix in _SUFFIXES.get(kind, ("",)):
            more = frozenset({"le"}) if suffix == "_bucket" else frozenset()
            found[name + suffix] = own | more | TARGET_LABELS
    return found


def anchors(page: Path) -> set[str]:
    """Return the anchors of a Markdown page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def alerts() -> list[Mapping[str, Any]]:
    """Return the alerting rules of all groups."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    """Return the content of the dashboard."""
    found: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return found


def dashboard_queries() -> Iterator[tuple[str, str]]:
    """Yield the title of the panel and the expression of each query of the dashboard."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
