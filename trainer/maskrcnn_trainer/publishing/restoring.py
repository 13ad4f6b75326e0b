"""Restoring of a working directory: what is removed from it and loaded into it, so that it equals a published set.

The set is from a store, where anyone with access may have changed it. So files are written only below the directory,
only under names of files that tasks write, and never through a link or over a file that no task wrote.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.object_store.fence.records import PublishedFile, PublishedSet
from maskrcnn_trainer.publishing.published_files import is_published
from maskrcnn_trainer.publishing.snapshot import FileStamp, KnownFile
from maskrcnn_trainer.results.contents import entries, first_unexpected, printable
from maskrcnn_trainer.results.ours import is_deletable, is_log, is_temporary
from maskrcnn_trainer.results.run_file import Mark, MarkState, read_mark
from maskrcnn_trainer.results.task_files import TASK_FILES, ResultsDirectory
from maskrcnn_trainer.shared.messages import RESULT_FILE, RUN_FILE
from maskrcnn_trainer.task.artifacts import file_sha256

FOREIGN = "ForeignFiles"
_HASHED_AT_ONCE = 4


@dataclass(frozen=True)
class RestorePlan:
    """Changes that make a directory equal to a set.

    Attributes:
        removed: paths of files that are deleted, result.json first.
        loaded: files of the set that are absent or differ.
        kept: files that are equal already, by path.
    """

    removed: tuple[str, ...]
    loaded: tuple[PublishedFile, ...]
    kept: Mapping[str, KnownFile]

    @property
    def groups(self) -> tuple[tuple[PublishedFile, ...], ...]:
        """The files in the order of loading: result.json alone after all others, which it shows as complete."""
        others = tuple(file for file in self.loaded if file.path != RESULT_FILE)
        result = tuple(file for file in self.loaded if file.path == RESULT_FILE)
        return tuple(group for group in (others, result) if group)


def plan_restore(
    published: PublishedSet | None,
    into: Path,
    paths: frozenset[str] | None = None,
    *,
    left_out: frozenset[str] = frozenset(),
) -> RestorePlan:
    """Return what makes a directory equal to a set, without changing anything.

    Args:
        published: the set; None: an empty one.
        into: the directory, which may be missing.
        paths: only files that are loaded, and nothing is removed; None: all.
        left_out: files that the directory shall not have.

    Raises:
        InvalidInput: the set names a file that no task writes, or a file that no task wrote is in the way (64).
        TryAgain: the directory can't be read at the moment.
    """
    files = [
        file
        for file in (published.files if published else ())
        if file.path not in left_out and (paths is None or file.path in paths)
    ]
    _refuse_other_names(files)
    mark = read_mark(into)
    _refuse_foreign_directory(into, mark)
    found = {entry.path: entry.regular for entry in entries(into)}
    _refuse_collisions(files, into, found)
    kept = _equal_files(files, into)
    loaded = tuple(file for file in files if file.path not in kept)
    foreign = _foreign_files(found, into, mark)
    replaced = next((file.path for file in loaded if file.path in foreign), None)
    if replaced is not None:
        raise _in_the_way(into, replaced)
    if paths is not None:
        return RestorePlan((), loaded, kept)
    if loaded and (result := kept.pop(RESULT_FILE, None)):
        # a directory that is loaded in part must not look complete
        loaded = (*loaded, result.published)
    removed = _removed([path for path in found if path not in foreign], kept)
    return RestorePlan(removed, loaded, kept)


def remove_others(plan: RestorePlan, into: Path) -> None:
    """Remove the files of a plan, and the directories that are empty then.

    Raises:
        OSError: a file can't be removed.
    """
    for path in plan.removed:
        (into / path).unlink(missing_ok=True)
    for folder in sorted({folder for path in plan.removed for folder in _folders(path)}, key=len, reverse=True):
        with suppress(OSError):  # it has other files
            (into / folder).rmdir()


def make_folders(files: Iterable[PublishedFile], into: Path) -> None:
    """Create the directories of files, without following a link below ``into``.

    Raises:
        InvalidInput: a link or a file is in the way (64).
        OSError: a directory can't be created.
    """
    into.mkdir(parents=True, exist_ok=True)
    for folder in sorted({folder for file in files for folder in _folders(file.path)}):
        path = into / folder  # those above it come first
        with suppress(FileExistsError):
            path.mkdir()
        if not stat.S_ISDIR(path.lstat().st_mode):
            raise _in_the_way(into, folder)


def stamps_of(files: Iterable[PublishedFile], into: Path) -> dict[str, KnownFile]:
    """Return files that were just loaded, with the stamps of their local copies."""
    return {file.path: KnownFile(FileStamp.of((into / file.path).lstat()), file) for file in files}


def _refuse_other_names(files: Iterable[PublishedFile]) -> None:
    for file in files:
        if not is_published(file.path):
            raise InvalidInput(
                f"{file.key}: the published set names {printable(file.path)}, which isn't a file that a task writes",
                reason="StoreRefused",
            )


def _refuse_foreign_directory(into: Path, mark: Mark) -> None:
    """Refuse a directory with files if neither run.json nor result.json shows that tasks wrote them."""
    if mark.run in (MarkState.OURS, MarkState.DAMAGED) or (
        mark.run is MarkState.ABSENT and mark.result is MarkState.OURS
    ):
        return
    unexpected = RUN_FILE if mark.run is MarkState.FOREIGN else first_unexpected(into)
    if unexpected is not None:
        raise _in_the_way(into, unexpected)


def _refuse_collisions(files: Iterable[PublishedFile], into: Path, found: Mapping[str, bool]) -> None:
    """Refuse links, pipes, files in place of directories, and directories in place of files."""
    for file in files:
        blocking = next((folder for folder in _folders(file.path) if folder in found), None)
        if blocking is None and not found.get(file.path, True):
            blocking = file.path
        if blocking is None and file.path not in found and os.path.lexists(into / file.path):
            blocking = file.path
        if blocking is not None:
            raise _in_the_way(into, blocking)


def _foreign_files(found: Mapping[str, bool], into: Path, mark: Mark) -> frozenset[str]:
    """Return the entries that no task wrote, though some have the name of a task's file."""

    def files_below(below: str) -> Iterator[str]:
        return (entry.path for entry in entries(into, below) if entry.regular)

    directory = ResultsDirectory(into, mark.artifacts, files_below)
    of_tasks = [files_of(directory) for files_of in TASK_FILES.values()]
    return frozenset(
        path for path, regular in found.items() if not regular or any(files.is_foreign(path) for files in of_tasks)
    )


def _in_the_way(into: Path, path: str) -> InvalidInput:
    return InvalidInput(
        f"{into} contains {printable(path)}, which wasn't written by a step of an experiment: move it elsewhere, "
        "or give another working directory",
        reason=FOREIGN,
    )


def _equal_files(files: Iterable[PublishedFile], into: Path) -> dict[str, KnownFile]:
    def known(file: PublishedFile) -> KnownFile | None:
        path = into / file.path
        try:
            found = path.lstat()
            if found.st_size != file.size or file_sha256(path) != file.sha256:
                return None
        except OSError:
            return None
        return KnownFile(FileStamp.of(found), file)

    with ThreadPoolExecutor(max_workers=_HASHED_AT_ONCE) as pool:
        return {one.published.path: one for one in pool.map(known, files) if one is not None}


def _removed(present: Iterable[str], kept: Mapping[str, KnownFile]) -> tuple[str, ...]:
    """Return the files of tasks that are neither kept nor of this machine alone, such as a lock."""
    removed = [path for path in present if path not in kept and (is_published(path) or _is_left_over(path))]
    return tuple(sorted(removed, key=lambda path: (path != RESULT_FILE, path)))


def _is_left_over(path: str) -> bool:
    return is_temporary(path) or (is_log(path) and is_deletable(path))


def _folders(path: str) -> list[str]:
    """Return the directories above a path, the outermost first."""
    parts = path.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts))]
