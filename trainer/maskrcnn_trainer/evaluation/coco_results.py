"""Detections in the COCO results format, in pixels of the original image and with the data set's own ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.detector import Detections
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.evaluation.paste import PastedMask, encode_pasted, paste_masks
from maskrcnn_trainer.model.architecture import MaskPasting

CocoResult = dict[str, Any]
ImageId = int | str

BOX_DECIMALS = 3
SCORE_DECIMALS = 7


class RawIds(Protocol):
    """Mapping from model ids to the data set's category ids."""

    def to_raw(self, model_id: int) -> int:
        """Return the category id of a model id."""
        ...


def to_original_pixels(boxes: NDArray[np.floating[Any]], image_info: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Convert boxes of the padded image to pixels of the original image.

    The boxes aren't clipped, because masks cover the whole box.

    Args:
        boxes: float [n, 4], y1 x1 y2 x2 in pixels of the padded image.
        image_info: float [5]: scaled height, scaled width, 1/scale, original height, original width. The scaled size
            is a whole number of pixels, so the two axes have slightly different ratios, as in the resize.

    Returns:
        float64 [n, 4].
    """
    scaled = np.asarray(image_info[:2], np.float64)
    original = np.asarray(image_info[3:5], np.float64)
    ratio = np.tile(original / scaled, 2)
    return np.asarray(boxes, np.float64) * ratio


def clip_to_image(boxes: NDArray[np.float64], image_info: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return boxes [n, 4] y1 x1 y2 x2 in pixels of the original image, clipped to it."""
    return np.clip(boxes, 0.0, np.tile(np.asarray(image_info[3:5], np.float64), 2))


def found_objects(
    found: Detections,
    *,
    image_info: NDArray[np.floating[Any]],
    image_id: ImageId,
    class_map: RawIds,
    min_score: float = 0.0,
    include_mask: bool = True,
    pasting: MaskPasting = "pixel_centers",
) -> tuple[list[CocoResult], list[PastedMask] | None]:
    """Return the detections of one image as COCO result objects without segmentation, and their masks, best first.

    Args:
        found: the detections.
        image_info: see :func:`to_original_pixels`.
        image_id: id of the image in the data set.
        class_map: maps model ids to category ids.
        min_score: detections with a score of at most this value are left out.
        include_mask: whether masks are pasted.
        pasting: how they are, see :mod:`maskrcnn_trainer.evaluation.paste`.

    Returns:
        dicts of image_id, category_id (of the data set), bbox [x, y, width, height] and score; masks at the image's
        size, None without ``include_mask``.
    """
    kept = np.flatnonzero(found.scores > min_score)
    kept = kept[np.argsort(-found.scores[kept], kind="stable")]
    boxes = to_original_pixels(found.boxes[kept], image_info)
    height, width = original_size(image_info)
    masks = paste_masks(found.mask_logits[kept], boxes, height, width, pasting) if include_mask else None
    results: list[CocoResult] = [
        {
            "image_id": image_id,
            "category_id": int(class_map.to_raw(int(found.classes[row]))),
            "bbox": [round(value, BOX_DECIMALS) for value in (x1, y1, x2 - x1, y2 - y1)],
            "score": round(float(found.scores[row]), SCORE_DECIMALS),
        }
        for row, (y1, x1, y2, x2) in zip(kept, clip_to_image(boxes, image_info).tolist(), strict=True)
    ]
    return results, masks


def image_results(
    found: Detections,
    *,
    image_info: NDArray[np.floating[Any]],
    image_id: ImageId,
    class_map: RawIds,
    min_score: float = 0.0,
    include_mask: bool = True,
    pasting: MaskPasting = "pixel_centers",
) -> list[CocoResult]:
    """Return the detections of one image as COCO result objects, best first: :func:`found_objects` with segmentation.

    Returns:
        dicts of image_id, category_id (of the data set), bbox [x, y, width, height], score, and segmentation
        (compressed run lengths with ``counts`` as text) if ``include_mask`` is set.
    """
    results, masks = found_objects(
        found,
        image_info=image_info,
        image_id=image_id,
        class_map=class_map,
        min_score=min_score,
        include_mask=include_mask,
        pasting=pasting,
    )
    if masks is not None:
        add_segmentation(results, masks, image_info)
    return results


def add_segmentation(results: list[CocoResult], masks: list[PastedMask], image_info: NDArray[np.floating[Any]]) -> None:
    """Add the run lengths of each mask to its result."""
    for result, rle in zip(results, encode_pasted(masks, *original_size(image_info)), strict=True):
        result["segmentation"] = rle


def original_size(image_info: NDArray[np.floating[Any]]) -> tuple[int, int]:
    """Return height and width of the original image in pixels."""
    height, width = (round(float(side)) for side in image_info[3:5])
    return height, width


def json_image_ids(image_ids: list[ImageId]) -> Mapping[str, ImageId]:
    """Return the annotation file's id (a number or a text) by the source id of a record (always a text)."""
    return {str(image_id): image_id for image_id in image_ids}


def known_image_id(source_id: bytes | str, image_ids: Mapping[str, ImageId]) -> ImageId:
    """Return the annotation file's id for a record.

    Raises:
        InvalidInput: the annotation file has no such image.
    """
    text = source_id.decode("utf-8") if isinstance(source_id, bytes) else str(source_id)
    try:
        return image_ids[text]
    except KeyError:
        raise InvalidInput(
            f"valJsonFile: no image with id {text!r}, the id of a record in validationFilePattern; both must be of the "
            "same data set",
            reason="InvalidData",
        ) from None
