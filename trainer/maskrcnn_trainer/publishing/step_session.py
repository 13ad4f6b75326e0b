"""Session of one start of an attempt with the store of its results: claim, restore, publish, and clean."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from maskrcnn_trainer.errors import Superseded, TaskError
from maskrcnn_trainer.object_store.fence.claiming import AlreadyDone
from maskrcnn_trainer.object_store.fence.cleaning import CleanedStep, clean_step
from maskrcnn_trainer.object_store.fence.exchange_types import (
    Decision,
    DecisionRun,
    FenceAnswer,
    FenceOutcome,
    FenceRequest,
    PointerGone,
    PutFiles,
    PutRecord,
    SupersededOutcome,
    UploadedKeys,
    run_decision,
)
from maskrcnn_trainer.object_store.fence.explaining import RESULTS_DELETED, SUPERSEDED, fence_error
from maskrcnn_trainer.object_store.fence.holding import HeldOutcome, StepHolder, publish
from maskrcnn_trainer.object_store.fence.keys import StepKeys
from maskrcnn_trainer.object_store.fence.records import ClaimName, PublishedFile, PublishedSet
from maskrcnn_trainer.object_store.fence.result_reading import NotPublished, ReadResults, ReadTerms, read_results
from maskrcnn_trainer.object_store.fence.uploading import UploadedSet, UploadNames, upload_set
from maskrcnn_trainer.publishing.restoring import make_folders, plan_restore, remove_others, stamps_of
from maskrcnn_trainer.publishing.set_building import BuiltSet, build_set, refuse_too_large
from maskrcnn_trainer.publishing.snapshot import KnownFile, ResultsSnapshot
from maskrcnn_trainer.publishing.step_claiming import StepIdentity, claim_for
from maskrcnn_trainer.results.run_file import RunRecord, StoreClaim
from maskrcnn_trainer.shared.messages import RUN_FILE
from maskrcnn_trainer.shared.owner_state import OwnerState
from maskrcnn_trainer.task.files import make_directory, write_json_atomically

log = logging.getLogger(__name__)

MOST_IN_PART = 256
LARGEST_PART = 256 * 1024 * 1024
"""Most files, and most bytes of several files, that are uploaded again after a failure."""

KnownFiles = Mapping[str, KnownFile]


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
class Claim:
    """Outcome of a claim.

    Attributes:
        published: newest published set of the fingerprint; None: there is none.
        is_done: whether the set is the step's result, so that there is nothing to run.
    """

    published: PublishedSet | None
    is_done: bool


@dataclass(frozen=True)
class _UnderWay:
    """Change of the pointer whose fate isn't known yet, and what follows once it is in effect."""

    run: DecisionRun
    then: Callable[[HeldOutcome], None]


class StepSession:
    """Session of one start with the store; serial: its methods are called by one thread at a time.

    Args:
        store: of all experiments.
        identity: of the attempt.
        token: random, of this start: digits and lower-case letters.

    If a method other than :meth:`claim` raises TryAgain, Stopped, or OSError, its request may still be under way; the
    next call finishes it first. A session that was superseded raises the same error from then on.

    Attributes:
        ended: the error because of which nothing can be published any more; None: there is none.
    """

    def __init__(self, store: SessionStore, identity: StepIdentity, *, token: str) -> None:
        self._store = store
        self._identity = identity
        self._token = token
        self.ended: TaskError | None = None
        self._claimed = False
        self._holder: StepHolder | None = None
        self._under_way: _UnderWay | None = None
        self._number = 0
        self._known: KnownFiles = MappingProxyType({})
        self._uploaded: dict[str, KnownFile] = {}
        self._warned: set[str] = set()

    @property
    def identity(self) -> StepIdentity:
        """The attempt."""
        return self._identity

    @property
    def claim_name(self) -> ClaimName:
        """The claim under which the other nodes of a worker group upload their logs.

        Raises:
            RuntimeError: the step isn't held.
        """
        pointer = self._held().pointer
        return ClaimName(pointer.epoch, pointer.token)

    @property
    def store_claim(self) -> StoreClaim:
        """The claim by which this session holds the step.

        Raises:
            RuntimeError: it holds none.
        """
        pointer = self._held().pointer
        return StoreClaim(pointer.order.owner_epoch, pointer.epoch)

    @property
    def known(self) -> KnownFiles:
        """The files of the newest published set whose local copies are known, by path; for any thread."""
        return self._known

    def claim(self) -> Claim:
        """Take the step for this start. If it fails, only another session, with another token, may try again.

        Raises:
            InvalidInput: the prefix is another owner's, the store can't refuse writes, or its content is damaged (64).
            Superseded: a later attempt, or another experiment, has the step (75).
            TryAgain: the store has failed for too long (75).
            RuntimeError: it is called again.
        """
        if self._claimed:
            raise RuntimeError("a session claims its step once: the ids of its writes would be repeated")
        self._claimed = True
        outcome = claim_for(self._identity, self._token, self._run)
        if isinstance(outcome, AlreadyDone):
            return Claim(outcome.published, is_done=True)
        self._holder = outcome.holder
        return Claim(outcome.holder.set_of(self._identity.fingerprint), is_done=False)

    def restore(
        self,
        published: PublishedSet | None,
        into: Path,
        paths: frozenset[str] | None = None,
        *,
        left_out: frozenset[str] = frozenset(),
        before_load: Callable[[int], None] | None = None,
        on_progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> None:
        """Make a working directory equal to a published set, and mark it as that of this attempt by ``run.json``.

        It can be interrupted and called again: files that are equal already aren't loaded again.

        Args:
            published: set of the fingerprint, from :meth:`claim`; None: none of the step's files is kept.
            into: the working directory of the step; created if missing.
            paths: the only files that are loaded; nothing else in the directory changes then. None: all.
            left_out: files that the directory shall not have.
            before_load: called with the bytes of all files to load, before the first one is loaded; if it raises, none
                is.
            on_progress: called with the bytes loaded so far, and those of all files to load.

        Raises:
            InvalidInput: the set names a file that no task writes, or a file that no task wrote is in the way (64).
            Superseded: a later attempt has taken the step (75).
            TryAgain: the store has failed for too long (75).
            WorkspaceFull: there is no space left (70).
            OSError: a file can't be removed, or a directory can't be created.
        """
        self._settle()
        plan = plan_restore(published, into, paths, left_out=left_out)
        make_directory(into)
        if paths is None:
            # first, so that a restoring that is interrupted can be repeated, and earlier processes stop to write
            run = RunRecord(
                self._identity.uid,
                self._identity.attempt,
                self._identity.fingerprint,
                self._token,
                created=self._identity.created,
            )
            write_json_atomically(into / RUN_FILE, run.to_json())
            remove_others(plan, into)
        make_folders(plan.loaded, into)
        if published is not None and plan.loaded:
            if before_load is not None:
                before_load(sum(file.size for file in plan.loaded))
            self._load(published, plan.groups, into, on_progress)
        if paths is None:
            self._known = MappingProxyType({**plan.kept, **stamps_of(plan.loaded, into)})

    def publish(self, snapshot: ResultsSnapshot, others: Sequence[PublishedFile] = ()) -> PublishedSet:
        """Upload what is new in a snapshot, and name it as the newest set of the fingerprint.

        Args:
            snapshot: the files.
            others: files that other nodes have uploaded under this claim; each replaces a file of its path.

        Raises:
            Superseded: a later attempt has taken the step (75).
            TryAgain: the store has failed for too long, or the pointer was deleted (75).
            InvalidInput: the store refuses, or its content is damaged (64).
            UnpublishableResults: the snapshot has too many files (64).
            OSError: a file of the snapshot can't be read; take another one.
        """
        self._settle()
        holder = self._held()
        before = holder.set_of(self._identity.fingerprint)
        built = build_set(
            snapshot,
            self._identity.fingerprint,
            before=before,
            known=(self._files_of(before), self._uploaded),
            others=others,
        )
        if built.published == before:
            self._known = _known_files(before, built)
            return before
        refuse_too_large(built.published, holder.keys, self._token)
        uploaded = self._upload(holder, built, snapshot.directory)

        def then(outcome: HeldOutcome) -> None:
            self._holder = outcome.holder
            self._known = _known_files(uploaded.published, built)
            self._uploaded.clear()

        self._under_way = _UnderWay(DecisionRun(publish(holder, uploaded.slot, uploaded.published)), then)
        self._settle()
        return uploaded.published

    def clean(self) -> None:
        """Delete objects of the step that nothing names; what can't be deleted is logged once.

        Raises:
            Superseded, TryAgain, InvalidInput: see :meth:`publish`.
        """
        self._settle()

        def then(outcome: HeldOutcome) -> None:
            self._holder = outcome.holder
            if isinstance(outcome, CleanedStep) and outcome.incomplete:
                self._warn_once("has keys that can't be listed, so no unused object is deleted; remove them by hand")
            if isinstance(outcome, CleanedStep) and outcome.forbidden:
                self._warn_once("can't be cleaned: this identity may not delete objects, so unused ones remain")

        in_flight = frozenset(file.published.key for file in self._uploaded.values())
        self._under_way = _UnderWay(DecisionRun(clean_step(self._held(), in_flight)), then)
        self._settle()

    def _settle(self) -> None:
        """Finish the change that is under way, whose fate must be known before another one starts."""
        if self.ended is not None:
            raise self.ended
        under_way = self._under_way
        if under_way is None:
            return
        outcome = under_way.run.finish(self._store.sender())
        self._under_way = None
        self._refuse(outcome)
        assert isinstance(outcome, HeldOutcome)  # noqa: S101 - all others are errors
        under_way.then(outcome)

    def _run(self, decision: Decision) -> FenceOutcome:
        """Return the outcome of a decision that can be given up at any time."""
        outcome = run_decision(decision, self._store.sender())
        self._refuse(outcome)
        return outcome

    def _refuse(self, outcome: FenceOutcome) -> None:
        """Raise the error of an outcome that is a failure."""
        error = fence_error(
            outcome,
            self._store.url,
            keys=self._identity.keys,
            own=self._own(outcome),
            created=self._identity.created,
        )
        if error is None:
            return
        if error.reason in (SUPERSEDED, RESULTS_DELETED):
            later = outcome.attempt if isinstance(outcome, SupersededOutcome) else None
            error = Superseded(str(error), attempt=later, reason=error.reason)
        if isinstance(error, Superseded) or isinstance(outcome, PointerGone):
            self.ended = error
        raise error

    def _own(self, outcome: FenceOutcome) -> OwnerState | None:
        """Return the owner of this attempt and its epoch; None if the epoch isn't known."""
        owner_id = self._identity.owner.owner_id
        if self._holder is not None:
            return OwnerState(owner_id, self._holder.pointer.order.owner_epoch)
        # a claim that fails has found this owner just before
        return OwnerState(owner_id, outcome.by.owner_epoch) if isinstance(outcome, SupersededOutcome) else None

    def _held(self) -> StepHolder:
        if self._holder is None:
            raise RuntimeError("the session holds no step: claim it first; a finished step has nothing to publish")
        return self._holder

    def _upload(self, holder: StepHolder, built: BuiltSet, sources: Path) -> UploadedSet:
        """Upload files and their manifest; what was uploaded before a failure isn't uploaded again."""
        send = self._store.sender(sources=sources)

        def send_and_note(request: FenceRequest) -> FenceAnswer:
            self._note_names(holder.keys, request)
            if not isinstance(request, PutFiles):
                return send(request)
            uploaded: set[str] = set()
            for part in _parts(request.files):
                answer = send(PutFiles(part))
                keys = answer.keys if isinstance(answer, UploadedKeys) else frozenset()
                uploaded |= keys
                for file in part:
                    if file.key in keys:
                        self._uploaded[file.path] = KnownFile(built.stamps[file.path], file)
            return UploadedKeys(frozenset(uploaded))

        names = UploadNames(holder.keys, holder.pointer.epoch, self._token, self._number)
        outcome = run_decision(upload_set(names, built.published, built.changed), send_and_note)
        assert isinstance(outcome, UploadedSet)  # noqa: S101 - it has no other outcome
        return outcome

    def _note_names(self, keys: StepKeys, request: FenceRequest) -> None:
        """Note that names are used, also if their upload is given up: each name is used once."""
        used = [file.key for file in request.files] if isinstance(request, PutFiles) else []
        used += [request.key] if isinstance(request, PutRecord) else []
        numbers = [parts.number for key in used if (parts := keys.parse(key)) is not None]
        self._number = max([self._number, *(number + 1 for number in numbers)])

    def _files_of(self, before: PublishedSet | None) -> KnownFiles:
        """Return the known files that a set names; no other may be named again."""
        named = {(file.path, file.key) for file in before.files} if before else set()
        return {path: file for path, file in self._known.items() if (path, file.published.key) in named}

    def _load(
        self,
        published: PublishedSet,
        groups: Iterable[tuple[PublishedFile, ...]],
        into: Path,
        on_progress: Callable[[int, int], None],
    ) -> None:
        total = sum(file.size for group in groups for file in group)
        loaded = 0

        def on_bytes(count: int) -> None:
            nonlocal loaded
            loaded = min(total, loaded + count)
            on_progress(loaded, total)

        log.info("%s: loading %.1f MB of published results", into, total / 1e6)
        send = self._store.sender(into=into, on_bytes=on_bytes)
        for group in groups:
            terms = ReadTerms(self._identity.keys, published.fingerprint, frozenset(file.path for file in group))
            outcome = run_decision(read_results(terms), send)
            if not isinstance(outcome, NotPublished):
                self._refuse(outcome)
            if not isinstance(outcome, ReadResults) or outcome.published != published:
                self.ended = Superseded(f"The results below {self._store.url} were taken over while they were loaded")
                raise self.ended

    def _warn_once(self, problem: str) -> None:
        if problem not in self._warned:
            self._warned.add(problem)
            log.warning("%s/%s %s", self._store.url, self._identity.keys.prefix, problem)


def _parts(files: Sequence[PublishedFile]) -> Iterator[tuple[PublishedFile, ...]]:
    """Yield files in parts, so that after a failure only one part is uploaded again."""
    part: list[PublishedFile] = []
    for file in files:
        if part and (len(part) == MOST_IN_PART or sum(one.size for one in part) + file.size > LARGEST_PART):
            yield tuple(part)
            part = []
        part.append(file)
    if part:
        yield tuple(part)


def _known_files(published: PublishedSet, built: BuiltSet) -> KnownFiles:
    files = (file for file in published.files if file.path in built.stamps)
    return MappingProxyType({file.path: KnownFile(built.stamps[file.path], file) for file in files})
