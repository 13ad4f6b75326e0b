"""Report of a whole experiment at the end of a local run, made by ``maskrcnn report`` in a child process."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from enum import Enum, auto
from pathlib import Path
from types import MappingProxyType

from rich.console import Console

from maskrcnn_operator.api.status import StepState
from maskrcnn_operator.local.log_end import last_line
from maskrcnn_operator.local.paths import LocalWorkspace, without_ours
from maskrcnn_operator.local.process import signal_group, start_process
from maskrcnn_operator.local.runner import RUN_POLL_SECONDS, ExperimentOutcome
from maskrcnn_trainer.errors import EXIT_OK
from maskrcnn_trainer.shared.messages import REPORT_FILE, REPORT_NUMBERS_FILE, RESULT_FILE
from maskrcnn_trainer.shared.stop_signals import StopSignals
from maskrcnn_trainer.shared.variables import NO_GPU_VARIABLES, WORKSPACE_VARIABLE

log = logging.getLogger(__name__)

_REPORT_FILES = (REPORT_FILE, REPORT_NUMBERS_FILE)


class ReportAction(Enum):
    """Decision on the report at the end of a run."""

    NONE = auto()
    """There is nothing to report, or the user has stopped the run."""
    KEEP = auto()
    """The report of an earlier run covers all results."""
    MAKE = auto()


def report_action(outcome: ExperimentOutcome, *, report_time: int | None, result_time: int | None) -> ReportAction:
    """Decide on the report at the end of a run.

    Args:
        outcome: of the run.
        report_time: when the report was written, in nanoseconds; None if there is none.
        result_time: when the newest result was written, in nanoseconds; None if there is none.
    """
    if outcome.interrupted or all(step.state is not StepState.SUCCEEDED for step in outcome.status.steps):
        return ReportAction.NONE
    nothing_ran = not outcome.logs
    covers_all = report_time is not None and result_time is not None and report_time > result_time
    return ReportAction.KEEP if nothing_ran and covers_all else ReportAction.MAKE


def end_with_report(
    name: str,
    outcome: ExperimentOutcome,
    workspace: LocalWorkspace,
    console: Console,
    *,
    trainer: Sequence[str],
    inputs: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Make the report of an experiment if it isn't up to date, and print the path of its page as the last line.

    A report that can't be made is one warning, with the reason and the command that makes it.

    Args:
        name: of the experiment.
        outcome: of its run.
        workspace: maps the manifest's paths to this machine.
        console: receives the path.
        trainer: the command ``maskrcnn``.
        inputs: variables of inputs by URL, which results may name.
    """
    directory = workspace.experiment_directory(name)
    action = report_action(outcome, report_time=_report_time(directory), result_time=_result_time(directory))
    if action is ReportAction.NONE:
        return
    if action is ReportAction.MAKE:
        log.info("Making the report of the experiment")
        problem = make_report(directory, workspace, trainer=trainer, inputs=inputs)
        if problem:
            command = shlex.join(("maskrcnn", "report", "-r", _shown(directory, workspace)))
            log.warning("No report was made: %s. To make it, run %s", problem, command)
            return
    # a path that was wrapped couldn't be copied
    console.print(
        f"Report: {_shown(directory / REPORT_FILE, workspace)}", soft_wrap=True, markup=False, highlight=False
    )


def make_report(
    directory: Path,
    workspace: LocalWorkspace,
    *,
    trainer: Sequence[str],
    inputs: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Run ``maskrcnn report`` on the directory of an experiment, without GPUs and without the encryption key.

    SIGINT and SIGTERM end it. It replaces its files atomically, so none of them is incomplete then.

    Returns:
        The reason why there is no report, with the manifest's paths replaced by this machine's; empty for a success.
    """
    ours = {**inputs, WORKSPACE_VARIABLE: str(workspace.directory), **NO_GPU_VARIABLES}
    environment = without_ours(os.environ) | ours
    try:
        with StopSignals() as signals, tempfile.TemporaryFile() as output:
            process = start_process((*trainer, "report", "-r", str(directory)), environment, output)
            code = _exit_code(process, signals)
            if code == EXIT_OK:
                return ""
            if signals.asked:
                return "it was interrupted"
            output.seek(0)
            line = last_line(output.read())
    except OSError as error:
        return f"the process couldn't be started: {error.strerror}"
    reason = f"exit code {code}: {line}" if line else f"exit code {code}"
    return workspace.in_local_form(workspace.in_manifest_form(reason)).rstrip(".")


def _exit_code(process: subprocess.Popen[bytes], signals: StopSignals) -> int:
    """Return the exit code of a process, 128 + signal if a signal ended it; kill it once a stop is requested."""
    try:
        while process.poll() is None and not signals.asked:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(RUN_POLL_SECONDS)
    finally:
        if process.poll() is None:
            signal_group(process, signal.SIGKILL)
    code = process.wait()
    return code if code >= 0 else 128 - code


def _shown(path: Path, workspace: LocalWorkspace) -> str:
    return workspace.in_local_form(workspace.to_manifest(str(path)))


def _report_time(directory: Path) -> int | None:
    times = [_modified(directory / name) for name in _REPORT_FILES]
    known = [time for time in times if time is not None]
    return min(known) if len(known) == len(times) else None


def _result_time(directory: Path) -> int | None:
    times = [_modified(file) for file in directory.glob(f"*/{RESULT_FILE}")]
    return max((time for time in times if time is not None), default=None)


def _modified(file: Path) -> int | None:
    """Return when a file was written, in nanoseconds; None if there is no such file."""
    try:
        return file.stat().st_mtime_ns if file.is_file() else None
    except OSError:
        return None
