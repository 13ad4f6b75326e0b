"""Mapping of recorded paths to those of this machine.

A task records paths below ``/workspace`` or, started by hand, as they were given. The results may have been copied
since. A file that is known under both names gives the mapping: ``/workspace/shapes/train`` that is now
``/data/ws/shapes/train`` shows that ``/workspace`` is ``/data/ws``.

The specs of local runs have paths of the machine instead, which are those of a workspace that may have moved since.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from maskrcnn_trainer.shared.resource import WORKSPACE_MOUNT
from maskrcnn_trainer.task.workspace import real_path


@dataclass(frozen=True)
class Moved:
    """Directory under the name that was recorded and under its present one."""

    recorded: PurePosixPath
    present: Path

    @classmethod
    def of(cls, recorded: str, present: Path) -> Moved:
        """Return the lowest directories above which the two names differ; a workspace is never left.

        Args:
            recorded: a directory as a task recorded it.
            present: the same directory on this machine, absolute.
        """
        before, now = PurePosixPath(recorded), present
        while before.name and before.name == now.name and str(before) != WORKSPACE_MOUNT:
            before, now = before.parent, now.parent
        return cls(before, now)


class RecordedPaths:
    """Paths that tasks recorded, as paths of this machine.

    Args:
        moved: directories whose both names are known, the most reliable first.
        former: directories of any machine that were ``/workspace`` when a task ran.
    """

    def __init__(self, moved: Iterable[Moved], former: Iterable[PurePosixPath] = ()) -> None:
        self._moved = tuple(dict.fromkeys(moved))
        self._former = tuple(former)

    def with_former(self, former: Iterable[PurePosixPath]) -> RecordedPaths:
        """Return the same mapping with these former directories of the workspace."""
        return RecordedPaths(self._moved, former)

    def present(self, recorded: str) -> Path:
        """Return a recorded path as a path of this machine; unchanged if nothing exists at any mapped one."""
        path = PurePosixPath(self._of_former(recorded))
        for one in self._moved:
            if path.is_relative_to(one.recorded) and path.is_absolute() == one.recorded.is_absolute():
                candidate = one.present / path.relative_to(one.recorded)
                # a pattern exists if its directory does
                if os.path.lexists(candidate.parent if "*" in candidate.name else candidate):
                    return candidate
        return real_path(recorded)

    def same_file(self, first: str, second: str) -> bool:
        """Return whether two recorded paths name the same file."""
        return first == second or os.path.normpath(self.present(first)) == os.path.normpath(self.present(second))

    def recorded(self, value: str) -> str:
        """Return a path of this machine below a workspace as ``/workspace`` path, and any other text unchanged.

        Experiments that ran in different workspaces then have equal specs where they name the same files.
        """
        for one in self._moved:
            if one.recorded.is_relative_to(WORKSPACE_MOUNT) and value.startswith(f"{one.present}/"):
                return f"{one.recorded}{value[len(str(one.present)) :]}"
        return self._of_former(value)

    def _of_former(self, value: str) -> str:
        for one in self._former:
            if value.startswith(f"{one}/"):
                return f"{WORKSPACE_MOUNT}{value[len(str(one)) :]}"
        return value
