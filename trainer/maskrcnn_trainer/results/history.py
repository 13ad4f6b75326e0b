"""History of a training, ``history.jsonl``: one JSON object a line, for a logging window or an evaluation.

::

    {"step":20,"losses":{"total_loss":1.2,"mask_loss":0.6},"learning_rate":0.01,"images_per_second":4.4}
    {"step":500,"metrics":{"AP":0.31,"mask_AP":0.28}}

Steps ascend; a window comes before the evaluation of its step. The file stays below 5 MB: when it would reach the
limit, windows are left out so that those that remain are evenly spaced, and later windows keep that spacing.
"""

from __future__ import annotations

import json
import logging
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from maskrcnn_trainer.errors import TaskError
from maskrcnn_trainer.results import recorded
from maskrcnn_trainer.results.recorded import NotRecorded, Unusable
from maskrcnn_trainer.shared.files import open_in_place, replace_file
from maskrcnn_trainer.shared.messages import finite_numbers
from maskrcnn_trainer.spec.task_table import HISTORY_FILE
from maskrcnn_trainer.task.files import compact_json

log = logging.getLogger(__name__)

LIMIT = 5_000_000
"""Size in bytes that the file does not reach."""
_MOST_READ = 4 * LIMIT
"""Limit of a file that is read, which an appended record of a killed run may have made larger than ``LIMIT``."""
SECONDS_BETWEEN_WRITES = 5.0
_DIGITS = 6
_BEGINNING = b'{"step":'


@dataclass(frozen=True)
class HistoryWindow:
    """Means of the steps of a logging window.

    Attributes:
        step: the last of its steps, from 1.
        losses: the total loss (``total_loss``) and its parts.
        learning_rate: at the last step; None if not recorded.
        images_per_second: over all ranks; None if not recorded.
    """

    step: int
    losses: Mapping[str, float]
    learning_rate: float | None = None
    images_per_second: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the members of the line; numbers that aren't finite are left out."""
        rates = {"learning_rate": self.learning_rate, "images_per_second": self.images_per_second}
        known = {name: value for name, value in rates.items() if value is not None}
        return {"step": self.step, "losses": _rounded(self.losses), **_rounded(known)}


@dataclass(frozen=True)
class HistoryEvaluation:
    """Metrics of a checkpoint.

    Attributes:
        step: of the checkpoint, from 1.
        metrics: by name, as fractions.
    """

    step: int
    metrics: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return the members of the line; numbers that aren't finite are left out."""
        return {"step": self.step, "metrics": _rounded(self.metrics)}


HistoryEntry = HistoryWindow | HistoryEvaluation


@dataclass(frozen=True)
class History:
    """Content of a history.

    Attributes:
        windows, evaluations: by ascending step, each step once.
        damaged: number of lines that could not be read.
    """

    windows: tuple[HistoryWindow, ...]
    evaluations: tuple[HistoryEvaluation, ...]
    damaged: int = 0


def read_history(results_dir: Path) -> History | NotRecorded:
    """Return the history in the results directory of a training; a damaged line is left out and counted."""
    try:
        content = recorded.content_of(results_dir / HISTORY_FILE, most=_MOST_READ)
        entries = [_entry(line) for line in content.splitlines() if line.strip(b"\0 ")]
    except Unusable as error:
        return NotRecorded(f"{HISTORY_FILE} {error}")
    found = _in_order(entry for entry in entries if entry is not None)
    if not found:
        return NotRecorded(f"{HISTORY_FILE} has no valid line")
    windows = tuple(entry for entry in found if isinstance(entry, HistoryWindow))
    evaluations = tuple(entry for entry in found if isinstance(entry, HistoryEvaluation))
    return History(windows, evaluations, damaged=entries.count(None))


def begins_as_history(beginning: bytes) -> bool:
    """Return whether the first bytes of a file are those of a history, which may be empty or truncated."""
    start = beginning.lstrip(b"\0\n")[: len(_BEGINNING)]
    return _BEGINNING.startswith(start)


class HistoryWriter:
    """Writer of the history of a training, on rank 0.

    A history that cannot be written is logged once, and never ends the training. Lines are written every few seconds,
    and at each evaluation; a killed training loses at most those since then.

    Args:
        directory: the results directory.
        before_write: called before each change of the file; raises :class:`TaskError` if another run owns the
            directory now.
        limit: size in bytes that the file does not reach.
        seconds_between_writes: shortest time between two writes of windows.
    """

    def __init__(
        self,
        directory: Path,
        *,
        before_write: Callable[[], None],
        limit: int = LIMIT,
        seconds_between_writes: float = SECONDS_BETWEEN_WRITES,
    ) -> None:
        self._file = directory / HISTORY_FILE
        self._before_write = before_write
        self._limit = limit
        self._seconds = seconds_between_writes
        self._writes = False
        self._failed = False
        self._size = 0
        self._spacing = 0
        self._last_window: int | None = None
        self._evaluated: set[int] = set()
        self._repeated = False
        self._pending: list[HistoryEntry] = []
        self._written = float("-inf")

    def take_up(self, step: int, metrics: Mapping[str, float] | None = None) -> None:
        """Prepare for a training: drop entries after the resumed step, since those steps will be trained again.

        Nothing is written before this call, or if it fails.

        Args:
            step: of the checkpoint that is resumed; 0 if the training starts there.
            metrics: of that checkpoint, if it was evaluated: a killed run may not have recorded them.
        """
        with self._tolerant():
            content = self._content()
            kept = [entry for entry in _in_order(_entries(content)) if entry.step <= step]
            windows = [entry.step for entry in kept if isinstance(entry, HistoryWindow)]
            self._evaluated = {entry.step for entry in kept if isinstance(entry, HistoryEvaluation)}
            self._last_window = windows[-1] if windows else None
            # a file that was thinned has at least half of the limit
            self._spacing = _spacing(windows) if len(content) >= self._limit // 4 else 0
            lines = _lines(kept)
            if lines != content:
                self._replace(lines)
            self._size = len(lines)
            self._writes = True
        if metrics and step not in self._evaluated:
            self.evaluation(HistoryEvaluation(step, metrics))

    def window(self, window: HistoryWindow) -> None:
        """Add a logging window, unless the file is thinned and has one close to it."""
        if self._last_window is not None and window.step - self._last_window < self._spacing:
            return
        self._last_window = window.step
        self._pending.append(window)
        if time.monotonic() - self._written >= self._seconds:
            self.flush()

    def evaluation(self, evaluation: HistoryEvaluation) -> None:
        """Add an evaluation, and write all entries; an earlier evaluation of its step is replaced."""
        self._repeated |= evaluation.step in self._evaluated
        self._evaluated.add(evaluation.step)
        self._pending.append(evaluation)
        self.flush()

    def flush(self) -> None:
        """Write the entries that were not written yet."""
        entries, self._pending = self._pending, []
        if not entries or not self._writes:
            return
        self._written = time.monotonic()
        lines = _lines(entries)
        with self._tolerant():
            if self._repeated or self._size + len(lines) >= self._limit:
                kept = self._thinned(_in_order([*_entries(self._content()), *entries]))
                self._replace(kept)
                self._size, self._repeated = len(kept), False
            else:
                self._append(lines)

    @contextmanager
    def _tolerant(self) -> Iterator[None]:
        try:
            yield
        except (OSError, TaskError, Unusable) as error:
            if not self._failed:
                reason = (error.strerror if isinstance(error, OSError) else None) or error
                log.warning("%s: the history of this training is incomplete: %s", self._file, reason)
            self._failed = True

    def _content(self) -> bytes:
        """Return the content of the file.

        Raises:
            Unusable: it cannot be read, or another program wrote it, so it must not be changed.
        """
        if not os.path.lexists(self._file):
            return b""
        content = recorded.content_of(self._file, most=_MOST_READ)
        if not begins_as_history(content):
            raise Unusable("it was not written by a training; move it away")
        return content

    def _append(self, lines: bytes) -> None:
        self._before_write()
        with open_in_place(self._file, append=True) as stream:
            if stream.seek(0, os.SEEK_END) > 0:
                stream.seek(-1, os.SEEK_END)
                if stream.read(1) != b"\n":  # an earlier write ended within a line
                    lines = b"\n" + lines
            rest = memoryview(lines)
            while rest:
                rest = rest[stream.write(rest) :]
            self._size = stream.tell()

    def _replace(self, lines: bytes) -> None:
        if lines:
            replace_file(self._file, lines, before_rename=self._before_write)
        else:
            self._before_write()
            self._file.unlink(missing_ok=True)

    def _thinned(self, entries: Sequence[HistoryEntry]) -> bytes:
        """Return the lines of evenly spaced windows and of all evaluations, at most half of the limit.

        Evaluations are left out only if they alone are more than that: then every second one, repeatedly. Lines that
        fit are returned unchanged.
        """
        lines = _lines(entries)
        if len(lines) < self._limit:
            return lines
        windows = [entry for entry in entries if isinstance(entry, HistoryWindow)]
        evaluations = [entry for entry in entries if isinstance(entry, HistoryEvaluation)]
        self._spacing = max(self._spacing, _spacing([window.step for window in windows]))
        while len(lines) > self._limit // 2 and max(len(windows), len(evaluations)) > 1:
            if len(windows) > 1:
                self._spacing *= 2
                windows = _spaced(windows, self._spacing)
            else:
                evaluations = evaluations[::-2][::-1]
            lines = _lines(_in_order([*windows, *evaluations]))
        self._last_window = windows[-1].step if windows else None
        return lines


def _spacing(steps: Sequence[int]) -> int:
    """Return the usual number of steps between two windows, at least 1."""
    return max(1, statistics.median_low([later - step for step, later in pairwise(steps)] or [1]))


def _spaced(windows: Sequence[HistoryWindow], spacing: int) -> list[HistoryWindow]:
    kept: list[HistoryWindow] = []
    for window in windows:
        if not kept or window.step - kept[-1].step >= spacing:
            kept.append(window)
    return kept


def _in_order(entries: Iterable[HistoryEntry]) -> list[HistoryEntry]:
    """Return entries by ascending step, the last of those with one kind and step."""
    by_key = {(entry.step, isinstance(entry, HistoryEvaluation)): entry for entry in entries}
    return [by_key[key] for key in sorted(by_key)]


def _lines(entries: Iterable[HistoryEntry]) -> bytes:
    return b"".join(compact_json(entry.to_json()) + b"\n" for entry in entries)


def _entries(content: bytes) -> Iterator[HistoryEntry]:
    return (entry for entry in map(_entry, content.splitlines()) if entry is not None)


def _entry(line: bytes) -> HistoryEntry | None:
    """Return the entry in a line, None if the line is damaged."""
    try:
        value = json.loads(line.strip(b"\0 "))
    except (ValueError, RecursionError, MemoryError):
        return None
    step = value.get("step") if isinstance(value, dict) else None
    if type(step) is not int or not 1 <= step <= recorded.LARGEST_NUMBER:
        return None
    if metrics := recorded.finite_numbers(value.get("metrics")):
        return HistoryEvaluation(step, metrics)
    rates = [recorded.finite_number(value.get(name)) for name in ("learning_rate", "images_per_second")]
    losses = recorded.finite_numbers(value.get("losses"))
    if not losses and rates == [None, None]:
        return None
    return HistoryWindow(step, losses, *rates)


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.{_DIGITS}g}") for name, value in finite_numbers(values).items()}
