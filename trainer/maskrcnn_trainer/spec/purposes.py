"""Purposes that the tasks read the spec for, declared beside each field, and the fields of a purpose.

A field whose value can change a result has its purposes in its annotation, ``Annotated[int, ReadFor(TRAINING)]``; one
that changes how a task runs alone (batch size of evaluation, workers, logging, kept checkpoints, ...) has
``HOW_IT_RUNS``. :mod:`maskrcnn_trainer.spec.task_table` says which purposes a task has.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from enum import Enum, auto

from pydantic.fields import FieldInfo

from maskrcnn_trainer.spec.base import SpecModel


class Purpose(Enum):
    """What a field of the spec decides."""

    STRUCTURE = auto()
    """The model's structure: a model file holds it already, and a spec that contradicts the file is refused."""
    INPUT_SIZE = auto()
    """The size of the padded image."""
    PRECISION = auto()
    """The number format of the network where TensorFlow runs it."""
    TRAINING = auto()
    """The weights of a training."""
    DETECTION = auto()
    """What a trained model detects."""
    VALIDATION = auto()
    """What is evaluated, and against which annotations."""
    BEST_CHECKPOINT = auto()
    """When a training is evaluated, so which of its checkpoints is the best by mask AP."""
    CALIBRATION = auto()
    """The images that an INT8 calibration draws, from a directory or from records."""
    CALIBRATION_RECORDS = auto()
    """The records that an INT8 calibration without a directory of images draws from."""


Purposes = frozenset[Purpose]


class ReadFor:
    """Annotation of a field: the purposes that it is read for."""

    def __init__(self, *purposes: Purpose) -> None:
        self.purposes = frozenset(purposes)


HOW_IT_RUNS = ReadFor()
"""Annotation of a field that can change no result, or has no effect at all."""


@functools.cache
def fields_for(model: type[SpecModel], purposes: Purposes) -> frozenset[str]:
    """Return the fields that are read for any of the purposes.

    Args:
        model: the whole spec; a part of it gives the names within that part.

    Returns:
        Python's names; those of a part, such as ``data_config.image_size``, with the part in front.

    Raises:
        TypeError: a field lacks the annotation.
    """
    return frozenset(name for name, declared in _declarations(model) if not declared.purposes.isdisjoint(purposes))


@functools.cache
def fields_without_purpose(model: type[SpecModel]) -> frozenset[str]:
    """Return the fields that can change no result, named as by :func:`fields_for`."""
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
            raise TypeError(f"{model.__name__}.{name}: annotate what it is read for, ReadFor(...) or HOW_IT_RUNS")


def _declared(field: FieldInfo) -> ReadFor | None:
    return next((item for item in field.metadata if isinstance(item, ReadFor)), None)
