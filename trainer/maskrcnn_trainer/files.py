"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from maskrcnn_trainer.errors import WorkspaceFull

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


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
