"""Metric names, help texts, and the queries of docs/reference/metrics.md, checked by promtool."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.monitoring.tools import tool
from tests.unit.metrics.served import fetch, served

from maskrcnn_operator.metrics import docs


async def test_names_and_help_pass_promtool() -> None:
    promtool = tool("promtool")
    async with served() as url:
        _, text = await fetch(url)
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    # prometheus_client names the process_* metrics
    complaints = [line for line in (checked.stdout + checked.stderr).splitlines() if not line.startswith("process_")]
    assert complaints == []
    wrong = subprocess.run(
        [promtool, "check", "metrics"], input="# TYPE loss_total gauge\nloss_total 1\n", capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert wrong.returncode != 0


def test_queries_of_the_page_are_valid_promql(tmp_path: Path) -> None:
    promtool = tool("promtool")
    queries = re.findall(r"```promql\n(.+?)\n```", docs.page(), re.DOTALL)
    assert queries
    for index, query in enumerate(queries):
        rules = tmp_path / f"{index}.yaml"
        rules.write_text(f"groups:\n- name: page\n  rules:\n  - record: page\n    expr: |\n      {query}\n")
        checked = subprocess.run([promtool, "check", "rules", str(rules)], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr
