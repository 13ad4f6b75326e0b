"""Files that a report reads in object storage: of given directories, of steps next to one, and those they name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.report.inputs.experiment_directory import open_directory
from maskrcnn_trainer.report.inputs.siblings import OF_OTHERS, siblings_in_store
from maskrcnn_trainer.results.evaluated_images import EvaluatedImageList, read_evaluated_images
from maskrcnn_trainer.spec.task_name import TaskName
from maskrcnn_trainer.spec.task_table import IMAGES_DIR, LABELS_DIR
from maskrcnn_trainer.spec.url_fields import InputKind
from maskrcnn_trainer.staging.work import UrlInput
from maskrcnn_trainer.task.workspace import is_path

_NOT_READ = (".onnx", ".etlt", ".engine", ".png", ".log", ".gz", ".tlt", ".tfrecord")
"""Ends of the names of files that a page doesn't need, or only those of them that evaluations and trainings name."""


def is_report_input(path: str) -> bool:
    """Return whether a report reads a file of a directory, other than those that `named_in_store` returns.

    Args:
        path: below a results directory or below that of an experiment.
    """
    return not path.endswith(_NOT_READ) and {IMAGES_DIR, LABELS_DIR}.isdisjoint(path.split("/")[:-1])


def experiment_around(directory: str) -> UrlInput | None:
    """Return the input for the steps next to the one of a working directory whose workspace is in object storage.

    Args:
        directory: results directory of a step.

    Returns:
        None for a directory whose siblings are on this machine, or that is itself in object storage.
    """
    siblings = siblings_in_store(Path(directory)) if is_path(directory) else None
    if siblings is None:
        return None

    def is_read(name: str) -> bool:
        step, _, path_in_step = name.partition("/")
        if step == siblings.own:
            return False
        return is_report_input(path_in_step) if step in siblings.read else path_in_step in OF_OTHERS

    return UrlInput(siblings.experiment, InputKind.DIRECTORY, "-r", is_read=is_read)


def named_in_store(directories: Iterable[str]) -> list[str]:
    """Return the annotations, records, and models in object storage that steps name and that aren't staged.

    Args:
        directories: as given to a report; unusable ones are left out.

    Returns:
        URLs, and paths below a workspace in object storage.
    """
    found: set[str] = set()
    for directory in directories:
        try:
            opened = open_directory(Path(directory))
        except InvalidInput:
            continue
        named: set[str] = set()
        for step in opened.steps:
            if step.in_part or step.task not in (TaskName.EVALUATE, TaskName.TRAIN):
                continue
            # other models have no description
            if step.model_path is not None and step.model_path.endswith(".tlt"):
                named.add(step.model_path)
            images = read_evaluated_images(step.directory)
            if isinstance(images, EvaluatedImageList):
                named.update([images.annotations, *(image.file for image in images.images)])
        found.update(name for one in named if (name := opened.paths.in_store(one)) is not None)
    return sorted(found)
