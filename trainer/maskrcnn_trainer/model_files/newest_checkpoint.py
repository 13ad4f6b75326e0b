"""The newest checkpoint that opens, by one rule for the launcher, which claims a directory, and the training."""

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
    """The result of a search for a checkpoint.

    Attributes:
        content: of the newest checkpoint that opens; None where none does.
        problem: why the last one does not open, where none does; the others are logged.
    """

    content: T | None
    problem: InvalidInput | None = None


def newest_that_opens(paths: Sequence[Path], read: Callable[[Path], T]) -> Newest[T]:
    """Open the first checkpoint that can be opened, and warn of the damaged ones before it.

    Args:
        paths: of the checkpoints, newest first.
        read: opens one; raises InvalidInput where that fails.

    Raises:
        InvalidInput: the key does not open one, or it may not be read, or a newer release wrote it: an older
            checkpoint in its place would have the training replace it. A file whose key cannot be told from damage is
            damaged where the key opens an encrypted one before it.
        TryAgain: one cannot be read at the moment.
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
        # a plain file says nothing about the key
        if not _of_unknown_cause(problems) or is_encrypted(path):
            found.append(content)
        break
    unknown = [] if found else _of_unknown_cause(problems)
    told = [problem for problem in problems if problem not in unknown]
    last = None if found or unknown or not told else told.pop()
    for problem in told:
        log.warning("%s; trying the checkpoint before it", problem)
    if unknown:
        raise unknown[0]
    return Newest(found[0] if found else None, last)


def _of_unknown_cause(problems: Sequence[InvalidInput]) -> list[InvalidInput]:
    return [problem for problem in problems if isinstance(problem, WrongKeyOrDamage)]


def _raise_unless_damaged(error: InvalidInput) -> None:
    """Raise what isn't damage: a checkpoint that cannot be read would be trained again and replaced.

    So would that of a newer release after a rollback, or one under another key.
    """
    if error.reason == OTHER_FORMAT or (error.reason == "WrongKey" and not isinstance(error, WrongKeyOrDamage)):
        raise error
    cause = error.__cause__
    if not isinstance(cause, OSError) or cause.errno in (errno.EIO, errno.ENOENT):
        return
    if cause.errno in _NOT_ALLOWED:
        raise error
    raise TryAgain(str(error)) from error
