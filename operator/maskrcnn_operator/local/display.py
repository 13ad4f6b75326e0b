"""What a run shows: a live table on a terminal, plain lines elsewhere, and the final tables."""

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

log = logging.getLogger(__name__)

HEADLINE = ("loss", "learning_rate", "images_per_second", "AP", "AP50", "mask_AP", "mask_AP50", "images")
"""Metrics that fit on a line while a step runs."""

PRECISIONS = ("AP", "AP50", "mask_AP", "mask_AP50")
"""Metrics of a model in the final table."""
SIZE = "size"
"""Metric that is a number of bytes."""

PLAIN_INTERVAL = timedelta(seconds=10)

_STYLES: Mapping[StepState, str] = {
    StepState.SUCCEEDED: "green",
    StepState.FAILED: "bold red",
    StepState.RUNNING: "cyan",
    StepState.STARTING: "cyan",
    StepState.STOPPING: "yellow",
}


class Display(Protocol):
    """Shows how an experiment goes on."""

    def update(self, status: ExperimentStatus, progress: Mapping[str, Progress], now: datetime) -> None:
        """Shows the newest status and progress of running steps."""

    def tell(self, event: Event) -> None:
        """Shows that something happened."""

    def close(self) -> None:
        """Ends showing."""


class PlainDisplay:
    """A line for each event, and one for each running step at most every ten seconds.

    Args:
        local: writes a message with this machine's paths.
    """

    def __init__(self, local: Callable[[str], str] = str) -> None:
        self._local = local
        self._last: dict[str, tuple[datetime, str]] = {}

    def update(
        self,
        status: ExperimentStatus,  # noqa: ARG002 - a parameter of Display
        progress: Mapping[str, Progress],
        now: datetime,
    ) -> None:
        for name, current in progress.items():
            shown, text = self._last.get(name), progress_text(current)
            if shown is None or (text != shown[1] and now - shown[0] >= PLAIN_INTERVAL):
                self._last[name] = (now, text)
                log.info("%s: %s", name, text)

    def tell(self, event: Event) -> None:
        level = logging.WARNING if event.type == "Warning" else logging.INFO
        log.log(level, "%s", self._local(event.message))

    def close(self) -> None:
        self._last.clear()


class LiveDisplay:
    """A table of the steps, redrawn while they run.

    Args:
        local: writes a message with this machine's paths.
    """

    def __init__(self, console: Console, title: str, local: Callable[[str], str] = str) -> None:
        self._title, self._local = title, local
        self._live = Live(console=console, refresh_per_second=4, transient=True)
        self._live.start()

    def update(
        self,
        status: ExperimentStatus,
        progress: Mapping[str, Progress],
        now: datetime,  # noqa: ARG002 - a parameter of Display
    ) -> None:
        table = Table(title=self._title, box=box.SIMPLE_HEAD, title_justify="left")
        for column in ("step", "state", "progress", "metrics"):
            table.add_column(column)
        for step in status.steps:
            current = progress.get(step.name)
            table.add_row(
                step.name, _state(step), _bar(current), _metrics(current.metrics if current else step.metrics)
            )
        self._live.update(table)

    def tell(self, event: Event) -> None:
        if event.type == "Warning":
            log.warning("%s", self._local(event.message))

    def close(self) -> None:
        self._live.stop()


def progress_text(progress: Progress) -> str:
    """One line: ``300/1000 (30%), 0:12:30 left, loss 0.61``."""
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
    """Return a number with four digits, a whole one with all of its digits."""
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
) -> list[RenderableType]:
    """Return tables of steps, models, other results, and artifacts; those without a row are left out.

    Args:
        logs: newest log by step; shown for failed steps.
        local: writes a path, or a message, with this machine's paths.
    """
    shown: list[RenderableType] = [_steps_table(experiment, status, logs, local)]
    artifacts = _table("artifacts", "step", "artifact", "size", "path")
    for step in status.steps:
        for name, artifact in step.artifacts.items():
            size = _size(artifact.size_bytes) if artifact.size_bytes is not None else ""
            artifacts.add_row(step.name, name, size, local(artifact.path))
    shown += [table for table in (_models_table(status), _results_table(status), artifacts) if table.row_count]
    return shown


def _models_table(status: ExperimentStatus) -> Table:
    """A row for each step that measured a model; ``metrics.json`` of the step has all of its metrics."""
    table = _table("models", "step")
    for name in PRECISIONS:
        table.add_column(name, justify="right")
    for step in status.steps:
        given = {metric.name: metric.value for metric in step.metrics}
        if not given.keys().isdisjoint(PRECISIONS):
            table.add_row(step.name, *(_precision(given.get(name, "")) for name in PRECISIONS))
    return table


def _results_table(status: ExperimentStatus) -> Table:
    """A row for each other step that has metrics, such as counts and sizes."""
    table = _table("results", "step", "metrics")
    for step in status.steps:
        if step.metrics and {metric.name for metric in step.metrics}.isdisjoint(PRECISIONS):
            table.add_row(step.name, ", ".join(f"{metric.name} {_value(metric)}" for metric in step.metrics))
    return table


def _table(title: str, *columns: str) -> Table:
    """Return a table whose columns are folded, never cut, where the terminal is narrow."""
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _precision(value: str) -> str:
    """Return an average precision with four decimals; -1 stands for one without ground truth."""
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
