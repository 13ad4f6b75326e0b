"""Writer of progress to the status, at an interval that grows with the number of reporting experiments.

The progress is that of the current step. Of the other running steps it only has since when a checkpoint waits to be
published, so their reports cost a write only when that changes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.status import LIVE_STATES, Progress, UnpublishedStep
from maskrcnn_operator.cluster.errors import ApiError
from maskrcnn_operator.core.progress import progress_of, reported_wait
from maskrcnn_operator.progress_endpoint.authorize import Grant, current_grant, speaks_for_a_live_step
from maskrcnn_operator.progress_endpoint.report import MAX_REPORTED_METRICS

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 30.0
"""Shortest time between two writes of an experiment."""
CONCURRENT_WRITES = 8

Apply = Callable[[str, str, Mapping[str, Any]], Awaitable[object]]
"""Function that applies ``status.progress`` server-side, by namespace and name, with its own field manager."""

Lookup = Callable[[str, str], MaskRCNNExperiment | None]
"""Function that returns the last known state of an experiment by namespace and name."""


def interval_of(reporting: int, rate: float) -> float:
    """Return the seconds between two writes of one experiment, so that all make at most ``rate`` writes per second.

    Args:
        reporting: number of experiments that report.
        rate: writes per second; 0 for no limit.
    """
    return max(INTERVAL_SECONDS, reporting / rate) if rate > 0 else INTERVAL_SECONDS


@dataclass
class _Slot:
    """Newest progress of one experiment; a newer report replaces it.

    Attributes:
        grant: attempt of the current step.
        progress: of that attempt.
        earliest: time of the next write, by the clock.
        waits: waits of checkpoints by step and attempt, as reported and not yet written; None for one that has ended.
    """

    grant: Grant
    progress: Progress | None
    earliest: float
    waits: dict[tuple[str, int], UnpublishedStep | None] = field(default_factory=dict)
    unwritten: bool = False
    task: asyncio.Task[None] | None = None


class ProgressWriter:
    """Writer that keeps the newest progress of each experiment and writes it once per interval.

    Reports are accepted without waiting for the API server. A failed write isn't retried, since the next report comes
    soon.

    Args:
        apply: see :data:`Apply`.
        lookup: see :data:`Lookup`.
        rate: most writes per second for all experiments together; 0 for no limit.
        on_interval: called with :attr:`interval` at the start, and whenever an experiment starts or stops reporting.
        clock: monotonic clock, in seconds.
        sleep: waits for a number of seconds of ``clock``.
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
        """Accept a record; return False if it won't be written, since nothing changed or its step isn't live.

        If the step isn't the current one, only the wait of its checkpoint counts.
        """
        experiment = self._lookup(grant.namespace, grant.experiment)
        current = current_grant(experiment) if experiment is not None else None
        if experiment is None or current is None or not speaks_for_a_live_step(grant, experiment):
            return False
        slot = self._slots.get(grant.experiment_uid)
        if slot is None:
            slot = _Slot(current, _written(experiment, current), self._clock() + self._rest(experiment))
        elif slot.grant != current:
            slot.grant, slot.progress = current, _written(experiment, current)
        now, key = self._now().replace(microsecond=0), (grant.step, grant.attempt)
        known = slot.waits[key] if key in slot.waits else _waits(experiment).get(key)
        wait = reported_wait(*key, record, known, now)
        progress = _joined(grant.step, record, slot.progress, now) if grant == current else slot.progress
        if wait != known:
            slot.waits[key] = wait
        if progress == slot.progress and not slot.waits:
            return False
        slot.progress, slot.unwritten = progress, True
        if slot.task is None:
            self._slots[grant.experiment_uid] = slot
            self._on_interval(self.interval)
            slot.task = asyncio.create_task(self._serve(slot), name=f"progress {grant.namespace}/{grant.experiment}")
        return True

    async def close(self) -> None:
        """Cancel all pending writes."""
        tasks = [slot.task for slot in self._slots.values() if slot.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _rest(self, experiment: MaskRCNNExperiment) -> float:
        """Return the seconds until the next write, counted from the last write by any replica."""
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
            log.exception(
                "Could not write the progress of experiment %s/%s because of an unexpected error",
                slot.grant.namespace,
                slot.grant.experiment,
            )
        finally:
            self._slots.pop(uid, None)
            self._on_interval(self.interval)

    async def _write(self, slot: _Slot) -> None:
        grant, reported, slot.unwritten = slot.grant, dict(slot.waits), False
        experiment = self._lookup(grant.namespace, grant.experiment)
        if experiment is None or current_grant(experiment) != grant:
            return
        progress = _with_waits(slot.progress or Progress(step=grant.step), experiment, reported)
        slot.earliest = self._clock() + self.interval
        try:
            await self._apply(grant.namespace, grant.experiment, _without_empty_lists(progress))
            self._failing = False
            # a report may have arrived meanwhile
            slot.waits = {key: wait for key, wait in slot.waits.items() if key not in reported or reported[key] != wait}
        except ApiError as error:
            if not self._failing:
                log.warning(
                    "Could not write the progress of experiment %s/%s, trying again with the next report: %s",
                    grant.namespace,
                    grant.experiment,
                    error,
                )
            self._failing = True


def _written(experiment: MaskRCNNExperiment, grant: Grant) -> Progress | None:
    progress = experiment.status.progress
    return progress if progress is not None and progress.step == grant.step else None


def _waits(experiment: MaskRCNNExperiment) -> dict[tuple[str, int], UnpublishedStep]:
    """Return the waits of checkpoints that any replica has written, by step and attempt."""
    progress = experiment.status.progress
    return {(wait.step, wait.attempt): wait for wait in progress.unpublished} if progress is not None else {}


def _with_waits(
    progress: Progress, experiment: MaskRCNNExperiment, reported: Mapping[tuple[str, int], UnpublishedStep | None]
) -> Progress:
    """Return the progress with the waits of all live steps: the reported ones, and those that others have written."""
    waits = {**_waits(experiment), **reported}
    live = ((step.name, step.attempt) for step in experiment.status.steps if step.state in LIVE_STATES)
    unpublished = tuple(wait for key in live if (wait := waits.get(key)) is not None)
    return progress.model_copy(update={"unpublished": unpublished})


def _without_empty_lists(progress: Progress) -> dict[str, Any]:
    """Return the progress as JSON without empty lists, since absent means the same."""
    return {name: value for name, value in progress.to_json().items() if value != []}


def _joined(step: str, record: Mapping[str, Any], before: Progress | None, now: datetime) -> Progress | None:
    progress = progress_of(step, record, before, now)
    if progress is not None and len(progress.metrics) > MAX_REPORTED_METRICS:
        return progress_of(step, record, None, now)
    return progress
