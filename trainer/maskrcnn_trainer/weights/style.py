"""Styles: differences between the detectors of torchvision, Detectron2, and MMDetection that their weights don't show.

Line numbers are those of torchvision 0.14.1 (``torchvision/``), Detectron2 at commit 02b5c4e2 (``detectron2/``), and
MMDetection 3.3.0 (``mmdet/``) with mmcv 2.1.0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from maskrcnn_trainer.weights.input_statistics import InputNormalization
from maskrcnn_trainer.weights.project import Project


class StyleName(StrEnum):
    """Value of ``checkpointStyle``."""

    TORCHVISION = "torchvision"
    DETECTRON2 = "detectron2"
    DETECTRON2_TORCHVISION = "detectron2-torchvision"
    DETECTRON2_D1COMPAT = "detectron2-d1compat"
    MMDET_PYTORCH = "mmdet-pytorch"
    MMDET_CAFFE = "mmdet-caffe"


_RATIOS = (0.5, 1.0, 2.0)
"""Height by width of the anchors of a cell, in their order: wide first."""


@dataclass(frozen=True)
class Style:
    """Meaning of a detector's weights.

    Attributes:
        name: value of ``checkpointStyle``.
        project: whose tensor names the file has.
        summary: models that have this style, for the documentation.
        stride_on: convolution that has the stride in the first block of a stage.
        input: normalization of the input.
        bn_epsilon: that the batch norms of the backbone add to the variance.
        bn_affine_trained: gamma and beta are trained, outside of the frozen blocks; the statistics never are.
        frozen_blocks: blocks that aren't trained, numbered as in ``freezeBlocks``.
        anchor_sides: side of a square anchor in pixels, by level from 2.
        anchor_ratios: height by width, in the order within a cell.
        anchor_rounding: the corners of an anchor around its center are rounded to whole pixels, halves to even.
        anchor_offset: position of an anchor's center in its cell, in strides; 0 is the corner.
        roi_max_level: highest level that a box is pooled from.
        roi_align_aligned: RoIAlign shifts boxes by half a cell; otherwise a side is at least one cell.
        roi_align_sampling_ratio: samples of a bin along each axis; 0: as many as the bin has cells, rounded up.
        box_delta_weights: of dx, dy, dw, dh in the box head's targets.
        clip_deltas_below: dw and dh are limited to -log(1000 / 16) too, not only to log(1000 / 16).
        proposal_ranking: value by which the best anchors of a level are chosen; scores that are equal after the sigmoid
            have an arbitrary order.
        min_proposal_side: smallest side of a proposal in pixels; 0: any that is positive.
        score_threshold: a detection's score is above it.
        candidate_limit: largest number of pairs of box and class that enter non-maximum suppression; None: all.
        min_detection_side: smallest side of a detection in pixels; 0: any.
        mask_pasting: how a mask is scaled to its box. ``cells``: padded by a cell, in a box that is widened as much and
            cut to whole pixels, and above 0.5; ``pixel_centers``: sampled at the centers of the pixels, and at least
            0.5.
    """

    name: StyleName
    project: Project
    summary: str
    stride_on: Literal["1x1", "3x3"]
    input: InputNormalization
    bn_epsilon: float
    bn_affine_trained: bool
    roi_align_aligned: bool
    roi_align_sampling_ratio: int
    anchor_rounding: bool
    clip_deltas_below: bool
    proposal_ranking: Literal["logit", "sigmoid"]
    min_proposal_side: float
    min_detection_side: float
    mask_pasting: Literal["cells", "pixel_centers"]
    frozen_blocks: tuple[int, ...] = (0, 1)
    anchor_sides: tuple[float, ...] = (32, 64, 128, 256, 512)
    anchor_ratios: tuple[float, ...] = _RATIOS
    anchor_offset: float = 0.0
    roi_max_level: int = 5
    box_delta_weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)
    score_threshold: float = 0.05
    candidate_limit: int | None = None

    @property
    def aspect_ratios(self) -> tuple[tuple[float, float], ...]:
        """(width, height) multipliers of an anchor's side, as in ``aspectRatios``: (1 / sqrt(ratio), sqrt(ratio))."""
        return tuple((1 / math.sqrt(ratio), math.sqrt(ratio)) for ratio in self.anchor_ratios)

    @property
    def anchor_scale(self) -> float:
        """Side of a square anchor in strides of its level, as in ``anchorScale``."""
        return self.anchor_sides[0] / 4

    @property
    def bbox_reg_weights(self) -> tuple[float, float, float, float]:
        """Weights of dy, dx, dh, dw, as in ``bboxRegWeights``."""
        x, y, width, height = self.box_delta_weights
        return y, x, height, width


_RGB_DEVIATED = InputNormalization("RGB", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
_BGR_PIXELS = InputNormalization("BGR", (103.53, 116.28, 123.675), (1.0, 1.0, 1.0))

_TORCHVISION = Style(
    name=StyleName.TORCHVISION,
    project=Project.TORCHVISION,
    summary="the weights COCO_V1 of maskrcnn_resnet50_fpn and fasterrcnn_resnet50_fpn; others of this structure with "
    "checkpointBnEpsilon: 1e-5",
    stride_on="3x3",
    input=_RGB_DEVIATED,
    bn_epsilon=0.0,
    bn_affine_trained=False,
    roi_align_aligned=False,
    roi_align_sampling_ratio=2,
    anchor_rounding=True,
    clip_deltas_below=False,
    proposal_ranking="logit",
    min_proposal_side=1e-3,
    min_detection_side=1e-2,
    mask_pasting="cells",
)
_DETECTRON2 = Style(
    name=StyleName.DETECTRON2,
    project=Project.DETECTRON2,
    summary="R_50_FPN and R_101_FPN of the model zoo (1x and 3x), and models that start from its R-50.pkl",
    stride_on="1x1",
    input=_BGR_PIXELS,
    bn_epsilon=1e-5,
    bn_affine_trained=False,
    roi_align_aligned=True,
    roi_align_sampling_ratio=0,
    anchor_rounding=False,
    clip_deltas_below=False,
    proposal_ranking="logit",
    min_proposal_side=0.0,
    min_detection_side=0.0,
    mask_pasting="pixel_centers",
)
_MMDET_PYTORCH = Style(
    name=StyleName.MMDET_PYTORCH,
    project=Project.MMDETECTION,
    summary="mask-rcnn_r50_fpn and mask-rcnn_r101_fpn of 2.x and 3.x, backbone style pytorch",
    stride_on="3x3",
    input=_RGB_DEVIATED,
    bn_epsilon=1e-5,
    bn_affine_trained=True,
    roi_align_aligned=True,
    roi_align_sampling_ratio=0,
    anchor_rounding=False,
    clip_deltas_below=True,
    proposal_ranking="sigmoid",
    min_proposal_side=0.0,
    min_detection_side=0.0,
    mask_pasting="pixel_centers",
)

STYLES: Mapping[StyleName, Style] = {
    style.name: style
    for style in (
        _TORCHVISION,
        _DETECTRON2,
        replace(
            _DETECTRON2,
            name=StyleName.DETECTRON2_TORCHVISION,
            summary="models that start from a backbone of torchvision's (tools/convert-torchvision-to-d2.py)",
            stride_on="3x3",
            input=_RGB_DEVIATED,
        ),
        replace(
            _DETECTRON2,
            name=StyleName.DETECTRON2_D1COMPAT,
            summary="Detectron1-Comparisons of the model zoo",
            roi_align_aligned=False,
            roi_align_sampling_ratio=2,
        ),
        _MMDET_PYTORCH,
        replace(
            _MMDET_PYTORCH,
            name=StyleName.MMDET_CAFFE,
            summary="mask-rcnn_r50-caffe_fpn and mask-rcnn_r101-caffe_fpn, backbone style caffe",
            stride_on="1x1",
            input=_BGR_PIXELS,
            bn_affine_trained=False,
        ),
    )
}
"""The six styles by name; `style_table` has the source of each value."""


def styles_of(project: Project) -> tuple[Style, ...]:
    """Return the styles of a project, the most common first; none for a backbone."""
    return tuple(style for style in STYLES.values() if style.project is project)
