"""Mapping of recorded paths to those of this machine.

A task records paths below ``/workspace`` or, started by hand, as they were given. The results may have been copied
since. A file that is known under both names gives the mapping: ``/workspace/shapes/train`` that is now
``/data/ws/shapes/train`` shows that ``/workspace`` is ``/data/ws``.

The specs of local runs have paths of the machine instead, which are those of a workspace that may have moved since.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from maskrcnn_trainer.shared.resource import WORKSPACE_MOUNT
from maskrcnn_trainer.shared.variables import WORKSPACE_VARIABLE
from maskrcnn_trainer.task.staged_inputs import staged_file
from maskrcnn_trainer.task.workspace import is_in_store, manifest_path, real_path, staged_copy


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

    def workspace(self) -> Moved | None:
        """Return where the workspace is if a directory below it was renamed, not moved; None for another directory."""
        place = self.recorded.parts[len(PurePosixPath(WORKSPACE_MOUNT).parts) :]
        if not self.recorded.is_relative_to(WORKSPACE_MOUNT) or not 0 < len(place) < len(self.present.parts):
            return None
        return Moved(PurePosixPath(WORKSPACE_MOUNT), self.present.parents[len(place) - 1])


class RecordedPaths:
    """Paths that tasks recorded, as paths of this machine.

    ``MASKRCNN_WORKSPACE`` counts after the directories whose both names are known.

    Args:
        moved: directories whose both names are known, the most reliable first.
        former: directories of any machine that were ``/workspace`` when a task ran.
    """

    def __init__(self, moved: Iterable[Moved], former: Iterable[PurePosixPath] = ()) -> None:
        known = list(moved)
        if directory := os.environ.get(WORKSPACE_VARIABLE):
            known.append(Moved(PurePosixPath(WORKSPACE_MOUNT), Path(directory).absolute()))
        renamed = [workspace for one in known if (workspace := one.workspace()) is not None]
        self._moved = tuple(dict.fromkeys([*known, *renamed]))
        self._former = tuple(former)

    def with_former(self, former: Iterable[PurePosixPath]) -> RecordedPaths:
        """Return the same mapping with these former directories of the workspace."""
        return RecordedPaths(self._moved, former)

    def present(self, recorded: str) -> Path:
        """Return a recorded path as a path of this machine; unchanged if nothing exists at any mapped one."""
        mapped = list(self._mapped(recorded))
        if (found := next((path for path in mapped if _exists(path)), None)) is not None:
            return found
        copies = (copy for path in mapped if (copy := staged_copy(path)) is not None)
        return next(copies, real_path(recorded))

    def folder(self, recorded: str) -> Path:
        """Return the directory of a recorded file on this machine; of one in object storage, the file may be absent."""
        found = self.present(recorded)
        mapped = list(self._mapped(recorded))
        if found not in mapped:
            return next((path.parent for path in mapped if is_in_store(manifest_path(path))), found.parent)
        return found.parent

    def in_store(self, recorded: str) -> str | None:
        """Return the URL, or the path below a workspace in object storage, of a recorded path that isn't here.

        Returns:
            None if it is on this machine, or isn't in object storage.
        """
        if staged_file(recorded) is not None or _exists(self.present(recorded)):
            return None
        named = (manifest_path(path) for path in self._mapped(recorded))
        return next((name for name in (recorded, *named) if is_in_store(name)), None)

    def expected(self, recorded: str) -> Path:
        """Return a recorded path as a path of this machine; the most reliable one if nothing exists at any of them."""
        found = self.present(recorded)
        return found if _exists(found) else next(self._mapped(recorded), found)

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

    def _mapped(self, recorded: str) -> Iterator[Path]:
        path = PurePosixPath(self._of_former(recorded))
        for one in self._moved:
            if path.is_relative_to(one.recorded) and path.is_absolute() == one.recorded.is_absolute():
                yield one.present / path.relative_to(one.recorded)

    def _of_former(self, value: str) -> str:
        for one in self._former:
            if value.startswith(f"{one}/"):
                return f"{WORKSPACE_MOUNT}{value[len(str(one)) :]}"
        return value


def _exists(path: Path) -> bool:
    """Return whether a file exists, or the directory of a pattern."""
    return os.path.lexists(path.parent if "*" in path.name else path)
