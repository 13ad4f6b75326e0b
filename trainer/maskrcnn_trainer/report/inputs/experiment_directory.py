"""The steps that a report about a directory covers."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.report.inputs.files import Unreadable
from maskrcnn_trainer.report.inputs.former_workspaces import former_workspaces
from maskrcnn_trainer.report.inputs.paths import RecordedPaths
from maskrcnn_trainer.report.inputs.siblings import siblings_in_store
from maskrcnn_trainer.report.inputs.step import Step, read_step
from maskrcnn_trainer.spec.task_name import TaskName
from maskrcnn_trainer.task.files import directory_fault

MOST_ENTRIES = 10_000
"""Entries of a directory that are looked at."""

MOST_STEPS = 200
"""Steps of an experiment; the resource has at most 50."""

BY_HAND = "evaluation"
"""Directory that ``maskrcnn evaluate`` without -r creates next to the model."""

_OLDER = re.compile(r".+\.(?:(?!(?:19|20)\d{6}$)[0-9a-f]{8}(?:\.\d+)?|(?:damaged|changed)-\d+)")
"""Older results of a step, which ran again since; a date (``train.20261129``) is a name that a user gave."""

_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class ExperimentDirectory:
    """Steps of one experiment.

    Attributes:
        path: the directory that was given.
        name: of the experiment, with that of the step if the directory is a step's.
        steps: by time of completion, unfinished ones last.
        evaluation: the evaluate step that the report is about; None if there is none.
        paths: recorded paths as paths of this machine.
        notes: sentences about steps that can't be read.
        other_evaluations: those to take if that one can't be read, the best first; none if that one was given.
    """

    path: Path
    name: str
    steps: tuple[Step, ...]
    evaluation: Step | None
    paths: RecordedPaths
    notes: tuple[str, ...] = ()
    other_evaluations: tuple[Step, ...] = ()

    def of(self, task: TaskName) -> list[Step]:
        """Return the steps of a task in their order."""
        return [step for step in self.steps if step.task is task]

    def maker(self, model: str | None) -> Step | None:
        """Return the step that made a model: one with this artifact, else the one whose directory holds it."""
        if model is None:
            return None
        makers = [step for step in self.steps if step.task is not TaskName.EVALUATE]
        for step in makers:
            if any(self.paths.same_file(artifact.path, model) for artifact in step.artifacts.values()):
                return step
        folder = self.paths.folder(model)
        return next((step for step in makers if step.directory == folder), None)


def open_directory(path: Path) -> ExperimentDirectory:
    """Return the steps that a report about a directory covers.

    Args:
        path: results directory of a step, or the directory of an experiment, which holds those of its steps.

    Raises:
        InvalidInput: there is no such directory, or no task has written it or a directory in it.
    """
    if fault := directory_fault(path):
        raise InvalidInput(f"-r {path}: {fault}")
    directory = path.resolve()
    notes: list[str] = []
    own = _read(directory, notes)
    if own is None:
        steps = _steps_in(directory, notes)
        name = directory.name
        if not steps:
            raise InvalidInput(
                f"-r {path}: no results of a task are there; give the results directory of a step, or the directory of "
                "an experiment, which has those of its steps"
            )
    else:
        steps = _around(own, notes)
        name = f"{directory.parent.name}/{directory.name}".lstrip("/")
    # the unfinished step of the report itself is kept: evaluate makes its report before it has a result
    steps = _ordered(step for step in steps if step.finished or step == own or step.task is TaskName.TRAIN)
    paths = RecordedPaths(
        moved for step in ([own] if own else []) + steps if (moved := step.moved()) is not None
    )  # fmt: skip
    paths = paths.with_former(former_workspaces(steps, paths))
    found = ExperimentDirectory(directory, name, tuple(steps), None, paths, tuple(notes))
    evaluation, *others = [*_evaluations(found, own), None]
    return replace(found, evaluation=evaluation, other_evaluations=tuple(filter(None, others)))


def _around(own: Step, notes: list[str]) -> list[Step]:
    """Return a step with its siblings, the step that made its model, and an evaluation in its own directory."""
    siblings = siblings_in_store(own.directory)
    if siblings is not None and siblings.copy is not None:
        found = [replace(one, in_part=one.name not in siblings.read) for one in _steps_in(siblings.copy, notes)]
    else:
        found = _steps_in(own.directory.parent, notes)
    steps = {step.directory: step for step in [*found, own]}
    others = [own.directory / BY_HAND]
    if own.model_path is not None and (moved := own.moved()) is not None:
        others.append(RecordedPaths([moved]).present(own.model_path).parent.resolve())
    for directory in others:
        if directory not in steps and (step := _read(directory, notes)) is not None:
            steps[directory] = step
    return list(steps.values())


def _steps_in(directory: Path, notes: list[str]) -> list[Step]:
    try:
        names = [path.name for path in itertools.islice(directory.iterdir(), MOST_ENTRIES + 1)]
    except OSError as error:
        notes.append(f"The steps next to this one can't be read: {error.strerror}.")
        return []
    if len(names) > MOST_ENTRIES:
        notes.append(f"{directory.name} has more than {MOST_ENTRIES:,} entries; the others are left out.")
    steps: list[Step] = []
    for name in sorted(names[:MOST_ENTRIES]):
        if name.startswith(".") or _OLDER.fullmatch(name):
            continue
        step = _read(directory / name, notes)
        if step is not None and len(steps) == MOST_STEPS:
            notes.append(f"{directory.name} has more than {MOST_STEPS} steps; those from {name} on are left out.")
            break
        if step is not None:
            steps.append(step)
    return steps


def _read(directory: Path, notes: list[str]) -> Step | None:
    try:
        return read_step(directory) if directory.is_dir() else None
    except Unreadable as error:
        notes.append(str(error))
        return None
    except OSError:
        return None


def _ordered(steps: Iterable[Step]) -> list[Step]:
    return sorted(steps, key=lambda step: (step.completed or _NEVER, step.name))


def _evaluations(found: ExperimentDirectory, own: Step | None) -> list[Step]:
    """Return the own evaluation only, else those of the own model and then all others, the last ones first."""
    if own is not None and own.task is TaskName.EVALUATE:
        return [own]
    latest = list(reversed(found.of(TaskName.EVALUATE)))
    of_own = [step for step in latest if own is not None and found.maker(step.model_path) == own]
    return list(dict.fromkeys([*of_own, *latest]))
