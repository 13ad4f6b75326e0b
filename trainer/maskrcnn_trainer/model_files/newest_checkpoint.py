"""Search for the newest readable checkpoint, with the same rule for the launcher's claim and for the training."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from maskrcnn_trainer.errors import InvalidInput, TryAgain
from maskrcnn_trainer.model_files.model_file import OTHER_FORMAT, WrongKeyOrDamage, is_encrypted

log = logging.getLogger(__name__)

T = TypeVar("T")

_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EISDIR, errno.ELOOP, errno.EINVAL)


@dataclass(frozen=True)
class Newest(Generic[T]):
    """Result of a search for a checkpoint.

    Attributes:
        content: content of the newest readable checkpoint, or None.
        problem: error of the oldest checkpoint, if none is readable; the errors of the others are logged.
    """

    content: T | None
    problem: InvalidInput | None = None


def newest_that_opens(paths: Sequence[Path], read: Callable[[Path], T]) -> Newest[T]:
    """Read the newest checkpoint that isn't damaged, and warn about newer damaged ones.

    Args:
        paths: checkpoints, newest first.
        read: reads one; raises InvalidInput if that fails.

    Raises:
        InvalidInput: the key for a checkpoint is wrong, reading it isn't permitted, or another release wrote it. An
            older checkpoint isn't used then, because the training would replace the newer one. If it isn't clear
            whether the key is wrong or the file damaged, it counts as damaged if the key opens an older encrypted one.
        TryAgain: a checkpoint cannot be read at the moment.
    """
    problems: list[InvalidInput] = []
    found: list[T] = []
    for path in paths:
        try:
            content = read(path)
        except InvalidInput as error:
            _raise_unless_damaged(error)
            problems.append(error)
            continue
        # an unencrypted file doesn't show whether the key is correct
        if not _of_unknown_cause(problems) or is_encrypted(path):
            found.append(content)
        break
    unknown = [] if found else _of_unknown_cause(problems)
    damaged = [problem for problem in problems if problem not in unknown]
    last = None if found or unknown or not damaged else damaged.pop()
    for problem in damaged:
        log.warning("%s; trying the checkpoint before it", problem)
    if unknown:
        raise unknown[0]
    return Newest(found[0] if found else None, last)


def _of_unknown_cause(problems: Sequence[InvalidInput]) -> list[InvalidInput]:
    return [problem for problem in problems if isinstance(problem, WrongKeyOrDamage)]


def _raise_unless_damaged(error: InvalidInput) -> None:
    """Raise an error that isn't damage.

    If it were ignored, the training would repeat the steps of that checkpoint and replace it: one that isn't readable,
    one of a newer release after a rollback, or one with another key.
    """
    if error.reason == OTHER_FORMAT or (error.reason == "WrongKey" and not isinstance(error, WrongKeyOrDamage)):
        raise error
    cause = error.__cause__
    if not isinstance(cause, OSError) or cause.errno in (errno.EIO, errno.ENOENT):
        return
    if cause.errno in _NOT_ALLOWED:
        raise error
    raise TryAgain(str(error)) from error
