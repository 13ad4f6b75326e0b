"""Launch on another node than node 0 of a worker group whose results are in object storage.

Node 0 claims the step, restores it, and publishes. The other nodes write nothing to the store: their processes get the
state of the training from rank 0. They only look whether the step is done, for then node 0 has started no rendezvous.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path

from maskrcnn_trainer.errors import EXIT_OK, TryAgain
from maskrcnn_trainer.launch.logs import KeptLog
from maskrcnn_trainer.object_store.fence.exchange_types import run_decision
from maskrcnn_trainer.object_store.fence.explaining import fence_error
from maskrcnn_trainer.object_store.fence.keys import StepKeys
from maskrcnn_trainer.object_store.fence.result_reading import NotPublished, ReadResults, ReadTerms, read_results
from maskrcnn_trainer.publishing.step_session import SessionStore

log = logging.getLogger(__name__)

SECONDS_BETWEEN_DONE_CHECKS = 15.0

OpenStepStore = Callable[[], AbstractContextManager[SessionStore]]
"""Opens the store of all experiments."""


class _StepDone(Exception):
    """The result of the step is published."""


def follow(
    keys: StepKeys,
    fingerprint: str,
    open_store: OpenStepStore,
    run: Callable[[KeptLog, Callable[[], None]], int],
    *,
    log_path: Path,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Run the processes of another node than node 0, unless the step is done; return the exit code.

    Args:
        keys: of the step.
        fingerprint: oldest fingerprint of the step.
        open_store: opens the store for one look.
        run: runs the processes, with a log, and a function to call again and again while it waits for the other nodes.
        log_path: file of the log, of which nothing is published.
        clock: seconds of a clock that only rises.

    Raises:
        InvalidInput: the store refuses, or its content is damaged (64).
        TryAgain: the store has failed for too long before the processes were started (75).
        Stopped: a signal arrived meanwhile (143).
    """
    next_look = clock() + SECONDS_BETWEEN_DONE_CHECKS

    def while_waiting() -> None:
        nonlocal next_look
        if clock() < next_look:
            return
        try:
            if _is_done(keys, fingerprint, open_store):
                raise _StepDone
        except TryAgain as error:
            log.info("%s", error)
        next_look = clock() + SECONDS_BETWEEN_DONE_CHECKS

    try:
        if _is_done(keys, fingerprint, open_store):
            raise _StepDone
        with closing(KeptLog(log_path, lambda: True)) as kept:
            return run(kept, while_waiting)
    except _StepDone:
        log.info("%s%s: the results of this fingerprint are published; nothing to do", keys.prefix, fingerprint)
        return EXIT_OK


def _is_done(keys: StepKeys, fingerprint: str, open_store: OpenStepStore) -> bool:
    with open_store() as store:
        outcome = run_decision(read_results(ReadTerms(keys, fingerprint, frozenset())), store.sender())
        url = store.url
    if isinstance(outcome, NotPublished):
        return False
    if isinstance(outcome, ReadResults):
        return outcome.published.result is not None
    error = fence_error(outcome, url)
    assert error is not None  # noqa: S101 - all other outcomes of a read are failures
    raise error
