"""Child processes of ``gpu_check.py all``: one for each run, with a time limit, and the file of their results."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from gpu_check_plan import Run, arguments_of, same_as, with_limit
from maskrcnn_trainer.shared.variables import CUDA_VISIBLE_DEVICES

MARK = "RESULT "
"""Beginning of a line of standard output with a result as JSON."""

SECONDS_TO_END = 5.0
LINES_OF_A_FAILURE = 12

Entry = dict[str, Any]


def python() -> list[str]:
    """Return the beginning of a command line that runs Python as this process does, with or without ``site``."""
    return [sys.executable, *(["-S"] if sys.flags.no_site else [])]


def results_in(lines: Iterable[str]) -> list[Entry]:
    """Return the results in the output of a stage; a line that was cut off by the end of the process is left out."""
    found = []
    for line in lines:
        if line.startswith(MARK):
            try:
                found.append(json.loads(line[len(MARK) :]))
            except ValueError:
                continue
    return found


def completed_runs(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Return the entries of the last time that each run was started, by its name, from those of a results file."""
    runs: dict[str, list[Entry]] = {}
    for entry in entries:
        if "started" in entry:
            runs[entry["run"]] = []
        runs.setdefault(entry["run"], []).append(entry)
    return runs


def is_done(entries: Sequence[Entry], arguments: Sequence[str]) -> bool:
    """Return whether a run with these arguments has ended without an error."""
    return (
        bool(entries) and entries[0].get("arguments") == list(arguments) and any(e.get("ended") == 0 for e in entries)
    )


class ResultsFile:
    """File of results, one JSON object a line, each with the name of its ``run``.

    A run begins with a line that has ``started`` (seconds since 1970) and ``arguments``, and ends with one that has
    ``ended`` (exit code, or "time limit") and ``seconds``.

    Args:
        path: of the file, which is created when a run starts.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def runs(self) -> dict[str, list[Entry]]:
        """Return the entries of the last time that each run was started."""
        if not self.path.is_file():
            return {}
        entries = []
        for line in self.path.read_text().splitlines():
            try:
                entries.append(json.loads(line))
            except ValueError:  # cut off when the machine was
                continue
        return completed_runs(entries)

    def add(self, run: str, **values: Any) -> None:
        """Append an entry."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps({"run": run, **values}) + "\n")


def run_command(command: Sequence[str], log: Path, limit: float, environ: dict[str, str]) -> int | str:
    """Run a command and its children to the end of the time limit.

    Args:
        command: the command line.
        log: file for standard output and error.
        limit: seconds.
        environ: environment variables.

    Returns:
        The exit code, negative for a signal, or "time limit".
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, env=environ, start_new_session=True)
        try:
            return process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            return "time limit"
        finally:
            _end_group(process)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End the processes that a run has left, such as the ranks of a training, which would keep the GPU's memory."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(timeout=SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            continue


class Runner:
    """Runs in their order, each with a time limit; a run that fails ends alone.

    Args:
        script: path of ``gpu_check.py``.
        folder: for data, logs, and results.
        given: ``key=value`` arguments of the user.
        rehearsal: small sizes, and no GPU.
        again: repeat runs that have results.
        limit: seconds for all runs together; None for no limit.
        show: receives lines that report progress.
    """

    def __init__(
        self,
        script: Path,
        folder: Path,
        given: Sequence[str],
        *,
        rehearsal: bool = False,
        again: bool = False,
        limit: float | None = None,
        show: Callable[[str], None] = print,
    ) -> None:
        self._script = script
        self._folder = folder
        self._given = list(given)
        self._rehearsal = rehearsal
        self._again = again
        self._deadline = None if limit is None else time.monotonic() + limit
        self._show = show
        self.results = ResultsFile(folder / "results.jsonl")

    def run_all(self, runs: Sequence[Run]) -> list[str]:
        """Run them; return the names of those that failed."""
        failed = []
        known = self.results.runs()
        for number, run in enumerate(runs, 1):
            head = f"[{number}/{len(runs)}] {run.name}"
            arguments = arguments_of(run, self._folder, self._given, rehearsal=self._rehearsal)
            if not self._again and is_done(known.get(run.name, []), arguments):
                self._show(f"{head}: has results, skipped (--again repeats it)")
                continue
            if self._rehearsal and (same := same_as(run, runs[: number - 1], self._folder, self._given)):
                self._show(f"{head}: {same.name} at these sizes, skipped")
                continue
            left = float("inf") if self._deadline is None else self._deadline - time.monotonic()
            limited = with_limit(run, left)
            if limited is None:
                self._show(f"{head}: left out, {max(left, 0):.0f} s are left of --limit")
                continue
            self._show(f"{head}: {' '.join([run.stage, *run.options, *self._given])} (at most {limited.limit:.0f} s)")
            if self._run(limited, arguments) != 0:
                failed.append(run.name)
        return failed

    def _run(self, run: Run, arguments: list[str]) -> int | str:
        environ = dict(os.environ)
        environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
        if run.on_cpu or self._rehearsal:
            environ[CUDA_VISIBLE_DEVICES] = "-1"
        log = self._folder / "logs" / f"{run.name}.log"
        self.results.add(run.name, started=round(time.time()), arguments=arguments, rehearsal=self._rehearsal)
        began = time.monotonic()
        code = run_command([*python(), str(self._script), run.stage, *arguments], log, run.limit, environ)
        lines = log.read_text(errors="replace").splitlines()
        for result in results_in(lines):
            self.results.add(run.name, **result)
        self.results.add(run.name, ended=code, seconds=round(time.monotonic() - began, 1))
        found = len(results_in(lines))
        self._show(f"    ended: {code}, after {time.monotonic() - began:.1f} s, {found} results")
        if code != 0:
            shown = [line[:240] for line in lines if not line.startswith(MARK)][-LINES_OF_A_FAILURE:]
            self._show("\n".join(f"    | {line}" for line in [*shown, f"see {log}"]))
        return code
