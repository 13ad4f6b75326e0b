"""Purposes for which tasks read the fields of the spec, declared in the annotation of each field.

A field whose value can change a result names its purposes, such as ``Annotated[int, ReadFor(TRAINING)]``. A field that
only changes how a task runs (batch size of evaluation, workers, logging, kept checkpoints, ...) has ``HOW_IT_RUNS``.
:mod:`maskrcnn_trainer.spec.task_table` lists the purposes of each task.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from enum import Enum, auto

from pydantic.fields import FieldInfo

from maskrcnn_trainer.spec.base import SpecModel


class Purpose(Enum):
    """Aspect of a result that a field of the spec can change."""

    STRUCTURE = auto()
    """Structure of the model: a model file contains it too, and a spec that contradicts the file is refused."""
    INPUT_SIZE = auto()
    """Size of the padded image."""
    PRECISION = auto()
    """Number format of the network when TensorFlow runs it."""
    TRAINING = auto()
    """Weights that a training produces."""
    DETECTION = auto()
    """Detections of a trained model."""
    VALIDATION = auto()
    """Images and annotations of an evaluation."""
    BEST_CHECKPOINT = auto()
    """Steps at which a training is evaluated, and so its best checkpoint by mask AP."""
    CALIBRATION = auto()
    """Images that an INT8 calibration samples, from a directory or from records."""
    CALIBRATION_RECORDS = auto()
    """Records from which an INT8 calibration without a directory of images samples."""


Purposes = frozenset[Purpose]


class ReadFor:
    """Annotation of a field with the purposes for which it is read."""

    def __init__(self, *purposes: Purpose) -> None:
        self.purposes = frozenset(purposes)


HOW_IT_RUNS = ReadFor()
"""Annotation of a field that cannot change a result, or has no effect at all."""


@functools.cache
def fields_for(model: type[SpecModel], purposes: Purposes) -> frozenset[str]:
    """Return the fields that are read for any of the purposes.

    Args:
        model: the complete spec; for a part of it, the names are relative to that part.
        purposes: the purposes.

    Returns:
        Names in Python, those of a nested part with its name in front, such as ``data_config.image_size``.

    Raises:
        TypeError: a field lacks the annotation.
    """
    return frozenset(name for name, declared in _declarations(model) if not declared.purposes.isdisjoint(purposes))


@functools.cache
def fields_without_purpose(model: type[SpecModel]) -> frozenset[str]:
    """Return the fields that cannot change a result, named as by :func:`fields_for`."""
    return frozenset(name for name, declared in _declarations(model) if not declared.purposes)


def _declarations(model: type[SpecModel]) -> Iterator[tuple[str, ReadFor]]:
    for name, field in model.model_fields.items():
        declared = _declared(field)
        part = field.annotation
        if declared is not None:
            yield name, declared
        elif isinstance(part, type) and issubclass(part, SpecModel):
            yield from ((f"{name}.{inner}", own) for inner, own in _declarations(part))
        else:
            raise TypeError(f"{model.__name__}.{name}: no purpose; annotate it with ReadFor(...) or HOW_IT_RUNS")


def _declared(field: FieldInfo) -> ReadFor | None:
    return next((item for item in field.metadata if isinstance(item, ReadFor)), None)
