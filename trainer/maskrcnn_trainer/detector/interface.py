"""Interface of a model of any kind to the tasks that use its detections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.data.class_map import ClassMap
from maskrcnn_trainer.model.architecture import Architecture


@dataclass(frozen=True, eq=False)
class Detections:
    """Objects found in one image, n of them, best first.

    Attributes:
        boxes: float32 [n, 4], y1 x1 y2 x2 in pixels of the padded image.
        classes: int32 [n], model ids from 1.
        scores: float32 [n], greater than 0, at most 1.
        mask_logits: float32 [n, m, m], m = mrcnn_resolution, of the detected class within its box; > 0 inside the
            object.
    """

    boxes: NDArray[np.float32]
    classes: NDArray[np.int32]
    scores: NDArray[np.float32]
    mask_logits: NDArray[np.float32]


def detections_of_batch(
    boxes: NDArray[np.float32],
    classes: NDArray[np.int32],
    scores: NDArray[np.float32],
    mask_logits: NDArray[np.float32],
) -> list[Detections]:
    """Return the detections of each of B images, without the padding to D detections.

    Args:
        boxes: float32 [B, D, 4], see :class:`Detections`.
        classes: int32 [B, D].
        scores: float32 [B, D]; a missing detection has score 0.
        mask_logits: float32 [B, D, m, m].
    """
    return [
        Detections(boxes[image][kept], classes[image][kept], scores[image][kept], mask_logits[image][kept])
        for image, kept in enumerate(scores > 0)
    ]


class Detector(Protocol):
    """Model that is ready to detect."""

    @property
    def class_map(self) -> ClassMap:
        """Mapping between model ids and the categories of the data set."""
        ...

    @property
    def architecture(self) -> Architecture:
        """Architecture of the network."""
        ...

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the padded image, the network's input, in pixels."""
        ...

    @property
    def batch_size(self) -> int:
        """Largest number of images that ``detect`` accepts, with which it is also fastest."""
        ...

    @property
    def detections_per_image(self) -> int:
        """Largest number of detections of an image."""
        ...

    @property
    def step(self) -> int | None:
        """Training steps of the weights; None if the file does not have the number."""
        ...

    def detect(self, images: NDArray[np.float32]) -> list[Detections]:
        """Return the detections of each image.

        Args:
            images: float32 [B, H, W, 3], 1 <= B <= batch_size, RGB, (x / 255 - mean) / deviation, zeros below and to
                the right of the image.

        Raises:
            InvalidInput: the model returns values that aren't finite, or unknown classes.
            TaskError: the device failed.
        """
        ...
