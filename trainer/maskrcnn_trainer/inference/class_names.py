"""Class names for the labels of boxes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from maskrcnn_trainer.data.class_map import BACKGROUND_LABEL, ClassMap
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.files import decoding_fault, read_text

log = logging.getLogger(__name__)


def read_class_map(path: Path) -> list[str]:
    """Return the lines of a class map: one name per line, starting with that of id 1.

    If the first line is ``BG`` (the background in DeepStream's ``labels.txt``), it is the name of id 0 and is dropped.

    Raises:
        InvalidInput: the file cannot be read, is empty, or isn't UTF-8 text.
    """
    try:
        lines = [line.strip() for line in read_text(path).splitlines()]
    except OSError as error:
        raise InvalidInput(f"--class_map {path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"--class_map {path} {decoding_fault(error)}") from error
    while lines and not lines[-1]:
        lines.pop()
    if lines[:1] == [BACKGROUND_LABEL]:
        del lines[0]
    if not lines:
        raise InvalidInput(f"--class_map {path}: empty; expected one class name per line, line n for id n")
    return lines


def category_names(class_map: ClassMap, lines: Sequence[str] = ()) -> dict[int, str]:
    """Return a name for every category id of a model.

    Args:
        class_map: class map of the model; its names are used for ids without a line.
        lines: line n is the name of category id n. If the ids have gaps and there are exactly as many lines as classes,
            the lines are the names of the classes in ascending order of their ids.

    Returns:
        names by category id of the data set; for example ``class 7`` if the id has no name.
    """
    largest, classes = max(class_map.ids), len(class_map.ids)
    in_order = not class_map.identity and len(lines) == classes and classes < largest
    if in_order:
        log.info(
            "--class_map: %d names for %d classes: assigned in ascending order of the category ids", classes, classes
        )
        given = dict(zip(sorted(class_map.ids), lines, strict=True))
    else:
        given = dict(enumerate(lines, start=1))
        unnamed = [one for one in class_map.ids if one > len(lines)]
        if lines and unnamed:
            log.warning("--class_map: %d lines, but the category ids go up to %d", len(lines), largest)
        elif len(lines) > largest:
            log.warning("--class_map: %d lines, but the category ids only go up to %d", len(lines), largest)
    return {one: given.get(one) or class_map.name_of(one) or f"class {one}" for one in class_map.ids}
