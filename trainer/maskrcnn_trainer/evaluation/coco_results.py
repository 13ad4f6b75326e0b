"""Detections in the COCO results format, in pixels of the original image and with the data set's own ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.evaluation.paste import PastedMask, encode_pasted, paste_masks

CocoResult = dict[str, Any]
ImageId = int | str

BOX_DECIMALS = 3
SCORE_DECIMALS = 7


class RawIds(Protocol):
    """The part of a class map that results need."""

    def to_raw(self, model_id: int) -> int: ...


class PredictedArrays(Protocol):
    """Detections of a batch on the canvas; rows that are missing have score 0.

    boxes float [B, D, 4] y1 x1 y2 x2 in canvas pixels, classes int [B, D] model ids, scores float [B, D] 0..1,
    mask_logits float [B, D, M, M] of each detection's class.
    """

    @property
    def boxes(self) -> Any: ...

    @property
    def classes(self) -> Any: ...

    @property
    def scores(self) -> Any: ...

    @property
    def mask_logits(self) -> Any: ...


def boxes_of_canvas(boxes: NDArray[np.floating[Any]], image_info: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Boxes [D, 4] y1 x1 y2 x2 of the canvas in pixels of the original image; not clipped, as masks are on whole boxes.

    Args:
        image_info: scaled height, scaled width, 1/scale, original height, original width. The scaled size is a whole
            number of pixels, so either axis has a ratio of its own, as the resize had.
    """
    scaled = np.asarray(image_info[:2], np.float64)
    original = np.asarray(image_info[3:5], np.float64)
    ratio = np.tile(original / scaled, 2)
    return np.asarray(boxes, np.float64) * ratio


def clip_to_image(boxes: NDArray[np.float64], image_info: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Boxes [D, 4] y1 x1 y2 x2 in pixels of the original image, clipped to it."""
    return np.clip(boxes, 0.0, np.tile(np.asarray(image_info[3:5], np.float64), 2))


def found_objects(
    boxes: NDArray[np.floating[Any]],
    classes: NDArray[np.integer[Any]],
    scores: NDArray[np.floating[Any]],
    mask_logits: NDArray[np.floating[Any]] | None,
    *,
    image_info: NDArray[np.floating[Any]],
    image_id: ImageId,
    class_map: RawIds,
    min_score: float = 0.0,
) -> tuple[list[CocoResult], list[PastedMask] | None]:
    """The detections of one image as COCO result objects without segmentation, and their masks, both best first.

    Args:
        boxes: [D, 4] y1 x1 y2 x2 in canvas pixels.
        classes: [D] model ids of at least 1; scores: [D], 0..1.
        mask_logits: [D, M, M], or None for boxes alone.
        min_score: rows with a score of at most this are left out; 0 leaves out the missing rows.

    Returns:
        dicts of image_id, category_id (the data set's own), bbox [x, y, width, height] and score; masks at the image's
        size, None without ``mask_logits``.
    """
    kept = np.flatnonzero(np.asarray(scores) > min_score)
    kept = kept[np.argsort(-np.asarray(scores)[kept], kind="stable")]
    placed = boxes_of_canvas(np.asarray(boxes)[kept], image_info)
    height, width = image_size(image_info)
    masks = None if mask_logits is None else paste_masks(np.asarray(mask_logits)[kept], placed, height, width)
    results: list[CocoResult] = [
        {
            "image_id": image_id,
            "category_id": int(class_map.to_raw(int(classes[row]))),
            "bbox": [round(value, BOX_DECIMALS) for value in (x1, y1, x2 - x1, y2 - y1)],
            "score": round(float(scores[row]), SCORE_DECIMALS),
        }
        for row, (y1, x1, y2, x2) in zip(kept, clip_to_image(placed, image_info).tolist(), strict=True)
    ]
    return results, masks


def image_results(
    boxes: NDArray[np.floating[Any]],
    classes: NDArray[np.integer[Any]],
    scores: NDArray[np.floating[Any]],
    mask_logits: NDArray[np.floating[Any]] | None,
    *,
    image_info: NDArray[np.floating[Any]],
    image_id: ImageId,
    class_map: RawIds,
    min_score: float = 0.0,
) -> list[CocoResult]:
    """The detections of one image as COCO result objects, best first: :func:`found_objects` with segmentation.

    Returns:
        dicts of image_id, category_id (the data set's own), bbox [x, y, width, height], score, and segmentation
        (compressed run lengths with ``counts`` as text) when there are masks.
    """
    results, masks = found_objects(
        boxes, classes, scores, mask_logits,
        image_info=image_info, image_id=image_id, class_map=class_map, min_score=min_score,
    )  # fmt: skip
    if masks is not None:
        add_segmentation(results, masks, image_info)
    return results


def add_segmentation(results: list[CocoResult], masks: list[PastedMask], image_info: NDArray[np.floating[Any]]) -> None:
    """Gives each result the run lengths of its mask."""
    for result, rle in zip(results, encode_pasted(masks, *image_size(image_info)), strict=True):
        result["segmentation"] = rle


def image_size(image_info: NDArray[np.floating[Any]]) -> tuple[int, int]:
    """Height and width of the original image in pixels."""
    height, width = (round(float(side)) for side in image_info[3:5])
    return height, width


def json_image_ids(image_ids: list[ImageId]) -> Mapping[str, ImageId]:
    """From a record's source id (text) to the id as the annotation file has it: whole numbers stay whole numbers."""
    return {str(image_id): image_id for image_id in image_ids}


def known_image_id(source_id: bytes | str, image_ids: Mapping[str, ImageId]) -> ImageId:
    """The annotation file's id for a record.

    Raises:
        InvalidInput: the annotation file has no such image.
    """
    text = source_id.decode("utf-8") if isinstance(source_id, bytes) else str(source_id)
    try:
        return image_ids[text]
    except KeyError:
        raise InvalidInput(
            f"valJsonFile: it has no image with id {text!r}, which a record of validationFilePattern holds; "
            "both must be of the same data set",
            reason="InvalidData",
        ) from None
