"""Reading and checking COCO instances JSON. Problems are reported with entry, field, and value, several at once.

Format: https://cocodataset.org/#format-data (object detection).
"""

from __future__ import annotations

import logging
import math
import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from maskrcnn_trainer.data.categories import Categories, require_agreement
from maskrcnn_trainer.data.coco_json import read_json
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.text import shown

log = logging.getLogger(__name__)

PROBLEMS_SHOWN = 20
_LARGEST_CATEGORY = 2**31 - 1  # class ids are 32-bit in the model
_LARGEST_ID = 2**63 - 1
_LARGEST_SIDE = 65_535  # of a JPEG; pycocotools counts the pixels of an image in 32 bits
MAX_AREA = _LARGEST_SIDE**2
_EXAMPLES = 3

_Entry = TypeVar("_Entry")


@dataclass(frozen=True, slots=True)
class CocoImage:
    """Entry of ``images``; width and height in pixels. ``file_name`` is "" if it is absent and not required."""

    id: int
    file_name: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class CocoAnnotation:
    """Entry of ``annotations``.

    Attributes:
        bbox: x, y, width, height in pixels; may lie outside of the image.
        area: in pixels; None if absent, in which case the area of the mask is used.
        segmentation: list of polygons, run lengths (a mapping with ``size`` and ``counts``), or None if absent. Its
            content is not checked here.
    """

    id: int
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    area: float | None
    is_crowd: bool
    segmentation: list[Any] | dict[str, Any] | None


@dataclass(frozen=True)
class CocoDataset:
    """Content of a checked annotation file.

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
        """Return the annotations of an image, () if it has none."""
        return self.annotations.get(image_id, ())

    def named_categories(self) -> Categories:
        """Return the categories in the form that is compared with those of other sources."""
        used = frozenset(one.category_id for found in self.annotations.values() for one in found)
        return Categories(self.path, {one: {name} if name else set() for one, name in self.categories.items()}, used)


class Problems:
    """Collection of the problems of one file, raised as one error that lists at most ``PROBLEMS_SHOWN`` of them."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.count = 0
        self._shown: list[str] = []

    def add(self, text: str) -> None:
        """Add a problem.

        Args:
            text: the entry, the field, the value, and what is expected.
        """
        self.count += 1
        if len(self._shown) < PROBLEMS_SHOWN:
            self._shown.append(text)

    def raise_if_any(self, *, remedy: str = "") -> None:
        """Raise the collected problems as one error.

        Args:
            remedy: text after the count of the problems that are not listed.

        Raises:
            InvalidInput: there is at least one problem.
        """
        if not self.count:
            return
        if self.count == 1:
            raise InvalidInput(f"{self.path}: {self._shown[0]}", reason="InvalidData")
        more = self.count - len(self._shown)
        lines = [f"{self.path}: {self.count} problems:", *self._shown, *([f"and {more} more{remedy}"] if more else [])]
        raise InvalidInput("\n  ".join(lines), reason="InvalidData")


def load_coco(path: str | Path, *, require_masks: bool = False) -> CocoDataset:
    """Read and check COCO instances JSON.

    Args:
        path: the annotation file.
        require_masks: whether every annotation must have a ``segmentation``.

    Raises:
        InvalidInput: the file cannot be read, or entries are invalid (see :func:`checked_dataset`).
    """
    name = str(path)
    return checked_dataset(read_json(name), name, require_masks=require_masks)


def file_names(path: str | Path) -> frozenset[str]:
    """Return the names of the images in COCO instances JSON, with slashes, as paths relative to their directory.

    Raises:
        InvalidInput: the file cannot be read; entries aren't checked.
    """
    images = read_json(str(path)).get("images")
    names = (image.get("file_name") for image in images if isinstance(image, dict)) if isinstance(images, list) else ()
    return frozenset(posixpath.normpath(name) for name in names if isinstance(name, str))


def checked_dataset(
    content: Mapping[str, Any], name: str, *, require_masks: bool = False, require_files: bool = True
) -> CocoDataset:
    """Check the content of an annotation file, with the same rules for every task.

    A missing ``iscrowd`` counts as 0.

    Args:
        content: the JSON object.
        name: its name in messages, such as its path.
        require_masks: whether every annotation must have a ``segmentation``.
        require_files: whether every image must have a ``file_name``, which is read by a conversion only.

    Raises:
        InvalidInput: keys are missing, values have a wrong type, ids are used twice, ids of categories are below 1,
            annotations belong to an unknown image or category, or two categories with objects share a name.
    """
    problems = Problems(name)
    sections = {}
    for section in ("images", "annotations", "categories"):
        entries = content.get(section)
        if not isinstance(entries, list):
            found = "is missing" if section not in content else f"is {shown(entries)}"
            problems.add(f"{section} {found}: a list is expected (COCO instances format)")
        elif not entries and section != "annotations":
            problems.add(f"{section} is empty: at least one entry is expected")
        else:
            sections[section] = entries
    problems.raise_if_any()
    images = _images(sections["images"], require_files, problems)
    categories = _categories(sections["categories"], sections["annotations"], problems)
    annotations = _annotations(sections["annotations"], images, categories, require_masks, problems)
    problems.raise_if_any()
    dataset = CocoDataset(
        path=name,
        images=tuple(image for image in images.known.values() if image is not None),
        categories={one: category for one, category in categories.known.items() if category is not None},
        annotations={image: tuple(found) for image, found in annotations.items()},
    )
    require_agreement([dataset.named_categories()])
    return dataset


@dataclass
class _Section(Generic[_Entry]):
    """Entries of a section by id.

    Attributes:
        known: None stands for an entry that is invalid for another reason, so that its annotations are not reported
            too.
        complete: whether every entry has an id; if not, an unknown id may belong to an entry without one.
    """

    known: dict[int, _Entry | None] = field(default_factory=dict)
    complete: bool = True

    def fault_of_reference(self, value: Any, section: str) -> str:
        """Return the fault of an annotation's reference to an entry, "" if there is none or the entry is at fault."""
        if _is_integer(value):
            return "" if value in self.known or not self.complete else f"no entry of {section} has this id"
        meant = _whole_number(value)
        if meant is None or meant not in self.known:
            return "a whole number, the id of an entry, is expected" if self.complete else ""
        return f"a whole number is expected: {meant}, without quotes or decimals"


def _images(entries: list[Any], require_files: bool, problems: Problems) -> _Section[CocoImage]:
    images = _Section[CocoImage]()
    keys = ("id", "file_name", "height", "width") if require_files else ("id", "height", "width")
    for entry, where in _entries("images", entries, keys, images, problems):
        file_name, height, width = entry.get("file_name", ""), entry["height"], entry["width"]
        before = problems.count
        if require_files and (not isinstance(file_name, str) or not file_name or "\0" in file_name):
            problems.add(f"{where}: file_name {shown(file_name)}: the name of a file is expected")
        for key, value in (("height", height), ("width", width)):
            if not _is_integer(value) or not 1 <= value <= _LARGEST_SIDE:
                problems.add(
                    f"{where}: {key} {shown(value)}: a whole number of pixels from 1 to {_LARGEST_SIDE} is expected"
                )
        right = problems.count == before
        images.known[entry["id"]] = CocoImage(entry["id"], str(file_name), width, height) if right else None
    return images


def _categories(entries: list[Any], annotations: list[Any], problems: Problems) -> _Section[str]:
    categories = _Section[str]()
    for entry, where in _entries("categories", entries, ("id", "name"), categories, problems):
        number, name = entry["id"], entry["name"]
        categories.known[number] = None
        if number < 1:
            in_use = any(isinstance(one, dict) and one.get("category_id") == number for one in annotations)
            remedy = "renumber categories and category_id" if in_use else "no annotation uses this entry, remove it"
            problems.add(f"{where}: id {number}: category ids must start from 1 (0 is the background); {remedy}")
        elif number > _LARGEST_CATEGORY:
            problems.add(f"{where}: id {number}: category ids must be at most {_LARGEST_CATEGORY}")
        elif not isinstance(name, str):
            problems.add(f"{where}: name {shown(name)}: a string is expected")
        else:
            categories.known[number] = name
    return categories


def _annotations(
    entries: list[Any],
    images: _Section[CocoImage],
    categories: _Section[str],
    require_masks: bool,
    problems: Problems,
) -> dict[int, list[CocoAnnotation]]:
    section = _Section[CocoAnnotation]()
    grouped: dict[int, list[CocoAnnotation]] = {}
    for entry, where in _entries("annotations", entries, ("id", "image_id", "category_id", "bbox"), section, problems):
        section.known[entry["id"]] = None
        faults = list(_faults_of_annotation(entry, images, categories, require_masks))
        for fault in faults:
            problems.add(f"{where}: {fault}")
        if not faults and not problems.count:
            x, y, width, height = (float(value) for value in entry["bbox"])
            area = entry.get("area")
            annotation = CocoAnnotation(
                entry["id"],
                entry["image_id"],
                entry["category_id"],
                (x, y, width, height),
                None if area is None else float(area),
                bool(entry.get("iscrowd")),
                entry.get("segmentation"),
            )
            grouped.setdefault(annotation.image_id, []).append(annotation)
    _warn_of_duplicates(problems.path, grouped)
    return grouped


def _faults_of_annotation(
    entry: Mapping[str, Any], images: _Section[CocoImage], categories: _Section[str], require_masks: bool
) -> Iterator[str]:
    image_id, category_id, bbox, area = (entry.get(key) for key in ("image_id", "category_id", "bbox", "area"))
    if fault := images.fault_of_reference(image_id, "images"):
        yield f"image_id {shown(image_id)}: {fault}"
    if fault := categories.fault_of_reference(category_id, "categories"):
        hint = " (ids start from 1)" if category_id == 0 else ""
        yield f"category_id {shown(category_id)}: {fault}{hint}"
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(is_finite(value) for value in bbox):
        yield f"bbox {shown(bbox)}: four numbers are expected: x, y, width, height in pixels"
    if area is not None and (not is_finite(area) or not 0 <= area <= MAX_AREA):
        yield f"area {shown(area)}: a number of pixels from 0 to {MAX_AREA} is expected"
    if entry.get("iscrowd") not in (None, 0, 1):
        yield f"iscrowd {shown(entry['iscrowd'])}: the number 0 or 1 is expected"
    segmentation = entry.get("segmentation")
    if segmentation is None and require_masks:
        yield (
            "segmentation is missing: polygons or run lengths are expected (--no-include_mask converts without masks)"
        )
    elif segmentation is not None and not isinstance(segmentation, list | dict):
        yield (
            f"segmentation {shown(segmentation)}: a list of polygons, or run lengths with size and counts, is expected"
        )


def _warn_of_duplicates(path: str, grouped: Mapping[int, list[CocoAnnotation]]) -> None:
    """Warn of objects that are annotated twice: training counts them twice, and evaluation misses one of the two."""
    repeated: list[int] = []
    for of_image in grouped.values():
        seen: set[tuple[int, tuple[float, float, float, float], bool]] = set()
        for one in of_image:
            key = (one.category_id, one.bbox, one.is_crowd)
            if key in seen:
                repeated.append(one.id)
            seen.add(key)
    if repeated:
        log.warning(
            "%s: %d annotations repeat the category and box of another annotation of the same image, with ids %s",
            path,
            len(repeated),
            ", ".join(map(str, repeated[:_EXAMPLES])) + (", ..." if len(repeated) > _EXAMPLES else ""),
        )


def _entries(
    section: str, entries: list[Any], keys: tuple[str, ...], found: _Section[Any], problems: Problems
) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the entries that have all keys and a unique id, each with its name in messages."""
    for position, entry in enumerate(entries):
        where = f"{section}[{position}]"
        if not isinstance(entry, dict):
            problems.add(f"{where}: {shown(entry)}: an object is expected")
            found.complete = False
            continue
        number: Any = entry.get("id")
        if "id" in entry:
            where += f" (id {shown(number)})"
        usable = _is_integer(number) and abs(number) <= _LARGEST_ID
        found.complete = found.complete and usable
        missing = [key for key in keys if key not in entry]
        if missing:
            problems.add(f"{where}: {', '.join(missing)} missing")
            if usable:
                found.known.setdefault(number, None)
        elif not usable:
            right = f"an id is at most {_LARGEST_ID}" if _is_integer(number) else "a whole number is expected"
            problems.add(f"{where}: id {shown(number)}: {right}")
        elif number in found.known:
            problems.add(f"{where}: id {number} is used by an earlier entry of {section}: ids must be unique")
        else:
            yield entry, where


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _whole_number(value: Any) -> int | None:
    """Return the whole number that a text or a float represents, None if there is none."""
    try:
        return int(value) if isinstance(value, str) or (isinstance(value, float) and value.is_integer()) else None
    except ValueError:
        return None


def is_finite(value: Any) -> bool:
    """Return whether a JSON value is a finite number; a Boolean is not."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
