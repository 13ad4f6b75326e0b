"""Choice of a file's style: the one that is given, or the one that the model's own config describes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.text import shown
from maskrcnn_trainer.weights.detector import Detector
from maskrcnn_trainer.weights.model_config import ModelConfig
from maskrcnn_trainer.weights.project import Project
from maskrcnn_trainer.weights.style import STYLES, Style, StyleName, styles_of

_IDENTIFYING = ("stride_on", "input", "anchor_sides", "anchor_ratios", "anchor_offset")
"""Settings in which a config must not differ from a style that is given."""

_FOLLOWED = (
    "bn_affine_trained",
    "frozen_blocks",
    "roi_align_aligned",
    "roi_align_sampling_ratio",
    "box_delta_weights",
    "score_threshold",
)
"""Settings that differ between models of one style; the config decides."""

_ANCHOR_TOLERANCE = 0.01
"""In pixels; anchors are stored as float32 and have sides of up to 725 pixels."""


def choose_style(
    detector: Detector, given: str | None, config: ModelConfig | None, *, bn_epsilon: float | None = None
) -> Style:
    """Return the style of a detector, with the values that its config gives.

    A style can be left out if the config names the stride and the normalization of the input; nothing else shows them.

    Args:
        detector: what was read from the file.
        given: value of ``checkpointStyle``; None if absent.
        config: from ``checkpointConfig`` or the file itself; None if there is none.
        bn_epsilon: value of ``checkpointBnEpsilon``; None if absent.

    Raises:
        InvalidInput: the style is missing, unknown, or of another project, or the config or tensors of the file
            contradict it; the message names the setting.
    """
    path, project = detector.path, detector.project
    if config is not None and config.project is not project:
        raise InvalidInput(
            f"{config.source} is a config of {config.project}, but {path} has the tensor names of {project}: give the "
            "model's own config"
        )
    style = _described(project, config) if given is None else _given(path, project, given)
    if style is None:
        raise _missing(path, project, config)
    if config is not None:
        _refuse_contradiction(style, config)
        known = {name: value for name in _FOLLOWED if (value := getattr(config, name)) is not None}
        style = replace(style, **known)
    if bn_epsilon is not None:
        style = replace(style, bn_epsilon=bn_epsilon)
    _check_stored_values(detector, style)
    return style


def cell_anchors(style: Style) -> dict[int, NDArray[np.float64]]:
    """Return the anchors of a cell around its center, x1 y1 x2 y2 [A, 4] in pixels, by level from 2."""
    anchors = {}
    for level, side in enumerate(style.anchor_sides, start=2):
        half = np.asarray(style.aspect_ratios) * side / 2
        corners = np.concatenate([-half, half], axis=1)
        anchors[level] = np.round(corners) if style.anchor_rounding else corners
    return anchors


def _given(path: str, project: Project, given: str) -> Style:
    style = STYLES.get(StyleName(given)) if given in set(StyleName) else None
    if style is None:
        raise InvalidInput(f"checkpointStyle: {shown(given)} is not one of {', '.join(STYLES)}")
    if style.project is not project:
        raise InvalidInput(
            f"checkpointStyle: {given} is a style of {style.project}, but {path} has the tensor names of {project}: "
            f"give {_names(project)}"
        )
    return style


def _described(project: Project, config: ModelConfig | None) -> Style | None:
    """Return the style of a project that agrees with most of a config, with the stride and input of the config."""
    if config is None or config.stride_on is None or config.input is None:
        return None
    styles = styles_of(project)
    nearest = min(styles, key=lambda style: len(list(_differences(style, config, (*_IDENTIFYING, *_FOLLOWED)))))
    return replace(nearest, stride_on=config.stride_on, input=config.input)


def _missing(path: str, project: Project, config: ModelConfig | None) -> InvalidInput:
    if config is None:
        why = "its weights do not show where the stride is and how the input is normalized"
    else:
        unknown = [
            text
            for text, value in (("the stride", config.stride_on), ("the normalization of the input", config.input))
            if value is None
        ]
        why = f"{config.source.removeprefix('checkpoint: ')} does not name {' and '.join(unknown)}"
    return InvalidInput(
        f"checkpoint: {path} is a detector of {project} and needs checkpointStyle, because {why}: give "
        f"{_names(project)}"
    )


def _names(project: Project) -> str:
    *first, last = (str(style.name) for style in styles_of(project))
    return f"{', '.join(first)} or {last}" if first else last


def _differences(style: Style, config: ModelConfig, fields: tuple[str, ...]) -> Iterator[tuple[str, Any, Any]]:
    """Yield the name and both values of each setting that a config gives and a style has otherwise."""
    for name in fields:
        theirs, ours = getattr(config, name), getattr(style, name)
        if theirs is not None and not _same(theirs, ours):
            yield name, theirs, ours


def _same(a: Any, b: Any) -> bool:
    if hasattr(a, "agrees_with"):
        return bool(a.agrees_with(b))
    if isinstance(a, tuple):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    return math.isclose(a, b, abs_tol=1e-6) if isinstance(a, float) else bool(a == b)


_HAS: Mapping[str, str] = {
    "stride_on": "the stride of a stage on the {} convolution",
    "input": "an input of {}",
    "anchor_sides": "anchors with sides of {} pixels",
    "anchor_ratios": "anchors with a height by width of {}",
    "anchor_offset": "anchors centered {} strides from the corner of a cell",
}
"""Text for each of `_IDENTIFYING`, after "has"."""


def _refuse_contradiction(style: Style, config: ModelConfig) -> None:
    for name, theirs, ours in _differences(style, config, _IDENTIFYING):
        raise InvalidInput(
            f"{config.source} has {_HAS[name].format(_text(theirs))}, but the style {style.name} has {_text(ours)}: "
            "give the style and the config of the same model"
        )


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(f"{item:g}" for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _check_stored_values(detector: Detector, style: Style) -> None:
    """Refuse anchors and input statistics in the file that a style doesn't have."""
    for name, stored, expected in (
        ("pixel_mean", detector.pixel_mean, style.input.mean),
        ("pixel_std", detector.pixel_deviation, style.input.deviation),
    ):
        if stored is not None and not (len(stored) == 3 and np.allclose(stored, expected, rtol=0, atol=1e-3)):
            raise InvalidInput(
                f"checkpoint: {detector.path} holds {name} {_text(stored)}, but the style {style.name} has "
                f"{_text(expected)}: give the style of the model"
            )
    anchors = cell_anchors(style)
    for level, theirs in detector.cell_anchors.items():
        ours = anchors.get(level)
        if ours is None or theirs.shape != ours.shape or not np.allclose(theirs, ours, rtol=0, atol=_ANCHOR_TOLERANCE):
            raise InvalidInput(
                f"checkpoint: {detector.path} holds other anchors of level {level} than the style {style.name}, "
                f"which has sides of {_text(style.anchor_sides)} pixels and height by width "
                f"{_text(style.anchor_ratios)}: models with other anchors are not supported"
            )
