"""Reads events of Jobs and pods that do not start, in the background: nothing waits for them."""

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
"""Causes that are kept: of several times as many subjects as a tenth of 50 calls a second can read in five minutes."""


class _Read(NamedTuple):
    key: Key
    subject: Subject


class EventReader:
    """What events have said, by the uid of the Job or pod that they are about.

    One read at a time; the namespaces take turns. A read that fails says nothing: the next is due when it would have
    been, and what was known before stays.

    Args:
        on_read: called with the experiment after each read.
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
        """What is known, by uid."""
        return self._causes

    def request(self, key: Key, subjects: Iterable[Subject]) -> None:
        """Read the events of an experiment's Jobs and pods as soon as there is room for it."""
        for subject in subjects:
            if subject.uid not in self._requested:
                self._requested.add(subject.uid)
                self._queue.add(_Read(key, subject))

    async def run(self) -> None:
        """Read until it is cancelled."""
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
            self._note(error)
            return unread(subject, self._causes.get(subject.uid), self._now())
        return cause_of(subject, events, self._now())

    def _keep(self, uid: str, cause: WaitCause) -> None:
        self._causes[uid] = cause
        self._causes.move_to_end(uid)
        while len(self._causes) > _KEPT:
            self._causes.popitem(last=False)

    def _note(self, error: ApiError) -> None:
        denied = error.status == 403
        if denied and not self._denied:
            log.warning("Events may not be read, so steps whose pods do not start say less of it: %s", error)
        elif not denied:
            log.info("Events could not be read: %s", error)
        self._denied = self._denied or denied
