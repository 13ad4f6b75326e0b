"""Size limit of the directory in which a task writes before its results are published to object storage."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from maskrcnn_trainer.errors import InvalidInput, WorkspaceFull
from maskrcnn_trainer.shared.variables import SCRATCH_LIMIT_VARIABLE, WORKING_DIR_VARIABLE

_BYTES_OF_A_BLOCK = 512
"""Unit of ``st_blocks``, whatever the block size of the file system is (stat(2))."""
_MOST_DIGITS = 18


@dataclass(frozen=True)
class ScratchLimit:
    """Size limit of a directory, which its emptyDir volume has as ``sizeLimit``: a pod above it is evicted.

    Attributes:
        directory: on this machine.
        size: in bytes.
    """

    directory: Path
    size: int

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> ScratchLimit | None:
        """Return the limit of the variables; None without one.

        Raises:
            InvalidInput: the variable isn't a number of bytes.
        """
        text, directory = environ.get(SCRATCH_LIMIT_VARIABLE), environ.get(WORKING_DIR_VARIABLE)
        if not text or not directory:
            return None
        if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
            raise InvalidInput(f"{SCRATCH_LIMIT_VARIABLE}: {text!r} must be a whole number of bytes")
        return cls(Path(directory), int(text))

    def refuse_checkpoint(self, size: int) -> None:
        """Refuse to write a checkpoint with which the directory would have more than the limit.

        Args:
            size: bytes of the file.

        Raises:
            WorkspaceFull: it would (70).
        """
        self._refuse_beyond(size, "the next checkpoint needs", remedy=", or decrease keepCheckpoints")

    def refuse_loading(self, size: int) -> None:
        """Refuse to load published files with which the directory would have more than the limit.

        Args:
            size: bytes of the files.

        Raises:
            WorkspaceFull: it would (70).
        """
        self._refuse_beyond(size, "the published files to load need")

    def _refuse_beyond(self, size: int, needs: str, *, remedy: str = "") -> None:
        used = bytes_below(self.directory)
        if used + size > self.size:
            raise WorkspaceFull(
                f"{self.directory}: {_shown(used)} are in use and {needs} {_shown(size)}, but the limit is "
                f"{_shown(self.size)}: increase sizeLimit of spec.workspace.objectStorage.scratch{remedy}"
            )


def _shown(size: int) -> str:
    """Return a number of bytes in the largest unit of which it has at least one."""
    if size < 1000:
        return f"{size} bytes"
    return f"{size / 1e3:,.1f} kB" if size < 1e6 else f"{size / 1e6:,.1f} MB"


def bytes_below(directory: Path) -> int:
    """Return the bytes that the files below a directory take; a file with several links counts once."""
    sizes = {}
    for found in _stats_below(directory):
        sizes[found.st_dev, found.st_ino] = max(found.st_size, found.st_blocks * _BYTES_OF_A_BLOCK)
    return sum(sizes.values())


def _stats_below(directory: Path) -> Iterator[os.stat_result]:
    # files come and go meanwhile
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            with suppress(OSError):
                yield entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    yield from _stats_below(Path(entry.path))
