"""Who may write to a results directory: the one run that ``run.json`` names.

A node that comes back from the dead may still run an old attempt of a step. It holds an older token than the one in
``run.json``, so everything that it would rename into place is refused (exit code 75).
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from maskrcnn_trainer.artifacts import write_json_atomically
from maskrcnn_trainer.errors import TryAgain
from maskrcnn_trainer.files import make_directory
from maskrcnn_trainer.launch.aside import make_way
from maskrcnn_trainer.launch.contents import remove_unfinished
from maskrcnn_trainer.launch.ours import RUN_FILE
from maskrcnn_trainer.launch.run_file import Run, name_result, read_run

log = logging.getLogger(__name__)

TOKEN_VARIABLE = "MASKRCNN_RUN_TOKEN"  # noqa: S105 - the name of a variable


def claim(
    results_dir: Path,
    *,
    experiment_uid: str,
    attempt: int,
    fingerprint: str,
    older_fingerprints: Sequence[str] = (),
    task: Sequence[str] = (),
    key: str | None = None,
) -> Run:
    """Make this start the owner of the directory (index 0 only), after what else is there was moved aside.

    Args:
        older_fingerprints: those by which older releases know the results of the step, oldest first.
        task: the command line of the task; what it reads does not move.
        key: opens the encrypted checkpoints of a directory whose run.json is damaged.

    Raises:
        InvalidInput: the directory holds what is not ours (see :mod:`maskrcnn_trainer.launch.aside`).
        TryAgain: the file system does not let us look or move.
    """
    with _one_at_a_time(results_dir):
        run = Run(experiment_uid, attempt, fingerprint, secrets.token_hex(16), tuple(older_fingerprints))
        make_way(results_dir, *run.fingerprints, task=task, key=key)
        make_directory(results_dir)
        resumed = read_run(results_dir) is not None
        # first the result: other nodes look at it once run.json names this attempt
        name_result(results_dir, run.fingerprints)
        write_json_atomically(results_dir / RUN_FILE, run.to_json())
        if resumed:  # what stands in a directory that nobody had claimed is left alone
            remove_unfinished(results_dir)
        return run


@contextmanager
def _one_at_a_time(results_dir: Path) -> Iterator[None]:
    """Lock the directory above, so that no other launch moves or deletes what this one has looked at.

    The lock ends with its process and leaves no file. Where a file system has none, such as NFS for a directory, two
    launches at the same moment are not kept apart; a Job's attempts follow each other anyway.
    """
    above = next(parent for parent in Path(os.path.abspath(results_dir)).parents if parent.is_dir())  # noqa: PTH100
    with ExitStack() as stack:
        try:
            descriptor = os.open(above, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            log.debug("%s cannot be locked: %s", above, error)
        yield


def await_claim(
    results_dir: Path,
    *,
    experiment_uid: str,
    attempt: int,
    stopping: Callable[[], bool] = lambda: False,
    poll_seconds: float = 0.5,
) -> Run | None:
    """Waits, without a limit of its own, until index 0 claimed the directory for this attempt.

    Returns:
        The run, or None once ``stopping`` says so.
    """
    waited = False
    while not stopping():
        run = read_run(results_dir)
        if run is not None and (run.experiment_uid, run.attempt) == (experiment_uid, attempt):
            return run
        if not waited:
            log.info("Waiting for node 0 to claim %s for attempt %d", results_dir, attempt)
            waited = True
        time.sleep(poll_seconds)
    return None


def ownership_guard(results_dir: Path, token: str | None) -> Callable[[], None]:
    """A check to run before each rename into place.

    Returns:
        A function that raises :class:`TryAgain` when ``run.json`` names another token; without a token of our own (a
        task started by hand) it checks nothing.
    """

    def check() -> None:
        if token is None:
            return
        run = read_run(results_dir)
        if run is None or run.token != token:
            owner = f"attempt {run.attempt}" if run else "nobody"
            raise TryAgain(f"{results_dir} now belongs to {owner}, this run may not write there", reason="Superseded")

    return check
