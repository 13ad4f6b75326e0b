"""Drawing of objects into images: boxes, masks, class names, and scores, legible on small and on large images."""

from __future__ import annotations

import colorsys
import itertools
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from maskrcnn_trainer.evaluation.paste import PastedMask
from maskrcnn_trainer.task.files import write_atomically

Image = NDArray[Any]  # uint8 RGB [H, W, 3]
Color = tuple[int, int, int]
Dashes = Literal["solid", "dashed", "dash-dotted"]

FONT = cv2.FONT_HERSHEY_SIMPLEX
MASK_OPACITY = 0.45
GOLDEN_RATIO = 0.618033988749895
CROWD_COLOR = (128, 128, 128)
SMALLEST_TEXT = 0.38

LARGEST_SIDE = 4096
"""Images are never enlarged beyond this many pixels on the longer side."""

_SPELLED = {
    "ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L",
    "đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th", "ı": "i", "–": "-", "—": "-", "’": "'",
}  # fmt: skip
"""ASCII spelling of letters that Unicode doesn't decompose into an ASCII letter and an accent."""


@dataclass(frozen=True)
class DrawnObject:
    """One object to draw.

    Attributes:
        box: y1, x1, y2, x2 in pixels of the image.
        class_id: category id, which determines the color.
        name: class name on the label.
        score: 0..1, or None for ground truth.
        mask: bool [H, W], or COCO run lengths, or a pasted mask, or None.
        crowd: whether it is a region of many objects, drawn as a gray outline.
        color: RGB; None for the color of the class.
        dashes: outline of box and mask; the pattern doesn't depend on the color.
        fill: opacity of the mask's fill, 0..1.
        labeled: whether class name and score, or the number, are drawn.
        number: number on the label instead of the score; the name follows where there is room. None for name and score.
    """

    box: tuple[float, float, float, float]
    class_id: int
    name: str
    score: float | None = None
    mask: NDArray[np.bool_] | Mapping[str, Any] | PastedMask | None = None
    crowd: bool = False
    color: Color | None = None
    dashes: Dashes = "solid"
    fill: float = MASK_OPACITY
    labeled: bool = True
    number: int | None = None


def class_color(class_id: int) -> Color:
    """Return the vivid RGB color of a class, always the same one; consecutive ids differ widely in hue."""
    hue = (0.02 + (class_id - 1) * GOLDEN_RATIO) % 1.0
    level = ((class_id - 1) // 7) % 3
    red, green, blue = colorsys.hsv_to_rgb(hue, (0.95, 0.7, 0.95)[level], (1.0, 1.0, 0.75)[level])
    return round(red * 255), round(green * 255), round(blue * 255)


def objects_of_results(
    results: Sequence[Mapping[str, Any]], names: Mapping[int, str], *, min_score: float = 0.0
) -> list[DrawnObject]:
    """Return COCO results, or annotations (which have no ``score``), of one image as objects to draw."""
    drawn = []
    for result in results:
        score = result.get("score")
        if score is not None and score < min_score:
            continue
        x, y, width, height = result["bbox"]
        category = int(result["category_id"])
        drawn.append(
            DrawnObject(
                box=(y, x, y + height, x + width),
                class_id=category,
                name=drawn_name(names.get(category, str(category)), category),
                score=score,
                mask=result.get("segmentation") or None,
                crowd=bool(result.get("iscrowd")),
            )
        )
    return drawn


def drawn_name(name: str, class_id: int) -> str:
    """Return a class name in ASCII, because OpenCV's fonts have no other letters.

    Label files and ``predictions.json`` keep every name as it is. In pictures, accents are removed, and a name in
    another script is replaced by its number, since it would be drawn as a row of question marks.

    Args:
        name: name in the data set or the class map.
        class_id: category id of the class.

    Returns:
        the name without accents, or for example ``class 7`` if the name has letters of another script.
    """
    spelled = "".join(_SPELLED.get(letter, letter) for letter in name)
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", spelled) if not unicodedata.combining(letter))
    return plain if plain.isascii() and plain.isprintable() and plain.strip() else f"class {class_id}"


def draw_objects(
    image: Image, objects: Sequence[DrawnObject], *, min_side: int | None = None, strokes: float = 1.0
) -> Image:
    """Return a copy of an image with objects drawn into it, those with the highest scores on top.

    Args:
        image: uint8 RGB [H, W, 3].
        objects: objects in any order; those with the highest scores are drawn last.
        min_side: minimum of the shorter side in pixels; a smaller image is enlarged by an integer factor first, so that
            labels are legible.
        strokes: factor of the sizes of lines and letters.

    Returns:
        uint8 RGB [H * factor, W * factor, 3].
    """
    height, width = image.shape[:2]
    factor = 1
    if min_side is not None:
        # a long and narrow image would otherwise exceed the size limit of its format
        factor = max(1, min(-(-min_side // max(1, min(height, width))), LARGEST_SIDE // max(height, width, 1)))
    picture = np.ascontiguousarray(image)
    if factor > 1:
        picture = cv2.resize(picture, (width * factor, height * factor), interpolation=cv2.INTER_CUBIC)
    else:
        picture = picture.copy()
    ordered = sorted(objects, key=lambda item: 2.0 if item.score is None else item.score)
    for item in ordered:
        _draw_mask(picture, item, height, width, factor, strokes=strokes)
    thickness = _line_width(picture, strokes)
    for item in ordered:
        y1, x1, y2, x2 = (round(value * factor) for value in item.box)
        if item.dashes == "solid":
            cv2.rectangle(picture, (x1, y1), (x2 - 1, y2 - 1), _color(item), thickness, cv2.LINE_8)
        else:
            _draw_dashes(picture, (x1, y1, x2 - 1, y2 - 1), item, thickness)
    labeled = [item for item in ordered[::-1] if item.labeled]
    text = _text_size(picture, strokes)
    for label in reversed(_place_labels(picture, labeled, factor, text)):
        _draw_label(picture, label, text)
    return picture


def _draw_dashes(picture: Image, corners: tuple[int, int, int, int], item: DrawnObject, thickness: int) -> None:
    """Draw a rectangle of dashes, from x1, y1 to x2, y2."""
    x1, y1, x2, y2 = corners
    color = _color(item)
    for start, end in _dashes(x1, x2, item.dashes, thickness):
        for y in (y1, y2):
            cv2.line(picture, (start, y), (end, y), color, thickness, cv2.LINE_8)
    for start, end in _dashes(y1, y2, item.dashes, thickness):
        for x in (x1, x2):
            cv2.line(picture, (x, start), (x, end), color, thickness, cv2.LINE_8)


def _dashes(first: int, last: int, dashes: Dashes, thickness: int) -> Iterator[tuple[int, int]]:
    """Yield first and last pixel of each dash on a line; a gap is as long as a short dash."""
    dash = 4 * thickness + 2
    lengths = [(dash, dash)] if dashes == "dashed" else [(2 * dash, dash), (thickness, dash)]
    start = first
    for drawn, gap in itertools.cycle(lengths):
        if start > last:
            return
        yield start, min(start + drawn, last)
        start += drawn + gap


def _draw_mask(picture: Image, item: DrawnObject, height: int, width: int, factor: int, *, strokes: float) -> None:
    if item.mask is None:
        return
    mask, top, left = _mask_region(item.mask, height, width)
    if not mask.any():
        return
    if factor > 1:
        mask = cv2.resize(mask, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
        top, left = top * factor, left * factor
    color = _color(item)
    if not item.crowd and item.fill > 0:
        part = picture[top : top + mask.shape[0], left : left + mask.shape[1]]
        mixed = cv2.addWeighted(part, 1 - item.fill, np.full_like(part, color), item.fill, 0)
        np.copyto(part, mixed, where=mask.astype(bool)[..., None])
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    thickness = _line_width(picture, strokes) // 2 or 1
    if item.dashes == "solid":
        cv2.drawContours(picture, contours, -1, color, thickness, offset=(left, top))
        return
    for contour in contours:
        moved = contour + np.array([left, top], np.int32)
        pieces = [moved[start : end + 1] for start, end in _dashes(0, len(moved) - 1, item.dashes, thickness)]
        cv2.polylines(picture, pieces, isClosed=False, color=color, thickness=thickness)


def _mask_region(mask: Any, height: int, width: int) -> tuple[Image, int, int]:
    """Return the region of a mask that can be inside, as uint8 0 or 1, with its first row and its first column."""
    if isinstance(mask, PastedMask):
        return np.ascontiguousarray(mask.region.T, dtype=np.uint8), mask.top, mask.left
    if isinstance(mask, list):
        mask = coco_mask.merge(coco_mask.frPyObjects(mask, height, width))
    elif isinstance(mask, Mapping) and isinstance(mask["counts"], list):
        mask = coco_mask.frPyObjects(dict(mask), height, width)
    whole = coco_mask.decode(dict(mask)) if isinstance(mask, Mapping) else np.asarray(mask, np.uint8)
    rows, columns = np.flatnonzero(whole.any(axis=1)), np.flatnonzero(whole.any(axis=0))
    if not len(rows):
        return whole[:0, :0], 0, 0
    top, left = int(rows[0]), int(columns[0])
    return np.ascontiguousarray(whole[top : rows[-1] + 1, left : columns[-1] + 1]), top, left


def _color(item: DrawnObject) -> Color:
    if item.color is not None:
        return item.color
    return CROWD_COLOR if item.crowd else class_color(item.class_id)


def _line_width(picture: Image, strokes: float) -> int:
    return max(1, round(strokes * min(picture.shape[:2]) / 300))


@dataclass(frozen=True)
class _Label:
    """One label with its area: left, top, width, and height in pixels of the picture."""

    item: DrawnObject
    text: str
    area: tuple[int, int, int, int]


def _place_labels(
    picture: Image, items: Sequence[DrawnObject], factor: int, size: tuple[float, int]
) -> list[_Label]:  # fmt: skip
    """Return a label for each item, placed where it overlaps no earlier label if there is room."""
    placed: list[_Label] = []
    for item in items:
        candidates = [
            _Label(item, text, area) for text in _texts(item) for area in _areas(picture, item, text, factor, size)
        ]
        free = (one for one in candidates if not any(_overlap(one.area, other.area) for other in placed))
        placed.append(next(free, candidates[0] if item.number is None else candidates[-1]))
    return placed


def _texts(item: DrawnObject) -> list[str]:
    """Return the texts of a label, the best first."""
    if item.number is None:
        score = "" if item.score is None else f" {item.score:.2f}"
        return [item.name + (" (crowd)" if item.crowd else "") + score]
    return [f"{item.number} {item.name}", f"{item.number}"] if item.name else [f"{item.number}"]


def _areas(
    picture: Image, item: DrawnObject, text: str, factor: int, size: tuple[float, int]
) -> Iterator[tuple[int, int, int, int]]:
    """Yield the areas where a label may be, the best first; all are inside the picture.

    A number that has no room at the top or the bottom of its box may be anywhere in or next to it.
    """
    rows, columns = picture.shape[:2]
    (width, ascent), descent = cv2.getTextSize(text, FONT, *size)
    width, height = width + 2 * (1 + size[1]), ascent + descent + 2
    y1, x1, y2, x2 = (round(value * factor) for value in item.box)
    # above the box, else inside at its top, else below it or inside at its bottom; left-aligned, else right-aligned
    places = [(left, top) for left in (x1, x2 - width) for top in (y1 - height, y1, y2, y2 - height)]
    if item.number is not None and text == f"{item.number}":
        lefts, tops = range(x1 - width, x2 + width, width), range(y1 - height, y2 + height, height)
        places += [(left, top) for top in tops for left in lefts]
    for left, top in places:
        yield int(np.clip(left, 0, max(0, columns - width))), int(np.clip(top, 0, max(0, rows - height))), width, height


def _draw_label(picture: Image, label: _Label, size: tuple[float, int]) -> None:
    scale, stroke = size
    x, y, width, height = label.area
    color = _color(label.item)
    cv2.rectangle(picture, (x, y), (x + width - 1, y + height - 1), color, cv2.FILLED)
    dark = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 140
    _, descent = cv2.getTextSize(label.text, FONT, scale, stroke)
    origin = (x + 1 + stroke, y + height - descent - 1)
    cv2.putText(picture, label.text, origin, FONT, scale, (0, 0, 0) if dark else (255, 255, 255), stroke, cv2.LINE_AA)


def _text_size(picture: Image, strokes: float) -> tuple[float, int]:
    """Return the font scale and the stroke width for a picture of this size."""
    scale = strokes * max(SMALLEST_TEXT, min(picture.shape[:2]) / 1100)
    return scale, max(1, round(1.2 * scale))


def _overlap(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    return (
        one[0] < other[0] + other[2]
        and other[0] < one[0] + one[2]
        and one[1] < other[1] + other[3]
        and other[1] < one[1] + one[3]
    )


class UnwritableFormatError(OSError):
    """A picture that cannot be stored in the format of its file name."""


def write_image(path: str | Path, image: Image, *, before_rename: Callable[[], None] | None = None) -> None:
    """Write an RGB image atomically, in the format of the file name's suffix.

    Args:
        path: file whose suffix, in upper or lower case, names a format that OpenCV writes.
        image: uint8 RGB [H, W, 3].
        before_rename: called when all bytes are on the disk; if it raises, an existing file is left unchanged.

    Raises:
        UnwritableFormatError: the suffix names no format, or the image is too large for the format (a JPEG has at most
            65,535 rows, a WebP 16,383).
        OSError: the file cannot be written.
    """
    target = Path(path)
    try:
        done, encoded = cv2.imencode(target.suffix.lower(), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    except cv2.error:  # the suffix names no format; some encoders raise it too for images that are too large
        done = False
    if not done:
        raise UnwritableFormatError(
            f"{target}: an image of {image.shape[1]} x {image.shape[0]} pixels cannot be written in this format"
        )
    write_atomically(target, encoded.tobytes(), before_rename=before_rename)
