"""Former paths of a workspace, from the specs that local runs kept.

A local run records in its spec the paths of its machine, also those below the workspace. A step that such a path names
gives the path of the workspace at that time: ``/data/ws/shapes/convert/train-*.tfrecord`` names
``/workspace/shapes/convert``, so ``/workspace`` was ``/data/ws``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from maskrcnn_trainer.report.inputs.files import Unreadable
from maskrcnn_trainer.report.inputs.paths import RecordedPaths
from maskrcnn_trainer.report.inputs.spec import spec_of_attempt
from maskrcnn_trainer.report.inputs.step import Step
from maskrcnn_trainer.shared.resource import WORKSPACE_MOUNT
from maskrcnn_trainer.spec.base import SpecModel
from maskrcnn_trainer.spec.named_files import file_fields

_FEWEST_PARTS = 2
"""Parts of a path below the workspace that identify a step; a single one, such as ``train``, occurs in other paths."""


def former_workspaces(steps: Sequence[Step], paths: RecordedPaths) -> tuple[PurePosixPath, ...]:
    """Return the directories that were ``/workspace`` when the steps ran, without the present one.

    Args:
        steps: of an experiment; specs that can't be read are left out.
        paths: the mapping that their results give.
    """
    places = [place for step in steps if (place := _below_workspace(step, paths)) is not None]
    found = {
        former: None
        for step in steps
        for path in _paths_in_spec(step)
        for place in places
        if (former := _before(path, place)) is not None
    }
    return tuple(former for former in found if paths.recorded(f"{former}/x") != f"{WORKSPACE_MOUNT}/x")


def _below_workspace(step: Step, paths: RecordedPaths) -> tuple[str, ...] | None:
    recorded = PurePosixPath(paths.recorded(str(step.directory)))
    if not recorded.is_relative_to(WORKSPACE_MOUNT):
        return None
    place = recorded.relative_to(WORKSPACE_MOUNT).parts
    return place if len(place) >= _FEWEST_PARTS else None


def _before(path: PurePosixPath, place: tuple[str, ...]) -> PurePosixPath | None:
    """Return the part of an absolute path before the last occurrence of consecutive parts, which a file follows."""
    for start in range(len(path.parts) - len(place) - 1, 1, -1):
        if path.parts[start : start + len(place)] == place:
            return PurePosixPath(*path.parts[:start])
    return None


def _paths_in_spec(step: Step) -> Iterator[PurePosixPath]:
    try:
        spec = spec_of_attempt(step.directory)
    except Unreadable:
        return
    parts: tuple[SpecModel, ...] = () if spec is None else (spec, spec.data_config)
    for value in (getattr(part, name) for part in parts for name in file_fields(type(part))):
        for pattern in (value or "").split(","):
            path = PurePosixPath(pattern.strip())
            if path.is_absolute() and not path.is_relative_to(WORKSPACE_MOUNT):
                yield path
