"""Workers: they take keys from the queue and reconcile, as long as this replica holds the Lease."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from maskrcnn_operator.cluster.errors import ApiError, Conflict, NotFound
from maskrcnn_operator.cluster.identity import Key
from maskrcnn_operator.metrics import process as metrics
from maskrcnn_operator.runtime.context import EXPERIMENT
from maskrcnn_operator.runtime.queue import WorkQueue

log = logging.getLogger(__name__)

UNHEARD_SECONDS = 5.0
"""Seconds for which an experiment in the cache may be missing on the API server before a list is requested.

A watch that was cut continues within them, and usually delivers the deletion.
"""

Reconcile = Callable[[Key], Awaitable[float | None]]


class NotLeading(Exception):
    """This replica may not write any more."""


class Workers:
    """So many reconciliations at a time.

    Args:
        on_missing: called when an experiment in the cache has been missing on the API server for
            :data:`UNHEARD_SECONDS`: a watch has lost its deletion.
        on_end: called with a worker's task that has ended before :meth:`stop`; its keys would be left undone.
    """

    def __init__(
        self,
        queue: WorkQueue[Key],
        reconcile: Reconcile,
        number: int,
        on_missing: Callable[[], None] = lambda: None,
        on_end: Callable[[asyncio.Task[None]], None] = lambda _: None,
    ) -> None:
        self._queue, self._reconcile, self._number = queue, reconcile, number
        self._on_missing, self._on_end = on_missing, on_end
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy: set[asyncio.Task[None]] = set()
        self._missing: dict[Key, float] = {}
        """Experiments that the API server did not find, by the time of the first such answer."""

    @property
    def running(self) -> bool:
        """Whether they take keys."""
        return bool(self._tasks)

    def start(self) -> None:
        """Begins to take keys."""
        if not self._tasks:
            self._missing.clear()
            self._tasks = {asyncio.create_task(self._work(), name=f"worker {i}") for i in range(self._number)}
            for task in self._tasks:
                task.add_done_callback(self._done)

    async def stop(self, grace: float = 5.0) -> None:
        """Takes no more keys; what is being worked on may go on for ``grace`` seconds."""
        tasks, self._tasks = self._tasks, set()
        for task in tasks - self._busy:
            task.cancel()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, task: asyncio.Task[None]) -> None:
        if task in self._tasks:
            self._on_end(task)

    async def _work(self) -> None:
        me = asyncio.current_task()
        while me in self._tasks:
            key = await self._queue.get()
            self._busy.add(me)
            try:
                await self._work_on(key)
            finally:
                self._busy.discard(me)
                self._queue.done(key)

    async def _work_on(self, key: Key) -> None:
        started, result = time.monotonic(), "success"
        missing_since = self._missing.pop(key, None)
        token = EXPERIMENT.set(f"{key.namespace}/{key.name}")
        try:
            wait = await self._reconcile(key)
            self._queue.forgive(key)
            if wait is not None:
                self._queue.add_later(key, wait)
        except NotLeading:
            # a renewal that is late may still keep the Lease, and nothing else would add the key again; with the Lease
            # lost, the queue is cleared
            result = "not_leading"
            self._queue.retry(key)
        except Conflict as error:
            result = "conflict"
            log.debug("Looked at an old state, and looks again: %s", error)
            self._queue.retry(key)
        except NotFound as error:
            result = "not_found"
            self._not_found(key, missing_since, error)
        except ApiError as error:
            result = "api_error"
            wait = self._queue.retry(key, error.retry_after or 0.0)
            log.warning("The API server: %s", error, extra={"wait": round(wait, 1)})
        except Exception:
            result = "error"
            wait = self._queue.retry(key, 1.0)
            log.exception("Reconciling failed", extra={"wait": round(wait, 1)})
        finally:
            metrics.observe_reconcile(time.monotonic() - started, result)
            EXPERIMENT.reset(token)

    def _not_found(self, key: Key, since: float | None, error: NotFound) -> None:
        """Retry after the watch should have delivered the deletion; request a list if it has not done so."""
        now = time.monotonic()
        self._missing[key] = now if since is None else since
        if now - self._missing[key] >= UNHEARD_SECONDS:
            log.info("Requesting a list, since no watch has delivered a deletion: %s", error)
            self._on_missing()
        self._queue.retry(key, UNHEARD_SECONDS)
