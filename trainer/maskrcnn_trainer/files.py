"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from maskrcnn_trainer.errors import InvalidInput, WorkspaceFull

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)

DAMAGED_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, KeyError, TypeError, AttributeError, RuntimeError)
"""What ``zipfile`` and a reader of JSON raise for damaged bytes.

A changed bit may claim encryption (RuntimeError), another compression or a newer format (NotImplementedError, a
RuntimeError as RecursionError is), or a place before the start of the file (ValueError).
"""


def make_directory(path: Path, *, flag: str = "") -> Path:
    """Makes a directory to write to, its parents too, and returns it.

    Args:
        flag: what named it, for the message.

    Raises:
        InvalidInput: a file is in the way, or it may not be made or written to.
        WorkspaceFull: no space, or no quota, is left.
    """
    name = f"{flag} {path}".strip()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise WorkspaceFull(f"{name}: no space left for a directory: {error.strerror}") from error
        raise InvalidInput(
            f"{name}: the directory cannot be made ({error.strerror}); name one that can be written to"
        ) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise InvalidInput(f"{name}: the directory may not be written to; name one that can be")
    return path


def write_atomically(path: Path, payload: bytes, *, before_rename: Callable[[], None] | None = None) -> None:
    """Writes bytes beside ``path``, flushes them to the disk, and renames them into place.

    Args:
        path: replaced when it exists; the directory must exist.
        payload: the whole content.
        before_rename: called when all bytes are on the disk; what it raises leaves the old file as it was.

    Raises:
        WorkspaceFull: no space, or no quota, is left.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with aside.open("wb") as stream:
            stream.write(payload)
            stream.flush()
            os.fsync(stream.fileno())
        if before_rename is not None:
            before_rename()
        aside.replace(path)
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise WorkspaceFull(f"{path}: no space left for {len(payload)} bytes: {error.strerror}") from error
        raise
    finally:
        aside.unlink(missing_ok=True)
