"""Writes progress into the status: the newest of an experiment, once in an interval that grows with their number."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.status import Progress
from maskrcnn_operator.cluster.errors import ApiError
from maskrcnn_operator.core.progress import progress_of
from maskrcnn_operator.progress_endpoint.authorise import Grant, speaks_for_current
from maskrcnn_operator.progress_endpoint.report import MAX_METRICS

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 30.0
"""Least time between two writes of an experiment."""
CONCURRENT_WRITES = 8

Apply = Callable[[str, str, Mapping[str, Any]], Awaitable[object]]
"""Server-side apply of ``status.progress``, by namespace and name, under the progress' own field manager."""

Lookup = Callable[[str, str], MaskRCNNExperiment | None]
"""The experiment as it was last seen, by namespace and name."""


def interval_of(reporting: int, rate: float) -> float:
    """Return the seconds between two writes of one experiment, so that those of all take ``rate`` writes a second.

    Args:
        reporting: experiments that report.
        rate: 0 for no limit.
    """
    return max(INTERVAL_SECONDS, reporting / rate) if rate > 0 else INTERVAL_SECONDS


@dataclass
class _Slot:
    """What is to be told of one experiment: one place, which a newer report takes."""

    grant: Grant
    progress: Progress | None
    earliest: float
    unwritten: bool = False
    task: asyncio.Task[None] | None = None


class ProgressWriter:
    """One place an experiment: a report takes it, and it is written when the interval since the last write is over.

    A report is taken without waiting for the API server. A write that fails is given up: the next report comes soon.

    Args:
        apply, lookup: see :data:`Apply` and :data:`Lookup`.
        rate: writes a second that all experiments together may take; 0 for no limit.
        on_interval: told of :attr:`interval`, at the start and whenever another experiment reports or one stops.
        clock, sleep: seconds that only rise, and waiting for them.
        now: time of day, aware.
    """

    def __init__(
        self,
        apply: Apply,
        lookup: Lookup,
        *,
        rate: float = 0.0,
        on_interval: Callable[[float], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._apply, self._lookup = apply, lookup
        self._rate, self._on_interval = rate, on_interval
        self._clock, self._sleep, self._now = clock, sleep, now
        self._slots: dict[str, _Slot] = {}
        self._writes = asyncio.Semaphore(CONCURRENT_WRITES)
        self._failing = False
        on_interval(self.interval)

    @property
    def interval(self) -> float:
        """Seconds between two writes of one experiment."""
        return interval_of(len(self._slots), self._rate)

    def offer(self, grant: Grant, record: Mapping[str, Any]) -> bool:
        """Takes a record in; False where it is not written: another step is the current one, or it says nothing."""
        experiment = self._lookup(grant.namespace, grant.experiment)
        if experiment is None or not speaks_for_current(grant, experiment):
            return False
        slot = self._slots.get(grant.experiment_uid)
        if slot is None:
            slot = _Slot(grant, _written(experiment, grant), self._clock() + self._rest(experiment))
        elif slot.grant != grant:
            slot.grant, slot.progress = grant, _written(experiment, grant)
        progress = _joined(grant.step, record, slot.progress, self._now().replace(microsecond=0))
        if progress is None or progress == slot.progress:
            return False
        slot.progress, slot.unwritten = progress, True
        if slot.task is None:
            self._slots[grant.experiment_uid] = slot
            self._on_interval(self.interval)
            slot.task = asyncio.create_task(self._serve(slot), name=f"progress {grant.namespace}/{grant.experiment}")
        return True

    async def close(self) -> None:
        """Gives up what is not written."""
        tasks = [slot.task for slot in self._slots.values() if slot.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _rest(self, experiment: MaskRCNNExperiment) -> float:
        """Seconds until the next write after that of another replica, or of this one before it forgot."""
        last = experiment.status.progress.last_updated_time if experiment.status.progress else None
        if last is None:
            return 0.0
        return min(max(0.0, self.interval - (self._now() - last).total_seconds()), self.interval)

    async def _serve(self, slot: _Slot) -> None:
        uid = slot.grant.experiment_uid
        try:
            while slot.unwritten:
                await self._sleep(max(0.0, slot.earliest - self._clock()))
                async with self._writes:
                    await self._write(slot)
                await self._sleep(max(0.0, slot.earliest - self._clock()))
        except Exception:
            log.exception("Progress of %s/%s could not be written", slot.grant.namespace, slot.grant.experiment)
        finally:
            self._slots.pop(uid, None)
            self._on_interval(self.interval)

    async def _write(self, slot: _Slot) -> None:
        grant, progress, slot.unwritten = slot.grant, slot.progress, False
        if progress is None or not speaks_for_current(grant, self._lookup(grant.namespace, grant.experiment)):
            return
        slot.earliest = self._clock() + self.interval
        try:
            await self._apply(grant.namespace, grant.experiment, progress.to_json())
            self._failing = False
        except ApiError as error:
            if not self._failing:
                log.warning("Progress of %s/%s could not be written: %s", grant.namespace, grant.experiment, error)
            self._failing = True


def _written(experiment: MaskRCNNExperiment, grant: Grant) -> Progress | None:
    progress = experiment.status.progress
    return progress if progress is not None and progress.step == grant.step else None


def _joined(step: str, record: Mapping[str, Any], before: Progress | None, now: datetime) -> Progress | None:
    progress = progress_of(step, record, before, now)
    if progress is not None and len(progress.metrics) > MAX_METRICS:
        return progress_of(step, record, None, now)
    return progress
