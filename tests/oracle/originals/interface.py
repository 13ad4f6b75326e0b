"""Detector of another project, cut into the stages that are compared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import nn

BoxesOfImages = list[torch.Tensor]
"""Boxes of each image, float32 [n, 4], x1 y1 x2 y2 in pixels of the canvas."""


@dataclass(frozen=True)
class Found:
    """Detections of an image, best first.

    Attributes:
        boxes: float32 [n, 4], x1 y1 x2 y2.
        classes: int64 [n], rows of this project's network, whose background is 0.
        scores: float32 [n].
        masks: bool [n, H, W], pasted into the image.
    """

    boxes: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    masks: np.ndarray


class Original(Protocol):
    """Detector; images fill their canvas, so nothing is padded or resized.

    Attributes:
        module: with all layers; its state is what `save` writes.
        class_layers: the box predictor's scores and deltas, and the mask predictor.
        suffix: of the file that `save` writes.
        has_background_last: see ``weights/layouts.py``.
    """

    module: nn.Module
    class_layers: tuple[nn.Module, nn.Module, nn.Module]
    suffix: str
    has_background_last: bool

    def normalized(self, pixels: np.ndarray) -> torch.Tensor:
        """Return the model's input [N, 3, H, W] of RGB pixels, uint8 [N, H, W, 3]."""

    def stages(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the backbone's maps of strides 4 to 32."""

    def pyramid(self, stages: list[torch.Tensor]) -> list[torch.Tensor]:
        """Return P2 to P6."""

    def rpn(self, maps: list[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Return logits [N, A, H, W] and deltas [N, 4 A, H, W] of each level."""

    def decoded(self, deltas: list[torch.Tensor], size: tuple[int, int]) -> torch.Tensor:
        """Return the boxes of all anchors [N, A, 4], clipped to the image of ``size`` (height, width)."""

    def proposals(self, logits: list[torch.Tensor], deltas: list[torch.Tensor], size: tuple[int, int]) -> BoxesOfImages:
        """Return the proposals of each image, best first."""

    def pooled(self, maps: list[torch.Tensor], boxes: BoxesOfImages, size: tuple[int, int], side: int) -> torch.Tensor:
        """Return features [R, C, side, side] of the boxes of all images; ``side`` is 7 or 14."""

    def box_outputs(self, pooled: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return class logits [R, K] and deltas [R, 4 K]."""

    def mask_outputs(self, pooled: torch.Tensor) -> torch.Tensor:
        """Return logits [R, K, 28, 28]."""

    def detect(self, maps: list[torch.Tensor], proposals: BoxesOfImages, size: tuple[int, int]) -> list[Found]:
        """Return the detections of each image."""

    def save(self, path: Path) -> None:
        """Write the weights in the form in which the project distributes them."""
