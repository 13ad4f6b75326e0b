"""Session of one start of an attempt with the store of its results: claim, restore, publish, and clean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from maskrcnn_trainer.object_store.fence.exchange_types import FenceAnswer, FenceRequest
from maskrcnn_trainer.object_store.fence.records import OwnerIdentity, PublishedFile, PublishedSet
from maskrcnn_trainer.publishing.snapshot import FileStamp, Snapshot


class SessionStore(Protocol):
    """Store of all experiments, as :class:`maskrcnn_trainer.object_store.fence_store.FenceStore` is one."""

    @property
    def url(self) -> str:
        """URL of all experiments, for messages."""

    def sender(
        self, *, sources: Path | None = ..., into: Path | None = ..., on_bytes: Callable[[int], None] = ...
    ) -> Callable[[FenceRequest], FenceAnswer]:
        """Return the function that carries out requests."""


@dataclass(frozen=True, slots=True)
class StepIdentity:
    """Attempt at a step.

    Attributes:
        experiment: name of the experiment.
        step: name of the step.
        owner: cluster or machine that runs the experiment.
        created: time at which the experiment was created, ``2026-01-31T12:00:00Z``.
        uid: of the experiment.
        attempt: number of the attempt.
        fingerprint: oldest fingerprint of the step.
        take_over_from: the only state of another owner that is replaced, ``<id>/<ownerEpoch>``.
    """

    experiment: str
    step: str
    owner: OwnerIdentity
    created: str
    uid: str
    attempt: int
    fingerprint: str
    take_over_from: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """Outcome of a claim.

    Attributes:
        published: newest published set of the fingerprint; None: there is none.
        is_done: whether the set is the step's result, so that there is nothing to run.
    """

    published: PublishedSet | None
    is_done: bool


class StepSession:
    """Session of one start with the store; serial: its methods are called by one thread at a time.

    Args:
        store: of all experiments.
        identity: of the attempt.
        token: random, of this start: digits and lower-case letters.

    If a method raises TryAgain, Stopped, or OSError, its request may still be under way; the next call finishes it
    first. A session that was superseded raises the same error from then on.
    """

    def __init__(self, store: SessionStore, identity: StepIdentity, *, token: str) -> None:
        self._store = store
        self._identity = identity
        self._token = token

    @property
    def known(self) -> Mapping[str, tuple[FileStamp, PublishedFile]]:
        """Return the files of the newest published set whose local copies are known, by path; safe in any thread."""
        raise NotImplementedError

    def claim(self) -> Claim:
        """Take the step for this start; called once.

        Raises:
            InvalidInput: the prefix is another owner's, the store can't refuse writes, or its content is damaged (64).
            Superseded: a later attempt, or another experiment, has the step (75).
            TryAgain: the store has failed for too long (75).
        """
        raise NotImplementedError

    def restore(
        self,
        published: PublishedSet | None,
        into: Path,
        paths: frozenset[str] | None = None,
        *,
        on_progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> None:
        """Make a working directory equal to a published set, and mark it as that of this attempt by ``run.json``.

        Args:
            published: set of the fingerprint, from :meth:`claim`; None: none of the step's files is kept.
            into: the working directory of the step; created if missing.
            paths: the only files that are loaded; nothing else in the directory changes then. None: all.
            on_progress: called with the bytes loaded so far, and those of all files to load.

        Raises:
            InvalidInput: the set names a file that no task writes, or a file that no task wrote is in the way (64).
            Superseded: a later attempt has taken the step (75).
            TryAgain: the store has failed for too long (75).
            WorkspaceFull: there is no space left (70).
        """
        raise NotImplementedError

    def publish(self, snapshot: Snapshot) -> PublishedSet:
        """Upload what is new in a snapshot, and name it as the newest set of the fingerprint.

        Raises:
            Superseded: a later attempt has taken the step (75).
            TryAgain: the store has failed for too long, or the pointer was deleted (75).
            InvalidInput: the store refuses, or its content is damaged (64).
            OSError: a file of the snapshot can't be read; take another one.
        """
        raise NotImplementedError

    def clean(self) -> None:
        """Delete objects of the step that nothing names; what can't be deleted is logged once.

        Raises:
            Superseded, TryAgain, InvalidInput: see :meth:`publish`.
        """
        raise NotImplementedError
