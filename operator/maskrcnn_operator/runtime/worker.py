"""Workers that take keys from the queue and reconcile while this replica holds the Lease."""

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
"""Seconds for which the API server may not find an experiment in the cache before a list is requested.

An interrupted watch resumes within this time, and usually delivers the deletion.
"""

Reconcile = Callable[[Key], Awaitable[float | None]]


class NotLeading(Exception):
    """Error: this replica may no longer write."""


class Workers:
    """Concurrent workers.

    Args:
        number: number of workers.
        on_missing: called if the API server has not found an experiment in the cache for :data:`UNHEARD_SECONDS`, which
            means that a watch has missed its deletion.
        on_end: called with the task of a worker that ended before :meth:`stop`; its keys would not be reconciled.
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
        """Experiments that the API server did not find, with the time of the first such response."""

    @property
    def running(self) -> bool:
        """True while the workers take keys."""
        return bool(self._tasks)

    def start(self) -> None:
        """Start the workers."""
        if not self._tasks:
            self._missing.clear()
            self._tasks = {asyncio.create_task(self._work(), name=f"worker {i}") for i in range(self._number)}
            for task in self._tasks:
                task.add_done_callback(self._done)

    async def stop(self, grace: float = 5.0) -> None:
        """Stop taking keys; reconciliations in progress have ``grace`` seconds to finish."""
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
            self._queue.reset_back_off(key)
            if wait is not None:
                self._queue.add_later(key, wait)
        except NotLeading:
            # a late renewal may still keep the Lease, and then nothing else would queue the key again; if the Lease is
            # lost, the queue is cleared
            result = "not_leading"
            self._queue.retry(key)
        except Conflict as error:
            result = "conflict"
            wait = self._queue.retry(key)
            log.debug("Stale cache, retrying in %.1f s: %s", wait, error)
        except NotFound as error:
            result = "not_found"
            self._not_found(key, missing_since, error)
        except ApiError as error:
            result = "api_error"
            wait = self._queue.retry(key, error.retry_after or 0.0)
            log.warning("API request failed, retrying in %.1f s: %s", wait, error, extra={"wait": round(wait, 1)})
        except Exception:
            result = "error"
            wait = self._queue.retry(key, 1.0)
            log.exception("Reconciling failed, retrying in %.1f s", wait, extra={"wait": round(wait, 1)})
        finally:
            metrics.observe_reconcile(time.monotonic() - started, result)
            EXPERIMENT.reset(token)

    def _not_found(self, key: Key, since: float | None, error: NotFound) -> None:
        """Retry when a watch should have delivered the deletion; request a list if none has."""
        now = time.monotonic()
        self._missing[key] = now if since is None else since
        if now - self._missing[key] >= UNHEARD_SECONDS:
            log.info("Object not found, requesting a list; it may have been deleted without a watch event: %s", error)
            self._on_missing()
        self._queue.retry(key, UNHEARD_SECONDS)
