"""Output of a local run: a live table on a terminal, log lines elsewhere, and the final tables."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from rich import box
from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.status import ExperimentStatus, Metric, Progress, StepState, StepStatus
from maskrcnn_operator.core.plan import Event
from maskrcnn_operator.local.retrieval import Retrieval, name_of_artifact

log = logging.getLogger(__name__)

HEADLINE = ("loss", "learning_rate", "images_per_second", "AP", "AP50", "mask_AP", "mask_AP50", "images")
"""Metrics that are shown while a step runs, in this order; all of them fit on one line."""

PRECISIONS = ("AP", "AP50", "mask_AP", "mask_AP50")
"""Metrics in the final table of models."""
SIZE = "size"
"""Metric in bytes."""

PLAIN_INTERVAL = timedelta(seconds=10)

_STYLES: Mapping[StepState, str] = {
    StepState.SUCCEEDED: "green",
    StepState.FAILED: "bold red",
    StepState.RUNNING: "cyan",
    StepState.STARTING: "cyan",
    StepState.STOPPING: "yellow",
}


class Display(Protocol):
    """Interface of the output while an experiment runs."""

    def update(self, status: ExperimentStatus, progress: Mapping[str, Progress], now: datetime) -> None:
        """Show the newest status, and the progress of running steps by name."""

    def show(self, event: Event) -> None:
        """Show an event."""

    def close(self) -> None:
        """Stop the output."""


class PlainDisplay:
    """Log output: a line for each event, and one for each running step at most every 10 s.

    Args:
        text_of: returns the text of an event for this machine.
    """

    def __init__(self, text_of: Callable[[Event], str] = lambda event: event.message) -> None:
        self._text_of = text_of
        self._last: dict[str, tuple[datetime, str]] = {}

    def update(
        self,
        status: ExperimentStatus,  # noqa: ARG002 - a parameter of Display
        progress: Mapping[str, Progress],
        now: datetime,
    ) -> None:
        """Log the progress of each running step if it has changed and 10 s have passed since its last line."""
        for name, current in progress.items():
            shown, text = self._last.get(name), progress_text(current)
            if shown is None or (text != shown[1] and now - shown[0] >= PLAIN_INTERVAL):
                self._last[name] = (now, text)
                log.info("%s: %s", name, text)

    def show(self, event: Event) -> None:
        """Log an event at the level of its type."""
        level = logging.WARNING if event.type == "Warning" else logging.INFO
        log.log(level, "%s", self._text_of(event))

    def close(self) -> None:
        """Forget the lines that were logged."""
        self._last.clear()


class LiveDisplay:
    """Table of the steps that is redrawn while they run.

    Args:
        console: a terminal.
        title: of the table.
        text_of: returns the text of an event for this machine.
    """

    def __init__(
        self, console: Console, title: str, text_of: Callable[[Event], str] = lambda event: event.message
    ) -> None:
        self._title, self._text_of = title, text_of
        self._live = Live(console=console, refresh_per_second=4, transient=True)
        self._live.start()

    def update(
        self,
        status: ExperimentStatus,
        progress: Mapping[str, Progress],
        now: datetime,  # noqa: ARG002 - a parameter of Display
    ) -> None:
        """Redraw the table."""
        table = Table(title=self._title, box=box.SIMPLE_HEAD, title_justify="left")
        for column in ("step", "state", "progress", "metrics"):
            table.add_column(column)
        for step in status.steps:
            current = progress.get(step.name)
            table.add_row(
                step.name, _state(step), _bar(current), _metrics(current.metrics if current else step.metrics)
            )
        self._live.update(table)

    def show(self, event: Event) -> None:
        """Log a warning above the table; other events are visible in the table."""
        if event.type == "Warning":
            log.warning("%s", self._text_of(event))

    def close(self) -> None:
        """Remove the table."""
        self._live.stop()


def progress_text(progress: Progress) -> str:
    """Return a step's progress as one line, such as ``300/1000 (30%), 0:12:30 left, loss 0.61``."""
    parts = []
    if progress.iteration is not None:
        total = f"/{progress.total_iterations}" if progress.total_iterations else ""
        share = f" ({progress.percentage}%)" if progress.percentage is not None else ""
        parts.append(f"{progress.iteration}{total or ' done'}{share}")
    if progress.eta:
        parts.append(f"{progress.eta} left")
    parts += [f"{metric.name} {_short(metric.value)}" for metric in _headline(progress.metrics)]
    return ", ".join(parts) or "running, no progress yet"


def _state(step: StepStatus) -> Text:
    text = step.state.value
    if step.reason and step.reason != step.state.value:
        text += f" ({step.reason})"
    if step.attempt > 1:
        text += f", attempt {step.attempt}"
    return Text(text, style=_STYLES.get(step.state, ""))


def _bar(progress: Progress | None) -> RenderableType:
    if progress is None or progress.iteration is None:
        return ""
    if not progress.total_iterations:
        return str(progress.iteration)
    left = f", {progress.eta} left" if progress.eta else ""
    caption = Text(f"{progress.iteration}/{progress.total_iterations}{left}")
    row = Table.grid(padding=(0, 1))
    row.add_row(ProgressBar(total=progress.total_iterations, completed=progress.iteration, width=16), caption)
    return row


def _metrics(metrics: tuple[Metric, ...]) -> str:
    return "  ".join(f"{metric.name} {_short(metric.value)}" for metric in _headline(metrics))


def _headline(metrics: tuple[Metric, ...]) -> list[Metric]:
    given = {metric.name: metric for metric in metrics}
    return [given[name] for name in HEADLINE if name in given]


def _short(value: str) -> str:
    """Return a number with four significant digits, or an integer with all of its digits."""
    try:
        number = float(value)
    except ValueError:
        return value
    return f"{number:,.0f}" if number.is_integer() else f"{number:.4g}"


def final_tables(
    experiment: MaskRCNNExperiment,
    status: ExperimentStatus,
    logs: Mapping[str, Path],
    local: Callable[[str], str] = str,
    retrieval: Retrieval | None = None,
) -> list[RenderableType]:
    """Return tables of steps, models, other results, and artifacts, without those that have no rows.

    With ``retrieval``, a line of text before the artifacts has the command that loads one.

    Args:
        experiment: names the steps and their tasks.
        status: at the end of the run.
        logs: newest log by step; shown for failed steps.
        local: replaces the manifest's paths in a text by paths of this machine.
        retrieval: way to artifacts in object storage; None if they are files.
    """
    tables = [_steps_table(experiment, status, logs, local), _models_table(status), _results_table(status)]
    shown: list[RenderableType] = [table for table in tables if table.row_count]
    artifacts = _table("artifacts", "step", "artifact", "size", "path" if retrieval is None else "name")
    for step in status.steps:
        for name, artifact in step.artifacts.items():
            size = _size(artifact.size_bytes) if artifact.size_bytes is not None else ""
            # the command loads only what is in the workspace
            place = local(artifact.path) if retrieval is None else name_of_artifact(artifact.path) or "-"
            artifacts.add_row(step.name, Text(name), size, Text(place))
    if artifacts.row_count and retrieval is not None:
        shown.append(Text(f"To load an artifact, run {retrieval.command('NAME')}"))
    return [*shown, artifacts] if artifacts.row_count else shown


def _models_table(status: ExperimentStatus) -> Table:
    """Return a row for each step that measured a model; the step's ``metrics.json`` has all metrics."""
    table = _table("models", "step")
    for name in PRECISIONS:
        table.add_column(name, justify="right")
    for step in status.steps:
        given = {metric.name: metric.value for metric in step.metrics}
        if not given.keys().isdisjoint(PRECISIONS):
            table.add_row(step.name, *(_precision(given.get(name, "")) for name in PRECISIONS))
    return table


def _results_table(status: ExperimentStatus) -> Table:
    """Return a row for each step with other metrics, such as counts and sizes."""
    table = _table("results", "step", "metrics")
    for step in status.steps:
        if step.metrics and {metric.name for metric in step.metrics}.isdisjoint(PRECISIONS):
            table.add_row(step.name, ", ".join(f"{metric.name} {_value(metric)}" for metric in step.metrics))
    return table


def _table(title: str, *columns: str) -> Table:
    """Return an empty table whose cells wrap on a narrow terminal instead of being truncated."""
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _precision(value: str) -> str:
    """Return an average precision with four decimals, or "-" for -1, which means that there is no ground truth."""
    try:
        number = float(value)
    except ValueError:
        return value
    return "-" if number < 0 else f"{number:.4f}"


def _value(metric: Metric) -> str:
    if metric.name == SIZE and metric.value.isdecimal():
        return _size(int(metric.value))
    return _short(metric.value)


def _steps_table(
    experiment: MaskRCNNExperiment, status: ExperimentStatus, logs: Mapping[str, Path], local: Callable[[str], str]
) -> Table:
    table = _table(f"experiment {experiment.name}", "step", "task", "state", "time", "message")
    for step in status.steps:
        message = local(step.message)
        if step.state is StepState.FAILED and step.name in logs and str(logs[step.name]) not in message:
            message = f"{message}; log: {logs[step.name]}"
        table.add_row(
            step.name, experiment.step(step.name).task_name.value, _state(step), _duration(step), Text(message)
        )
    return table


def _duration(step: StepStatus) -> str:
    if step.start_time is None or step.completion_time is None:
        return ""
    return str(step.completion_time - step.start_time)


def _size(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB" if count >= 2**20 else f"{count:,} B"
