"""Files of a results directory: search for files that no task wrote, and deletion of those that tasks wrote.

Links are never followed. No task creates one, so every link is the user's.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from maskrcnn_trainer.errors import InvalidInput, TryAgain
from maskrcnn_trainer.results.ours import (
    is_deletable,
    is_ignored,
    is_kept_by_us,
    is_ours,
    is_result,
    may_stand_unclaimed,
)
from maskrcnn_trainer.results.run_file import Mark, MarkState
from maskrcnn_trainer.results.task_files import TASK_FILES, ResultsDirectory, TaskFiles
from maskrcnn_trainer.shared.messages import RESULT_FILE, RUN_FILE, STATUS_FILE, TERMINATION_FILE
from maskrcnn_trainer.task.artifacts import is_foreign_report

log = logging.getLogger(__name__)

_SHOWN = 3


@dataclass(frozen=True)
class Entry:
    """File, link, or anything else that isn't a directory.

    Attributes:
        path: relative to the results directory, with slashes.
        regular: whether it is a plain file.
    """

    path: str
    regular: bool


def entries(directory: Path, below: str = "") -> Iterator[Entry]:
    """Yield the entries of a directory and its subdirectories, sorted by name.

    Args:
        directory: the directory.
        below: subdirectory to which the search is limited.

    Raises:
        InvalidInput: reading a directory isn't permitted.
        TryAgain: a directory cannot be read at the moment.
    """
    for path, kind in _walk(directory, below):
        if kind != "directory":
            yield Entry(path, kind == "file")


def first_foreign(directory: Path, mark: Mark) -> str | None:
    """Return the first file that no step wrote, relative to the directory, or None.

    Args:
        directory: the results directory.
        mark: content of run.json and result.json.
    """
    kinds = {RUN_FILE: mark.run, RESULT_FILE: mark.result}
    of_tasks = _files_of_tasks(directory, mark.artifacts)
    for entry in entries(directory):
        path = entry.path
        if not entry.regular or not is_ours(path) or kinds.get(path) is MarkState.FOREIGN:
            return path
        if any(files.is_foreign(path) for files in of_tasks):
            return path
    return None


def first_link(directory: Path) -> str | None:
    """Return the first link, pipe, socket, or device, relative to the directory, or None.

    A task that writes to it would write to its target.
    """
    return next((entry.path for entry in entries(directory) if not entry.regular), None)


def first_changed(directory: Path) -> str | None:
    """Return the first result that was changed by hand (after result.json was written), such as a corrected label.

    Return None if all are older, or if there is no result.json: a task removes it before it changes its results.
    """
    try:
        finished = (directory / RESULT_FILE).lstat().st_mtime_ns
    except OSError:
        return None
    for entry in entries(directory):
        if not is_kept_by_us(entry.path) and _modified(directory / entry.path) > finished:
            return entry.path
    return None


def first_unexpected(directory: Path) -> str | None:
    """Return the first file that isn't allowed in a directory without run.json and result.json, or None."""
    for entry in entries(directory):
        path = entry.path
        if not entry.regular or not may_stand_unclaimed(path):
            return path
        if path in (STATUS_FILE, TERMINATION_FILE) and is_foreign_report(directory / path):
            return path
    return None


def remove_ours(directory: Path, below: str = "") -> list[str]:
    """Delete the files of tasks, one by one, then the empty directories.

    run.json and result.json are deleted last, and only if nothing else is left, so that an interrupted deletion is
    completed the next time.

    Args:
        directory: the results directory.
        below: subdirectory to which the deletion is limited.

    Returns:
        The remaining files, relative to the directory.
    """
    last = () if below else (RESULT_FILE, RUN_FILE)
    of_tasks = _files_of_tasks(directory, {})
    left: list[str] = []
    for entry in list(entries(directory, below)):
        path = entry.path
        if path in last:
            continue
        kept = any(files.is_kept(path) for files in of_tasks)
        if not entry.regular or kept or not is_deletable(path) or not _done(os.unlink, directory / path):
            left.append(path)
    for path, kind in reversed(list(_walk(directory, below))):
        if kind == "directory":
            _done(os.rmdir, directory / path)
    rest = [name for name in _names(directory / below) if name not in last]
    if not rest:
        for name in last:
            _done(os.unlink, directory / name)
        _done(os.rmdir, directory / below)
    return left or rest


def holds_results(directory: Path) -> bool:
    """Return whether a directory has a finished file of a task, other than logs and reports (:func:`is_result`)."""
    return any(is_result(entry.path) for entry in entries(directory))


def unfinished_fingerprints(directory: Path, key: str | None) -> tuple[str, ...]:
    """Return the fingerprints that the files of an unfinished run name, oldest first; none where none does.

    Args:
        directory: a results directory.
        key: opens encrypted files.

    Raises:
        InvalidInput, TryAgain: see :meth:`TaskFiles.fingerprints`.
    """
    found = (files.fingerprints(key) for files in _files_of_tasks(directory, {}))
    return next((fingerprints for fingerprints in found if fingerprints), ())


def joined_names(names: list[str]) -> str:
    """Return some names for a message."""
    more = len(names) - _SHOWN
    return ", ".join(map(printable, names[:_SHOWN])) + (f" and {more} more" if more > 0 else "")


def printable(name: str) -> str:
    """Return a file name as text that is safe for terminals and logs."""
    text = name.encode("utf-8", "backslashreplace").decode()
    return text if text.isprintable() else repr(text)


def _walk(directory: Path, below: str) -> Iterator[tuple[str, str]]:
    """Yield paths with ``file``, ``directory``, or ``other``; a directory comes before its content."""
    if below and (directory / below).is_symlink():
        yield below, "other"
        return
    waiting = [below]
    while waiting:
        folder = waiting.pop()
        inside = []
        for name, kind in _children(directory / folder):
            path = f"{folder}/{name}" if folder else name
            yield path, kind
            if kind == "directory":
                inside.append(path)
        waiting += reversed(inside)


def _modified(path: Path) -> int:
    try:
        return path.lstat().st_mtime_ns
    except OSError:
        return 0


def _children(folder: Path) -> list[tuple[str, str]]:
    try:
        with os.scandir(folder) as found:
            return sorted((child.name, _kind(child)) for child in found if not is_ignored(child.name))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError as error:
        raise InvalidInput(
            f"{folder} cannot be read ({error.strerror}); give this user permission to read it, or move it elsewhere"
        ) from error
    except OSError as error:
        raise TryAgain(f"{folder} cannot be read: {error.strerror}") from error


def _kind(child: os.DirEntry[str]) -> str:
    if child.is_dir(follow_symlinks=False):
        return "directory"
    return "file" if child.is_file(follow_symlinks=False) else "other"


def _files_of_tasks(directory: Path, artifacts: Mapping[str, str]) -> list[TaskFiles]:
    def files_below(below: str) -> Iterator[str]:
        return (entry.path for entry in entries(directory, below) if entry.regular)

    return [files_of(ResultsDirectory(directory, artifacts, files_below)) for files_of in TASK_FILES.values()]


def _names(directory: Path) -> list[str]:
    try:
        return sorted(path.name for path in directory.iterdir())
    except OSError:
        return []


def _done(action: Callable[[Path], None], path: Path) -> bool:
    """Return whether a file or directory is gone."""
    try:
        action(path)
    except FileNotFoundError:
        return True
    except OSError as error:
        log.debug("%s stays: %s", path, error)
        return False
    return True
