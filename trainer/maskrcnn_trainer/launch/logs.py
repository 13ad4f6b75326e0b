"""What a node's processes say, kept in the step's results directory: a pod's own log goes away with the pod."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, BinaryIO

from maskrcnn_trainer.shared.files import open_in_place

log = logging.getLogger(__name__)

LIMIT_BYTES = 16 * 1024 * 1024
"""Of one node in one attempt; of what is over it the oldest half goes."""

KEPT_ATTEMPTS = 10
"""Logs of older attempts are removed."""

_CHECK_SECONDS = 5.0
_DRAIN_SECONDS = 5.0
_NAME = re.compile(r"attempt-(\d+)\.node-\d+\.log(\.1)?")


def log_file(results_dir: Path, attempt: int, node_rank: int) -> Path:
    """Where one node's log of one attempt is kept; what was turned over lies beside it, with ``.1`` at the end."""
    return results_dir / "logs" / f"attempt-{attempt}.node-{node_rank}.log"


def remove_old_logs(results_dir: Path, attempt: int) -> None:
    """Removes the logs of attempts before the last ``KEPT_ATTEMPTS``; those that cannot be removed stay."""
    for path in (results_dir / "logs").glob("attempt-*"):
        match = _NAME.fullmatch(path.name)
        if match and int(match[1]) <= attempt - KEPT_ATTEMPTS:
            try:
                path.unlink()
            except OSError:
                continue


class KeptLog:
    """A log file of bounded size that never fails the task: a full disk ends the log, not the training."""

    def __init__(self, path: Path, still_ours: Callable[[], bool], *, limit_bytes: int = LIMIT_BYTES) -> None:
        """Opens the file, to add to what a former start of the attempt left.

        Args:
            path: see :func:`log_file`.
            still_ours: whether this run may write to the directory; asked every few seconds.
            limit_bytes: of the file and the one that was turned over, together.
        """
        self._path, self._still_ours, self._half = path, still_ours, limit_bytes // 2
        self._lock = threading.Lock()
        self._checked = time.monotonic()
        self._file: BinaryIO | None = None
        self._size = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open()
        except OSError as error:
            self._give_up(error)

    def write(self, line: bytes) -> None:
        """Adds a line; after the directory went to another run, or the disk filled up, nothing happens."""
        with self._lock:
            if self._file is None:
                return
            now = time.monotonic()
            if now - self._checked >= _CHECK_SECONDS:
                self._checked = now
                if not self._still_ours():
                    self._close()
                    return
            try:
                if self._size + len(line) > self._half:
                    self._turn_over()
                self._file.write(line)
                self._size += len(line)
            except OSError as error:
                self._give_up(error)

    def close(self) -> None:
        """Ends the log."""
        with self._lock:
            self._close()

    def _open(self) -> None:
        # unbuffered, so that what was said before a kill is there
        self._file = open_in_place(self._path, append=True)
        self._size = self._path.stat().st_size

    def _turn_over(self) -> None:
        self._close()
        self._path.replace(self._path.with_name(f"{self._path.name}.1"))
        self._open()

    def _give_up(self, error: OSError) -> None:
        self._close()
        sys.stderr.write(f"{self._path}: the log is no longer kept: {error.strerror}\n")

    def _close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None


class KeptLogHandler(logging.Handler):
    """What the launcher itself says, into the kept log."""

    def __init__(self, kept: KeptLog, formatter: logging.Formatter | None) -> None:
        super().__init__()
        self._kept = kept
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        self._kept.write(f"{self.format(record)}\n".encode(errors="replace"))


def follow(stream: IO[bytes], kept: KeptLog, prefix: bytes = b"") -> threading.Thread:
    """Copies a process's output to our own standard output and to the kept log until it ends.

    Args:
        stream: the reading end of its output.
        kept: the log.
        prefix: in front of each line, where several processes share the log.
    """

    def copy() -> None:
        with stream:
            for line in stream:
                text = prefix + line
                # where nobody reads our output any more the kept log still has it
                with contextlib.suppress(OSError, ValueError):
                    sys.stdout.buffer.write(text)
                    sys.stdout.buffer.flush()
                kept.write(text)

    thread = threading.Thread(target=copy, daemon=True, name="log")
    thread.start()
    return thread


def drain(threads: list[threading.Thread]) -> None:
    """Waits for the last lines of processes that ended; a grandchild that lives on may hold a pipe open."""
    deadline = time.monotonic() + _DRAIN_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
