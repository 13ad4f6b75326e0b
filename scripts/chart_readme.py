"""The chart's README: what it installs, and a table of values.yaml, made from its comments.

python -m scripts.chart_readme [--check FILE]
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from maskrcnn_operator.api.generated import write_or_check

CHART = Path(__file__).resolve().parents[1] / "charts" / "maskrcnn-operator"
README = CHART / "README.md"
TEXT = """# maskrcnn-operator

<!-- Generated: make manifests -->

Installs the operator for `MaskRCNNExperiment` resources: two replicas with leader election, the
CustomResourceDefinition (upgraded with the chart, kept when it is uninstalled), the minimum permissions, and
roles for users that extend `view`, `edit` and `admin`.

<!-- run: tests/chart/test_helm_on_server.py, tests/cluster/installation.py, tests/cluster/test_upgrade.py -->
```bash
helm install maskrcnn charts/maskrcnn-operator -n maskrcnn-system --create-namespace --wait
helm test maskrcnn -n maskrcnn-system
```

The images aren't published: set `image.repository` and `trainer.image` to yours, or load them into the nodes under the
default names.

`networkPolicy.gangs` lists namespaces in which the chart creates a NetworkPolicy for worker groups (gangs): pods of
steps may only connect to each other, to DNS, to the report endpoint, and to the addresses of
`networkPolicy.objectStores`. A NetworkPolicy cannot select pods of the same step, so it allows traffic between all
experiments of a namespace, and it cannot name hosts: it takes the address ranges of a store, and of the service that
gives pods credentials.

## Values

| value | default | what |
|---|---|---|
{rows}
"""


@dataclass(frozen=True)
class Row:
    """One value of the table."""

    path: str
    default: Any
    what: str


def rows(text: str) -> list[Row]:
    """Return the leaves of a values.yaml in order; a comment describes the key below it, or that key's first leaf."""
    values = yaml.safe_load(text)
    found: list[Row] = []
    comment: list[str] = []
    path: list[str] = []
    inherited: dict[int, str] = {}
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("#"):
            comment.append(stripped.lstrip("# "))
            continue
        match = re.match(r"^( *)([A-Za-z_]+):(.*)$", line)
        if not match:
            comment = [] if not stripped else comment
            continue
        depth = len(match[1]) // 2
        path = [*path[:depth], match[2]]
        text_above, comment = " ".join(comment), []
        value = _at(values, path)
        if isinstance(value, dict) and value and not match[3].strip():
            inherited = {level: what for level, what in inherited.items() if level < depth} | {depth: text_above}
            continue
        if any(row.path == ".".join(path[:-1]) for row in found):
            continue
        first = not any(row.path.startswith(".".join(path[:-1]) + ".") for row in found)
        what = text_above or (inherited.get(depth - 1, "") if first else "")
        found.append(Row(".".join(path), value, what))
    return found


def _at(values: Any, path: list[str]) -> Any:
    for key in path:
        values = values[key] if isinstance(values, dict) else None
    return values


def render(text: str) -> str:
    """Return the README for a values.yaml."""
    table = "\n".join(f"| `{row.path}` | `{json.dumps(row.default)}` | {row.what} |" for row in rows(text))
    return TEXT.replace("{rows}", table)


def page() -> str:
    """Return the README for the chart's values.yaml."""
    return render((CHART / "values.yaml").read_text(encoding="utf-8"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the page, or with ``--check FILE`` compare it with a file."""
    return write_or_check(page, arguments, module="scripts.chart_readme", description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
