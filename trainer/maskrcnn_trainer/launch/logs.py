"""Copy of the output of a node's processes in the step's results directory; a pod's log is deleted with the pod."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, BinaryIO

from maskrcnn_trainer.errors import TryAgain
from maskrcnn_trainer.object_store.fence.node_logs import LARGEST_LOG
from maskrcnn_trainer.results.ownership import ownership_guard
from maskrcnn_trainer.shared.files import open_in_place
from maskrcnn_trainer.task.environment import TaskEnvironment

log = logging.getLogger(__name__)

LIMIT_BYTES = LARGEST_LOG
"""Maximum size of the log of one node in one attempt; beyond it, the older half is deleted."""

KEPT_ATTEMPTS = 10
"""Number of attempts whose logs are kept."""

_CHECK_SECONDS = 5.0
_DRAIN_SECONDS = 5.0
_END_SECONDS = 2.0
_LAST_LINES = 100
_NAME = re.compile(r"attempt-(\d+)\.node-(\d+)\.log(\.1)?")


def log_name(attempt: int, node_rank: int) -> str:
    """Return the path of the log of one node in one attempt, relative to the results directory."""
    return f"logs/attempt-{attempt}.node-{node_rank}.log"


def is_log_of_other_node(path: str) -> bool:
    """Return whether a path relative to a results directory is that of the log of another node than node 0."""
    folder, _, name = path.rpartition("/")
    match = _NAME.fullmatch(name) if folder == "logs" else None
    return match is not None and int(match[2]) > 0


def is_old_log(name: str, attempt: int) -> bool:
    """Return whether the name of a file is that of a log of an attempt before the last ``KEPT_ATTEMPTS``."""
    match = _NAME.fullmatch(name)
    return match is not None and int(match[1]) <= attempt - KEPT_ATTEMPTS


def log_file(results_dir: Path, attempt: int, node_rank: int) -> Path:
    """Return the path of the log of one node in one attempt; its rotated part has the same name with ``.1`` added."""
    return results_dir / log_name(attempt, node_rank)


def remove_old_logs(results_dir: Path, attempt: int) -> None:
    """Remove the logs of attempts before the last ``KEPT_ATTEMPTS``; ignore files that cannot be removed."""
    for path in (results_dir / "logs").glob("attempt-*"):
        if is_old_log(path.name, attempt):
            try:
                path.unlink()
            except OSError:
                continue


class KeptLog:
    """Log file of bounded size that doesn't fail the task: when the disk is full, only the log ends."""

    def __init__(self, path: Path, still_ours: Callable[[], bool], *, limit_bytes: int = LIMIT_BYTES) -> None:
        """Open the file to append to the log of an earlier start of the attempt.

        Args:
            path: see :func:`log_file`.
            still_ours: returns whether this run may write to the directory; called every few seconds.
            limit_bytes: maximum size of the file and its rotated part together.
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
        """Append a line; do nothing once another run owns the directory or a write has failed."""
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

    def copy_to(self, path: Path, *, most: int) -> None:
        """Copy what the log has now, the rotated part first.

        Args:
            path: of the copy, which is replaced.
            most: bytes; of a longer log only the end is copied.

        Raises:
            OSError: the log or the copy can't be read or written.
        """
        with self._lock:
            parts = [part for part in (self._rotated, self._path) if part.exists()]
            content = b"".join(part.read_bytes() for part in parts)
        path.write_bytes(content[-most:])

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._close()

    @property
    def _rotated(self) -> Path:
        return self._path.with_name(f"{self._path.name}.1")

    def _open(self) -> None:
        # unbuffered, so that it is complete up to a kill
        self._file = open_in_place(self._path, append=True)
        self._size = self._path.stat().st_size

    def _turn_over(self) -> None:
        self._close()
        self._path.replace(self._rotated)
        self._open()

    def _give_up(self, error: OSError) -> None:
        self._close()
        sys.stderr.write(f"{self._path}: the log is no longer kept: {error.strerror}\n")

    def _close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None


@contextlib.contextmanager
def kept_log(environment: TaskEnvironment, token: str, node_rank: int) -> Iterator[KeptLog]:
    """Keep the log of this node within a block, with the launcher's own lines; old logs are removed first.

    Args:
        environment: of the task, with a results directory that was claimed.
        token: of this start.
        node_rank: of this node.
    """
    results_dir = Path(str(environment.results_dir))
    if node_rank == 0:
        remove_old_logs(results_dir, environment.attempt)
    guard = ownership_guard(results_dir, token)

    def still_ours() -> bool:
        try:
            guard()
        except TryAgain:
            return False
        return True

    with kept_with_own_lines(KeptLog(log_file(results_dir, environment.attempt, node_rank), still_ours)) as kept:
        yield kept


@contextlib.contextmanager
def kept_with_own_lines(kept: KeptLog) -> Iterator[KeptLog]:
    """Write the launcher's own lines to a log, too, until the block ends, and close the log then."""
    root = logging.getLogger()
    handler = KeptLogHandler(kept, next((other.formatter for other in root.handlers if other.formatter), None))
    root.addHandler(handler)
    try:
        yield kept
    finally:
        root.removeHandler(handler)
        kept.close()


class KeptLogHandler(logging.Handler):
    """Handler that writes the launcher's own lines to the kept log."""

    def __init__(self, kept: KeptLog, formatter: logging.Formatter | None) -> None:
        super().__init__()
        self._kept = kept
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a formatted record to the kept log."""
        self._kept.write(f"{self.format(record)}\n".encode(errors="replace"))


class Follower:
    """Thread that copies a process's output to standard output and to the kept log until it ends."""

    def __init__(self, thread: threading.Thread, last: deque[bytes]) -> None:
        self.thread = thread
        self._last = last

    def end_of_output(self) -> str:
        """Return the last lines of a process that has ended."""
        self.thread.join(_END_SECONDS)
        return b"".join(tuple(self._last)).decode(errors="replace")


def follow(stream: IO[bytes], kept: KeptLog, prefix: bytes = b"") -> Follower:
    """Start a thread that copies a process's output to standard output and to the kept log until it ends.

    Args:
        stream: reading end of the process's output.
        kept: the log.
        prefix: prefix of each line, if several processes share the log.
    """
    last: deque[bytes] = deque(maxlen=_LAST_LINES)

    def copy() -> None:
        with stream:
            for line in stream:
                last.append(line)
                text = prefix + line
                # the kept log continues after standard output is closed
                with contextlib.suppress(OSError, ValueError):
                    sys.stdout.buffer.write(text)
                    sys.stdout.buffer.flush()
                kept.write(text)

    thread = threading.Thread(target=copy, daemon=True, name="log")
    thread.start()
    return Follower(thread, last)


def drain(threads: list[threading.Thread]) -> None:
    """Wait for the last lines of processes that ended, for a limited time: a grandchild may hold a pipe open."""
    deadline = time.monotonic() + _DRAIN_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
