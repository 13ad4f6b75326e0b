"""Removal of unfinished files of killed tasks, each of which may be as large as a checkpoint."""

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
    """Delete unfinished files of killed tasks, and log their number and size in one line.

    Only unfinished versions of files that tasks write into a results directory, and of ``outputs``, are considered. A
    file that is locked by its writer is kept; on a file system without locks, all of them are kept.

    Args:
        directory: results directory of a task.
        outputs: files that the task writes elsewhere.
        claimed: whether only this run may write to the directory; files are then deleted even if locked, such as by a
            dead node.
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
        log.info("Removed %d unfinished %s of killed runs from %s (%.1f MB)", removed, files, directory, size / 1e6)


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
