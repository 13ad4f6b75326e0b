"""Files that killed writers have left half written: each may be as large as a checkpoint."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from maskrcnn_trainer.results.ours import is_temporary
from maskrcnn_trainer.shared.files import is_abandoned

log = logging.getLogger(__name__)


def remove_leftovers(directory: Path, *, outputs: Iterable[Path] = (), claimed: bool = False) -> None:
    """Delete unfinished files of tasks that were killed, and log their number and size in one line.

    Only those of files that a task writes into its results directory, and of ``outputs``, are looked at. A file whose
    writer lives is told by its lock; where a file system has no locks, all of them stay.

    Args:
        directory: the results directory of a task.
        outputs: files of the user's choice that the task writes.
        claimed: this run alone may write to the directory: files go whatever their locks say, such as
            one of a dead node.
    """
    removed, size = 0, 0
    for path in _unfinished(directory, outputs):
        try:
            found = path.lstat().st_size
            if claimed or is_abandoned(path):
                path.unlink()
                removed, size = removed + 1, size + found
        except OSError as error:
            log.debug("%s stays: %s", path, error)
    if removed:
        files = "file" if removed == 1 else "files"
        log.info("%d unfinished %s of killed runs removed from %s (%.1f MB)", removed, files, directory, size / 1e6)


def _unfinished(directory: Path, outputs: Iterable[Path]) -> Iterator[Path]:
    for name in _names(directory):
        if is_temporary(name) and _is_plain(directory / name):
            yield directory / name
    for output in outputs:
        pattern = re.compile(rf"\.{re.escape(output.name)}\.\d+\.partial")
        for name in _names(output.parent):
            path = output.parent / name
            if pattern.fullmatch(name) and _is_plain(path) and not (output.parent == directory and is_temporary(name)):
                yield path


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _names(directory: Path) -> list[str]:
    try:
        return sorted(os.listdir(directory))  # noqa: PTH208 - names alone
    except OSError:
        return []
