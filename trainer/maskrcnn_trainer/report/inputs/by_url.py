"""Files that a report reads by URL: those below a results directory in object storage, and those that steps name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.report.inputs.experiment_directory import open_directory
from maskrcnn_trainer.results.evaluated_images import EvaluatedImageList, read_evaluated_images
from maskrcnn_trainer.shared.object_url import is_url, local_path
from maskrcnn_trainer.spec.task_name import TaskName
from maskrcnn_trainer.spec.task_table import IMAGES_DIR, LABELS_DIR
from maskrcnn_trainer.task.staged_inputs import staged_file

_NOT_READ = (".onnx", ".etlt", ".engine", ".png")


def is_report_input(path: str) -> bool:
    """Return whether a report reads a file, given its path below a results directory or below that of an experiment."""
    return not path.endswith(_NOT_READ) and {IMAGES_DIR, LABELS_DIR}.isdisjoint(path.split("/")[:-1])


def recorded_urls(directories: Iterable[str]) -> list[str]:
    """Return the URLs of the annotations, records, and models that evaluations name and that aren't staged.

    Args:
        directories: as given to a report; unusable ones are left out.
    """
    found: set[str] = set()
    for directory in directories:
        try:
            steps = open_directory(Path(directory)).of(TaskName.EVALUATE)
        except InvalidInput:
            continue
        for step in steps:
            images = read_evaluated_images(step.directory)
            named = [step.model_path or ""]
            if isinstance(images, EvaluatedImageList):
                named += [images.annotations, *(image.file for image in images.images)]
            found.update(named)
    return sorted(one for one in found if is_url(one) and local_path(one) is None and staged_file(one) is None)
