"""Rule 7: a store is able if it refuses what it must refuse."""

from __future__ import annotations

from dataclasses import dataclass, replace

from maskrcnn_trainer.object_store.fence.exchange_types import (
    CreateRecord,
    Decision,
    DeleteKeys,
    FenceAnswer,
    FenceOutcome,
    FenceReply,
    FenceRequest,
    UpdateRecord,
    WrittenRecord,
)
from maskrcnn_trainer.object_store.fence.records import ObjectVersion

MOST_PROBES = 5
CONDITIONAL_WRITES = "conditional-writes"
"""Finding of a successful probe, which ``owner.json`` keeps."""
_MUST_BE_REFUSED = {1: "a create of an existing object", 3: "an update from a stale version"}
_REFUSALS = (FenceReply.PRECONDITION, FenceReply.ALREADY_EXISTS)


@dataclass(frozen=True, slots=True)
class ProbedStore(FenceOutcome):
    """The store is able; ``undeletable`` if the probe's object couldn't be deleted, which deserves one warning."""

    undeletable: bool = False


@dataclass(frozen=True, slots=True)
class UnableStore(FenceOutcome):
    """The store accepted a write that it must refuse (exit code 64)."""

    accepted: str


@dataclass(frozen=True, slots=True)
class ProbeInconclusive(FenceOutcome):
    """Writes stayed unanswered, or right ones were refused, each time (exit code 75)."""


def probe_store(prefix: str, token: str) -> Decision:
    """Return the decision of a probe, with objects of random names directly below a prefix, which ends with a slash."""
    return _Probe(prefix, token)


@dataclass(frozen=True, slots=True)
class _Probe:
    """State of a probe.

    Attributes:
        stage: 0 create; 1 create again; 2 update from the right version; 3 update from the stale one; 4 delete.
        attempt: number of tries so far; each has an object of its own, as a repeated request can be refused rightly.
    """

    prefix: str
    token: str
    attempt: int = 0
    stage: int = 0
    first: ObjectVersion | None = None

    @property
    def key(self) -> str:
        """Key of this try's object."""
        return f"{self.prefix}probe-{self.token}-{self.attempt}"

    @property
    def request(self) -> FenceRequest:
        body = f"{self.token}-{self.attempt}-{self.stage}".encode()
        if self.stage in (0, 1):
            return CreateRecord(self.key, body)
        if self.stage in (2, 3) and self.first is not None:
            return UpdateRecord(self.key, body, self.first)
        return DeleteKeys((self.key,))

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        if self.stage == 4:
            return ProbedStore(undeletable=answer is not FenceReply.DELETED)
        if isinstance(answer, WrittenRecord):
            return self._written(answer.version)
        if self.stage in _MUST_BE_REFUSED and answer in _REFUSALS:
            return replace(self, stage=self.stage + 1)
        if self.attempt + 1 == MOST_PROBES:
            return ProbeInconclusive()
        return _Probe(self.prefix, self.token, self.attempt + 1)

    def _written(self, version: ObjectVersion) -> Decision | FenceOutcome:
        if self.stage in _MUST_BE_REFUSED:
            return UnableStore(_MUST_BE_REFUSED[self.stage])
        return replace(self, stage=self.stage + 1, first=version if self.stage == 0 else self.first)
