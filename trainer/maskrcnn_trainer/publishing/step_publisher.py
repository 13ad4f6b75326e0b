"""Thread that publishes a results directory while its task runs, and once more at the end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from maskrcnn_trainer.errors import InvalidInput, TaskError, TryAgain, describe_error
from maskrcnn_trainer.object_store.fence.records import PublishedFile, PublishedSet
from maskrcnn_trainer.publishing.published_files import UnpublishableResults
from maskrcnn_trainer.publishing.snapshot import ResultsSnapshot, Snapshots
from maskrcnn_trainer.publishing.step_session import StepSession
from maskrcnn_trainer.results.contents import joined_names

log = logging.getLogger(__name__)

SECONDS_BETWEEN_PUBLISHES = 300.0
"""Time between two publishes of a task without checkpoints."""
SECONDS_BEFORE_RETRY = 10.0
"""Pause after a publish that failed; the store's client has tried for minutes before."""
SECONDS_BEFORE_LAST_RETRY = 2.0
"""The same at the end, where the time is limited."""
SECONDS_BETWEEN_CLEANINGS = 240.0
"""Shortest time between two cleanings, a little less than the usual time between two publishes: each is a listing."""
_POLL_SECONDS = 0.2
_SECONDS_TO_END = 5.0
"""Time in which requests under way end once they are interrupted."""


class StepPublisher:
    """Thread that publishes a results directory.

    Use it as a context manager; at the end of the block it is abandoned unless it was finished.

    Args:
        session: that has claimed the step; no other thread uses it, or its store, until the block ends.
        results_dir: the task's results directory, which has the restored set.
        on_superseded: called once, by the thread, when nothing can be published any more. An error that occurs during
            :meth:`finish` is raised there.
        on_published: called by the thread after each publish.
        others: returns the files that other nodes have uploaded; called by the thread before each publish.
        is_kept: whether the next attempt finds the results directory as this one leaves it.
        every_seconds: time between publishes of a task that announces no checkpoints; None: only on announcements.
        interrupted: set once requests under way must end; the store's ``stop`` returns its ``is_set()``.
        clock: seconds of a clock that only rises.
    """

    def __init__(
        self,
        session: StepSession,
        results_dir: Path,
        *,
        on_superseded: Callable[[TaskError], None],
        on_published: Callable[[PublishedSet], None] = lambda _: None,
        others: Callable[[], Sequence[PublishedFile]] = tuple,
        is_kept: bool = False,
        every_seconds: float | None = None,
        interrupted: threading.Event | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._results_dir = results_dir
        self._on_superseded = on_superseded
        self._on_published = on_published
        self._others = others
        self._is_kept = is_kept
        self._every_seconds = every_seconds
        self._interrupted = interrupted or threading.Event()
        self._clock = clock
        self._snapshots = Snapshots(results_dir, session.identity.fingerprint)
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._taking = threading.Lock()
        """Held while a snapshot is taken; taken before ``_changed``."""
        self._changed = threading.Condition()
        """Guards all that follows."""
        self._waiting: ResultsSnapshot | None = None
        self._finishing = False
        self._over = False
        self._finished = False
        self._error: TaskError | None = None
        self._failure: BaseException | None = None
        self._retry_at = float("-inf")
        self._timed_at = float("inf")
        self._cleaned_at = float("-inf")
        self._deadline = float("inf")
        self._missed = False
        self._left_out = False
        self._retake = False

    def __enter__(self) -> Self:
        """Start the thread."""
        self._snapshots.clear()
        if self._every_seconds is not None:
            self._timed_at = self._clock() + self._every_seconds
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the thread, and remove all snapshots."""
        self.abandon()

    def checkpoint(self, step: int) -> None:
        """Publish what exists now, soon; a snapshot that still waits is replaced.

        A snapshot that can't be taken, such as on a full disk, is logged once, and the next call tries again.

        Args:
            step: of the checkpoint that has just become complete.
        """
        log.debug("The checkpoint of step %d is to be published", step)
        with self._taking:
            if self._over or self._finishing or self._error is not None:
                return
            snapshot = self._take()
            if snapshot is not None:
                self._offer(snapshot)

    def finish(self, *, seconds: float) -> None:
        """Publish all that exists, after the task's processes have ended, and end the thread.

        Args:
            seconds: time after which it is given up.

        Raises:
            TryAgain: the store has failed for that time (75).
            Superseded: a later attempt has taken the step (75).
            InvalidInput: the identity may not write, the store refuses the results or has damaged records, a file has a
                name that can't be published, or there are too many files (64).
        """
        self.hurry(seconds)
        with self._changed:
            self._finishing = True
            self._retry_at = float("-inf")
            self._changed.notify_all()
            while self._thread.is_alive() and self._clock() < self._deadline:
                self._changed.wait(_POLL_SECONDS)
        self.abandon()
        if self._error is not None:
            raise self._error
        if not self._finished:
            cause = "the upload was still under way" if self._failure is None else describe_error(self._failure)[2]
            later = "; the next attempt in the same working directory publishes them" if self._is_kept else ""
            raise TryAgain(f"The results could not be published in time{later}: {cause}", reason="NotPublished")

    def hurry(self, seconds: float) -> None:
        """Shorten the time of a finish that is under way, or to come, to a number of seconds from now.

        May be called by a signal handler.
        """
        self._deadline = min(self._deadline, self._clock() + seconds)

    def abandon(self) -> None:
        """End the thread without another publish; ``on_superseded`` may call it, too."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._interrupted.set()
            self._thread.join(_SECONDS_TO_END)
        with self._taking:
            self._snapshots.clear()

    def _take(self) -> ResultsSnapshot | None:
        """Return a snapshot; None if none can be taken, which is logged once. The caller holds ``_taking``."""
        try:
            snapshot = self._snapshots.take(self._session.known)
        except (OSError, TaskError) as error:
            if not self._missed:
                log.warning(
                    "%s can't be published now, and will be with the next checkpoint: %s",
                    self._results_dir,
                    describe_error(error)[2],
                )
            self._missed = True
            return None
        self._missed = False
        return snapshot

    def _offer(self, snapshot: ResultsSnapshot) -> None:
        with self._changed:
            replaced, self._waiting = self._waiting, snapshot
            self._changed.notify_all()
        if replaced is not None:
            self._snapshots.remove(replaced)

    def _run(self) -> None:
        work: _Work | None
        while True:
            try:
                work = self._next()
                if work is None:
                    return
                self._publish(work)
            except Exception as error:  # noqa: BLE001 - no failure of publishing may stop the training
                self._failed(error)

    def _next(self) -> _Work | None:
        """Return what is published next; None: nothing any more."""
        while True:
            with self._changed:
                while not self._ends() and (seconds := self._due_at() - self._clock()) > 0:
                    self._changed.wait(min(seconds, threading.TIMEOUT_MAX))
                if self._ends():
                    return None
                is_last = self._finishing
                snapshot, self._waiting, self._retake = self._waiting, None, False
                self._timed_at = self._clock() + (self._every_seconds or float("inf"))
            if is_last and snapshot is not None:
                self._snapshots.remove(snapshot)
                snapshot = None
            if snapshot is None:
                with self._taking:
                    snapshot = self._take_last() if is_last else self._take()
            if snapshot is not None:
                return _Work(snapshot, is_last)

    def _ends(self) -> bool:
        return self._over or self._finished or self._error is not None

    def _due_at(self) -> float:
        is_due = self._finishing or self._retake or self._waiting is not None
        return self._retry_at if is_due else max(self._retry_at, self._timed_at)

    def _take_last(self) -> ResultsSnapshot | None:
        """Return a snapshot of a directory that no process changes any more, also if the disk is full."""
        try:
            return self._snapshots.take(self._session.known)
        except (OSError, TaskError) as error:
            log.debug("%s is published in place: %s", self._results_dir, error)
        try:
            return self._snapshots.take(self._session.known, in_place=True)
        except (OSError, TaskError) as error:
            self._failed(error)
            return None

    def _publish(self, work: _Work) -> None:
        try:
            published = self._session.publish(work.snapshot, self._others())
        finally:
            self._snapshots.remove(work.snapshot)
        with self._changed:
            was_failing, self._failure = self._failure is not None, None
            self._retry_at = float("-inf")
            self._finished = work.is_last
            if work.is_last and work.snapshot.is_complete and work.snapshot.left_out:
                self._error = _unnamable(self._results_dir, work.snapshot.left_out)
        if was_failing:
            log.info("%s is published again", self._results_dir)
        if work.snapshot.left_out and not self._left_out:
            self._left_out = True
            log.warning("%s", _unnamable(self._results_dir, work.snapshot.left_out))
        self._on_published(published)
        self._clean()

    def _failed(self, error: Exception) -> None:
        ended = self._session.ended
        with self._changed:
            if self._over:
                return
            finishing, is_first = self._finishing, self._failure is None
            hopeless = isinstance(error, UnpublishableResults)
            self._failure = error
            if ended is not None:
                self._error = ended
            elif finishing and isinstance(error, InvalidInput):
                # it would not pass either if it were tried until the time is over
                self._error = error
            self._retake = not hopeless
            self._retry_at = self._clock() + (SECONDS_BEFORE_LAST_RETRY if finishing else SECONDS_BEFORE_RETRY)
        if ended is not None:
            if not finishing:
                self._on_superseded(ended)
        elif is_first and self._error is None:
            unexpected = None if isinstance(error, TaskError | OSError) else error
            log.warning(
                "%s could not be published, which is tried again: %s",
                self._results_dir,
                describe_error(error)[2],
                exc_info=unexpected,
            )

    def _clean(self) -> None:
        with self._changed:
            now = self._clock()
            if self._finishing or self._ends() or now < self._cleaned_at + SECONDS_BETWEEN_CLEANINGS:
                return
            self._cleaned_at = now
        try:
            self._session.clean()
        except TaskError as error:
            if self._session.ended is not None:
                raise
            log.debug("%s could not be cleaned: %s", self._results_dir, error)


@dataclass(frozen=True, slots=True)
class _Work:
    snapshot: ResultsSnapshot
    is_last: bool


def _unnamable(results_dir: Path, paths: tuple[str, ...]) -> UnpublishableResults:
    return UnpublishableResults(
        f"{results_dir}: {joined_names(list(paths))} can't be published, because of a backslash, a control character, "
        "or more than 255 bytes in the name: rename the images"
    )
