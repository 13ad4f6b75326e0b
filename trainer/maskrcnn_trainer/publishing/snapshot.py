"""Snapshots of a results directory: its files as they are at one moment, while the task continues."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from maskrcnn_trainer.object_store.fence.records import PublishedFile
from maskrcnn_trainer.publishing.published_files import (
    EVALUATIONS,
    grows,
    has_records,
    is_namable,
    is_published,
    is_result_of,
)
from maskrcnn_trainer.results.contents import entries
from maskrcnn_trainer.shared.files import read_regular
from maskrcnn_trainer.shared.messages import RESULT_FILE

_NO_LINKS = frozenset({errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV})
"""Errors of a file system without hard links, or of one file with too many."""
_CHUNK = 1024 * 1024
_LONGEST_LINE = 64 * 1024
"""Bytes from the end of a file among which its last newline is searched."""


@dataclass(frozen=True, slots=True)
class FileStamp:
    """Mark by which an unchanged file is recognized: inode, size in bytes, and time of its last write."""

    inode: int
    size: int
    modified_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> FileStamp:
        """Return the stamp of a file."""
        return cls(found.st_ino, found.st_size, found.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class KnownFile:
    """File of a published set, and the stamp that its local copy had then."""

    stamp: FileStamp
    published: PublishedFile


@dataclass(frozen=True, slots=True)
class SnapshotFile:
    """File of a snapshot.

    Attributes:
        path: relative to the results directory.
        stamp: of the file in the results directory.
    """

    path: str
    stamp: FileStamp


@dataclass(frozen=True, slots=True)
class ResultsSnapshot:
    """Files of a results directory at one moment.

    Attributes:
        directory: has those files that weren't known to be published, by their path.
        files: all of them.
        is_complete: whether the task has finished, so that they are its result.
        left_out: paths that no manifest can name.
        evaluations: content of the file with the metrics of the checkpoints; empty if there is none.
        in_place: whether ``directory`` is the results directory itself.
    """

    directory: Path
    files: tuple[SnapshotFile, ...]
    is_complete: bool = False
    left_out: tuple[str, ...] = ()
    evaluations: bytes = b""
    in_place: bool = False


class Snapshots:
    """Snapshots of one results directory, in a directory next to it.

    Files that are replaced by a rename are linked, which takes no space until the task replaces them; those that grow
    are copied. Files that are known to be published are neither.

    Args:
        results_dir: the results directory.
        fingerprint: of the step.
    """

    def __init__(self, results_dir: Path, fingerprint: str) -> None:
        self._results_dir = results_dir
        self._fingerprint = fingerprint
        self._above = results_dir.with_name(f".{results_dir.name}.snapshots")

    def take(self, known: Mapping[str, KnownFile], *, in_place: bool = False) -> ResultsSnapshot:
        """Return a snapshot.

        Args:
            known: files that are published, by path.
            in_place: whether to link and copy nothing, because the task has ended; of logs that have grown,
                the published version counts.

        Raises:
            OSError: a file can't be linked or copied, for example on a full disk; nothing of the snapshot is left.
            TaskError: the results directory can't be read.
        """
        if in_place:
            return _Taking(self._results_dir, self._results_dir, known, in_place=True).take(self._fingerprint)
        self._above.mkdir(parents=True, exist_ok=True)
        directory = Path(tempfile.mkdtemp(dir=self._above))
        try:
            return _Taking(self._results_dir, directory, known).take(self._fingerprint)
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise

    def remove(self, snapshot: ResultsSnapshot) -> None:
        """Remove a snapshot."""
        if not snapshot.in_place:
            shutil.rmtree(snapshot.directory, ignore_errors=True)

    def clear(self) -> None:
        """Remove all snapshots, those of a killed process too."""
        shutil.rmtree(self._above, ignore_errors=True)


class _Taking:
    """Snapshot that is being taken."""

    def __init__(
        self, results_dir: Path, directory: Path, known: Mapping[str, KnownFile], *, in_place: bool = False
    ) -> None:
        self._results_dir = results_dir
        self._directory = directory
        self._known = known
        self._in_place = in_place
        self._folders: set[Path] = set()

    def take(self, fingerprint: str) -> ResultsSnapshot:
        # result.json is written last and removed first: the other files are complete only if it was there all the time
        finished = self._stamp(RESULT_FILE)
        files, left_out = [], []
        for entry in entries(self._results_dir):
            path = entry.path
            # the names of thousands of pictures are checked once
            is_new = path not in self._known
            if not entry.regular or path == RESULT_FILE or (is_new and not is_published(path)):
                continue
            if is_new and not is_namable(path):
                left_out.append(path)
            elif (stamp := self._add(path)) is not None:
                files.append(SnapshotFile(path, stamp))
        is_complete = finished is not None and self._adds_result(finished, fingerprint)
        if finished is not None and is_complete:
            files.append(SnapshotFile(RESULT_FILE, finished))
        evaluations = next((content for name in EVALUATIONS if (content := self._content(name))), b"")
        return ResultsSnapshot(self._directory, tuple(files), is_complete, tuple(left_out), evaluations, self._in_place)

    def _adds_result(self, finished: FileStamp, fingerprint: str) -> bool:
        """Return whether result.json is still the one of a stamp, and of a finished task; add it in that case."""
        return is_result_of(self._content(RESULT_FILE), fingerprint) and self._add(RESULT_FILE) == finished

    def _content(self, path: str) -> bytes:
        """Return the content of a plain file that isn't large; nothing if there is none."""
        try:
            return read_regular(self._results_dir / path)
        except OSError:
            return b""

    def _stamp(self, path: str) -> FileStamp | None:
        """Return the stamp of a plain file; None: there is none."""
        try:
            found = (self._results_dir / path).lstat()
        except FileNotFoundError:
            return None
        return FileStamp.of(found) if stat.S_ISREG(found.st_mode) else None

    def _add(self, path: str) -> FileStamp | None:
        """Add a file; return its stamp, or None if it doesn't exist any more or is left out."""
        stamp = self._stamp(path)
        known = self._known.get(path)
        if stamp is None or (known is not None and known.stamp == stamp):
            return stamp
        if self._in_place:
            older = known.stamp if known is not None else None
            return older if grows(path) and not has_records(path) else stamp
        source, target = self._results_dir / path, self._directory / path
        if target.parent not in self._folders:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._folders.add(target.parent)
        try:
            return _copied(source, target, records=has_records(path)) if grows(path) else _linked(source, target)
        except FileNotFoundError:
            if not target.parent.is_dir():
                raise
            return None


def _linked(source: Path, target: Path) -> FileStamp:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _copied(source, target, records=False)
    return FileStamp.of(target.lstat())


def _copied(source: Path, target: Path, *, records: bool) -> FileStamp:
    """Copy the bytes that a file has now; leave out a last line that is incomplete if it consists of lines."""
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb", buffering=0) as stream, target.open("x+b") as copy:
        found = os.fstat(stream.fileno())
        left = found.st_size
        while left > 0 and (chunk := stream.read(min(left, _CHUNK))):
            copy.write(chunk)
            left -= len(chunk)
        if records:
            _cut_incomplete_line(copy)
    return FileStamp.of(found)


def _cut_incomplete_line(copy: BinaryIO) -> None:
    size = copy.seek(0, os.SEEK_END)
    begin = copy.seek(max(0, size - _LONGEST_LINE))
    end = copy.read().rfind(b"\n")
    if end >= 0:
        copy.truncate(begin + end + 1)
    elif begin == 0:
        copy.truncate(0)
