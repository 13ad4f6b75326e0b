"""Former paths of a workspace, from the specs that local runs kept.

A local run records in its spec the paths of its machine, also those below the workspace. A step that such a path names
gives the path of the workspace at that time: ``/data/ws/shapes/convert/train-*.tfrecord`` names
``/workspace/shapes/convert``, so ``/workspace`` was ``/data/ws``. Where no spec names a step, the annotation file gives
it, which evaluate recorded as a ``/workspace`` path.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from maskrcnn_trainer.report.inputs.files import Unreadable
from maskrcnn_trainer.report.inputs.paths import RecordedPaths
from maskrcnn_trainer.report.inputs.spec import spec_of_attempt
from maskrcnn_trainer.report.inputs.step import Step
from maskrcnn_trainer.results.evaluated_images import EvaluatedImageList, read_evaluated_images
from maskrcnn_trainer.shared.resource import WORKSPACE_MOUNT
from maskrcnn_trainer.spec.base import SpecModel
from maskrcnn_trainer.spec.named_files import file_fields
from maskrcnn_trainer.spec.task_name import TaskName

_FEWEST_PARTS = 2
"""Parts of a path below the workspace that identify a step; a single one, such as ``train``, occurs in other paths."""


def former_workspaces(steps: Sequence[Step], paths: RecordedPaths) -> tuple[PurePosixPath, ...]:
    """Return the directories that were ``/workspace`` when the steps ran, without the present one.

    Args:
        steps: of an experiment; specs that can't be read are left out.
        paths: the mapping that their results give.
    """
    named = list(dict.fromkeys(path for step in steps for path in _paths_in_spec(step)))
    named = [path for path in named if paths.recorded(str(path)) == str(path)]
    if not named:
        return ()
    directories = _places(PurePosixPath(paths.recorded(str(step.directory))) for step in steps)
    found = _before(named, directories, followed=True) or _before(named, _places(_annotations(steps)), followed=False)
    return tuple(dict.fromkeys(found))


def _places(recorded: Iterable[PurePosixPath]) -> list[tuple[str, ...]]:
    """Return the parts of those paths below the workspace, without those that have too few."""
    places = (path.relative_to(WORKSPACE_MOUNT).parts for path in recorded if path.is_relative_to(WORKSPACE_MOUNT))
    return [place for place in dict.fromkeys(places) if len(place) >= _FEWEST_PARTS]


def _annotations(steps: Sequence[Step]) -> Iterator[PurePosixPath]:
    """Yield the annotation file that each evaluation recorded."""
    for step in steps:
        if step.task is TaskName.EVALUATE and isinstance(
            recorded := read_evaluated_images(step.directory), EvaluatedImageList
        ):
            yield PurePosixPath(recorded.annotations)


def _before(
    paths: Sequence[PurePosixPath], places: Sequence[tuple[str, ...]], *, followed: bool
) -> list[PurePosixPath]:
    """Return the part of each absolute path before the last occurrence of a place.

    Args:
        paths: absolute paths.
        places: consecutive parts of a path.
        followed: whether a file must follow the place, or the path must end with it.
    """
    found = []
    for path, place in itertools.product(paths, places):
        starts = range(len(path.parts) - len(place) - followed, 1, -1)[: None if followed else 1]
        start = next((start for start in starts if path.parts[start : start + len(place)] == place), None)
        if start is not None:
            found.append(PurePosixPath(*path.parts[:start]))
    return found


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
