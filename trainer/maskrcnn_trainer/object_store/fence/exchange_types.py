"""Requests to a store, answers to them, decisions, which yield one request after the other, and their outcomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from maskrcnn_trainer.object_store.fence.records import (
    AttemptOrder,
    FenceRecord,
    ObjectVersion,
    OwnerIdentity,
    OwnerRecord,
    PublishedFile,
    PublishedSet,
)


@dataclass(frozen=True, slots=True)
class GetRecord:
    """Read of an owner, pointer, or manifest. Answers: FoundRecord, NOT_FOUND, UNANSWERED."""

    key: str


@dataclass(frozen=True, slots=True)
class CreateRecord:
    """Write that is refused if the object exists. Answers: WrittenRecord, a refusal.

    Attributes:
        key: of the object.
        body: content.
        after_jitter: whether to wait for a short random time before.
    """

    key: str
    body: FenceRecord | bytes
    after_jitter: bool = False


@dataclass(frozen=True, slots=True)
class UpdateRecord:
    """Write that is refused if the object isn't of this version. Answers: WrittenRecord, a refusal."""

    key: str
    body: FenceRecord | bytes
    version: ObjectVersion


@dataclass(frozen=True, slots=True)
class PutRecord:
    """Unconditional write of a manifest under a name never used before. Answers: WrittenRecord, UNANSWERED."""

    key: str
    body: PublishedSet


@dataclass(frozen=True, slots=True)
class PutFiles:
    """Unconditional writes of files under names never used before. Answer: UploadedKeys, of those that succeeded.

    Attributes:
        files: their ``path`` is that of the local file, their ``key`` that of the object.
    """

    files: tuple[PublishedFile, ...]


@dataclass(frozen=True, slots=True)
class ListKeys:
    """Listing of all keys below a prefix. Answers: ListedKeys, UNANSWERED."""

    prefix: str


@dataclass(frozen=True, slots=True)
class DeleteKeys:
    """Deletion of objects; one that doesn't exist is deleted. Answers: DELETED, FORBIDDEN, UNANSWERED (any of them)."""

    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FetchFiles:
    """Read of files whose bytes and SHA-256 are verified. Answers: FetchedKeys, UNANSWERED."""

    files: tuple[PublishedFile, ...]


FenceRequest = GetRecord | CreateRecord | UpdateRecord | PutRecord | PutFiles | ListKeys | DeleteKeys | FetchFiles


class FenceReply(Enum):
    """Answers without content."""

    PRECONDITION = auto()
    """Refused: the object is of another version."""
    ALREADY_EXISTS = auto()
    """Refused: the object exists (or S3's 409, which leaves that open)."""
    NOT_FOUND = auto()
    FORBIDDEN = auto()
    DELETED = auto()
    UNANSWERED = auto()
    """The request may have been carried out, may be later, or never."""


@dataclass(frozen=True, slots=True)
class FoundRecord:
    """Content that was read; ``modified`` is the store's time of its write in seconds since 1970."""

    content: FenceRecord
    version: ObjectVersion
    modified: float


@dataclass(frozen=True, slots=True)
class WrittenRecord:
    """Version of the content that was written."""

    version: ObjectVersion


@dataclass(frozen=True, slots=True)
class UploadedKeys:
    """Keys of the files that were written with certainty."""

    keys: frozenset[str]


@dataclass(frozen=True, slots=True)
class FetchedKeys:
    """Keys of the files that were read and verified; the others don't exist any more."""

    keys: frozenset[str]


@dataclass(frozen=True, slots=True)
class ListedKey:
    """Object of a listing; ``modified`` is the store's time of its write in seconds since 1970."""

    key: str
    modified: float


@dataclass(frozen=True, slots=True)
class ListedKeys:
    """Listing; incomplete if the library can't list a key below the prefix."""

    entries: tuple[ListedKey, ...]
    complete: bool = True


FenceAnswer = FenceReply | FoundRecord | WrittenRecord | UploadedKeys | FetchedKeys | ListedKeys


@dataclass(frozen=True, slots=True)
class FenceOutcome:
    """End of a decision."""


@dataclass(frozen=True, slots=True)
class SupersededOutcome(FenceOutcome):
    """An attempt of a higher order, or another process of this attempt, has the step (exit code 75).

    Attributes:
        by: order of that attempt.
        attempt: its number if it is of the same experiment, so that the next attempt can be one above it.
    """

    by: AttemptOrder
    attempt: int | None = None


@dataclass(frozen=True, slots=True)
class PointerGone(FenceOutcome):
    """Another user deleted the pointer by hand (exit code 75)."""

    key: str


@dataclass(frozen=True, slots=True)
class AnothersOwner(FenceOutcome):
    """The prefix is another's (exit code 64).

    Attributes:
        record: of the owner.
        take_over_from: value that would replace it.
        by: who has found it; None: it isn't known.
    """

    record: OwnerRecord
    take_over_from: str
    by: OwnerIdentity | None = None


@dataclass(frozen=True, slots=True)
class DamagedStore(FenceOutcome):
    """The store's content contradicts itself (exit code 64)."""

    key: str
    problem: str


class Decision(Protocol):
    """Frozen state between two requests."""

    @property
    def request(self) -> FenceRequest:
        """The next request."""

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        """Return the state after the request's answer."""


@dataclass
class DecisionRun:
    """Run of a decision, which can be interrupted and finished later.

    Attributes:
        state: of the decision, or its outcome.
    """

    state: Decision | FenceOutcome

    def finish(self, send: Callable[[FenceRequest], FenceAnswer]) -> FenceOutcome:
        """Return the outcome; requests are sent by ``send``.

        If ``send`` raises, its request counts as unanswered, and another call must finish the run before another
        decision about the same object starts: the fate of a write must be known.
        """
        while not isinstance(self.state, FenceOutcome):
            before = self.state
            self.state = before.after(FenceReply.UNANSWERED)
            self.state = before.after(send(before.request))
        return self.state


def run_decision(decision: Decision | FenceOutcome, send: Callable[[FenceRequest], FenceAnswer]) -> FenceOutcome:
    """Return the outcome of a decision whose requests are sent by ``send``."""
    return DecisionRun(decision).finish(send)
