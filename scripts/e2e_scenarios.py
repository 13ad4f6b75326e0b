"""Run the scenarios of tests/cluster in parallel, in a cluster that is created on this machine, as root.

Each scenario is a separate pytest process that attaches to the cluster; tests/cluster/scenarios.txt defines their
order. The output of a failed scenario is printed. A scenario that fails after the whole machine was suspended, like a
paused virtual machine, is run again, because its nodes were lost without a fault of the product. With ``--within`` no
scenario starts later than that; the names of scenarios that did not run are written to the ``--left-out`` file, and
don't affect the exit code.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.cluster.build_bed import SHAPES, cluster_of, make_bed, what_nodes_lack
from tests.cluster.installation import Installation
from tests.cluster.scenarios import HERE, LIST, Scenario, cluster_tests, next_to_start, read_scenarios, wrong_with
from tests.cluster.team import draw_shapes

AT_ONCE = 3
POLL_SECONDS = 0.2
STANDSTILL_SECONDS = 10.0
"""Longer intervals between two polls mean that the machine was suspended; shorter ones exceed no timeout."""
EXIT_INVALID = 64


def say(message: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{message}\n")
    sys.stdout.flush()


@dataclass
class Running:
    """One scenario's process.

    Attributes:
        standstill: seconds that the machine was suspended during the scenario.
    """

    scenario: Scenario
    process: subprocess.Popen[bytes]
    started: float
    log: Path
    report: Path
    standstill: float = 0.0


def pytest_command(scenario: Scenario, report: Path) -> list[str]:
    """Return the command line of a scenario, whose outcome goes to ``report`` as JUnit XML."""
    test = f"{HERE.relative_to(ROOT)}/{scenario.test}"
    options = ("-q", "-rA", "--no-header", "-p", "no:cacheprovider", f"--junit-xml={report}")
    return [sys.executable, "-m", "pytest", *options, test]


@dataclass
class Run:
    """State of all scenarios.

    Attributes:
        folder: directory of their logs.
        environment: environment variables of every process.
        command: returns the command line of a scenario, given the file for its report.
        outcomes: passed, failed, or skipped, by test, of scenarios that have ended.
        repeated: scenarios that were started a second time.
    """

    folder: Path
    environment: dict[str, str]
    command: Callable[[Scenario, Path], list[str]] = pytest_command
    running: list[Running] = field(default_factory=list)
    outcomes: dict[str, str] = field(default_factory=dict)
    repeated: set[Scenario] = field(default_factory=set)

    def start(self, scenario: Scenario) -> None:
        """Start a scenario's process."""
        name = scenario.test.partition("::")[2]
        log, report = self.folder / f"{name}.log", self.folder / f"{name}.xml"
        report.unlink(missing_ok=True)
        with log.open("wb") as output:
            process = subprocess.Popen(
                self.command(scenario, report),
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.running.append(Running(scenario, process, time.monotonic(), log, report))

    def note_standstill(self, seconds: float) -> None:
        """Add a time in which the machine was suspended to all running scenarios."""
        for one in self.running:
            one.standstill += seconds

    def take_ended(self) -> list[Scenario]:
        """Record the outcome of processes that have ended; return the scenarios to run again."""
        again = []
        for one in [one for one in self.running if one.process.poll() is not None]:
            self.running.remove(one)
            seconds, outcome = time.monotonic() - one.started, outcome_of(one.report, one.process.returncode)
            say(f"{outcome:8} {seconds:6.0f} s  {one.scenario.test}")
            if outcome != "passed":
                say(one.log.read_text(errors="replace"))
            if outcome == "failed" and one.standstill and one.scenario not in self.repeated:
                say(f"running again, as the machine was suspended for {one.standstill:.0f} s: {one.scenario.test}")
                self.repeated.add(one.scenario)
                again.append(one.scenario)
            else:
                self.outcomes[one.scenario.test] = outcome
        return again

    def end(self) -> None:
        """Kill all running processes."""
        for one in self.running:
            one.process.kill()
            one.process.wait()


def outcome_of(report: Path, code: int) -> str:
    """Return passed, skipped, or failed; a process without a report, or without any test, has failed."""
    if code != 0 or not report.is_file():
        return "failed"
    cases = ElementTree.parse(report).getroot().findall(".//testcase")  # noqa: S314 - pytest wrote it
    if not cases:
        return "failed"
    return "skipped" if any(case.find("skipped") is not None for case in cases) else "passed"


def run_scenarios(run: Run, scenarios: list[Scenario], at_once: int, deadline: float) -> list[Scenario]:
    """Run scenarios in order, ``at_once`` in parallel; return those that did not start before ``deadline``."""
    waiting = list(scenarios)
    looked = time.monotonic()
    try:
        while run.running or (waiting and time.monotonic() < deadline):
            pause = time.monotonic() - looked
            if pause > STANDSTILL_SECONDS:
                run.note_standstill(pause)
            looked = time.monotonic()
            waiting = run.take_ended() + waiting
            scenario = next_to_start(waiting, [one.scenario for one in run.running], at_once)
            if scenario and time.monotonic() < deadline:
                waiting.remove(scenario)
                run.start(scenario)
            else:
                time.sleep(POLL_SECONDS)
    finally:
        run.end()
    return waiting


def main() -> int:
    """Create the cluster, install the chart, and run the scenarios; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-k", default="", metavar="TEXT", help="only scenarios whose FILE::TEST contains TEXT")
    parser.add_argument("--at-once", type=int, default=AT_ONCE, help="scenarios in parallel (default %(default)s)")
    parser.add_argument(
        "--within", type=float, default=float("inf"), metavar="SECONDS", help="start no scenario later than this"
    )
    parser.add_argument(
        "--left-out", type=Path, metavar="FILE", help="file for the names of scenarios that did not run"
    )
    arguments = parser.parse_args()
    scenarios = read_scenarios(LIST.read_text())
    wrong = wrong_with(scenarios, cluster_tests(HERE))
    if wrong:
        say(f"{LIST.relative_to(ROOT)}: " + "; ".join(wrong))
        return EXIT_INVALID
    chosen = [scenario for scenario in scenarios if arguments.k in scenario.test]
    if not chosen:
        say(f"no scenario's name contains {arguments.k!r}")
        return EXIT_INVALID
    reason = what_nodes_lack()
    if reason:
        say(f"nodes can't be created on this machine: {reason}; set E2E_KUBECONFIG to use an existing cluster")
        return 1
    began = time.monotonic()
    evidence = Path(os.environ.get("E2E_EVIDENCE") or tempfile.mkdtemp(prefix="maskrcnn-e2e-", dir="/var/tmp"))
    with make_bed() as bed:
        Installation(cluster_of(bed, evidence)).install()
        draw_shapes(bed.folder / SHAPES)
        say(f"The cluster is running, with the operator installed: {time.monotonic() - began:.0f} s")
        environment = {**os.environ, "E2E_BED": str(bed.folder), "E2E_EVIDENCE": str(evidence)}
        run = Run(evidence, environment)
        left = run_scenarios(run, chosen, arguments.at_once, began + arguments.within)
    outcomes = list(run.outcomes.values())
    for scenario in left:
        say(f"not run         {scenario.test}")
    ran = {test for test, outcome in run.outcomes.items() if outcome != "skipped"}
    missing = [scenario.test for scenario in scenarios if scenario.test not in ran]
    if arguments.left_out and missing:
        arguments.left_out.write_text("".join(f"{test}\n" for test in missing))
    failed, skipped = outcomes.count("failed"), outcomes.count("skipped")
    say(f"logs and evidence: {evidence}")
    say(f"{outcomes.count('passed')} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
