"""Supervision of tasks that run as long as the process: an early end is logged and stops the replica."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

log = logging.getLogger(__name__)

STOP_SECONDS = 5.0
"""Seconds in which tasks must end after they were canceled."""


class EndedEarly(Exception):
    """Error: a part of a long-lived task has ended."""


class Supervisor:
    """Supervisor of long-lived tasks.

    A replica without one of its tasks would keep the Lease and pass its probes, but do only part of its work. So an end
    before :meth:`stop` is never ignored, whether it is an exception, a return, or a cancellation.

    Args:
        on_end: called for every task that ends before :meth:`stop`.
    """

    def __init__(self, on_end: Callable[[], None]) -> None:
        self._on_end = on_end
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._problems: list[str] = []

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Start a task that :meth:`stop` cancels."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        self.supervise(task)

    def supervise(self, task: asyncio.Task[None]) -> None:
        """Supervise a task that its owner ends after :meth:`stop`."""
        task.add_done_callback(self._done)

    def ended(self, task: asyncio.Task[None]) -> None:
        """Log and report a task that has ended too early."""
        problem, error = how_it_ended(task)
        self._problems.append(problem)
        log.error("%s; this replica stops", problem, exc_info=error)
        self._on_end()

    def problems(self) -> list[str]:
        """Return a sentence for each task that has ended too early."""
        return list(self._problems)

    async def stop(self) -> None:
        """Cancel the tasks and wait for their end, at most :data:`STOP_SECONDS`."""
        self._stopping = True
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task.cancel()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=STOP_SECONDS)
            for task in late:
                log.warning("The task %s did not end within %g s, ignoring it", task.get_name(), STOP_SECONDS)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not self._stopping:
            self.ended(task)
        elif not task.cancelled():
            task.exception()  # retrieved, so that asyncio does not log it as unhandled


def how_it_ended(task: asyncio.Task[None]) -> tuple[str, BaseException | None]:
    """Return a sentence on how a task ended, and its exception if it raised one."""
    name = task.get_name()
    if task.cancelled():
        return f"The task {name} was canceled", None
    error = task.exception()
    if error is None:
        return f"The task {name} returned", None
    return f"The task {name} failed: {type(error).__name__}: {error}", error


async def run_together(works: Mapping[str, Coroutine[Any, Any, None]]) -> None:
    """Run the parts of a long-lived task, by name, until canceled or until one of them ends.

    A ``TaskGroup`` would ignore a part that returns or is canceled.

    Raises:
        EndedEarly: a part has ended; the others were canceled.
    """
    tasks = [asyncio.create_task(work, name=name) for name, work in works.items()]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        problem, error = how_it_ended(next(iter(done)))
        raise EndedEarly(problem) from error
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
