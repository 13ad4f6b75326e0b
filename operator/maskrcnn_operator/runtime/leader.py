"""Parts of a replica that are used while it is leader: election, work queue, and the workers that reconcile."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from maskrcnn_operator.cluster.access_modes import AccessModes
from maskrcnn_operator.cluster.cache import Cache
from maskrcnn_operator.cluster.client import Client
from maskrcnn_operator.cluster.events import EventRecorder
from maskrcnn_operator.cluster.executor import Executor
from maskrcnn_operator.cluster.identity import Key
from maskrcnn_operator.cluster.lease import LeaderElection
from maskrcnn_operator.cluster.namespace_owners import NamespaceOwners
from maskrcnn_operator.jobs.config import JobConfig
from maskrcnn_operator.metrics import process as metrics
from maskrcnn_operator.runtime.event_reader import EventReader
from maskrcnn_operator.runtime.leading import Leading, require_lease
from maskrcnn_operator.runtime.options import Options
from maskrcnn_operator.runtime.queue import WorkQueue
from maskrcnn_operator.runtime.reconciler import Reconciler, utc_now
from maskrcnn_operator.runtime.relisting import Relisting
from maskrcnn_operator.runtime.supervision import Supervisor
from maskrcnn_operator.runtime.unreadable import UnreadableObjects
from maskrcnn_operator.runtime.worker import Workers


class Leader:
    """Pipeline from the key of a changed experiment to the writes of its reconciliation.

    Args:
        identity: name of this replica as holder of the Lease.
        job_config: called for every Job, since the CA certificate in it may change.
    """

    def __init__(
        self,
        client: Client,
        cache: Cache,
        options: Options,
        relisting: Relisting,
        supervisor: Supervisor,
        *,
        identity: str,
        job_config: Callable[[], JobConfig],
        unreadable: UnreadableObjects,
    ) -> None:
        self._supervisor = supervisor
        self.events = EventRecorder(client, identity)
        self.election = LeaderElection(
            client, options.lease_namespace, options.lease_name, identity, times=options.lease_times
        )
        fence = partial(require_lease, self.election)
        executor = Executor(client, cache, self.events, config=job_config, fence=fence)
        self._queue: WorkQueue[Key] = WorkQueue(
            lane=lambda key: key.namespace, on_depth=metrics.queue_depth, on_wait=metrics.queue_wait
        )
        self._reader = EventReader(client, self.look_at, utc_now)
        access_modes = AccessModes(client, on_unreadable=unreadable)
        owners = NamespaceOwners(client, cache, options.owner_id, on_unreadable=unreadable)
        reconciler = Reconciler(cache, executor, access_modes, owners, options.settings, reader=self._reader)
        self._workers = Workers(
            self._queue, reconciler.reconcile, options.workers, on_missing=relisting.ask, on_end=supervisor.ended
        )
        self._leading = Leading(
            self.election, cache, self._queue, self._workers, relisting=relisting, resync_seconds=options.resync_seconds
        )

    @property
    def leads(self) -> bool:
        """True while this replica reconciles."""
        return self._workers.running

    def look_at(self, key: Key) -> None:
        """Queue the key of a changed experiment.

        A replica that isn't leader does nothing: it has the change in its cache, and queues all keys when it becomes
        leader.
        """
        if self.leads:
            self._queue.add(key)

    def start(self) -> None:
        """Start to take part in the leader election."""
        self._supervisor.start("events", self.events.run())
        self._supervisor.start("event reader", self._reader.run())
        self._supervisor.start("election", self.election.run())
        self._supervisor.start("leading", self._leading.run())

    async def stop(self) -> None:
        """Stop the workers, then release the Lease."""
        await self._workers.stop()
        await self.election.release()
