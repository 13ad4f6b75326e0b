"""Architecture of a network: the fields that a model file stores and that a later spec cannot change."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from maskrcnn_trainer.errors import InvalidInput, content_of
from maskrcnn_trainer.model.anchors import AnchorRounding
from maskrcnn_trainer.model.backbones.protocol import Backbone
from maskrcnn_trainer.model.backbones.registry import BACKBONES
from maskrcnn_trainer.spec.errors import shown

if TYPE_CHECKING:
    from maskrcnn_trainer.model_files.model_file import ModelFile
    from maskrcnn_trainer.spec import ExperimentSpec

LARGEST_MASK = 224

CANDIDATE_LIMIT = 1000
"""Default of the largest number of pairs of box and class of an image that enter non-maximum suppression."""

LARGEST_TOPK = 3839
"""TensorRT's limit on the K of TopK (developer guide: at most 3840; operator table of its parser: less than 3840)."""

MaskPasting = Literal["pixel_centers", "whole_pixels"]
"""Ways to paste a mask into the image, see `maskrcnn_trainer.evaluation.paste`."""

# The field of the experiment spec, as YAML spells it, that each attribute comes from.
_SPEC_FIELDS = {
    "nlayers": "maskrcnnConfig.nlayers",
    "arch": "maskrcnnConfig.arch",
    "min_level": "maskrcnnConfig.minLevel",
    "max_level": "maskrcnnConfig.maxLevel",
    "num_scales": "maskrcnnConfig.numScales",
    "aspect_ratios": "maskrcnnConfig.aspectRatios",
    "anchor_scale": "maskrcnnConfig.anchorScale",
    "num_classes": "dataConfig.numClasses",
    "fast_rcnn_mlp_head_dim": "maskrcnnConfig.fastRcnnMlpHeadDim",
    "mrcnn_resolution": "maskrcnnConfig.mrcnnResolution",
    "bbox_reg_weights": "maskrcnnConfig.bboxRegWeights",
    "anchor_offset": "maskrcnnConfig.anchorOffset",
    "anchor_rounding": "maskrcnnConfig.anchorRounding",
    "roi_max_level": "maskrcnnConfig.roiMaxLevel",
    "roi_aligned": "maskrcnnConfig.roiAligned",
    "roi_sampling_ratio": "maskrcnnConfig.roiSamplingRatio",
}
# Settings of detection whose values in a model file are defaults, which any spec may change.
_DETECTION_FIELDS = {"score_threshold": "test_score_threshold", "candidate_limit": "test_candidate_limit"}

_ALWAYS_WRITTEN = frozenset(
    (
        "nlayers",
        "arch",
        "min_level",
        "max_level",
        "num_scales",
        "aspect_ratios",
        "anchor_scale",
        "num_classes",
        "fast_rcnn_mlp_head_dim",
        "mrcnn_resolution",
        "bbox_reg_weights",
        "filters",
    )
)
"""Fields in every model file, all that release 0.1.0 knows; the others are left out if they have their default."""


@dataclass(frozen=True)
class Architecture:
    """Settings that determine a network's variables and the meaning of its outputs.

    Attributes:
        nlayers: depth of the backbone, one of the depths of its arch.
        arch: a key of `BACKBONES`.
        min_level: lowest level of the feature pyramid, 2; the stride of a level is 2^level.
        max_level: highest level of the feature pyramid, 5 or 6.
        num_scales: anchor sizes per octave, at least 1.
        aspect_ratios: (width, height) multipliers of an anchor's side.
        anchor_scale: side of a square anchor, in strides of its level.
        num_classes: number of classes, including the background (class 0); at least 2.
        fast_rcnn_mlp_head_dim: units of ``fc6`` and ``fc7``.
        mrcnn_resolution: side of a predicted mask in pixels, a multiple of 4 from 4 to 224; RoIAlign pools to a quarter
            of it for boxes and to a half for masks.
        bbox_reg_weights: factors of (dy, dx, dh, dw) in the box head's targets.
        filters: output filters of pruned layers by layer name; a layer that is absent has its full width.
        anchor_offset: center of the anchors of the first cell, in strides of its level, 0 to 1.
        anchor_rounding: rounding of anchors, see `maskrcnn_trainer.model.anchors`.
        roi_max_level: highest level that RoIs are pooled from; None for ``max_level``, also if that is given.
        roi_aligned: whether RoIAlign has the center of a map's first cell at half a cell, see `model.roi_align`.
        roi_sampling_ratio: RoIAlign's samples of a bin along each axis, at least 1; 0 for a number by a box's size.
        batch_norm_epsilon: added to the variance by the batch norms, 0 to 1; None for the number of ``arch``, also
            if that is given. See `maskrcnn_trainer.model.batch_norm` for 0.
        clip_small_deltas: decoding limits dh and dw below, too, as MMDetection does.
        rank_by_sigmoid: proposals are ranked by float32 scores, as in MMDetection, instead of logits: scores near 1 are
            equal for different logits, and boxes of equal score are ranked in the order of the anchors.
        least_proposal_side: smallest height and width of a proposal, in pixels of the padded image.
        least_detection_side: smallest height and width of a detection before suppression, likewise.
        mask_pasting: how masks are pasted into the image, see `maskrcnn_trainer.evaluation.paste`.
        score_threshold: score that a detection exceeds if a spec gives none, 0 to 1.
        candidate_limit: largest number of pairs of box and class of an image that enter suppression if a spec gives
            none, at least 1; None for all.

    Raises:
        InvalidInput: no network can be built with the value of a field.
    """

    nlayers: int = 50
    arch: str = "resnet"
    min_level: int = 2
    max_level: int = 6
    num_scales: int = 1
    aspect_ratios: tuple[tuple[float, float], ...] = ((1.0, 1.0), (1.4, 0.7), (0.7, 1.4))
    anchor_scale: float = 8
    num_classes: int = 91
    fast_rcnn_mlp_head_dim: int = 1024
    mrcnn_resolution: int = 28
    bbox_reg_weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)
    filters: Mapping[str, int] = field(default_factory=dict)
    anchor_offset: float = 0.5
    anchor_rounding: AnchorRounding = "none"
    roi_max_level: int | None = None
    roi_aligned: bool = True
    roi_sampling_ratio: int = 2
    batch_norm_epsilon: float | None = None
    clip_small_deltas: bool = False
    rank_by_sigmoid: bool = False
    least_proposal_side: float = 0.0
    least_detection_side: float = 0.0
    mask_pasting: MaskPasting = "pixel_centers"
    score_threshold: float = 0.0
    candidate_limit: int | None = CANDIDATE_LIMIT

    def __post_init__(self) -> None:
        if self.arch not in BACKBONES:
            raise _ImpossibleField("arch", f"{shown(self.arch)} is not one of {shown(tuple(BACKBONES))}")
        depths = self.backbone.depths
        checks = (
            (self.nlayers in depths, "nlayers", f"one of {shown(depths)}"),
            (self.min_level == 2, "min_level", "2"),
            (self.max_level in (5, 6), "max_level", "5 or 6"),
            (self.num_scales >= 1, "num_scales", "at least 1"),
            (len(self.aspect_ratios) >= 1, "aspect_ratios", "at least one (width, height) pair"),
            (self.num_classes >= 2, "num_classes", "at least 2: the background and one class"),
            (
                4 <= self.mrcnn_resolution <= LARGEST_MASK and self.mrcnn_resolution % 4 == 0,
                "mrcnn_resolution",
                f"a multiple of 4 from 4 to {LARGEST_MASK}",
            ),
            (len(self.bbox_reg_weights) == 4, "bbox_reg_weights", "four numbers"),
            (all(n >= 1 for n in self.filters.values()), "filters", "at least 1 for every layer"),
            (0 <= self.anchor_offset <= 1, "anchor_offset", "0 to 1"),
            (self.anchor_rounding in get_args(AnchorRounding), "anchor_rounding", _one_of(AnchorRounding)),
            (
                self.min_level < self.highest_roi_level <= self.max_level,
                "roi_max_level",
                f"one of the levels {self.min_level + 1} to {self.max_level}",
            ),
            (self.roi_sampling_ratio >= 0, "roi_sampling_ratio", "at least 1, or 0 for a number by a box's size"),
            (0 <= self.epsilon <= 1, "batch_norm_epsilon", "0 to 1"),
            (0 <= self.least_proposal_side < math.inf, "least_proposal_side", "a number of at least 0"),
            (0 <= self.least_detection_side < math.inf, "least_detection_side", "a number of at least 0"),
            (self.mask_pasting in get_args(MaskPasting), "mask_pasting", _one_of(MaskPasting)),
            (0 <= self.score_threshold < 1, "score_threshold", "at least 0 and below 1"),
            (self.candidate_limit is None or self.candidate_limit >= 1, "candidate_limit", "at least 1, or null"),
        )
        for right, name, expected in checks:
            if not right:
                raise _ImpossibleField(name, f"{shown(getattr(self, name))} is not {expected}")
        # One form for equal networks, so that they compare as equal.
        if self.roi_max_level == self.max_level:
            object.__setattr__(self, "roi_max_level", None)
        if self.batch_norm_epsilon == self.backbone.epsilon:
            object.__setattr__(self, "batch_norm_epsilon", None)

    @property
    def backbone(self) -> Backbone:
        """Family of the backbone."""
        return BACKBONES[self.arch]

    @property
    def num_anchors_per_cell(self) -> int:
        """Anchors at every cell of a level."""
        return self.num_scales * len(self.aspect_ratios)

    @property
    def levels(self) -> tuple[int, ...]:
        """Levels of the pyramid, ascending."""
        return tuple(range(self.min_level, self.max_level + 1))

    @property
    def highest_roi_level(self) -> int:
        """Highest level that RoIs are pooled from."""
        return self.max_level if self.roi_max_level is None else self.roi_max_level

    @property
    def epsilon(self) -> float:
        """Number that the batch norms add to the variance."""
        return self.backbone.epsilon if self.batch_norm_epsilon is None else self.batch_norm_epsilon

    def width(self, layer: str, full: int) -> int:
        """Return the number of output filters of a layer: its pruned number if it was pruned, else ``full``."""
        return int(self.filters.get(layer, full))

    @classmethod
    def from_spec(
        cls, spec: ExperimentSpec, num_classes: int | None = None, *, model: Architecture | None = None
    ) -> Architecture:
        """Return the architecture of an experiment spec.

        Args:
            spec: the experiment.
            num_classes: replaces the number in the spec, if not None.
            model: of the model file that absent fields follow; None: they have their defaults.

        Raises:
            InvalidInput: no network can be built with the value of a field, named as in YAML.
        """
        config = spec.maskrcnn_config
        given = config.model_fields_set if model is not None else frozenset(_SPEC_FIELDS)
        values: dict[str, Any] = {
            name: _CONVERTED.get(name, _same)(value)
            for name in _SPEC_FIELDS
            if (value := getattr(config, name, None)) is not None and name in given
        }
        for name, field_name in _DETECTION_FIELDS.items():
            if (value := getattr(config, field_name)) is not None:
                values[name] = value
        values["num_classes"] = num_classes or spec.data_config.num_classes
        return cls(**values) if model is None else replace(model, **values)

    def contradictions(self, spec: ExperimentSpec) -> list[str]:
        """Return a message for each field in which a spec differs from this network; fields are named as in YAML.

        Absent fields of the spec follow the network, so they contradict nothing.
        """
        try:
            requested = Architecture.from_spec(spec, model=self)
        except InvalidInput as error:
            return [str(error)]
        # not those that follow another one, as the highest level of RoIs does
        given = spec.maskrcnn_config.model_fields_set | spec.data_config.model_fields_set
        return [
            f"{spelled}: {shown(getattr(requested, name))} in the spec, "
            f"but the model was built with {shown(getattr(self, name))}"
            for name, spelled in _SPEC_FIELDS.items()
            if name in given and getattr(requested, name) != getattr(self, name)
        ]

    def to_json(self) -> dict[str, Any]:
        """Return plain values, ready for ``json.dumps``.

        A field that release 0.1.0 doesn't know is left out if it has its default, so that this release reads the file;
        it refuses a file with another value of such a field.
        """
        values = {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.name in _ALWAYS_WRITTEN or getattr(self, f.name) != f.default
        }
        values["filters"] = dict(sorted(self.filters.items()))
        plain: dict[str, Any] = json.loads(json.dumps(values))
        return plain

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Architecture:
        """Create an architecture from the result of `to_json`.

        A field that is left out there has its default, with which a network is that of earlier releases.

        Raises:
            InvalidInput: a field is missing, unknown, or of another type, or no network can be built with its value; it
                is named as in the JSON.
        """
        known = {f.name for f in fields(cls)}
        if not isinstance(values, Mapping):
            raise InvalidInput(f"architecture: {shown(values)} is not an object")
        wrong = sorted((set(values) - known) | (_ALWAYS_WRITTEN - {"filters"} - set(values)))
        if wrong:
            raise InvalidInput(f"architecture: unknown or missing fields: {', '.join(wrong)}")
        read: dict[str, Any] = {}
        for name, value in values.items():
            read_value, expected = _READERS.get(name, _WHOLE_NUMBER)
            try:
                read[name] = read_value(value)
            except (TypeError, ValueError, AttributeError, OverflowError, _ImpossibleField) as error:
                raise InvalidInput(f"architecture.{name}: {shown(value)} is not {expected}") from error
        try:
            return cls(**read)
        except _ImpossibleField as error:
            raise InvalidInput(f"architecture.{error.name}: {error.problem}") from error


def architecture_of(model: ModelFile) -> Architecture:
    """Return the architecture of a model file.

    Raises:
        InvalidInput: no network can be built from it; the message names the file.
    """
    with content_of(model.source):
        return Architecture.from_json(model.architecture)


class _ImpossibleField(InvalidInput):
    """Value with which no network can be built.

    Attributes:
        name: the attribute of the architecture.
        problem: the value, and what is expected.
    """

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{_SPEC_FIELDS.get(name, name)}: {problem}")
        self.name, self.problem = name, problem


def _four(values: Any) -> tuple[float, float, float, float]:
    if len(values) != 4:
        raise _ImpossibleField("bbox_reg_weights", f"{shown(values)} is not four numbers")
    a, b, c, d = (float(v) for v in values)
    return a, b, c, d


def _same(value: Any) -> Any:
    return value


def read_whole_number(value: Any) -> int:
    """Return a whole number of a model file.

    Raises:
        TypeError: the value isn't one.
    """
    if type(value) is not int:
        raise TypeError(value)
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(value)
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(value)
    return float(value)


def _optional(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else read(value)


def _one_of(choices: Any) -> str:
    return f"one of {shown(get_args(choices))}"


def _pairs(values: Any) -> tuple[tuple[float, float], ...]:
    return tuple((float(w), float(h)) for w, h in values)


def _widths(values: Any) -> dict[str, int]:
    return {str(name): read_whole_number(count) for name, count in values.items()}


_CONVERTED: dict[str, Callable[[Any], Any]] = {
    "aspect_ratios": _pairs,
    "anchor_scale": float,
    "bbox_reg_weights": _four,
}
"""Conversions of the spec's values that have another type here."""

_WHOLE_NUMBER: tuple[Callable[[Any], Any], str] = (read_whole_number, "a whole number")
_READERS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "arch": (_text, "a string"),
    "aspect_ratios": (_pairs, "a list of (width, height) pairs"),
    "anchor_scale": (float, "a number"),
    "bbox_reg_weights": (_four, "four numbers"),
    "filters": (_widths, "an object of whole numbers"),
    "anchor_offset": (_number, "a number"),
    "anchor_rounding": (_text, "a string"),
    "roi_max_level": (_optional(read_whole_number), "a whole number or null"),
    "roi_aligned": (_flag, "true or false"),
    "batch_norm_epsilon": (_optional(_number), "a number or null"),
    "clip_small_deltas": (_flag, "true or false"),
    "rank_by_sigmoid": (_flag, "true or false"),
    "least_proposal_side": (_number, "a number"),
    "least_detection_side": (_number, "a number"),
    "mask_pasting": (_text, "a string"),
    "score_threshold": (_number, "a number"),
    "candidate_limit": (_optional(read_whole_number), "a whole number or null"),
}
"""Readers of the fields in a model file that aren't whole numbers, each with the description of a valid value."""
