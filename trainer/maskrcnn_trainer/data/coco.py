"""COCO instances JSON, read and checked: what is wrong is said by entry, field and value, several problems at once.

Format: https://cocodataset.org/#format-data (object detection).
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskrcnn_trainer.errors import InvalidInput

log = logging.getLogger(__name__)

PROBLEMS_SHOWN = 20
_LARGEST_CATEGORY = 2**31 - 1  # class ids are 32-bit in the model
_LARGEST_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class CocoImage:
    """One entry of ``images``; width and height in pixels."""

    id: int
    file_name: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class CocoAnnotation:
    """One entry of ``annotations``.

    Attributes:
        bbox: x, y, width, height in pixels; may lie outside of the image.
        area: in pixels.
        segmentation: list of polygons, run lengths (a mapping with ``size`` and ``counts``), or None where absent. What
            is inside is not checked here.
    """

    id: int
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    area: float
    is_crowd: bool
    segmentation: list[Any] | dict[str, Any] | None


@dataclass(frozen=True)
class CocoDataset:
    """A checked annotation file.

    Attributes:
        path: the file.
        images: in the order of the file.
        categories: name by id, in the order of the file.
        annotations: by image id, in the order of the file; an image without any is absent.
    """

    path: str
    images: tuple[CocoImage, ...]
    categories: dict[int, str]
    annotations: dict[int, tuple[CocoAnnotation, ...]]

    def annotations_of(self, image_id: int) -> tuple[CocoAnnotation, ...]:
        """The annotations of an image, () where it has none."""
        return self.annotations.get(image_id, ())


class Problems:
    """Collects what is wrong with a file and raises it as one error, at most ``PROBLEMS_SHOWN`` of them spelt out."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.count = 0
        self._shown: list[str] = []

    def add(self, text: str) -> None:
        """One problem: the entry, the field, the value, and what would be right."""
        self.count += 1
        if len(self._shown) < PROBLEMS_SHOWN:
            self._shown.append(text)

    def raise_if_any(self) -> None:
        """Raises InvalidInput with all that was collected."""
        if not self.count:
            return
        if self.count == 1:
            raise InvalidInput(f"{self.path}: {self._shown[0]}", reason="InvalidData")
        more = self.count - len(self._shown)
        lines = [f"{self.path}: {self.count} problems:", *self._shown, *([f"and {more} more"] if more else [])]
        raise InvalidInput("\n  ".join(lines), reason="InvalidData")


def load_coco(path: str | Path, *, require_masks: bool = False) -> CocoDataset:
    """Reads and checks COCO instances JSON.

    Args:
        path: the annotation file.
        require_masks: whether every annotation must have a ``segmentation``.

    Raises:
        InvalidInput: the file cannot be read, or entries are wrong: keys missing, values of a wrong type, ids used
            twice, ids of categories below 1, annotations of an unknown image or category.
    """
    name = str(path)
    content = _read(name)
    problems = Problems(name)
    sections = {}
    for section in ("images", "annotations", "categories"):
        entries = content.get(section)
        if not isinstance(entries, list):
            found = "is missing" if section not in content else f"is {_shown(entries)}"
            problems.add(f"{section} {found}: a list is wanted (COCO instances format)")
        elif not entries and section != "annotations":
            problems.add(f"{section} is empty: at least one entry is wanted")
        else:
            sections[section] = entries
    problems.raise_if_any()
    images = _images(sections["images"], problems)
    categories = _categories(sections["categories"], problems)
    annotations = _annotations(sections["annotations"], images, categories, require_masks, problems)
    problems.raise_if_any()
    return CocoDataset(
        path=name,
        images=tuple(image for image in images.values() if image is not None),
        categories={one: category for one, category in categories.items() if category is not None},
        annotations={image: tuple(found) for image, found in annotations.items()},
    )


def _read(name: str) -> dict[str, Any]:
    try:
        with Path(name).open(encoding="utf-8-sig") as file:
            content = json.load(file)
    except OSError as error:
        raise InvalidInput(f"{name}: cannot be read: {error.strerror}", reason="InvalidData") from error
    except json.JSONDecodeError as error:
        raise InvalidInput(
            f"{name}: not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}", reason="InvalidData"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{name}: not valid JSON: {error}", reason="InvalidData") from error
    if not isinstance(content, dict):
        raise InvalidInput(
            f"{name}: holds {_shown(content)}: an object with images, annotations and categories is wanted "
            "(a list is the format of results, not of annotations)",
            reason="InvalidData",
        )
    return content


def _images(entries: list[Any], problems: Problems) -> dict[int, CocoImage | None]:
    """By id; None stands for an entry that is wrong otherwise, so that its annotations are not blamed too."""
    images: dict[int, CocoImage | None] = {}
    for entry, where in _entries("images", entries, ("id", "file_name", "height", "width"), images, problems):
        file_name, height, width = entry["file_name"], entry["height"], entry["width"]
        before = problems.count
        if not isinstance(file_name, str) or not file_name or "\0" in file_name:
            problems.add(f"{where}: file_name {_shown(file_name)}: the name of a file is wanted")
        for field, value in (("height", height), ("width", width)):
            if not _is_integer(value) or value < 1:
                problems.add(f"{where}: {field} {_shown(value)}: a whole number of pixels from 1 on is wanted")
        right = problems.count == before
        images[entry["id"]] = CocoImage(entry["id"], file_name, width, height) if right else None
    return images


def _categories(entries: list[Any], problems: Problems) -> dict[int, str | None]:
    categories: dict[int, str | None] = {}
    for entry, where in _entries("categories", entries, ("id", "name"), categories, problems):
        number, name = entry["id"], entry["name"]
        categories[number] = None
        if not 1 <= number <= _LARGEST_CATEGORY:
            problems.add(f"{where}: id {number}: category ids must start from 1 (0 is the background)")
        elif not isinstance(name, str):
            problems.add(f"{where}: name {_shown(name)}: a text is wanted")
        else:
            categories[number] = name
    names = [name for name in categories.values() if name is not None]
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        log.warning("%s: category names used more than once: %s", problems.path, ", ".join(twice[:5]))
    return categories


def _annotations(
    entries: list[Any],
    images: dict[int, CocoImage | None],
    categories: dict[int, str | None],
    require_masks: bool,
    problems: Problems,
) -> dict[int, list[CocoAnnotation]]:
    keys = ("id", "image_id", "category_id", "bbox", "area", "iscrowd")
    known: dict[int, None] = {}
    grouped: dict[int, list[CocoAnnotation]] = {}
    for entry, where in _entries("annotations", entries, keys, known, problems):
        known[entry["id"]] = None
        before = problems.count
        image_id, category_id, area = entry["image_id"], entry["category_id"], entry["area"]
        if not _is_integer(image_id) or image_id not in images:
            problems.add(f"{where}: image_id {_shown(image_id)}: no entry of images has this id")
        if not _is_integer(category_id) or category_id not in categories:
            hint = " (ids start from 1)" if category_id == 0 else ""
            problems.add(f"{where}: category_id {_shown(category_id)}: no entry of categories has this id{hint}")
        bbox = entry["bbox"]
        if not isinstance(bbox, list) or len(bbox) != 4 or not all(is_finite(value) for value in bbox):
            problems.add(f"{where}: bbox {_shown(bbox)}: four numbers are wanted: x, y, width, height in pixels")
        if not is_finite(area) or area < 0:
            problems.add(f"{where}: area {_shown(area)}: a number of pixels from 0 on is wanted")
        if entry["iscrowd"] not in (0, 1):
            problems.add(f"{where}: iscrowd {_shown(entry['iscrowd'])}: 0 or 1 is wanted")
        segmentation = entry.get("segmentation")
        if segmentation is None:
            if require_masks:
                problems.add(
                    f"{where}: segmentation is missing: polygons or run lengths are wanted "
                    "(--no-include_mask converts without masks)"
                )
        elif not isinstance(segmentation, list | dict):
            problems.add(
                f"{where}: segmentation {_shown(segmentation)}: a list of polygons, or run lengths "
                "with size and counts, is wanted"
            )
        if problems.count == before:
            box = (float(bbox[0]), float(bbox[1]), float(bbox[2]), float(bbox[3]))
            crowd = bool(entry["iscrowd"])
            found = CocoAnnotation(entry["id"], image_id, category_id, box, float(area), crowd, segmentation)
            grouped.setdefault(image_id, []).append(found)
    if 0 in known:
        log.warning(
            "%s: an annotation has id 0, which pycocotools counts as unmatched in evaluation; number them from 1",
            problems.path,
        )
    return grouped


def _entries(
    section: str, entries: list[Any], keys: tuple[str, ...], known: dict[int, Any], problems: Problems
) -> Iterator[tuple[dict[str, Any], str]]:
    """The entries that have all keys and an id of their own, each with the words that name it in a message."""
    for position, entry in enumerate(entries):
        where = f"{section}[{position}]"
        if not isinstance(entry, dict):
            problems.add(f"{where}: {_shown(entry)}: an object is wanted")
            continue
        number: Any = entry.get("id")
        if "id" in entry:
            where += f" (id {_shown(number)})"
        missing = [key for key in keys if key not in entry]
        if missing:
            problems.add(f"{where}: {', '.join(missing)} missing")
            if _is_integer(number):
                known.setdefault(number, None)
        elif not _is_integer(number) or abs(number) > _LARGEST_ID:
            problems.add(f"{where}: id {_shown(number)}: a whole number is wanted")
        elif number in known:
            problems.add(f"{where}: id {number} is used by an earlier entry of {section}: every id must be there once")
        else:
            yield entry, where


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_finite(value: Any) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _shown(value: Any, length: int = 60) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= length else text[: length - 3] + "..."
