"""When the status is to say that an experiment cannot be reconciled, since the API server fails or refuses."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.cluster.cache import ExperimentEntry
from maskrcnn_operator.cluster.errors import ApiError, Conflict, StatusRefused
from maskrcnn_operator.cluster.identity import Key
from maskrcnn_operator.core.notice import Notice, notice

PATIENCE_SECONDS = 120.0
"""Seconds for which reconciling an experiment may fail before its status says so."""
REFUSALS = 3
"""After so many refusals in a row of the status of one generation the status says so."""
QUIET_SECONDS = 300.0
"""A failure so long ago is another trouble: the next try comes within about a minute, unless another replica leads."""
KEPT = 10_000


@dataclass
class _Trouble:
    """Failures of one experiment since its last success.

    Attributes:
        since, last: first and newest failure, by the clock.
        refusals: of the status, of this uid and generation.
        told: reason of the last notice, and status and reason of the answer that it names.
    """

    uid: str
    generation: int
    since: float
    last: float
    refusals: int = 0
    told: tuple[Reason, int, str] | None = None


class Patience:
    """Troubles by experiment, of which those that failed last are kept.

    Args:
        clock: seconds since any fixed moment, never going back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, kept: int = KEPT) -> None:
        self._clock, self._kept = clock, kept
        self._troubles: OrderedDict[Key, _Trouble] = OrderedDict()

    def __len__(self) -> int:
        return len(self._troubles)

    def succeeded(self, key: Key) -> None:
        """Forget what has failed: the experiment was reconciled, or is gone."""
        self._troubles.pop(key, None)

    def failed(self, key: Key, entry: ExperimentEntry, error: ApiError, reasons: Collection[str] = ()) -> Notice | None:
        """Take a failure in; return what the status is to say now, None where it is too early or says it already.

        Args:
            entry: the experiment that could not be reconciled.
            reasons: those of its conditions as they stand now: a status that was accepted has ended a notice.
        """
        if isinstance(error, Conflict):
            # the object has changed meanwhile, which says nothing against the API server
            return None
        trouble = self._trouble(key, entry)
        if isinstance(error, StatusRefused):
            trouble.refusals += 1
        found = _notice(trouble, error)
        if found is None or (trouble.told == _gist(found, error) and found.reason in reasons):
            return None
        return found

    def told(self, key: Key, said: Notice, error: ApiError) -> None:
        """Note that the status says it, so that it isn't written again for the same answer."""
        trouble = self._troubles.get(key)
        if trouble is not None:
            trouble.told = _gist(said, error)

    def _trouble(self, key: Key, entry: ExperimentEntry) -> _Trouble:
        now = self._clock()
        trouble = self._troubles.pop(key, None)
        if trouble is None or trouble.uid != entry.uid or now - trouble.last > QUIET_SECONDS:
            trouble = _Trouble(entry.uid, entry.generation, now, now)
        if trouble.generation != entry.generation:
            trouble.generation, trouble.refusals, trouble.told = entry.generation, 0, None
        trouble.last = now
        self._troubles[key] = trouble
        while len(self._troubles) > self._kept:
            self._troubles.popitem(last=False)
        return trouble


def _notice(trouble: _Trouble, error: ApiError) -> Notice | None:
    if trouble.refusals >= REFUSALS:
        if not isinstance(error, StatusRefused):
            # the refusal stays what has to be mended
            return None
        message = f"The API server refuses this status, so the steps stay as they were last written: {error}"
        return notice(Reason.STATUS_REFUSED, message, stalled=True)
    if trouble.last - trouble.since < PATIENCE_SECONDS:
        return None
    message = f"Reconciling has failed for {PATIENCE_SECONDS:g} s and is tried again; the last answer: {error}"
    return notice(Reason.API_SERVER_ERROR, message, stalled=False)


def _gist(said: Notice, error: ApiError) -> tuple[Reason, int, str]:
    """Return the subject of a notice; texts of the same answer differ in names, versions and times."""
    return said.reason, error.status, error.reason
