"""Contents of the small objects by which attempts are fenced: owner, pointer of a step, and manifest."""

from __future__ import annotations

from dataclasses import dataclass

MOST_GARBAGE = 1000
"""Most keys that a pointer lists as garbage; the rest is found again by listing."""


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """Version of an object as the library states it; a conditional update passes both parts that aren't None."""

    e_tag: str | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True)
class OwnerIdentity:
    """Cluster or machine that owns an experiment's prefix.

    Attributes:
        owner_id: chart value, uid of the namespace, or random id of a local run.
        namespace: of the experiment; empty for a local run.
        name: of the experiment.
    """

    owner_id: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class OwnerRecord:
    """Content of ``owner.json``.

    Attributes:
        write_id: fresh for each write, so that two contents are never equal.
        owner: None if the experiment was deleted.
        epoch: rises by one with each write.
        store: what the probe of the store found; empty if it didn't run.
    """

    write_id: str
    owner: OwnerIdentity | None
    epoch: int
    store: str = ""


@dataclass(frozen=True, slots=True, order=True)
class AttemptOrder:
    """Rank of an attempt, compared as a tuple.

    Attributes:
        owner_epoch: of ``owner.json``.
        created: creationTimestamp of the experiment, ``2026-01-31T12:00:00Z``; empty for a deletion.
        uid: of the experiment; empty for a deletion.
        attempt: number of the attempt.
    """

    owner_epoch: int
    created: str
    uid: str
    attempt: int


@dataclass(frozen=True, slots=True)
class FingerprintSlot:
    """Newest published set of one fingerprint: key of its manifest."""

    fingerprint: str
    manifest: str


@dataclass(frozen=True, slots=True)
class StepPointer:
    """Content of a step's ``run.json``. An object that it doesn't name, directly or by a manifest, doesn't exist.

    Attributes:
        write_id: fresh for each write.
        seq: rises by one with each write.
        epoch: rises with each claim; part of the keys that the claimant writes.
        order: of the attempt that wrote it.
        token: random, one for each start of a process.
        current: fingerprint that was published or claimed as complete last.
        previous: the one before.
        garbage: keys that will be deleted and are never named again.
    """

    write_id: str
    seq: int
    epoch: int
    order: AttemptOrder
    token: str
    current: FingerprintSlot | None = None
    previous: FingerprintSlot | None = None
    garbage: tuple[str, ...] = ()

    @property
    def slots(self) -> tuple[FingerprintSlot, ...]:
        """The slots that are set, the current one first."""
        return tuple(slot for slot in (self.current, self.previous) if slot is not None)

    def slot_of(self, fingerprint: str) -> FingerprintSlot | None:
        """Return the slot of a fingerprint, or None."""
        return next((slot for slot in self.slots if slot.fingerprint == fingerprint), None)


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """File of a manifest.

    Attributes:
        path: relative to the step's directory.
        key: relative to the URL of all experiments.
        size: in bytes.
        sha256: of its content, in hexadecimal digits.
    """

    path: str
    key: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class PublishedSet:
    """Content of a manifest.

    Attributes:
        fingerprint: of the step whose results these are.
        files: with distinct paths.
        checkpoints: paths of files, or of directories with files, the newest last.
        best: the best of the checkpoints.
        result: path of the file that exists only when the step is complete.
    """

    fingerprint: str
    files: tuple[PublishedFile, ...]
    checkpoints: tuple[str, ...] = ()
    best: str | None = None
    result: str | None = None


@dataclass(frozen=True, slots=True)
class ClaimName:
    """Name of a claim, which node 0 of a worker group gives to the others: epoch and token of the pointer."""

    epoch: int
    token: str


@dataclass(frozen=True, slots=True)
class NodeLog:
    """Log that another node than node 0 has uploaded.

    Attributes:
        key: relative to the URL of all experiments.
        size: in bytes.
        sha256: of its content, in hexadecimal digits.
        is_last: whether the node's processes had ended before.
    """

    key: str
    size: int
    sha256: str
    is_last: bool = False


FenceRecord = OwnerRecord | StepPointer | PublishedSet
