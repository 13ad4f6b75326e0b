"""The chart's README: what it installs, and a table of values.yaml, made from its comments.

python scripts/chart_readme.py [--check]
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).resolve().parents[1] / "charts" / "maskrcnn-operator"
README = CHART / "README.md"
TEXT = """# maskrcnn-operator

<!-- Generated: python scripts/chart_readme.py -->

Installs the operator of `MaskRCNNExperiment` resources: two replicas with leader election, the
CustomResourceDefinition (upgraded with the chart, kept when it is uninstalled), exactly the rights that are used, and
roles for users beside `view`, `edit` and `admin`.

```
helm install maskrcnn charts/maskrcnn-operator -n maskrcnn-system --create-namespace --wait
helm test maskrcnn -n maskrcnn-system
```

`networkPolicy.gangs` names namespaces that deny traffic by default: pods of steps are let through to each other, to DNS
and to the report endpoint. A policy cannot say "of the same step", so it says "of any experiment of the namespace".

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
    """The leaves of a values.yaml in its order; a comment belongs to the key below it, and to that key's leaves."""
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
        said, comment = " ".join(comment), []
        value = _at(values, path)
        if isinstance(value, dict) and value and not match[3].strip():
            inherited = {level: what for level, what in inherited.items() if level < depth} | {depth: said}
            continue
        if any(row.path == ".".join(path[:-1]) for row in found):
            continue
        first = not any(row.path.startswith(".".join(path[:-1]) + ".") for row in found)
        what = said or (inherited.get(depth - 1, "") if first else "")
        found.append(Row(".".join(path), value, what))
    return found


def _at(values: Any, path: list[str]) -> Any:
    for key in path:
        values = values[key] if isinstance(values, dict) else None
    return values


def render(text: str) -> str:
    """The README of a values.yaml."""
    table = "\n".join(f"| `{row.path}` | `{json.dumps(row.default)}` | {row.what} |" for row in rows(text))
    return TEXT.replace("{rows}", table)


def main() -> int:
    """Write it, or with --check say whether it is stale."""
    made = render((CHART / "values.yaml").read_text())
    if "--check" in sys.argv[1:]:
        if README.read_text() != made:
            sys.stderr.write(f"{README} is stale: run python scripts/chart_readme.py\n")
            return 1
        return 0
    README.write_text(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
