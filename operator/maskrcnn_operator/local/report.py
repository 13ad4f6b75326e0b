"""Report of a whole experiment at the end of a local run, made by ``maskrcnn report`` in a child process."""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Mapping, Sequence
from enum import Enum, auto
from pathlib import Path
from types import MappingProxyType

from rich.console import Console

from maskrcnn_operator.api.base import WORKSPACE_MOUNT
from maskrcnn_operator.api.status import StepState
from maskrcnn_operator.local.paths import LocalWorkspace, shown_path, without_ours
from maskrcnn_operator.local.runner import ExperimentOutcome
from maskrcnn_operator.local.trainer_call import call_trainer
from maskrcnn_trainer.shared.messages import REPORT_FILE, REPORT_NUMBERS_FILE, RESULT_FILE
from maskrcnn_trainer.shared.stop_signals import StopSignals
from maskrcnn_trainer.shared.variables import NO_GPU_VARIABLES, WORKSPACE_VARIABLE

log = logging.getLogger(__name__)

MOST_PRINTED_BYTES = 4000
"""Most bytes that are kept of what the command prints."""


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
    output: Path | None = None,
    store_config: Path | None = None,
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
        output: the page; None for its default place, next to the status of the run.
        store_config: file of ``--store-config``, or None.
    """
    page = output.absolute() if output is not None else workspace.home(name) / REPORT_FILE
    action = report_action(outcome, report_time=_report_time(page), result_time=_result_time(name, outcome, workspace))
    if action is ReportAction.NONE:
        return
    if action is ReportAction.MAKE:
        log.info("Making the report of the experiment")
        given = None if output is None and workspace.url is None else page
        problem = make_report(name, workspace, trainer=trainer, inputs=inputs, output=given)
        if problem:
            source = workspace.in_local_form(f"{WORKSPACE_MOUNT}/{name}")
            shown = (
                *(() if given is None else ("-o", shown_path(given))),
                *(() if store_config is None else ("--store-config", str(store_config))),
            )
            command = shlex.join(("maskrcnn", "report", "-r", source, *shown))
            log.warning("No report was made: %s. To make it, run %s", problem, command)
            return
    # a path that was wrapped couldn't be copied
    console.print(f"Report: {shown_path(page)}", soft_wrap=True, markup=False, highlight=False)


def make_report(
    name: str,
    workspace: LocalWorkspace,
    *,
    trainer: Sequence[str],
    inputs: Mapping[str, str] = MappingProxyType({}),
    output: Path | None = None,
) -> str:
    """Run ``maskrcnn report`` on the results of an experiment, without GPUs and without the encryption key.

    SIGINT and SIGTERM end it. It replaces its files atomically, so none of them is incomplete then.

    Args:
        name: of the experiment.
        workspace: maps the manifest's paths to this machine.
        trainer: the command ``maskrcnn``.
        inputs: variables of inputs by URL, which results may name.
        output: the page; None for report.html in the experiment's directory.

    Returns:
        The reason why there is no report, with the manifest's paths replaced by this machine's; empty for a success.
    """
    ours = {**inputs, **NO_GPU_VARIABLES}
    if workspace.url is None:
        source = str(workspace.experiment_directory(name))
        ours[WORKSPACE_VARIABLE] = str(workspace.directory)
    else:
        source = f"{workspace.url}/{name}"
    command = (*trainer, "report", "-r", source, *(("-o", str(output)) if output is not None else ()))
    with StopSignals() as signals:
        ended = call_trainer(
            command, without_ours(os.environ) | ours, stopping=lambda: signals.asked, most_bytes=MOST_PRINTED_BYTES
        )
    return workspace.in_local_form(workspace.in_manifest_form(ended.problem)).rstrip(".")


def _report_time(page: Path) -> int | None:
    times = [_modified(page), _modified(page.with_suffix(Path(REPORT_NUMBERS_FILE).suffix))]
    known = [time for time in times if time is not None]
    return min(known) if len(known) == len(times) else None


def _result_time(name: str, outcome: ExperimentOutcome, workspace: LocalWorkspace) -> int | None:
    """Return when the newest result was written, in nanoseconds; None if there is none."""
    if workspace.url is not None:
        ends = [step.completion_time for step in outcome.status.steps if step.state is StepState.SUCCEEDED]
        return max((int(end.timestamp()) * 10**9 for end in ends if end is not None), default=None)
    times = [_modified(file) for file in workspace.experiment_directory(name).glob(f"*/{RESULT_FILE}")]
    return max((time for time in times if time is not None), default=None)


def _modified(file: Path) -> int | None:
    """Return when a file was written, in nanoseconds; None if there is no such file."""
    try:
        return file.stat().st_mtime_ns if file.is_file() else None
    except OSError:
        return None
