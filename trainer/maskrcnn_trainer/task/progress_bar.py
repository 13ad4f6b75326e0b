"""Progress of long work: a bar on a terminal, log lines elsewhere."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn

from maskrcnn_trainer.shared.text import format_seconds
from maskrcnn_trainer.task.reporter import Reporter

logger = logging.getLogger(__name__)

LOG_INTERVAL_SECONDS = 15.0
REPORT_INTERVAL_SECONDS = 10.0


class ProgressMeter:
    """Counter of units done, with rate and time left; subclasses display it in ``_show``."""

    def __init__(
        self, description: str, total: int | None, unit: str, initial: int, clock: Callable[[], float]
    ) -> None:
        self.description = description
        self.total = total
        self.unit = unit
        self.done = initial
        self.fields: dict[str, Any] = {}
        self._initial = initial
        self._clock = clock
        self._started = clock()

    def advance(self, n: int = 1, **fields: Any) -> None:
        """Count ``n`` more units; ``fields`` (losses, ``ETA``, ...) are shown until they get new values."""
        self.done += n
        self.fields |= fields
        self._show()

    @property
    def rate(self) -> float:
        """Units per second since the meter was created; 0 before the first."""
        elapsed = self._clock() - self._started
        return (self.done - self._initial) / elapsed if elapsed > 0 else 0.0

    @property
    def eta(self) -> float | None:
        """Seconds left at the average rate so far; None if unknown."""
        if self.total is None or self.rate <= 0:
            return None
        return max(0, self.total - self.done) / self.rate

    def details(self) -> str:
        """Return the fields, the rate, and the time left in one line."""
        parts = [f"{name} {_format_value(value)}" for name, value in self.fields.items()]
        if self.rate > 0:
            parts.append(f"{_format_value(self.rate)} {self.unit}/s")
        if self.eta is not None and "ETA" not in self.fields:
            parts.append(f"ETA {format_seconds(self.eta)}")
        return ", ".join(parts)

    def finish(self) -> None:
        """Show the final state."""

    def _show(self) -> None:
        raise NotImplementedError


class LogMeter(ProgressMeter):
    """Meter that logs a line at most every ``interval`` seconds, and one at the end."""

    def __init__(self, *arguments: Any, interval: float, log: logging.Logger) -> None:
        super().__init__(*arguments)
        self._interval = interval
        self._log = log
        self._last_line = self._started
        self._last_done = -1

    def _show(self) -> None:
        if self._clock() - self._last_line >= self._interval:
            self._line()

    def finish(self) -> None:
        """Log the final state unless the last line has it."""
        if self._last_done != self.done:
            self._line()

    def _line(self) -> None:
        self._last_line = self._clock()
        self._last_done = self.done
        share = f"/{self.total} {self.unit} ({self.done / self.total:.0%})" if self.total else f" {self.unit}"
        details = self.details()
        self._log.info("%s: %d%s%s", self.description, self.done, share, f", {details}" if details else "")


class BarMeter(ProgressMeter):
    """Meter that draws a bar on a terminal."""

    def __init__(self, *arguments: Any, bar: Progress) -> None:
        super().__init__(*arguments)
        self._bar = bar
        self._task: TaskID = bar.add_task(
            self.description, total=self.total, completed=self.done, unit=self.unit, details=""
        )

    def _show(self) -> None:
        self._bar.update(self._task, total=self.total, completed=self.done, details=self.details())

    def finish(self) -> None:
        """Draw the final state."""
        self._show()


@contextlib.contextmanager
def progress_bar(
    description: str,
    total: int | None,
    unit: str = "",
    *,
    initial: int = 0,
    interval: float = LOG_INTERVAL_SECONDS,
    console: Console | None = None,
    clock: Callable[[], float] = time.monotonic,
    log: logging.Logger | None = None,
) -> Iterator[ProgressMeter]:
    """Show the progress of a ``with`` block; nothing is shown if the logger is silent (ranks other than 0).

    Args:
        description: name of the work, such as ``Evaluating``.
        total: number of units, None if unknown.
        unit: plural name of a unit, such as ``images``.
        initial: number of units that are already done (in a resumed run).
        interval: minimum seconds between two log lines without a terminal.
        console: where the bar is drawn; default: standard error.
        clock: returns seconds.
        log: logger of the lines; default: that of this module.
    """
    log = log or logger
    console = console or Console(stderr=True)
    arguments = (description, total, unit, initial, clock)
    if not (console.is_terminal and log.isEnabledFor(logging.INFO)):
        meter: ProgressMeter = LogMeter(*arguments, interval=interval, log=log)
        yield meter
        meter.finish()
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:.0f}" + ("/{task.total:.0f}" if total else "") + " {task.fields[unit]}"),
        TextColumn("{task.fields[details]}", style="dim"),
    )
    with Progress(*columns, console=console, refresh_per_second=4) as bar:
        meter = BarMeter(*arguments, bar=bar)
        yield meter
        meter.finish()


class ReportedProgress:
    """Bar (or log lines) for each phase of a task and, every ten seconds, a record in status.json.

    Args:
        reporter: writes the records.
        counted: the phase whose units are the steps of the records; units of other phases are only in the message.
        unit: plural name of a unit, such as ``images``.
        clock: returns seconds.
    """

    def __init__(
        self, reporter: Reporter, counted: str, unit: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._reporter = reporter
        self._counted = counted
        self._unit = unit
        self._clock = clock
        self._bars = contextlib.ExitStack()
        self._meter: ProgressMeter | None = None
        self._reported = clock()

    def __enter__(self) -> ReportedProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.__exit__(kind, error, trace)

    def at(self, phase: str, done: int, total: int, **fields: Any) -> None:
        """Show that ``done`` of ``total`` units of a phase are done, followed by ``fields``."""
        if self._meter is None or self._meter.description != phase:
            self._bars.close()
            self._meter = self._bars.enter_context(progress_bar(phase, total, self._unit))
        self._meter.advance(done - self._meter.done, **fields)
        now = self._clock()
        if now - self._reported < REPORT_INTERVAL_SECONDS:
            return
        self._reported = now
        if phase == self._counted:
            rate = {f"{self._unit}_per_second": self._meter.rate}
            self._reporter.running(step=done, total_steps=total, eta=self._meter.eta, graphical=rate)
        else:
            self._reporter.running(f"{phase}: {done} of {total} {self._unit}")


def _format_value(value: Any) -> str:
    if hasattr(value, "item"):
        value = value.item()
    if not isinstance(value, float):
        return str(value)
    if not math.isfinite(value) or value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"
    return f"{value:.2e}"
