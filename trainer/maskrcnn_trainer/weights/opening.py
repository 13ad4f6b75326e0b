"""Detector of another project as a model of this one: its architecture, its variables, and the names of its classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model.architecture import Architecture, MaskPasting
from maskrcnn_trainer.weights.class_rows import class_names_of
from maskrcnn_trainer.weights.detector import convert_caffe2_backbone, convert_detector
from maskrcnn_trainer.weights.input_statistics import (
    InputNormalization,
    check_input_scale,
    fold_input,
    input_scale_of,
)
from maskrcnn_trainer.weights.model_config import ModelConfig, config_in, read_model_config
from maskrcnn_trainer.weights.style import STYLES, Style, StyleName
from maskrcnn_trainer.weights.style_choice import choose_style

if TYPE_CHECKING:
    from maskrcnn_trainer.spec import ExperimentSpec
    from maskrcnn_trainer.weights.file import WeightFile
    from maskrcnn_trainer.weights.project import Project

MASK_SIDE = 28
"""Side in pixels of the masks that all these detectors predict."""

_STEM = "conv1/kernel"
_PASTINGS: Mapping[str, MaskPasting] = {"cells": "whole_pixels", "pixel_centers": "pixel_centers"}
_ARCHES = {"1x1": "resnet_v1", "3x3": "resnet_v1_5"}


@dataclass(frozen=True)
class DetectorOptions:
    """Settings that a user gives with the file of a detector.

    Attributes:
        style: ``checkpointStyle``, None if absent.
        config: path of the model's own config, None if absent.
        bn_epsilon: ``checkpointBnEpsilon``, None if absent.
        class_names: ``checkpointClassNames``, empty if absent.
    """

    style: str | None = None
    config: Path | None = None
    bn_epsilon: float | None = None
    class_names: Sequence[str] = ()

    @classmethod
    def from_spec(cls, spec: ExperimentSpec) -> DetectorOptions:
        """Return the options in an experiment spec."""
        return cls(
            style=spec.checkpoint_style,
            config=Path(spec.checkpoint_config) if spec.checkpoint_config else None,
            bn_epsilon=spec.checkpoint_bn_epsilon,
            class_names=spec.checkpoint_class_names,
        )

    @property
    def given(self) -> tuple[str, ...]:
        """Fields of the spec that are not absent."""
        values = {
            "checkpointStyle": self.style,
            "checkpointConfig": self.config,
            "checkpointBnEpsilon": self.bn_epsilon,
            "checkpointClassNames": self.class_names or None,
        }
        return tuple(name for name, value in values.items() if value is not None)


@dataclass(frozen=True)
class OpenedDetector:
    """Detector in the terms of this network.

    Attributes:
        path: of the file.
        style: of the detector; its values are those of the model's own config where there is one.
        architecture: of a network that computes the same, with the classes of the file.
        values: float32 arrays by the network's variable name, in its layout and for its input.
        class_names: a name for each class of the architecture; None for the background, for a class without a name, and
            for rows without a class. None if no name is known.
        has_masks: False for a Faster R-CNN, whose variables of the mask head are missing.
        ignored: tensors without a meaning for this network, with the reason.
        notes: remarks to the user.
    """

    path: str
    style: Style
    architecture: Architecture
    values: Mapping[str, NDArray[np.float32]]
    class_names: tuple[str | None, ...] | None
    has_masks: bool
    ignored: Mapping[str, str]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class OpenedBackbone:
    """Backbone of another project in the terms of this network.

    Attributes:
        path: of the file.
        nlayers: layers of the ResNet.
        arch: family of backbones that computes the same.
        epsilon: that its batch norms add to the variance.
        values: float32 arrays by the network's variable name, in its layout and for its input.
        ignored: tensors without a meaning for this network, with the reason.
        notes: remarks to the user.
    """

    path: str
    nlayers: int
    arch: str
    epsilon: float
    values: Mapping[str, NDArray[np.float32]]
    ignored: Mapping[str, str]
    notes: tuple[str, ...]


def open_detector(file: WeightFile, project: Project, options: DetectorOptions) -> OpenedDetector:
    """Return the detector in a file of torchvision, Detectron2, or MMDetection.

    Args:
        file: its content.
        project: the result of `project.project_of`, one with ``is_detector``.
        options: what the user gives with it.

    Raises:
        InvalidInput: the model is of another kind, its style is unknown or contradicts the file, or its input has
            another mean; the message names the field or the tensors.
    """
    detector = convert_detector(file, project)
    config = config_in(file) if options.config is None else read_model_config(options.config)
    style = choose_style(detector, options.style, config, bn_epsilon=options.bn_epsilon)
    values, scale_note = _for_our_input(file.path, style.name, style.input, style.bn_epsilon, detector.values)
    names = class_names_of(
        file.path,
        project,
        detector.num_classes,
        given=options.class_names or None,
        config=config.class_names if config is not None else None,
    )
    return OpenedDetector(
        path=file.path,
        style=style,
        architecture=architecture_of_style(
            style, nlayers=detector.nlayers, num_classes=detector.num_classes, head_dim=detector.head_dim
        ),
        values=values,
        class_names=names,
        has_masks=detector.has_masks,
        ignored=detector.ignored,
        notes=(
            *file.notes,
            *(config.notes if config is not None else ()),
            *scale_note,
            *_other_settings(config),
            *_unused_names(config, detector.num_classes - 1, given=bool(options.class_names)),
        ),
    )


def open_caffe2_backbone(file: WeightFile) -> OpenedBackbone:
    """Return the backbone in Detectron2's ``R-50.pkl`` or ``R-101.pkl``, as its model zoo uses it.

    Raises:
        InvalidInput: tensors are unknown, missing, or of another shape.
    """
    backbone = convert_caffe2_backbone(file)
    style = STYLES[StyleName.DETECTRON2]
    # its batch norms may hold no statistics, and then the size of the first convolution shows nothing
    values = {**backbone.values, _STEM: fold_input(backbone.values[_STEM], style.input).kernel}
    return OpenedBackbone(
        path=file.path,
        nlayers=backbone.nlayers,
        arch=_ARCHES[style.stride_on],
        epsilon=style.bn_epsilon,
        values=values,
        ignored=backbone.ignored,
        notes=file.notes,
    )


def architecture_of_style(style: Style, *, nlayers: int, num_classes: int, head_dim: int) -> Architecture:
    """Return the architecture of a network that computes what a detector of a style does.

    Args:
        style: of the detector.
        nlayers: layers of its ResNet.
        num_classes: with the background.
        head_dim: units of ``fc6`` and ``fc7``.
    """
    return Architecture(
        nlayers=nlayers,
        arch=_ARCHES[style.stride_on],
        min_level=2,
        max_level=1 + len(style.anchor_sides),
        num_scales=1,
        aspect_ratios=style.aspect_ratios,
        anchor_scale=style.anchor_scale,
        num_classes=num_classes,
        fast_rcnn_mlp_head_dim=head_dim,
        mrcnn_resolution=MASK_SIDE,
        bbox_reg_weights=style.bbox_reg_weights,
        anchor_offset=style.anchor_offset,
        anchor_rounding="corners" if style.anchor_rounding else "none",
        roi_max_level=style.roi_max_level,
        roi_aligned=style.roi_align_aligned,
        roi_sampling_ratio=style.roi_align_sampling_ratio,
        batch_norm_epsilon=style.bn_epsilon,
        clip_small_deltas=style.clip_deltas_below,
        rank_by_sigmoid=style.proposal_ranking == "sigmoid",
        least_proposal_side=style.min_proposal_side,
        least_detection_side=style.min_detection_side,
        mask_pasting=_PASTINGS[style.mask_pasting],
        score_threshold=style.score_threshold,
        candidate_limit=style.candidate_limit,
    )


def _for_our_input(
    path: str,
    style: str,
    normalization: InputNormalization,
    epsilon: float,
    values: Mapping[str, NDArray[np.float32]],
) -> tuple[dict[str, NDArray[np.float32]], tuple[str, ...]]:
    """Return the variables for the input of this network, and a note if they may be of another style."""
    note = check_input_scale(path, style, normalization, input_scale_of(values, epsilon))
    folded = fold_input(values[_STEM], normalization)
    if folded.mean is not None:
        raise InvalidInput(
            f"checkpoint: {path} was trained for {normalization}, whose mean differs from that of this network, which "
            "subtracts 123.675, 116.28, 103.53 (RGB); a mean cannot be folded into padded weights: give a model that "
            "was trained with these means"
        )
    return {**values, _STEM: folded.kernel}, (note,) if note is not None else ()


_SPEC_OF = {
    "nms_threshold": ("maskrcnnConfig.testNms", 0.5),
    "detections_per_image": ("maskrcnnConfig.testDetectionsPerImage", 100),
    "rpn_nms_threshold": ("maskrcnnConfig.testRpnNmsThreshold", 0.7),
    "rpn_pre_nms": ("maskrcnnConfig.testRpnPreNmsTopn", 1000),
    "rpn_post_nms": ("maskrcnnConfig.testRpnPostNmsTopn", 1000),
}
"""Fields of the spec for settings of a config that no model file holds, with their default, which is the styles'."""


def _other_settings(config: ModelConfig | None) -> tuple[str, ...]:
    """Return a note for each setting of detection in a config that differs from the spec's default."""
    if config is None:
        return ()
    return tuple(
        f"{config.source} has {value:g} where {field} is {default:g} by default; set it to detect as the original does"
        for name, (field, default) in _SPEC_OF.items()
        if (value := getattr(config, name)) is not None and value != default
    )


def _unused_names(config: ModelConfig | None, classes: int, *, given: bool) -> tuple[str, ...]:
    """Return a note if a config names another number of classes than the file has, without the background."""
    if config is None or config.class_names is None or given or len(config.class_names) == classes:
        return ()
    return (
        f"{config.source} names {len(config.class_names)} classes, but the file has {classes}, so these names are not "
        "used; give the right ones with 'checkpointClassNames'",
    )
