"""Display of a staging: a bar or log lines, and records of the task's progress."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable

from maskrcnn_trainer.shared.object_url import without_secrets
from maskrcnn_trainer.task.progress_bar import REPORT_INTERVAL_SECONDS, ProgressMeter, progress_bar
from maskrcnn_trainer.task.reporter import Reporter

log = logging.getLogger(__name__)

LOADING = "Loading inputs"
MB = 1_000_000
SECONDS_BETWEEN_WARNINGS = 15.0


class StagingDisplay:
    """Display of the loading of inputs: bytes, files, rate, and time left.

    Args:
        report: returns the writer of records, None if there is none; called once something is to be loaded.
        clock: returns seconds.
    """

    def __init__(
        self, report: Callable[[], Reporter | None] = lambda: None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._report = report
        self._clock = clock
        self._reporter: Reporter | None = None
        self._bars = contextlib.ExitStack()
        self._meter: ProgressMeter | None = None
        self._files = (0, 0)
        self._bytes = (0, 0)
        self._unit = MB
        self._began = 0.0
        self._reported = 0.0
        self._warned: dict[str, float] = {}

    def listed(self, url: str) -> None:
        """Log that the objects at a URL are being listed."""
        log.info("Reading %s", without_secrets(url))

    def begin(self, files: int, size: int, *, files_to_load: int, bytes_to_load: int) -> None:
        """Log what is needed, and open the bar if something is to be loaded."""
        log.info(
            "Inputs: %s, %s; to load: %s, %s",
            _count(files, "file"), _size(size), _count(files_to_load, "file"), _size(bytes_to_load),
        )  # fmt: skip
        self._files, self._bytes = (0, files_to_load), (0, bytes_to_load)
        self._began = self._clock()
        if files_to_load:
            self._unit = MB if bytes_to_load >= 10 * MB else 1000
            total = max(1, bytes_to_load // self._unit)
            self._meter = self._bars.enter_context(progress_bar(LOADING, total, "MB" if self._unit == MB else "kB"))
            self._reporter = self._report()
            self._record()

    def loaded(self, size: int) -> None:
        """Count bytes."""
        self._bytes = (self._bytes[0] + size, self._bytes[1])
        self._show()

    def whole(self) -> None:
        """Count an object."""
        self._files = (self._files[0] + 1, self._files[1])
        self._show()

    def correct(self, size: int) -> None:
        """Change the bytes that are to be loaded by ``size``, which may be negative."""
        self._bytes = (self._bytes[0], max(self._bytes[0], self._bytes[1] + size))
        if self._meter is not None:
            self._meter.total = max(1, self._bytes[1] // self._unit)
        self._show()

    def waiting(self, sentence: str) -> None:
        """Log why the loading waits, the same sentence at most every 15 seconds."""
        now = self._clock()
        if now - self._warned.get(sentence, -SECONDS_BETWEEN_WARNINGS) >= SECONDS_BETWEEN_WARNINGS:
            self._warned[sentence] = now
            log.warning("%s", sentence)

    def end(self) -> None:
        """Close the bar, and write the last record."""
        if self._meter is not None:
            self._record()
        self.close()

    def close(self) -> None:
        """Close the bar."""
        self._bars.close()
        self._meter = None

    def _show(self) -> None:
        if self._meter is None:
            return
        step = self._bytes[0] // self._unit - self._meter.done
        self._meter.advance(step, files=f"{self._files[0]}/{self._files[1]}")
        if self._clock() - self._reported >= REPORT_INTERVAL_SECONDS:
            self._record()

    def _record(self) -> None:
        self._reported = self._clock()
        if self._reporter is None:
            return
        elapsed = self._clock() - self._began
        rate = self._bytes[0] / elapsed if elapsed > 0 else 0.0
        self._reporter.running(
            f"{LOADING}: {_size(self._bytes[0])} of {_size(self._bytes[1])}",
            step=self._files[0],
            total_steps=self._files[1],
            eta=(self._bytes[1] - self._bytes[0]) / rate if rate > 0 else None,
            graphical={"input_bytes": float(self._bytes[0]), "input_bytes_per_second": rate},
        )


def _count(number: int, unit: str) -> str:
    return f"{number:,} {unit}" if number == 1 else f"{number:,} {unit}s"


def _size(size: int) -> str:
    return f"{size / MB:,.1f} MB"
