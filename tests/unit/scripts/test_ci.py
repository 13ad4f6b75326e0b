"""Run of CI: table and exit code for stages that failed or didn't run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

RUN = Path(__file__).resolve().parents[3] / ".ci" / "run"
STAGES = ("setup", "lint", "docs", "demo", "parity", "test", "quickstart", "tensorrt", "object-storage-smoke", "e2e")
# stand-in for make: targets in FAILS end with 3, and e2e leaves out the scenarios in LEFT_OUT
MAKE = """#!/usr/bin/env bash
echo "made $1"
[ "$1" != e2e ] || [ -z "$LEFT_OUT" ] || printf '%s\\n' $LEFT_OUT > "$E2E_LEFT_OUT"
case " $FAILS " in *" $1 "*) exit 3 ;; esac
"""


def run(folder: Path, fails: str = "", left_out: str = "") -> subprocess.CompletedProcess[str]:
    (folder / ".ci").mkdir(exist_ok=True)
    shutil.copy(RUN, folder / ".ci" / "run")
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    (programs / "make").write_text(MAKE)
    (programs / "make").chmod(0o755)
    variables = {"PATH": f"{programs}:{os.environ['PATH']}", "XDG_CACHE_HOME": str(folder / "cache")}
    return subprocess.run(
        ["/bin/bash", str(folder / ".ci" / "run")],
        env={**os.environ, **variables, "FAILS": fails, "LEFT_OUT": left_out},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def table(output: str) -> dict[str, list[str]]:
    """Return the rows of the last table by stage."""
    lines = output.partition("\nstage ")[2].splitlines()[1:]
    return {line.split()[0]: line.split()[1:] for line in lines if not line.startswith("INCOMPLETE")}


def test_complete_run_has_every_stage_in_its_table(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = table(done.stdout)
    assert set(rows) == {*STAGES, "all"}
    assert {row[-1] for row in rows.values()} == {"ok"}
    assert "INCOMPLETE" not in done.stdout
    assert "made e2e" in done.stdout


def test_second_run_shows_the_duration_of_the_first(tmp_path: Path) -> None:
    assert {row[2] for row in table(run(tmp_path).stdout).values()} == {"-"}
    assert all(row[2].isdigit() for row in table(run(tmp_path).stdout).values())


@pytest.mark.parametrize(
    "stage", ["lint", "docs", "demo", "test", "quickstart", "test-tensorrt", "test-object-storage-smoke", "e2e"]
)
def test_failed_stage_fails_the_run_and_the_others_still_run(tmp_path: Path, stage: str) -> None:
    done = run(tmp_path, fails=stage)
    assert done.returncode == 1
    rows = table(done.stdout)
    name = stage.removeprefix("test-")
    assert rows[name][-2:] == ["failed", "(3)"]
    assert rows["all"][-1] == "failed"
    # parity needs the output of the demo
    assert set(rows) == {*STAGES, "all"} - ({"parity"} if stage == "demo" else set())


def test_failed_setup_ends_the_run(tmp_path: Path) -> None:
    done = run(tmp_path, fails="setup")
    assert done.returncode == 1
    assert set(table(done.stdout)) == {"setup", "all"}


def test_last_line_names_the_scenarios_that_did_not_run(tmp_path: Path) -> None:
    done = run(tmp_path, left_out="test_a.py::one test_b.py::two")
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "INCOMPLETE: test_a.py::one, test_b.py::two"
