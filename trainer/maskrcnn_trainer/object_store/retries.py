"""Decisions about a failed request: whether and when it is sent again, and with which error it is given up."""

from __future__ import annotations

from dataclasses import dataclass

from maskrcnn_trainer.errors import InvalidInput, TaskError, TryAgain
from maskrcnn_trainer.object_store.credential_failures import is_source_unavailable
from maskrcnn_trainer.object_store.explanations import (
    PERMISSION_DENIED,
    UNSUPPORTED,
    Meaning,
    Operation,
    Reached,
    is_throttled,
    meaning_of,
    reason_of_refusal,
    sentence,
)
from maskrcnn_trainer.object_store.failures import METADATA, UNUSABLE, Failure, FailureKind


@dataclass(frozen=True)
class Episode:
    """Failures of one request in a row, without a byte received in between.

    Attributes:
        began: time of the first failure, in seconds.
        count: number of failures, at least 1.
        refused_since: time from which on each failure was a refusal; None: the newest failure wasn't one.
    """

    began: float
    count: int = 1
    refused_since: float | None = None

    @classmethod
    def of(cls, earlier: Episode | None, now: float, *, refused: bool) -> Episode:
        """Return the episode with one more failure.

        Args:
            earlier: the episode before the failure; None: there was none.
            now: time of the failure, in seconds.
            refused: whether the failure is a refusal.
        """
        since = (
            (now if earlier is None or earlier.refused_since is None else earlier.refused_since) if refused else None
        )
        return cls(earlier.began if earlier else now, earlier.count + 1 if earlier else 1, since)


@dataclass(frozen=True)
class RetryPolicy:
    """Times of back-off and limits, in seconds.

    Attributes:
        first_wait: wait after the first failure, before jitter; doubled with each further one.
        throttled_wait: the same after an answer that limits the rate.
        longest_wait: upper limit of a wait.
        limit: time after which a failing request is given up.
        limit_of_new_permission: the same for a refusal (403), or a missing identity, before the store has answered any
            request, and for each refusal that answers to others don't disprove: a new permission or service account
            takes some seconds to be known everywhere. With the start and the end of a pod it leaves a condition on the
            experiment within a minute.
    """

    first_wait: float = 0.2
    throttled_wait: float = 1.0
    longest_wait: float = 20.0
    limit: float = 300.0
    limit_of_new_permission: float = 45.0

    def wait(
        self,
        failure: Failure,
        operation: Operation,
        scheme: str,
        *,
        episode: Episode,
        now: float,
        answered: bool,
        in_pod: bool,
        jitter: float,
    ) -> float | None:
        """Return the seconds until a request is sent again; None: it is given up.

        Args:
            failure: its newest failure.
            operation: what it does.
            scheme: of the store.
            episode: its failures in a row, this one included.
            now: time, in seconds.
            answered: whether the store has answered any request of this attempt.
            in_pod: whether this process runs in a pod, which may start before its service account has its identity.
            jitter: random number in [0, 1].
        """
        meaning = meaning_of(failure, operation, scheme)
        disproved = answered and not is_of_one_kind(failure, operation, scheme)
        limit = self._limit(failure, meaning, answered=answered, disproved=disproved, in_pod=in_pod)
        refused_since = episode.refused_since
        # a refusal that follows other failures has its whole time, too
        began = episode.began if disproved or refused_since is None else refused_since
        left = began + limit - now
        if left <= 0:
            return None
        first = self.throttled_wait if is_throttled(failure) else self.first_wait
        longest = min(self.longest_wait, first * 2.0 ** min(episode.count - 1, 30))
        return min(longest * (0.5 + jitter / 2), left)

    def _limit(self, failure: Failure, meaning: Meaning, *, answered: bool, disproved: bool, in_pod: bool) -> float:
        lacks_an_identity = _lacks_an_identity(failure, in_pod=in_pod)
        if (meaning is Meaning.PASSING and answered) or (meaning is Meaning.REFUSED and disproved):
            return self.limit
        if meaning is Meaning.PASSING and not lacks_an_identity:
            return self.limit
        if meaning is not Meaning.REFUSED or lacks_an_identity:
            return 0.0
        new = answered or failure.status == 403 or failure.kind is FailureKind.CREDENTIALS
        return self.limit_of_new_permission if new else 0.0


def is_of_one_kind(failure: Failure, operation: Operation, scheme: str) -> bool:
    """Return whether a refusal is about requests of its kind, so that answers to others don't disprove it.

    A permission to write can be limited to some keys, and a store can lack conditional writes or uploads in parts.
    """
    if meaning_of(failure, operation, scheme) is not Meaning.REFUSED or failure.kind is not FailureKind.ANSWER:
        return False
    denied = reason_of_refusal(failure, operation, scheme) == PERMISSION_DENIED
    return failure.status == UNSUPPORTED or (operation is Operation.WRITE and denied)


def _lacks_an_identity(failure: Failure, *, in_pod: bool) -> bool:
    """Return whether no identity will appear: nothing names one, and this machine has none, or the one named is bad."""
    if failure.kind is not FailureKind.CREDENTIALS:
        return False
    if failure.detail == UNUSABLE:
        return True
    busy = failure.status != 0 and is_source_unavailable(failure)
    return failure.detail == METADATA and not in_pod and not busy


class ObjectAbsent(InvalidInput):
    """Read of an object that doesn't exist (64)."""

    default_reason = "InvalidData"


class ObjectChanged(TryAgain):
    """Read of an object that isn't the one that was listed (75)."""

    default_reason = "InputChanged"


class KeyUnlistable(InvalidInput):
    """Listing with a key that the library can't represent (64)."""

    default_reason = "InvalidData"


def error_of(failure: Failure, operation: Operation, url: str, reached: Reached, *, answered: bool) -> TaskError:
    """Return the error with which a failed request is given up.

    Args:
        failure: its newest failure.
        operation: what it does.
        url: of the object or the prefix, without a query.
        reached: how the store is reached.
        answered: whether the store has answered any request of this attempt; a store that has did know the identity,
            so a refusal may pass (75) unless it is about one kind of request, and is the user's mistake before that
            (64).
    """
    text = sentence(failure, operation, url, reached)
    meaning = meaning_of(failure, operation, reached.scheme)
    if meaning is Meaning.ABSENT:
        return ObjectAbsent(text)
    if meaning is Meaning.CHANGED:
        return ObjectChanged(text)
    if failure.kind is FailureKind.UNLISTABLE:
        return KeyUnlistable(text)
    refused = meaning is Meaning.REFUSED or _lacks_an_identity(failure, in_pod=reached.in_pod)
    disproved = answered and not is_of_one_kind(failure, operation, reached.scheme)
    if meaning is Meaning.LASTING or (refused and not disproved):
        reason = reason_of_refusal(failure, operation, reached.scheme) if refused else "InvalidData"
        return InvalidInput(text, reason=reason)
    return TryAgain(text, reason="StoreUnavailable")
