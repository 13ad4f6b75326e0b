"""Launch on another node than node 0 of a worker group whose results are in object storage.

Node 0 claims the step, restores it, and publishes. The processes of the other nodes get the state of the training from
rank 0, so these nodes load no checkpoint, and only upload their logs. Until all nodes have joined the rendezvous, they
look whether the step is done or taken by a later attempt, for then node 0 starts no rendezvous.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from maskrcnn_trainer.errors import EXIT_OK, Superseded, TryAgain
from maskrcnn_trainer.launch.group_member import GroupMember
from maskrcnn_trainer.launch.log_collecting import SECONDS_FOR_LAST_LOGS
from maskrcnn_trainer.launch.log_upload import NodeLogUploads
from maskrcnn_trainer.launch.logs import KeptLog, kept_with_own_lines
from maskrcnn_trainer.launch.rendezvous import RendezvousBoard
from maskrcnn_trainer.object_store.fence.exchange_types import SupersededOutcome, run_decision
from maskrcnn_trainer.object_store.fence.explaining import SUPERSEDED, fence_error
from maskrcnn_trainer.object_store.fence.following import FollowedStepDone, FollowedStepOpen, FollowTerms, follow_step
from maskrcnn_trainer.publishing.step_session import SessionStore

log = logging.getLogger(__name__)

SECONDS_BETWEEN_DONE_CHECKS = 10.0
"""Shortest time between two reads of the pointer."""
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
    ) -> None:
        self._store = store
        self._terms = terms
        self._uploads = uploads
        self._interrupted = interrupted
        self._on_joined = on_joined
        self._between_looks = between_looks
        self._between_logs = between_logs
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
            Superseded: a later attempt has the step (75).
            TryAgain: the store has failed for too long before the processes were started (75).
            Stopped: a signal arrived meanwhile (143).
        """
        try:
            self._look()
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
                self._look()
            except TryAgain as error:
                if isinstance(error, Superseded):
                    self._found = error
                    return
                log.info("%s", error)
            except Exception as error:  # noqa: BLE001 - raised where this node waits
                self._found = error
                return
        kept, board = self._kept, self._board
        if kept is None or board is None:
            return
        while not self._ended.wait(self._between_logs):
            self._uploads.upload(kept, board)
        self._uploads.upload(kept, board, is_last=True)

    def _look(self) -> None:
        """Read the pointer, and what it names.

        Raises:
            _StepDone: the result of the step is published.
            InvalidInput, Superseded, TryAgain, Stopped: see :meth:`run`.
        """
        outcome = run_decision(follow_step(self._terms), self._store.sender())
        if isinstance(outcome, FollowedStepDone):
            raise _StepDone
        if isinstance(outcome, FollowedStepOpen):
            return
        error = fence_error(outcome, self._store.url, keys=self._terms.keys)
        assert error is not None  # noqa: S101 - all other outcomes are failures
        if error.reason == SUPERSEDED:
            raise Superseded(str(error), attempt=outcome.attempt if isinstance(outcome, SupersededOutcome) else None)
        raise error
