"""Start and stop of reconciliation when this replica becomes leader or stops being leader."""

from __future__ import annotations

import asyncio

from maskrcnn_operator.cluster.cache import Cache
from maskrcnn_operator.cluster.identity import Key
from maskrcnn_operator.cluster.lease import LeaderElection
from maskrcnn_operator.metrics import process as metrics
from maskrcnn_operator.runtime.queue import WorkQueue
from maskrcnn_operator.runtime.relisting import Relisting
from maskrcnn_operator.runtime.worker import NotLeading, Workers


def require_lease(election: LeaderElection) -> None:
    """Raise NotLeading if this replica may not write."""
    if not election.held:
        raise NotLeading


class Leading:
    """Controller of the workers, which run only while this replica holds the Lease."""

    def __init__(
        self,
        election: LeaderElection,
        cache: Cache,
        queue: WorkQueue[Key],
        workers: Workers,
        *,
        relisting: Relisting,
        resync_seconds: float,
    ) -> None:
        self._election, self._cache, self._queue = election, cache, queue
        self._workers, self._relisting, self._resync_seconds = workers, relisting, resync_seconds
        self._changed = asyncio.Event()
        election.on_change = self._lease_changed

    def _lease_changed(self, held: bool) -> None:
        metrics.leading(held)
        self._changed.set()

    async def run(self) -> None:
        """Start and stop the workers by the Lease, and queue all experiments periodically, until canceled."""
        while True:
            if self._election.held and not self._workers.running:
                # our watches may not have delivered all writes of the previous leader yet
                await self._relisting.once()
                self._workers.start()
                self._queue.add_all(self._cache.keys())
            elif not self._election.held and self._workers.running:
                await self._workers.stop(grace=0.0)
                self._queue.clear()
            elif self._workers.running:
                self._queue.add_all(self._cache.keys())
            try:
                async with asyncio.timeout(self._resync_seconds):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
