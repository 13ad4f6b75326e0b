"""Launch on another node than node 0 of a worker group whose results are in object storage.

Node 0 claims the step, restores it, and publishes. The processes of the other nodes get the state of the training from
rank 0, so these nodes load no checkpoint, and only upload their logs. Until all nodes have joined the rendezvous, they
look whether the step is done, taken by a later attempt, or never claimed, for then node 0 starts no rendezvous.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from maskrcnn_trainer.errors import EXIT_OK, Superseded, TaskError, TryAgain
from maskrcnn_trainer.launch.group_member import GroupMember
from maskrcnn_trainer.launch.log_collecting import SECONDS_FOR_LAST_LOGS
from maskrcnn_trainer.launch.log_upload import NodeLogUploads
from maskrcnn_trainer.launch.logs import KeptLog, kept_with_own_lines
from maskrcnn_trainer.launch.rendezvous import RendezvousBoard
from maskrcnn_trainer.object_store.fence.exchange_types import FenceOutcome, SupersededOutcome, run_decision
from maskrcnn_trainer.object_store.fence.explaining import RESULTS_DELETED, SUPERSEDED, fence_error
from maskrcnn_trainer.object_store.fence.following import (
    FollowedStepDone,
    FollowedStepOpen,
    FollowTerms,
    UnclaimedStep,
    follow_step,
)
from maskrcnn_trainer.object_store.fence.records import AttemptOrder
from maskrcnn_trainer.publishing.step_session import SessionStore

log = logging.getLogger(__name__)

SECONDS_BETWEEN_DONE_CHECKS = 10.0
"""Shortest time between two reads of the pointer."""
SECONDS_FOR_CLAIM = 21_600.0
"""Longest time in which node 0 claims the step, from the first look of a node that finds it unclaimed: six hours.

Node 0 may have ended with 0 before this node came, and its results may be deleted since: the store looks then as if
node 0 were still to come, and the Job would wait for this node forever. The pod of node 0 can wait for a machine for
hours, though, and an attempt that ends meanwhile counts as a restart.
"""
SECONDS_BETWEEN_CLAIM_LINES = 60.0
"""Time between two lines of the log about a step that isn't claimed."""
SECONDS_BETWEEN_LOGS = 300.0
"""Time between two uploads of the log."""
_SECONDS_TO_END = 5.0
"""Time in which a request under way ends once it is interrupted."""


class _StepDone(Exception):
    """The result of the step is published."""


class FollowingNode(GroupMember):
    """Another node than node 0. One thread of its own uses the store: for looks, and later for uploads of the log.

    Args:
        store: of all experiments.
        terms: of the looks.
        uploads: of the log.
        interrupted: set once requests under way must end; the store's ``stop`` returns its ``is_set()``.
        on_joined: called once all nodes have joined.
        between_looks: see ``SECONDS_BETWEEN_DONE_CHECKS``.
        between_logs: see ``SECONDS_BETWEEN_LOGS``.
        for_claim: see ``SECONDS_FOR_CLAIM``.
    """

    def __init__(
        self,
        store: SessionStore,
        terms: FollowTerms,
        uploads: NodeLogUploads,
        *,
        interrupted: threading.Event,
        on_joined: Callable[[], None] = lambda: None,
        between_looks: float = SECONDS_BETWEEN_DONE_CHECKS,
        between_logs: float = SECONDS_BETWEEN_LOGS,
        for_claim: float = SECONDS_FOR_CLAIM,
    ) -> None:
        self._store = store
        self._terms = terms
        self._uploads = uploads
        self._interrupted = interrupted
        self._on_joined = on_joined
        self._between_looks = between_looks
        self._between_logs = between_logs
        self._claimed: AttemptOrder | None = None
        self._unclaimed = _UnclaimedTime(terms.keys.prefix.rstrip("/"), for_claim)
        self._found: Exception | None = None
        self._kept: KeptLog | None = None
        self._board: RendezvousBoard | None = None
        self._looked_enough = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="following", daemon=True)

    def run(self, log_path: Path, run: Callable[[KeptLog, GroupMember], int]) -> int:
        """Run the processes of this node unless the step is done, and return the exit code.

        Args:
            log_path: file of the log.
            run: runs the processes.

        Raises:
            InvalidInput: the store refuses, or its content is damaged (64).
            Superseded: a later attempt has the step, or its results were deleted after node 0 had claimed it (75).
            TryAgain: the store has failed for too long before the processes were started, the pointer was deleted by
                hand, or node 0 hasn't claimed the step in time (75).
            Stopped: a signal arrived meanwhile (143).
        """
        try:
            self._take(self._look())
            with kept_with_own_lines(KeptLog(log_path, lambda: True)) as kept, self._working(kept):
                return run(kept, self)
        except _StepDone:
            log.info("%s: the results of this fingerprint are published; nothing to do", self._terms.keys.prefix)
            return EXIT_OK

    def while_waiting(self) -> None:
        """Raise what a look has found, if that ends the wait for the other nodes."""
        if self._found is not None:
            raise self._found

    def joined(self, board: RendezvousBoard) -> AbstractContextManager[None]:
        """Return a block during which the log is uploaded from time to time, and at its end."""
        return self._uploading(board)

    @contextmanager
    def _working(self, kept: KeptLog) -> Iterator[None]:
        self._kept = kept
        self._thread.start()
        try:
            yield
        finally:
            if self._board is None:
                self._interrupted.set()
                self._end()

    @contextmanager
    def _uploading(self, board: RendezvousBoard) -> Iterator[None]:
        self._on_joined()
        self._board = board
        self._looked_enough.set()
        try:
            yield
        finally:
            self._end()

    def _end(self) -> None:
        """End the thread, once it has uploaded the log for the last time, or the time for that has passed."""
        self._ended.set()
        self._looked_enough.set()
        self._thread.join(SECONDS_FOR_LAST_LOGS)
        self._interrupted.set()
        self._thread.join(_SECONDS_TO_END)

    def _work(self) -> None:
        while not self._looked_enough.wait(self._between_looks):
            try:
                outcome = self._look()
            except TryAgain as error:
                log.info("%s", error)
                continue
            except Exception as error:  # noqa: BLE001 - raised where this node waits
                self._found = error
                return
            try:
                self._take(outcome)
            except (_StepDone, TaskError) as error:
                self._found = error
                return
        kept, board = self._kept, self._board
        if kept is None or board is None:
            return
        while not self._ended.wait(self._between_logs):
            self._uploads.upload(kept, board)
        self._uploads.upload(kept, board, is_last=True)

    def _look(self) -> FenceOutcome:
        """Read the pointer, and what it names, and return the outcome.

        Raises:
            InvalidInput, TryAgain, Stopped: see :meth:`run`.
        """
        return run_decision(follow_step(self._terms, self._claimed), self._store.sender())

    def _take(self, outcome: FenceOutcome) -> None:
        """Take the outcome of a look.

        Raises:
            _StepDone: the result of the step is published.
            InvalidInput, Superseded, TryAgain: see :meth:`run`.
        """
        if isinstance(outcome, FollowedStepDone):
            raise _StepDone
        if isinstance(outcome, UnclaimedStep):
            self._unclaimed.passes(outcome)
            return
        if isinstance(outcome, FollowedStepOpen):
            self._claimed = outcome.claimed
            self._unclaimed.ends()
            return
        error = fence_error(outcome, self._store.url, keys=self._terms.keys)
        assert error is not None  # noqa: S101 - all other outcomes are failures
        if error.reason in (SUPERSEDED, RESULTS_DELETED):
            later = outcome.attempt if isinstance(outcome, SupersededOutcome) else None
            raise Superseded(str(error), attempt=later, reason=error.reason)
        raise error


class _UnclaimedTime:
    """Time for which looks have found a step unclaimed.

    Args:
        step: shown in messages.
        most: see ``SECONDS_FOR_CLAIM``.
    """

    def __init__(self, step: str, most: float) -> None:
        self._step = step
        self._most = most
        self._since: float | None = None
        self._next_line = 0.0

    def passes(self, outcome: UnclaimedStep) -> None:
        """Count a look that has found the step unclaimed; log it at most once in ``SECONDS_BETWEEN_CLAIM_LINES``.

        Raises:
            TryAgain: node 0 has had its time.
        """
        now = time.monotonic()
        if self._since is None:
            self._since, self._next_line = now, now
        waited = now - self._since
        if waited >= self._most:
            raise TryAgain(
                f"Node 0 hasn't claimed {self._step} for {waited:.0f} s ({_found(outcome)}): it hasn't started, or its "
                "results were removed after it had ended; see the log of node 0",
                reason="PeerLost",
            )
        if now >= self._next_line:
            self._next_line = now + SECONDS_BETWEEN_CLAIM_LINES
            log.info(
                "Waiting for node 0 to claim %s (%s), for %.0f s more", self._step, _found(outcome), self._most - waited
            )

    def ends(self) -> None:
        """Begin from zero at the next look that finds the step unclaimed."""
        self._since = None


def _found(outcome: UnclaimedStep) -> str:
    if outcome.found is None:
        return "no pointer yet"
    if not outcome.found.uid:
        return "its earlier results were deleted"
    return f"its pointer is that of the experiment of uid {outcome.found.uid}, created {outcome.found.created}"
