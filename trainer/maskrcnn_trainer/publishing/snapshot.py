"""Snapshot of a results directory: its files as they are at one moment, while the task continues."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class FileStamp:
    """Mark by which an unchanged file is recognized: inode, size in bytes, and time of its last write."""

    inode: int
    size: int
    modified_ns: int


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
class Snapshot:
    """Files of a results directory at one moment.

    Attributes:
        directory: has those files that weren't published before, by their path.
        files: all of them, sorted by path.
        is_complete: whether the task has finished, so that they are its result.
    """

    directory: Path
    files: tuple[SnapshotFile, ...]
    is_complete: bool
