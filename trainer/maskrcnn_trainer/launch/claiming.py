"""Claim of a results directory of this machine or of a shared volume, for one start of a step."""

from __future__ import annotations

import logging
import secrets
from pathlib import Path

from maskrcnn_trainer.errors import EXIT_OK, TaskError
from maskrcnn_trainer.launch.endings import say_refused, say_stopped, up_to_date_message
from maskrcnn_trainer.launch.settings import LaunchSettings
from maskrcnn_trainer.launch.stop_request import GroupStopRequest
from maskrcnn_trainer.results.ownership import await_claim, claim
from maskrcnn_trainer.results.run_file import StoreClaim
from maskrcnn_trainer.shared.fingerprints import fingerprints_in
from maskrcnn_trainer.task.artifacts import read_result
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.termination import write_termination_message

log = logging.getLogger(__name__)


def claim_unless_done(environment: TaskEnvironment, settings: LaunchSettings, stop: GroupStopRequest) -> str | int:
    """Return the token of this start, or the exit code of a launch that has nothing to run."""
    if _already_done(environment, settings):
        return EXIT_OK
    token = _claim(environment, settings, stop)
    if token is None:
        return say_stopped(environment, settings)
    # the claim may have moved back finished results that were moved aside earlier
    return EXIT_OK if _already_done(environment, settings) else token


def claim_directory(
    environment: TaskEnvironment, settings: LaunchSettings, store_claim: StoreClaim | None = None
) -> str:
    """Make this start the owner of the results directory, and return its token; see :func:`ownership.claim`.

    Raises:
        InvalidInput, Superseded, TryAgain: the directory can't be claimed.
    """
    return claim(
        Path(str(environment.results_dir)),
        experiment_uid=_uid(environment),
        attempt=environment.attempt,
        fingerprint=str(environment.fingerprint),
        older_fingerprints=environment.older_fingerprints,
        created=environment.created,
        store_claim=store_claim,
        task=settings.task,
        key=environment.key,
    ).token


def _already_done(environment: TaskEnvironment, settings: LaunchSettings) -> bool:
    results_dir = str(environment.results_dir)
    result = read_result(results_dir, *environment.fingerprints)
    # claiming the directory adds fingerprints that the result lacks
    if result is None or not set(environment.fingerprints).issubset(fingerprints_in(result)):
        return False
    log.info("%s already has the results of this fingerprint; nothing to do", results_dir)
    if settings.node_rank == 0:
        write_termination_message(environment, up_to_date_message(result, environment, settings))
    return True


def _claim(environment: TaskEnvironment, settings: LaunchSettings, stop: GroupStopRequest) -> str | None:
    """Return the token of this start; None if a stop was requested before node 0 claimed the directory."""
    if settings.node_rank == 0:
        try:
            return claim_directory(environment, settings)
        except TaskError as error:
            say_refused(error, environment, settings)
            raise
    run = await_claim(
        Path(str(environment.results_dir)),
        experiment_uid=_uid(environment),
        attempt=environment.attempt,
        stopping=lambda: stop.asked,
    )
    return run.token if run else None


def _uid(environment: TaskEnvironment) -> str:
    return environment.experiment_uid or secrets.token_hex(8)
