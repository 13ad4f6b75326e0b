"""The right to write to a results directory: that of the one run that ``run.json`` names.

A node that comes back from the dead may still run an old attempt of a step. It holds an older token than the one in
``run.json``, so everything that it would rename into place is refused (exit code 75). Trainings that are started by
hand have no token; a lock of the kernel keeps them apart.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from maskrcnn_trainer.errors import InvalidInput, TryAgain
from maskrcnn_trainer.results.aside import clear_results_dir
from maskrcnn_trainer.results.contents import printable
from maskrcnn_trainer.results.leftovers import remove_leftovers
from maskrcnn_trainer.results.run_file import RunRecord, name_result, read_run
from maskrcnn_trainer.shared.messages import RUN_FILE
from maskrcnn_trainer.spec.task_table import TRAINING_LOCK
from maskrcnn_trainer.task.files import make_directory, write_json_atomically

log = logging.getLogger(__name__)

LOCK_SECONDS = 30.0
"""A claim takes a moment: it looks at a directory and renames it."""


def claim(
    results_dir: Path,
    *,
    experiment_uid: str,
    attempt: int,
    fingerprint: str,
    older_fingerprints: Sequence[str] = (),
    task: Sequence[str] = (),
    key: str | None = None,
) -> RunRecord:
    """Make this start the owner of the directory (index 0 only), after what else is there was moved aside.

    Args:
        older_fingerprints: those by which older releases know the results of the step, oldest first.
        task: the command line of the task; what it reads does not move.
        key: opens the encrypted checkpoints of a directory whose run.json is damaged.

    Raises:
        InvalidInput: the directory holds what is not ours (see :mod:`maskrcnn_trainer.results.aside`).
        TryAgain: the file system does not let us look or move.
    """
    with _one_at_a_time(results_dir):
        run = RunRecord(experiment_uid, attempt, fingerprint, secrets.token_hex(16), tuple(older_fingerprints))
        clear_results_dir(results_dir, *run.fingerprints, task=task, key=key)
        make_directory(results_dir)
        resumed = read_run(results_dir) is not None
        # first the result: other nodes look at it once run.json names this attempt
        name_result(results_dir, run.fingerprints)
        write_json_atomically(results_dir / RUN_FILE, run.to_json())
        if resumed:  # what stands in a directory that nobody had claimed is left alone
            remove_leftovers(results_dir, claimed=True)
        return run


@contextmanager
def _one_at_a_time(results_dir: Path) -> Iterator[None]:
    """Lock the directory above, so that no other launch moves or deletes what this one has looked at.

    The lock ends with its process and leaves no file. Where a file system has none, such as NFS for a directory, two
    launches at the same moment are not kept apart; a Job's attempts follow each other anyway.
    """
    spelled = Path(os.path.abspath(results_dir))  # noqa: PTH100 - links unresolved
    above = next(parent for parent in spelled.parents if parent.is_dir())
    with ExitStack() as stack:
        try:
            descriptor = os.open(above, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
            if not _gets_lock(descriptor):
                log.warning(
                    "%s has been locked for %d s, perhaps by a node that is gone: the claim goes on without the lock",
                    above,
                    LOCK_SECONDS,
                )
        except OSError as error:
            log.debug("%s cannot be locked: %s", above, error)
        yield


def _gets_lock(descriptor: int) -> bool:
    """Wait for a lock, but no longer than LOCK_SECONDS: a file server may keep that of a dead node."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)
        else:
            return True


def await_claim(
    results_dir: Path,
    *,
    experiment_uid: str,
    attempt: int,
    stopping: Callable[[], bool] = lambda: False,
    poll_seconds: float = 0.5,
) -> RunRecord | None:
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


@contextmanager
def only_training(results_dir: Path, token: str | None) -> Iterator[None]:
    """Keep other trainings out of a results directory while the block runs.

    With a token nothing is locked: the lock of a node that died would keep the next attempt out until the file server
    notices. Without one, a lock of the kernel ends with its process, however that ends.

    Raises:
        InvalidInput: the directory belongs to a run of the operator, or cannot be made.
        TryAgain: another training holds the lock.
    """
    if token is not None:
        yield
        return
    make_directory(results_dir)
    if read_run(results_dir) is not None:
        raise InvalidInput(
            f"{results_dir} belongs to a step of an experiment ({RUN_FILE}), which may run: give another results "
            f"directory, or remove {RUN_FILE} once the step has ended",
            reason="ForeignFiles",
        )
    path = results_dir / TRAINING_LOCK
    with ExitStack() as stack:
        try:
            descriptor = _locked(path)
        except BlockingIOError as error:
            holder = ""
            with suppress(OSError):
                holder = printable(path.read_bytes()[:200].decode(errors="replace").strip())
            raise TryAgain(
                f"{results_dir}: another training writes there ({holder or 'of unknown process'}); wait for its end, "
                "or give another results directory",
                reason="DirectoryInUse",
            ) from error
        except OSError as error:
            log.warning(
                "%s cannot be locked (%s): nothing keeps a second training out of this directory", path, error.strerror
            )
        else:
            stack.callback(os.close, descriptor)
            stack.callback(path.unlink, missing_ok=True)
            with suppress(OSError):  # a full disk has its own sentence later
                os.truncate(descriptor, 0)
                os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield


def _locked(path: Path) -> int:
    """Make a file and lock it; return its descriptor.

    Raises:
        BlockingIOError: another process holds the lock.
        OSError: it cannot be made or locked.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink:
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its last holder removed it between its opening and its lock
