"""The names that boxes are labelled with."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from maskrcnn_trainer.data.class_map import ClassMap
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.files import decoding_fault, read_text

log = logging.getLogger(__name__)

BACKGROUND = "BG"


def read_class_map(path: Path) -> list[str]:
    """The lines of a class map: one name a line, the first that of id 1.

    A first line ``BG`` (the background, in the ``labels.txt`` that DeepStream reads) is that of id 0 and left out.

    Raises:
        InvalidInput: the file cannot be read, is empty or no UTF-8 text.
    """
    try:
        lines = [line.strip() for line in read_text(path).splitlines()]
    except OSError as error:
        raise InvalidInput(f"--class_map {path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"--class_map {path} {decoding_fault(error)}") from error
    while lines and not lines[-1]:
        lines.pop()
    if lines[:1] == [BACKGROUND]:
        del lines[0]
    if not lines:
        raise InvalidInput(f"--class_map {path}: it is empty; expected one class name a line, line n for id n")
    return lines


def category_names(class_map: ClassMap, lines: Sequence[str] = ()) -> dict[int, str]:
    """A name for every category id of a model.

    Args:
        class_map: of the model; its names stand where the lines give none.
        lines: line n is the name of category id n. Where the ids have gaps and there is a line a class, too few for
            the largest id, they are the names of the classes in rising order of their ids.

    Returns:
        by category id (the data set's own); ``class 7`` where nothing names it.
    """
    largest, classes = max(class_map.ids), len(class_map.ids)
    in_order = not class_map.identity and len(lines) == classes and classes < largest
    if in_order:
        log.info("--class_map: %d names for %d classes: taken in rising order of the category ids", classes, classes)
        given = dict(zip(sorted(class_map.ids), lines, strict=True))
    else:
        given = dict(enumerate(lines, start=1))
        unnamed = [one for one in class_map.ids if one > len(lines)]
        if lines and unnamed:
            log.warning("--class_map: %d lines, but the category ids go up to %d", len(lines), largest)
        elif len(lines) > largest:
            log.warning("--class_map: %d lines, but the category ids only go up to %d", len(lines), largest)
    return {one: given.get(one) or class_map.name_of(one) or f"class {one}" for one in class_map.ids}
