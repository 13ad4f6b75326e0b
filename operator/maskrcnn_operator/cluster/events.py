"""Events about experiments, posted in the background after the status; repeats are counted on one object."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from maskrcnn_operator.api.base import API_VERSION, KIND
from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.cluster.budget import CallPurpose
from maskrcnn_operator.cluster.client import Client
from maskrcnn_operator.cluster.errors import ApiError, Conflict, NotFound
from maskrcnn_operator.cluster.rate_limit import RateLimit
from maskrcnn_operator.cluster.resources import EVENTS
from maskrcnn_operator.cluster.times import micro_time
from maskrcnn_operator.core.plan import Event

log = logging.getLogger(__name__)

CONTROLLER = "maskrcnn.dev/maskrcnn-operator"
NOTE_BYTES = 1024
SERIES_SECONDS = 360.0
"""A repeat within this time is counted on the object of the first event."""
BURST = 25
"""Events of one experiment at once, as in the Go client's spam filter; after that, one per :data:`REFILL_SECONDS`."""
REFILL_SECONDS = 12.0
_QUEUE = 10_000
_KEPT = 4_000


class Regarding(NamedTuple):
    """Experiment that an event is about."""

    namespace: str
    name: str
    uid: str
    resource_version: str


class _Series(NamedTuple):
    at: float
    times: int
    posted: Mapping[str, Any]


class EventRecorder:
    """Recorder that posts events in order in the background. An event that cannot be posted is dropped.

    Nothing is lost by that, since the status has the same information.

    Args:
        instance: name of this process, such as that of its pod.
    """

    def __init__(self, client: Client, instance: str) -> None:
        self._client, self._instance = client, instance
        self._waiting: deque[tuple[str, Event, dict[str, Any]]] = deque(maxlen=_QUEUE)
        self._wake = asyncio.Event()
        self._series: OrderedDict[tuple[str, Event], _Series] = OrderedDict()
        self._shares = RateLimit(REFILL_SECONDS, BURST, time.monotonic, max_keys=_KEPT)

    def record(self, experiment: MaskRCNNExperiment, events: tuple[Event, ...]) -> None:
        """Queue events of an experiment; those beyond its share are dropped."""
        metadata = experiment.metadata
        self.record_about(
            Regarding(metadata.namespace, metadata.name, metadata.uid, metadata.resource_version), *events
        )

    def record_about(self, regarding: Regarding, *events: Event) -> None:
        """Queue events about an experiment, which may be unreadable; those beyond its share are dropped."""
        for event in events:
            if self._shares.wait(regarding.uid) == 0.0:
                self._waiting.append((regarding.uid, event, self._body(regarding, event, datetime.now(UTC))))
        if events:
            self._wake.set()

    async def run(self) -> None:
        """Post events until canceled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.flush()

    async def flush(self) -> None:
        """Post all queued events."""
        while self._waiting:
            uid, event, body = self._waiting.popleft()
            try:
                await self._post((uid, event), body)
            except ApiError as error:
                about = body["regarding"]
                log.warning(
                    "Could not post an event about experiment %s/%s; it is dropped: %s",
                    about["namespace"],
                    about["name"],
                    error,
                    extra={"reason": event.reason},
                )

    async def _post(self, key: tuple[str, Event], body: dict[str, Any]) -> None:
        now, namespace = time.monotonic(), body["metadata"]["namespace"]
        series = self._series.pop(key, None)
        if series is not None and now - series.at < SERIES_SECONDS:
            times = series.times + 1
            repeated = {**series.posted, "series": {"count": times, "lastObservedTime": body["eventTime"]}}
            try:
                name = series.posted["metadata"]["name"]
                posted = await self._client.replace(EVENTS, namespace, name, repeated, purpose=CallPurpose.EVENT)
                self._series[key] = _Series(now, times, posted)
                return
            except (NotFound, Conflict):
                pass  # it has expired, or another writer has changed it: start a new series
        posted = await self._client.create(EVENTS, namespace, body, purpose=CallPurpose.EVENT)
        self._series[key] = _Series(now, 1, posted)
        while len(self._series) > _KEPT:
            self._series.popitem(last=False)

    def _body(self, metadata: Regarding, event: Event, now: datetime) -> dict[str, Any]:
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"namespace": metadata.namespace, "name": f"{metadata.name}.{time.time_ns():x}"},
            "eventTime": micro_time(now),
            "type": event.type,
            "reason": event.reason,
            "action": "Reconcile",
            "note": event.message.encode()[:NOTE_BYTES].decode("utf-8", "ignore"),
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance,
            "regarding": {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "namespace": metadata.namespace,
                "name": metadata.name,
                "uid": metadata.uid,
                "resourceVersion": metadata.resource_version,
            },
        }
