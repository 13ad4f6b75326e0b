"""Order of the scenarios on nodes, and rules for running them concurrently."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIST = HERE / "scenarios.txt"
ALONE = "alone "


@dataclass(frozen=True)
class Scenario:
    """One test of this folder.

    Attributes:
        test: FILE::TEST.
        alone: whether no other scenario may run at the same time.
    """

    test: str
    alone: bool = False


def read_scenarios(text: str) -> list[Scenario]:
    """Return the scenarios of a list, in its order; blank lines and lines that start with ``#`` are ignored."""
    lines = [line.strip() for line in text.splitlines()]
    entries = [line for line in lines if line and not line.startswith("#")]
    return [Scenario(entry.removeprefix(ALONE).strip(), entry.startswith(ALONE)) for entry in entries]


def cluster_tests(folder: Path) -> list[str]:
    """Return FILE::TEST of every function below a folder that pytest may collect, at any level of nesting."""
    files = {*folder.rglob("test_*.py"), *folder.rglob("*_test.py")}
    return [
        f"{file.relative_to(folder)}::{node.name}"
        for file in sorted(files)
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test")
    ]


def wrong_with(scenarios: Sequence[Scenario], tests: Iterable[str]) -> list[str]:
    """Return the errors of a list, one sentence each: missing tests, duplicates, and names that aren't tests."""
    names = [scenario.test for scenario in scenarios]
    known = set(tests)
    return [
        *(f"{test} is missing" for test in sorted(known - set(names))),
        *(f"{name} isn't a test" for name in sorted(set(names) - known)),
        *(f"{name} is listed {names.count(name)} times" for name in sorted(set(names)) if names.count(name) > 1),
    ]


def next_to_start(waiting: Sequence[Scenario], running: Sequence[Scenario], at_once: int) -> Scenario | None:
    """Return the first waiting scenario if it may start now, given the running ones and the limit on their number."""
    if not waiting or len(running) >= at_once or any(scenario.alone for scenario in running):
        return None
    first = waiting[0]
    return None if first.alone and running else first
