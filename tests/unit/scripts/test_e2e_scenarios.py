"""Scenarios as processes: outcomes, order, and scenarios that are left out."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from scripts import e2e_scenarios
from scripts.e2e_scenarios import Run, run_scenarios
from tests.cluster.scenarios import Scenario

PASSES = '<testsuites><testsuite><testcase name="t"/></testsuite></testsuites>'
SKIPS = '<testsuites><testsuite><testcase name="t"><skipped/></testcase></testsuite></testsuites>'
EMPTY = "<testsuites><testsuite/></testsuites>"
AT_ONCE = 4

# writes the times of its start and end, and the report
PROGRAM = """
import pathlib, sys, time
report, content, code, seconds = sys.argv[1:]
start = time.monotonic()
time.sleep(float(seconds))
if content:
    pathlib.Path(report).write_text(content)
pathlib.Path(report).with_suffix(".times").write_text(f"{start} {time.monotonic()}")
with pathlib.Path(report).with_suffix(".runs").open("a") as runs:
    runs.write("ran ")
sys.exit(int(code))
"""


def scenario(name: str, alone: bool = False) -> Scenario:
    return Scenario(f"test_file.py::{name}", alone)


def command(reports: dict[str, tuple[str, int, float]]) -> Callable[[Scenario, Path], list[str]]:
    """Return a function that makes command lines; report, exit code and duration of each are in ``reports``."""

    def of(one: Scenario, report: Path) -> list[str]:
        content, code, seconds = reports.get(one.test.partition("::")[2], (PASSES, 0, 0.0))
        return [sys.executable, "-S", "-c", PROGRAM, str(report), content, str(code), str(seconds)]

    return of


def times(folder: Path, name: str) -> tuple[float, float]:
    start, end = map(float, (folder / f"{name}.times").read_text().split())
    return start, end


@pytest.mark.parametrize(
    ("report", "code", "outcome"),
    [
        (PASSES, 0, "passed"),
        (SKIPS, 0, "skipped"),
        (EMPTY, 0, "failed"),
        ("", 0, "failed"),
        (PASSES, 1, "failed"),
    ],
)
def test_outcome_is_passed_only_if_a_test_ran_and_passed(tmp_path: Path, report: str, code: int, outcome: str) -> None:
    run = Run(tmp_path, dict(os.environ), command({"one": (report, code, 0.0)}))
    assert run_scenarios(run, [scenario("one")], AT_ONCE, time.monotonic() + 60) == []
    assert run.outcomes == {"test_file.py::one": outcome}


def test_exclusive_scenario_runs_alone(tmp_path: Path) -> None:
    run = Run(tmp_path, dict(os.environ), command(dict.fromkeys(("a", "alone", "b"), (PASSES, 0, 0.3))))
    scenarios = [scenario("a"), scenario("alone", alone=True), scenario("b")]
    assert run_scenarios(run, scenarios, AT_ONCE, time.monotonic() + 60) == []
    assert list(run.outcomes.values()) == ["passed"] * 3
    assert times(tmp_path, "a")[1] <= times(tmp_path, "alone")[0]
    assert times(tmp_path, "alone")[1] <= times(tmp_path, "b")[0]


def test_no_scenario_starts_after_the_deadline_and_running_ones_finish(tmp_path: Path) -> None:
    run = Run(tmp_path, dict(os.environ), command({"first": (PASSES, 0, 1.0)}))
    left = run_scenarios(run, [scenario("first"), scenario("second")], 1, time.monotonic() + 0.5)
    assert run.outcomes == {"test_file.py::first": "passed"}
    assert left == [scenario("second")]


def test_deadline_in_the_past_leaves_all_scenarios_out(tmp_path: Path) -> None:
    run = Run(tmp_path, dict(os.environ), command({}))
    assert run_scenarios(run, [scenario("only")], AT_ONCE, time.monotonic() - 1) == [scenario("only")]
    assert run.outcomes == {}


@pytest.mark.parametrize(
    ("longest_pause", "code", "runs"),
    [(0.0, 1, 2), (0.0, 0, 1), (60.0, 1, 1)],
    ids=["failed during a suspension", "passed during a suspension", "failed without a suspension"],
)
def test_failure_while_the_machine_was_suspended_is_retried_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, longest_pause: float, code: int, runs: int
) -> None:
    monkeypatch.setattr(e2e_scenarios, "STANDSTILL_SECONDS", longest_pause)
    run = Run(tmp_path, dict(os.environ), command({"one": (PASSES, code, 0.3)}))
    assert run_scenarios(run, [scenario("one")], 1, time.monotonic() + 60) == []
    assert (tmp_path / "one.runs").read_text().split() == ["ran"] * runs
    assert run.outcomes == {"test_file.py::one": "failed" if code else "passed"}
