"""Task errors, and the exit codes by which the launcher and the operator decide whether to retry.

64: invalid command line, spec, or data, a lack of memory, or a missing GPU; permanent, so it isn't retried. 75:
temporary failure, to be retried. 143: stopped on request (128 + SIGTERM). 70: the workspace is full.
"""

from __future__ import annotations

import errno
import os
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager

from maskrcnn_trainer.spelling import as_written

EXIT_OK = 0
EXIT_INVALID = 64
EXIT_WORKSPACE_FULL = 70
EXIT_TRY_AGAIN = 75
EXIT_KILLED = 137
EXIT_STOPPED = 143

WHAT_TO_LOWER = (
    "Try a smaller imageSize or trainBatchSize (evalBatchSize in evaluation) first. If the error "
    "persists, reduce nWorkers and prefetchBufferSize. If the original images have a very large "
    "resolution, resize them offline and convert them again, so that large images are not loaded at all"
)
OUT_OF_MEMORY = f"Out of memory. {WHAT_TO_LOWER}"


class TaskError(Exception):
    """Failure that is reported to the user in one sentence, without a traceback.

    Args:
        message: the field or file, its value, and what would be right.
        reason: one CamelCase word for status, events, and metrics, such as ``InvalidData``.
    """

    exit_code = 1
    default_reason = "Failed"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(_without_long_values(message))
        self.reason = reason or self.default_reason


_LONG_VALUE = re.compile(r"\S{401,}")


def _without_long_values(message: str) -> str:
    """Return a message without the middle of very long words: values of users may have any length."""
    return _LONG_VALUE.sub(lambda word: f"{word[0][:200]}...{word[0][-100:]}", message)


class InvalidInput(TaskError):
    """Invalid command line, spec, model file, or data, or a lack of memory or GPUs (exit code 64)."""

    exit_code = EXIT_INVALID
    default_reason = "InvalidInput"


class TryAgain(TaskError):
    """Temporary failure outside of this process, such as a lost peer, a GPU that failed, or another run (75)."""

    exit_code = EXIT_TRY_AGAIN
    default_reason = "TryAgain"


class Superseded(TryAgain):
    """Results directory of a later attempt, or of an experiment that was created later, or deleted results (75).

    Args:
        message: see :class:`TaskError`.
        attempt: number of the later attempt if it is of the same experiment, else None.
        reason: see :class:`TaskError`.
    """

    default_reason = "Superseded"

    def __init__(self, message: str, *, attempt: int | None = None, reason: str | None = None) -> None:
        super().__init__(message, reason=reason)
        self.attempt = attempt


class WorkspaceFull(TaskError):
    """No space left for results (70)."""

    exit_code = EXIT_WORKSPACE_FULL
    default_reason = "WorkspaceFull"


class CacheFull(WorkspaceFull):
    """No space left for copies of inputs (70)."""

    default_reason = "CacheFull"


class Stopped(TaskError):
    """Stop by SIGTERM or SIGINT, after the state was saved if possible (143)."""

    exit_code = EXIT_STOPPED
    default_reason = "Stopped"


@contextmanager
def content_of(source: str) -> Iterator[None]:
    """Add the name of a model file to errors about its content.

    Args:
        source: the file; empty if the content isn't from a file.

    Raises:
        InvalidInput: in place of one that doesn't begin with the name (reason ``InvalidModel``).
    """
    try:
        yield
    except InvalidInput as error:
        if not source or str(error).startswith(source):
            raise
        raise InvalidInput(f"{source}: {error}", reason="InvalidModel") from error


def describe_error(error: BaseException) -> tuple[int, str, str]:
    """Return the exit code, the reason (one CamelCase word), and the sentence for an exception that ended a task."""
    known = as_task_error(error)
    if known is not None:
        return known.exit_code, known.reason, as_written(str(known))
    if isinstance(error, KeyboardInterrupt):
        return EXIT_STOPPED, Stopped.default_reason, "Interrupted."
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else 1
        return code, TaskError.default_reason, f"The task ended with exit code {code}."
    return 1, TaskError.default_reason, f"{type(error).__name__}: {error}"


def as_task_error(error: BaseException) -> TaskError | None:
    """Return the TaskError for an exception that a user can act on, or None for a bug in the program.

    Errors of file operations are recognized by their ``errno``, so that tasks don't have to catch each of them.
    """
    if isinstance(error, TaskError):
        return error
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return InvalidInput(OUT_OF_MEMORY, reason="OutOfMemory")
    if not isinstance(error, OSError) or error.errno is None:
        return None
    return _limit_reached(error) or _storage_failed(error) or _refused(error)


NO_SPACE = (errno.ENOSPC, errno.EDQUOT)

_STORAGE_FAILURES = (
    errno.ENOTCONN, errno.ETIMEDOUT, errno.EREMOTEIO, errno.EHOSTDOWN, errno.ENOLCK,
    errno.EBUSY, errno.EAGAIN, errno.ENFILE,
)  # fmt: skip
"""Failures of a disk, a mount, or a node; the next attempt may run on another node, with a new mount."""

_REMEDIES = {
    errno.ENOENT: "correct the path",
    errno.EEXIST: "move it, or give another path",
    errno.ENOTEMPTY: "move its content, or give another path",
    errno.ENAMETOOLONG: "a name can have 255 bytes on most file systems, and a path 4,095; give a shorter one",
    errno.ELOOP: "give the path of the file itself",
    errno.EROFS: "give a path on a writable file system",
    errno.ENOTDIR: "part of the path is a file; give a directory",
    errno.EISDIR: "give a file",
    errno.ENXIO: "give a plain file",
    errno.ENODEV: "give a plain file",
    errno.EINVAL: "give a plain file whose name its file system accepts",
    errno.EILSEQ: "give a name that the file system accepts",
    errno.EXDEV: "give a path on one file system",
}


def _limit_reached(error: OSError) -> TaskError | None:
    where = _path_of(error) or "an output file"
    if error.errno in NO_SPACE:
        return WorkspaceFull(f"{where}: no space left ({error.strerror}); free some space, or enlarge the volume")
    if error.errno == errno.EMFILE:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return InvalidInput(f"{where}: too many open files: the limit is {limit}; raise it (ulimit -n)")
    if error.errno == errno.EFBIG:
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        allowed = "" if limit == resource.RLIM_INFINITY else f" of {limit} bytes"
        return InvalidInput(
            f"{where}: the file exceeds the size limit{allowed}; raise it (ulimit -f), or use another file system"
        )
    return None


def _storage_failed(error: OSError) -> TaskError | None:
    path = _path_of(error)
    if error.errno not in (errno.EIO, errno.ESTALE) and not (path and error.errno in _STORAGE_FAILURES):
        return None
    return TryAgain(
        f"{path or 'the workspace'}: the storage failed ({error.strerror}); run the command again once it is available",
        reason="StorageFailed",
    )


def _refused(error: OSError) -> TaskError | None:
    path = _path_of(error)
    if not path:
        return None
    if error.errno in (errno.EACCES, errno.EPERM):
        return InvalidInput(
            f"{path}: {error.strerror} for user {os.geteuid()}, group {os.getegid()}; give this user access to the "
            "path and to every directory above it"
        )
    remedy = _REMEDIES.get(error.errno or 0)
    return InvalidInput(f"{path}: {error.strerror}; {remedy}") if remedy else None


def _path_of(error: OSError) -> str:
    if error.filename is None or isinstance(error.filename, int):
        return ""
    text = os.fsdecode(error.filename)
    return text if text.isprintable() else repr(text)
