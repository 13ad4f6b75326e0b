"""Draw the chart's dashboard with data from a Prometheus server.

    python scripts/dashboard_picture.py http://127.0.0.1:9090 --minutes 30

The panels and their queries are read from the chart's dashboard, so that the picture in the docs always matches it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts.dashboard_drawing import Window, picture
from scripts.dashboard_model import Panel, panels, substituted, variables
from scripts.prometheus_api import Prometheus, PrometheusError, Series

DASHBOARD = ROOT / "charts" / "maskrcnn-operator" / "files" / "dashboard.json"
PICTURE = ROOT / "docs" / "images" / "dashboard.png"
POINTS = 300

Answers = dict[int, dict[str, list[Series]]]


def load(file: Path = DASHBOARD) -> dict[str, Any]:
    """Read the chart's dashboard."""
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def ask(
    prometheus: Prometheus, dashboard: Mapping[str, Any], shown: Sequence[Panel], window: Window, rate_seconds: float
) -> Answers:
    """Run every query of every panel; return the series by the index of the panel and the letter of the query."""
    values = variables(dashboard, prometheus.label_values)
    found: Answers = {}
    for index, panel in enumerate(shown):
        for target in panel.targets:
            query = substituted(target.expression, values, rate_seconds)
            answer = (
                prometheus.instant(query, window.end)
                if target.instant
                else prometheus.range(query, window.start, window.end, window.step)
            )
            found.setdefault(index, {})[target.letter] = answer
    return found


def draw(prometheus: Prometheus, output: Path, window: Window, rate_seconds: float, file: Path = DASHBOARD) -> Answers:
    """Draw a dashboard into a file; return the results of its queries."""
    dashboard = load(file)
    shown = panels(dashboard)
    answers = ask(prometheus, dashboard, shown, window, rate_seconds)
    output.parent.mkdir(parents=True, exist_ok=True)
    picture(shown, answers, window).save(output, optimize=True)
    return answers


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the picture; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="dashboard_picture.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("prometheus", metavar="URL", help="URL of a Prometheus server that has scraped the operator")
    parser.add_argument("--minutes", type=float, default=60.0, help="length of the time range (default 60)")
    parser.add_argument("--end", type=float, metavar="SECONDS", help="end of the time range, since 1970 (default: now)")
    parser.add_argument(
        "--rate-seconds", type=float, default=120.0, help="$__rate_interval, four scrape intervals (default 120)"
    )
    parser.add_argument("--output", type=Path, default=PICTURE, help="file (default docs/images/dashboard.png)")
    options = parser.parse_args(arguments)
    end = time.time() if options.end is None else options.end
    span = 60 * options.minutes
    try:
        answers = draw(
            Prometheus(options.prometheus), options.output, Window(end - span, end, span / POINTS), options.rate_seconds
        )
    except PrometheusError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    empty = sum(not series for found in answers.values() for series in found.values())
    sys.stderr.write(f"{options.output}: {options.output.stat().st_size // 1000} kB, {empty} queries without data\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
