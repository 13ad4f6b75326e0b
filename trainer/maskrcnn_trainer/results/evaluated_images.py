"""Data that an evaluation saw, ``images.json``: its annotation file, and the id and the record of each image.

``detections.json`` has no entry for an image without detections, and an evaluation may be limited to the first records.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskrcnn_trainer.results import recorded
from maskrcnn_trainer.results.recorded import NotRecorded, Unusable
from maskrcnn_trainer.spec.task_table import EVALUATED_FILE
from maskrcnn_trainer.task.files import write_json_atomically
from maskrcnn_trainer.task.workspace import manifest_path

_VERSION = 1
_BEGINNING = re.compile(rb'\{"version": \d+, "evaluatedOn": "')
_MOST_READ = 1 << 28
"""Limit of a file that is read: a million images need half of it."""


@dataclass(frozen=True)
class EvaluatedImage:
    """One image.

    Attributes:
        id: in the annotation file.
        file: the file of its record, below ``/workspace`` as in a pod, or any absolute path.
        offset: first byte of the record's payload in that file, after its header of 12 bytes.
    """

    id: int | str
    file: str
    offset: int


@dataclass(frozen=True)
class EvaluatedImageList:
    """Content of ``images.json``.

    Attributes:
        evaluated_on: identity of the validation data and of the inference settings
            (:func:`maskrcnn_trainer.data.identity.validation_identity`).
        annotations: the annotation file, with a path as those of the images.
        images: in the order of the records, each id once.
    """

    evaluated_on: str
    annotations: str
    images: Sequence[EvaluatedImage]

    def to_json(self) -> dict[str, Any]:
        """Return the members of the JSON object, with ``/workspace`` paths."""
        return {
            "version": _VERSION,
            "evaluatedOn": self.evaluated_on,
            "annotations": manifest_path(self.annotations),
            "images": [
                {"id": image.id, "file": manifest_path(image.file), "offset": image.offset} for image in self.images
            ],
        }


def write_evaluated_images(results_dir: Path, content: EvaluatedImageList, *, before_write: Callable[[], None]) -> None:
    """Write ``images.json`` atomically.

    Args:
        results_dir: an existing directory.
        content: of the file.
        before_write: called before the rename; raises if another run has taken over the directory.

    Raises:
        WorkspaceFull: no space or quota is left.
    """
    before_write()
    write_json_atomically(results_dir / EVALUATED_FILE, content.to_json())


def read_evaluated_images(results_dir: Path) -> EvaluatedImageList | NotRecorded:
    """Return the content of ``images.json`` in the results directory of an evaluation."""
    try:
        content = recorded.json_object(recorded.content_of(results_dir / EVALUATED_FILE, most=_MOST_READ))
        if content.get("version") != _VERSION:
            raise Unusable(f"is not of version {_VERSION}")
        images = content.get("images")
        if not isinstance(images, list) or not images:
            raise Unusable("has no images")
        found = [_image(image) for image in images]
        if len({image.id for image in found}) < len(found):
            raise Unusable("has an image twice")
        return EvaluatedImageList(
            recorded.text(content.get("evaluatedOn"), "evaluatedOn"),
            recorded.text(content.get("annotations"), "annotations"),
            found,
        )
    except Unusable as error:
        return NotRecorded(f"{EVALUATED_FILE} {error}")


def begins_as_evaluated_images(beginning: bytes) -> bool:
    """Return whether the first bytes of a file, at least 64, are those of ``images.json``; it may be all zeros."""
    return not beginning.strip(b"\0 \n") or _BEGINNING.match(beginning) is not None


def _image(value: Any) -> EvaluatedImage:
    if not isinstance(value, dict):
        raise Unusable("has an image that is not an object")
    number = value.get("id")
    # ids of an annotation file may be negative
    checked = recorded.text(number, "id") if isinstance(number, str) else _id(number)
    file = recorded.text(value.get("file"), "file")
    return EvaluatedImage(checked, file, recorded.whole_number(value.get("offset"), "offset"))


def _id(value: Any) -> int:
    return recorded.whole_number(value, "id", least=-recorded.LARGEST_NUMBER)
