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

    def refuse_beyond(self, size: int) -> None:
        """Refuse to write a file with which the directory would have more than the limit.

        Args:
            size: expected bytes of the file.

        Raises:
            WorkspaceFull: it would (70).
        """
        used = bytes_below(self.directory)
        if used + size > self.size:
            raise WorkspaceFull(
                f"{self.directory}: {used / 1e6:,.1f} MB are in use and the next checkpoint needs {size / 1e6:,.1f} "
                f"MB, but the limit is {self.size / 1e6:,.1f} MB: increase sizeLimit of "
                "spec.workspace.objectStorage.scratch, or decrease keepCheckpoints"
            )


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
