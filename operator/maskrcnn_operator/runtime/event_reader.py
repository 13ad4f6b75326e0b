"""Background reader of the events of Jobs and pods that do not start; reconciliation does not wait for it."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from maskrcnn_operator.cluster.client import Client
from maskrcnn_operator.cluster.errors import ApiError
from maskrcnn_operator.cluster.identity import Key
from maskrcnn_operator.jobs.causes import Subject, WaitCause, cause_of, unread
from maskrcnn_operator.runtime.queue import WorkQueue

log = logging.getLogger(__name__)

_KEPT = 10_000
"""Most causes that are kept: several times the number of reads in five minutes at 10% of 50 calls per second."""


class _Read(NamedTuple):
    key: Key
    subject: Subject


class EventReader:
    """Reader of events that keeps the causes by the uid of the Job or pod.

    It makes one read at a time, and namespaces take turns. After a failed read, the previous cause stays, and the next
    read is due at its usual time.

    Args:
        on_read: called with the key of the experiment after each read.
        now: time of day, aware.
    """

    def __init__(self, client: Client, on_read: Callable[[Key], None], now: Callable[[], datetime]) -> None:
        self._client, self._on_read, self._now = client, on_read, now
        self._causes: OrderedDict[str, WaitCause] = OrderedDict()
        self._queue: WorkQueue[_Read] = WorkQueue(lane=lambda read: read.key.namespace)
        self._requested: set[str] = set()
        self._denied = False

    @property
    def causes(self) -> Mapping[str, WaitCause]:
        """Known causes, by uid."""
        return self._causes

    def request(self, key: Key, subjects: Iterable[Subject]) -> None:
        """Queue reads of the events of an experiment's Jobs and pods."""
        for subject in subjects:
            if subject.uid not in self._requested:
                self._requested.add(subject.uid)
                self._queue.add(_Read(key, subject))

    async def run(self) -> None:
        """Read until canceled."""
        while True:
            read = await self._queue.get()
            try:
                self._keep(read.subject.uid, await self._read(read.subject))
            finally:
                self._queue.done(read)
                self._requested.discard(read.subject.uid)
            self._on_read(read.key)

    async def _read(self, subject: Subject) -> WaitCause:
        try:
            events = await self._client.events_about(subject.namespace, subject.uid)
        except ApiError as error:
            self._note(subject, error)
            return unread(subject, self._causes.get(subject.uid), self._now())
        return cause_of(subject, events, self._now())

    def _keep(self, uid: str, cause: WaitCause) -> None:
        self._causes[uid] = cause
        self._causes.move_to_end(uid)
        while len(self._causes) > _KEPT:
            self._causes.popitem(last=False)

    def _note(self, subject: Subject, error: ApiError) -> None:
        denied = error.status == 403
        if denied and not self._denied:
            log.warning(
                "No permission to read events in namespace %s, so the status of steps that cannot start lacks their "
                "cause; grant the Role of this release (logged once): %s",
                subject.namespace,
                error,
            )
        elif not denied:
            kind = "pod" if subject.is_pod else "Job"
            log.info(
                "Could not read the events of the %s with uid %s in namespace %s, retrying later: %s",
                kind,
                subject.uid,
                subject.namespace,
                error,
            )
        self._denied = self._denied or denied
