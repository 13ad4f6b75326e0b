"""Thread that publishes a results directory while its task runs, and once more at the end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from maskrcnn_trainer.errors import TaskError
from maskrcnn_trainer.object_store.fence.records import PublishedSet
from maskrcnn_trainer.publishing.step_session import StepSession

SECONDS_BETWEEN_PUBLISHES = 300.0
"""Time between two publishes of a task without checkpoints."""


class StepPublisher:
    """Thread that publishes a results directory.

    Use it as a context manager; at the end of the block it is abandoned unless it was finished.

    Args:
        session: that has claimed the step; no other thread uses it, or its store, until the block ends.
        results_dir: the task's results directory, which has the restored set.
        on_superseded: called once, by the thread, when nothing can be published any more; not during
            :meth:`finish`, which raises that error.
        on_published: called by the thread after each publish.
        every_seconds: time between publishes of a task that announces no checkpoints; None: only on announcements.
        interrupted: set once requests under way must end; the store's ``stop`` returns its ``is_set()``.
    """

    def __init__(
        self,
        session: StepSession,
        results_dir: Path,
        *,
        on_superseded: Callable[[TaskError], None],
        on_published: Callable[[PublishedSet], None] = lambda _: None,
        every_seconds: float | None = None,
        interrupted: threading.Event | None = None,
    ) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        """Start the thread."""
        raise NotImplementedError

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the thread, and remove all snapshots."""
        raise NotImplementedError

    def checkpoint(self, step: int) -> None:
        """Publish what exists now, soon; a snapshot that still waits is replaced.

        A snapshot that can't be taken, such as on a full disk, is logged once, and the next call tries again.

        Args:
            step: of the checkpoint that has just become complete.
        """
        raise NotImplementedError

    def finish(self, *, seconds: float) -> None:
        """Publish all that exists, after the task's processes have ended, and end the thread.

        Args:
            seconds: time after which it is given up.

        Raises:
            TryAgain: the store has failed for that time (75).
            Superseded: a later attempt has taken the step (75).
        """
        raise NotImplementedError

    def hurry(self, seconds: float) -> None:
        """Shorten the time of a finish that is under way, or to come, to a number of seconds from now.

        May be called by a signal handler.
        """
        raise NotImplementedError

    def abandon(self) -> None:
        """End the thread without another publish."""
        raise NotImplementedError
