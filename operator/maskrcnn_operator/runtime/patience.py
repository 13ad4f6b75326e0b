"""Delay before the status reports that an experiment cannot be reconciled because of errors of the API server."""

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
"""Seconds of failed reconciliations of an experiment after which its status reports them."""
REFUSALS_UNTIL_REPORTED = 3
"""Number of consecutive rejections of the status of one generation after which the status reports them."""
QUIET_SECONDS = 300.0
"""Seconds since the last failure after which a new one is unrelated: the next try comes within about a minute, unless
another replica is leader."""
KEPT = 10_000


@dataclass
class _Trouble:
    """Failures of one experiment since its last success.

    Attributes:
        since, last: first and newest failure, by the clock.
        refusals: rejections of the status of this uid and generation.
        reported: reason of the last notice, and status and reason of the error that it names.
    """

    uid: str
    generation: int
    since: float
    last: float
    refusals: int = 0
    reported: tuple[Reason, int, str] | None = None


class Patience:
    """Failures by experiment; if there are too many, the ones with the newest failures are kept.

    Args:
        clock: monotonic clock, in seconds.
        kept: most experiments.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, kept: int = KEPT) -> None:
        self._clock, self._kept = clock, kept
        self._troubles: OrderedDict[Key, _Trouble] = OrderedDict()

    def __len__(self) -> int:
        return len(self._troubles)

    def succeeded(self, key: Key) -> None:
        """Forget the failures of an experiment, since it was reconciled or deleted."""
        self._troubles.pop(key, None)

    def failed(self, key: Key, entry: ExperimentEntry, error: ApiError, reasons: Collection[str] = ()) -> Notice | None:
        """Record a failure; return the notice to write to the status, None if it is too early or already there.

        Args:
            key: key of the experiment.
            entry: the experiment that could not be reconciled.
            error: the failure.
            reasons: reasons of its current conditions: an accepted status has removed an earlier notice.
        """
        if isinstance(error, Conflict):
            # the object has changed in the meantime, which the API server is not to blame for
            return None
        trouble = self._trouble(key, entry)
        if isinstance(error, StatusRefused):
            trouble.refusals += 1
        found = _notice(trouble, error)
        if found is None or (trouble.reported == _gist(found, error) and found.reason in reasons):
            return None
        return found

    def reported(self, key: Key, said: Notice, error: ApiError) -> None:
        """Record that the notice is in the status, so that it isn't written again for the same error."""
        trouble = self._troubles.get(key)
        if trouble is not None:
            trouble.reported = _gist(said, error)

    def _trouble(self, key: Key, entry: ExperimentEntry) -> _Trouble:
        now = self._clock()
        trouble = self._troubles.pop(key, None)
        if trouble is None or trouble.uid != entry.uid or now - trouble.last > QUIET_SECONDS:
            trouble = _Trouble(entry.uid, entry.generation, now, now)
        if trouble.generation != entry.generation:
            trouble.generation, trouble.refusals, trouble.reported = entry.generation, 0, None
        trouble.last = now
        self._troubles[key] = trouble
        while len(self._troubles) > self._kept:
            self._troubles.popitem(last=False)
        return trouble


def _notice(trouble: _Trouble, error: ApiError) -> Notice | None:
    if trouble.refusals >= REFUSALS_UNTIL_REPORTED:
        if not isinstance(error, StatusRefused):
            # the rejection of the status remains the problem to fix
            return None
        message = f"The API server rejects the new status, so the steps remain as last written: {error}"
        return notice(Reason.STATUS_REFUSED, message, stalled=True)
    if trouble.last - trouble.since < PATIENCE_SECONDS:
        return None
    message = f"Reconciling has failed for {PATIENCE_SECONDS:g} s and is retried; the last error: {error}"
    return notice(Reason.API_SERVER_ERROR, message, stalled=False)


def _gist(said: Notice, error: ApiError) -> tuple[Reason, int, str]:
    """Return the subject of a notice without its text, which differs between equal errors in names and times."""
    return said.reason, error.status, error.reason
