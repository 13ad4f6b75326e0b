"""Fields of the spec that name files: records, annotations, and models.

Such a field has ``NAMES_FILES`` in its annotation: ``Annotated[str | None, ReadFor(TRAINING), NAMES_FILES]``.
"""

from __future__ import annotations

import functools

from maskrcnn_trainer.spec.base import SpecModel


class NamesFiles:
    """Annotation of a field whose value is a path, or patterns of paths separated by commas."""


NAMES_FILES = NamesFiles()


@functools.cache
def file_fields(part: type[SpecModel]) -> tuple[str, ...]:
    """Return the Python names of the fields in a part of the spec that name files, in the order of the part.

    Args:
        part: class of the part; fields of nested parts are not returned, so ``ExperimentSpec`` has only the models.
    """
    return tuple(
        name
        for name, field in part.model_fields.items()
        if any(isinstance(declared, NamesFiles) for declared in field.metadata)
    )
