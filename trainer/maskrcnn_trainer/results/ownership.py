"""Exclusive write access to a results directory, for the run named in ``run.json``.

A node that was unreachable for a while may still run an old attempt of a step. That run has an older token than the one
in ``run.json``, so its renames into place are refused (exit code 75). Trainings that are started by hand have no token;
a file lock excludes a second one.
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

from maskrcnn_trainer.errors import InvalidInput, Superseded, TryAgain
from maskrcnn_trainer.results.aside import clear_results_dir
from maskrcnn_trainer.results.contents import printable
from maskrcnn_trainer.results.leftovers import remove_leftovers
from maskrcnn_trainer.results.run_file import RunRecord, StoreClaim, name_result, read_run
from maskrcnn_trainer.shared.messages import RUN_FILE
from maskrcnn_trainer.spec.task_table import TRAINING_LOCK
from maskrcnn_trainer.task.files import make_directory, write_json_atomically

log = logging.getLogger(__name__)

LOCK_SECONDS = 30.0
"""Maximum wait for another claim, which only reads a directory and renames it."""


def claim(
    results_dir: Path,
    *,
    experiment_uid: str,
    attempt: int,
    fingerprint: str,
    older_fingerprints: Sequence[str] = (),
    created: str | None = None,
    store_claim: StoreClaim | None = None,
    task: Sequence[str] = (),
    key: str | None = None,
) -> RunRecord:
    """Make this start the owner of the directory (node 0 only), after other results there are moved aside.

    Args:
        results_dir: the results directory.
        experiment_uid: uid of the experiment.
        attempt: number of the attempt, from 1.
        fingerprint: fingerprint of the step.
        older_fingerprints: fingerprints of the step in older releases, oldest first.
        created: time at which the experiment was created; None if unknown.
        store_claim: claim of the step in object storage, of which the directory is the working copy.
        task: command line of the task, whose inputs aren't moved.
        key: key of the encrypted checkpoints, needed if run.json is damaged.

    Raises:
        InvalidInput: the directory has files that no task wrote (see :mod:`maskrcnn_trainer.results.aside`).
        Superseded: a later attempt, or one of an experiment that was created later, has claimed it.
        TryAgain: the file system fails to read or move a directory.
    """
    with _one_at_a_time(results_dir):
        token, older = secrets.token_hex(16), tuple(older_fingerprints)
        run = RunRecord(experiment_uid, attempt, fingerprint, token, older, created or "", store_claim)
        _refuse_if_superseded(results_dir, run)
        clear_results_dir(results_dir, *run.fingerprints, task=task, key=key)
        make_directory(results_dir)
        resumed = read_run(results_dir) is not None
        # the result first: other nodes read it as soon as run.json names this attempt
        name_result(results_dir, run.fingerprints)
        write_json_atomically(results_dir / RUN_FILE, run.to_json())
        if resumed:  # files in a directory that no run had claimed are kept
            remove_leftovers(results_dir, claimed=True)
        return run


def is_later(found: RunRecord, mine: RunRecord) -> bool:
    """Return whether a run outranks another one, so that a process that wakes late can't take its directory.

    Of one experiment, the later attempt does. Of two, the experiment that was created later; if they were created in
    the same second, or an older release recorded no time, neither does, because a uid is random.
    """
    if found.experiment_uid == mine.experiment_uid:
        return found.attempt > mine.attempt
    return bool(found.created and mine.created) and found.created > mine.created


def _refuse_if_superseded(results_dir: Path, run: RunRecord) -> None:
    found = read_run(results_dir)
    if found is None or not is_later(found, run):
        return
    same = found.experiment_uid == run.experiment_uid
    whose = "" if same else f" of an experiment that was created later, at {found.created}"
    raise Superseded(
        f"{results_dir} belongs to attempt {found.attempt}{whose}; this is attempt {run.attempt}, which may not write "
        "there",
        attempt=found.attempt if same else None,
    )


@contextmanager
def _one_at_a_time(results_dir: Path) -> Iterator[None]:
    """Lock the parent directory, so that no other launch moves or deletes files while this one plans its moves.

    The lock ends with its process and leaves no file. On a file system without locks for directories, such as NFS, two
    launches at the same time aren't excluded; but the attempts of a Job never overlap.
    """
    spelled = Path(os.path.abspath(results_dir))  # noqa: PTH100 - links unresolved
    above = next(parent for parent in spelled.parents if parent.is_dir())
    with ExitStack() as stack:
        try:
            descriptor = os.open(above, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
            if not _gets_lock(descriptor):
                log.warning(
                    "%s has been locked for %d s, perhaps by a dead node; continuing without the lock",
                    above,
                    LOCK_SECONDS,
                )
        except OSError as error:
            log.debug("%s cannot be locked: %s", above, error)
        yield


def _gets_lock(descriptor: int) -> bool:
    """Wait for a lock and return whether it was acquired.

    The wait is at most LOCK_SECONDS, since a file server may keep the lock of a dead node.
    """
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
    """Wait, without a time limit, until node 0 has claimed the directory for this attempt.

    Returns:
        The run, or None once ``stopping`` returns True.
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
    """Return a check to call before each rename into place.

    Returns:
        A function that raises :class:`Superseded` if ``run.json`` has another token; without a token (a task started by
        hand) it checks nothing.
    """

    def check() -> None:
        if token is None:
            return
        run = read_run(results_dir)
        if run is None or run.token != token:
            owner = f"belongs to attempt {run.attempt}" if run else "isn't claimed"
            raise Superseded(f"{results_dir} now {owner}; this run may not write there")

    return check


@contextmanager
def only_training(results_dir: Path, token: str | None) -> Iterator[None]:
    """Exclude other trainings from a results directory while the block runs.

    With a token nothing is locked, since the lock of a dead node would block the next attempt until the file server
    releases it. Without a token, a file lock is used, which always ends with its process.

    Raises:
        InvalidInput: the directory belongs to a run of the operator, or cannot be created.
        TryAgain: another training holds the lock.
    """
    if token is not None:
        yield
        return
    make_directory(results_dir)
    if read_run(results_dir) is not None:
        raise InvalidInput(
            f"{results_dir} belongs to a step of an experiment ({RUN_FILE}), which may be running: give another "
            f"results directory, or remove {RUN_FILE} once the step has ended",
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
                f"{results_dir}: another training ({holder or 'unknown process'}) writes there; wait for its end, or "
                "give another results directory",
                reason="DirectoryInUse",
            ) from error
        except OSError as error:
            log.warning(
                "%s cannot be locked (%s): don't start a second training in this directory", path, error.strerror
            )
        else:
            stack.callback(os.close, descriptor)
            stack.callback(path.unlink, missing_ok=True)
            with suppress(OSError):  # a full disk is reported later
                os.truncate(descriptor, 0)
                os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield


def _locked(path: Path) -> int:
    """Create a file, lock it, and return its descriptor.

    Raises:
        BlockingIOError: another process holds the lock.
        OSError: the file cannot be created or locked.
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
        os.close(descriptor)  # its previous owner removed the file between the open and the lock
