"""One step: the checked content of ``result.json`` in a results directory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from maskrcnn_trainer.errors import EXIT_OK
from maskrcnn_trainer.report.inputs.files import MIB, NotRecorded, Unreadable, numbers, read_object, text, texts, whole
from maskrcnn_trainer.report.inputs.paths import Moved
from maskrcnn_trainer.shared.messages import RESULT_FILE, STATUS_FILE, ArtifactKey, ResultKey
from maskrcnn_trainer.spec.task_name import TaskName
from maskrcnn_trainer.spec.task_table import CHECKPOINT, EVALUATIONS_FILE, HISTORY_FILE, METRICS_FILE
from maskrcnn_trainer.spelling import with_urls

LARGEST_RESULT = MIB
_COMMANDS = {name.command: name for name in TaskName}


@dataclass(frozen=True)
class StoredFile:
    """Artifact of a step: its path as recorded, and its size in bytes, None if it isn't recorded."""

    path: str
    size: int | None


@dataclass(frozen=True, eq=False)
class Step:
    """Results of one step, equal only to itself.

    Attributes:
        directory: absolute path of the results directory.
        task: the task that wrote it.
        finished: whether it has a result; without one, only some of the files may be there.
        model_path: the model that it made, or that evaluate evaluated, as recorded.
        artifacts: by name.
        metrics: of the result.
        versions: of Python and packages.
        image: of the pod.
        processes, threads: number of processes and of threads of each.
        device: name of the GPU or CPU.
        started, completed: in UTC.
        inputs: URLs, and paths below a workspace in object storage, of what it read.
        in_part: whether only result and metrics of it are here.
    """

    directory: Path
    task: TaskName
    finished: bool = False
    model_path: str | None = None
    artifacts: Mapping[str, StoredFile] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    image: str | None = None
    processes: int | None = None
    threads: int | None = None
    device: str | None = None
    started: datetime | None = None
    completed: datetime | None = None
    inputs: tuple[str, ...] = ()
    in_part: bool = False

    @property
    def name(self) -> str:
        """Name of the directory, which is that of the step in an experiment."""
        return self.directory.name

    @property
    def model_file(self) -> StoredFile | None:
        """The model that this step made; None for a step that makes none."""
        return self.artifacts.get("model")

    def moved(self) -> Moved | None:
        """Return the directory under its recorded and its present name; None if that isn't recorded."""
        for artifact in self.artifacts.values():
            folder, _, name = artifact.path.rpartition("/")
            if folder and name and "*" not in name and ((self.directory / name).exists() or self._is_copy_of(folder)):
                return Moved.of(folder, self.directory)
        return None

    def _is_copy_of(self, folder: str) -> bool:
        """Return whether the directory is a copy of one in object storage, and of the name of a recorded one.

        Not all of its files are loaded.
        """
        directory = str(self.directory)
        return with_urls(directory) != directory and PurePosixPath(folder).name == self.name


def read_step(directory: Path) -> Step | None:
    """Return the step that wrote a directory; None if no task has written it.

    Args:
        directory: absolute path.

    Raises:
        Unreadable: its ``result.json`` is damaged or was written by another program.
    """
    try:
        content = read_object(directory / RESULT_FILE, LARGEST_RESULT)
    except NotRecorded:
        task = _task_of_files(directory)
        return None if task is None else Step(directory, task)
    command = content.get(ResultKey.TASK)
    task = _COMMANDS.get(command) if isinstance(command, str) else None
    if task is None:
        raise Unreadable(f"{directory.name}/{RESULT_FILE} wasn't written by a task.")
    return Step(
        directory=directory,
        task=task,
        finished=content.get(ResultKey.CODE) == EXIT_OK,
        model_path=text(content.get(ResultKey.MODEL_PATH)),
        artifacts=_artifacts(content.get(ResultKey.ARTIFACTS)),
        metrics=numbers(content.get(ResultKey.METRICS)),
        versions=texts(content.get(ResultKey.VERSIONS)),
        image=text(content.get(ResultKey.IMAGE)),
        processes=whole(content.get(ResultKey.PROCESSES)),
        threads=whole(content.get(ResultKey.THREADS)),
        device=text(content.get(ResultKey.DEVICE)),
        started=_time(content.get(ResultKey.START_TIME)),
        completed=_time(content.get(ResultKey.COMPLETION_TIME)),
        inputs=tuple(inputs) if isinstance(inputs := content.get(ResultKey.INPUTS), dict) else (),
    )


def _task_of_files(directory: Path) -> TaskName | None:
    """Return the task of a directory without a result, by its files."""
    try:
        names = {path.name for path in directory.iterdir()}
    except OSError:
        return None
    if METRICS_FILE in names:
        return TaskName.EVALUATE
    if HISTORY_FILE in names:
        return TaskName.TRAIN
    if STATUS_FILE not in names:
        return None
    if EVALUATIONS_FILE in names or any(CHECKPOINT.fullmatch(name) for name in names):
        return TaskName.TRAIN
    return None


def _artifacts(value: Any) -> dict[str, StoredFile]:
    found = {}
    for name, artifact in value.items() if isinstance(value, dict) else ():
        path = text(artifact.get(ArtifactKey.PATH)) if isinstance(artifact, dict) else None
        if path is not None and "\0" not in path:
            found[name] = StoredFile(path, whole(artifact.get(ArtifactKey.BYTES)))
    return found


def _time(value: Any) -> datetime | None:
    try:
        parsed = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return parsed.astimezone(UTC) if parsed is not None and parsed.tzinfo is not None else None
