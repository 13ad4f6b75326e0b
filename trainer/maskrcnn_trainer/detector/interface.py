"""What evaluation and inference know of a model, whatever kind of file it came from."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.data.class_map import ClassMap
from maskrcnn_trainer.model.architecture import Architecture


class Detections(NamedTuple):
    """Detections of a batch of B images, D rows each, best first; a missing row has score 0."""

    boxes: NDArray[np.float32]
    """[B, D, 4], y1 x1 y2 x2 in canvas pixels."""
    classes: NDArray[np.int32]
    """[B, D], model ids from 1; 0 where a row is missing."""
    scores: NDArray[np.float32]
    """[B, D], 0..1."""
    mask_logits: NDArray[np.float32]
    """[B, D, m, m], m = mrcnn_resolution, of the detected class within its box; inside where > 0."""


class Detector(Protocol):
    """A model that is ready to detect."""

    @property
    def class_map(self) -> ClassMap:
        """From model ids to the data set's categories."""
        ...

    @property
    def architecture(self) -> Architecture:
        """What the model was built as."""
        ...

    @property
    def canvas(self) -> tuple[int, int]:
        """Height and width of the network's input in pixels."""
        ...

    @property
    def batch_size(self) -> int:
        """Most images that ``detect`` takes at once, and the number that suits it best."""
        ...

    @property
    def detections_per_image(self) -> int:
        """D, the rows that it gives for an image."""
        ...

    @property
    def step(self) -> int | None:
        """Training steps of the weights; None where the file does not tell."""
        ...

    def detect(self, images: NDArray[np.float32]) -> Detections:
        """Detects and segments.

        Args:
            images: float32 [B, H, W, 3], 1 <= B <= batch_size, RGB, (x / 255 - mean) / deviation, zeros below and to
                the right of the image.
        """
        ...
