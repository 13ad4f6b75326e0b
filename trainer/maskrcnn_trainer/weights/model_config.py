"""Model's own config: the settings in it that its weights don't show. What it leaves open is None, never guessed.

Detectron2 writes YAML (``config.yaml`` in OUTPUT_DIR), MMDetection the Python source of a config, which its checkpoints
hold as text: ``meta["cfg"]`` in 3.x, ``meta["config"]`` in 2.x. Neither is executed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.text import shown
from maskrcnn_trainer.shared.yaml_reading import UNREADABLE_VALUES, load_documents
from maskrcnn_trainer.spec.reading import read_text
from maskrcnn_trainer.weights.file import Form, WeightFile, form_of, read_weight_file
from maskrcnn_trainer.weights.input_statistics import InputNormalization, Three
from maskrcnn_trainer.weights.project import Project
from maskrcnn_trainer.weights.python_literals import LONGEST_SOURCE, UnreadableSource, read_assignments, read_literal

_DEEPEST_YAML = 50
_LONGEST_NAME = 200
_MOST_NAMES = 100_000
_PATH_LINE = re.compile(r"^[^\s'\"(){}\[\]=#]+\.py$", re.MULTILINE)

T = TypeVar("T")


@dataclass(frozen=True)
class ModelConfig:
    """Settings of a model; None where its config leaves a setting open. Names are those of `style.Style`.

    Attributes:
        source: for messages: the file, and the entry in it.
        project: DETECTRON2 or MMDETECTION.
        stride_on: convolution that has the stride in the first block of a stage.
        input: normalization of the input.
        bn_affine_trained: gamma and beta of the backbone's batch norms are trained.
        frozen_blocks: blocks of the backbone that aren't trained.
        anchor_sides: side of a square anchor in pixels, by level from 2.
        anchor_ratios: height by width, in the order within a cell.
        anchor_offset: position of an anchor's center in its cell, in strides.
        roi_align_aligned: RoIAlign shifts boxes by half a cell.
        roi_align_sampling_ratio: samples of a bin along each axis; 0: as many as the bin has cells.
        box_delta_weights: of dx, dy, dw, dh in the box head's targets.
        score_threshold: a detection's score is above it.
        nms_threshold: of detections, 0 to 1.
        detections_per_image: largest number.
        rpn_nms_threshold: of proposals at test time, 0 to 1.
        rpn_pre_nms: proposals of a level before NMS at test time.
        rpn_post_nms: proposals of an image after NMS at test time.
        class_names: without the background, in the order of the class layer's rows.
        notes: remarks to the user about parts that were not read.
    """

    source: str
    project: Project
    stride_on: Literal["1x1", "3x3"] | None = None
    input: InputNormalization | None = None
    bn_affine_trained: bool | None = None
    frozen_blocks: tuple[int, ...] | None = None
    anchor_sides: tuple[float, ...] | None = None
    anchor_ratios: tuple[float, ...] | None = None
    anchor_offset: float | None = None
    roi_align_aligned: bool | None = None
    roi_align_sampling_ratio: int | None = None
    box_delta_weights: tuple[float, ...] | None = None
    score_threshold: float | None = None
    nms_threshold: float | None = None
    detections_per_image: int | None = None
    rpn_nms_threshold: float | None = None
    rpn_pre_nms: int | None = None
    rpn_post_nms: int | None = None
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


def read_model_config(path: Path) -> ModelConfig:
    """Return the settings in the file of ``checkpointConfig``.

    Args:
        path: YAML of Detectron2, a config of MMDetection (Python source), or a file of MMDetection's weights, whose
            ``meta`` holds one; distinguished by the suffix ``.py`` or else by content.

    Raises:
        InvalidInput: it cannot be read, or is neither.
    """
    if path.is_file() and form_of(path) in (Form.TORCH_ZIP, Form.TORCH_LEGACY):
        return _config_of_weights(path)
    text = read_text(path, "checkpointConfig:")
    source = f"checkpointConfig: {path}"
    if len(text) > LONGEST_SOURCE:
        raise InvalidInput(
            f"{source} has {len(text):,} characters; a model's config has at most {LONGEST_SOURCE:,}: give the config "
            "file of Detectron2 or MMDetection"
        )
    if path.suffix == ".py":
        return mmdetection_config(text, source)
    try:
        documents = load_documents(text, most_levels=_DEEPEST_YAML)
    except (yaml.YAMLError, RecursionError, *UNREADABLE_VALUES) as error:
        config = _python_or_none(text, source)
        if config is not None:
            return config
        problem = " ".join(str(error).replace('in "<unicode string>", ', "at ").split())
        raise InvalidInput(f"{source} is neither YAML of Detectron2 nor a config of MMDetection: {problem}") from None
    if len(documents) == 1 and isinstance(documents[0], dict) and _looks_like_detectron2(documents[0]):
        return detectron2_config(documents[0], source)
    config = _python_or_none(text, source)
    if config is not None:
        return config
    raise InvalidInput(
        f"{source} is neither YAML of Detectron2 (with MODEL or INPUT) nor a config of MMDetection "
        "(model = dict(...)): give the model's own config file"
    )


def _config_of_weights(path: Path) -> ModelConfig:
    config = config_in(read_weight_file(path))
    if config is None:
        raise InvalidInput(
            f"checkpointConfig: {path} is a file of weights without meta of MMDetection: give the model's own config "
            "file, or checkpointStyle"
        )
    return replace(config, source=f"checkpointConfig: {path}: meta")


def config_in(file: WeightFile) -> ModelConfig | None:
    """Return the settings that a weight file holds itself: those in MMDetection's ``meta``; None if it has none.

    A text that cannot be parsed leaves everything open, with a note: the style can be given. A model that was trained
    with some releases holds the text of its config files, each after a line with its path, which is left out; of values
    in several of them the last is read, and what only a base file has may stay open.

    Raises:
        InvalidInput: the poolers of boxes and masks differ.
    """
    meta = file.extra.get("meta")
    if not isinstance(meta, Mapping):
        return None
    source = f"checkpoint: {file.path}: meta"
    text = next((meta[key] for key in ("cfg", "config") if isinstance(meta.get(key), str)), None)
    config = ModelConfig(source, Project.MMDETECTION)
    if text is not None:
        try:
            tree = read_assignments(_PATH_LINE.sub("", text) if len(text) <= LONGEST_SOURCE else text)
            config = _mmdetection(tree, source)
        except UnreadableSource as error:
            config = replace(config, notes=(f"{source}: the config in it is not read: {error}",))
    names = _names_in_meta(meta)
    if text is None and names is None:
        return None
    return replace(config, class_names=names or config.class_names)


def detectron2_config(document: Mapping[Any, Any], source: str) -> ModelConfig:
    """Return the settings in Detectron2's YAML.

    ``_BASE_`` isn't followed, and defaults of Detectron2 aren't filled in: its ``config.yaml`` has all values.

    Args:
        document: the mapping that was read.
        source: its name in messages.

    Raises:
        InvalidInput: the poolers of boxes and masks differ.
    """
    get = _Tree(document)
    fmt = get.text("INPUT.FORMAT")
    mean, deviation = get.three("MODEL.PIXEL_MEAN"), get.three("MODEL.PIXEL_STD")
    stride_in_1x1 = get.flag("MODEL.RESNETS.STRIDE_IN_1X1")
    freeze_at = get.whole("MODEL.BACKBONE.FREEZE_AT")
    norm = get.text("MODEL.RESNETS.NORM")
    aligned = {"ROIAlign": False, "ROIAlignV2": True}
    notes: tuple[str, ...] = ()
    base = document.get("_BASE_")
    if base is not None:
        notes = (
            f"{source}: _BASE_ ({shown(base)}) is not read: give the config.yaml that Detectron2 writes to OUTPUT_DIR, "
            "which has all values",
        )
    return ModelConfig(
        source=source,
        project=Project.DETECTRON2,
        stride_on=None if stride_in_1x1 is None else "1x1" if stride_in_1x1 else "3x3",
        input=_normalization(fmt, mean, deviation),
        bn_affine_trained={"FrozenBN": False, "BN": True, "SyncBN": True}.get(norm or ""),
        frozen_blocks=tuple(range(freeze_at)) if freeze_at is not None and 0 <= freeze_at <= 5 else None,
        anchor_sides=get.numbers("MODEL.ANCHOR_GENERATOR.SIZES"),
        anchor_ratios=get.numbers("MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS"),
        anchor_offset=get.number("MODEL.ANCHOR_GENERATOR.OFFSET"),
        roi_align_aligned=_one_of(
            source,
            "POOLER_TYPE",
            aligned.get(get.text("MODEL.ROI_BOX_HEAD.POOLER_TYPE") or ""),
            aligned.get(get.text("MODEL.ROI_MASK_HEAD.POOLER_TYPE") or ""),
        ),
        roi_align_sampling_ratio=_one_of(
            source,
            "POOLER_SAMPLING_RATIO",
            _samples(get, "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO"),
            _samples(get, "MODEL.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO"),
        ),
        box_delta_weights=get.numbers("MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS", length=4),
        score_threshold=get.share("MODEL.ROI_HEADS.SCORE_THRESH_TEST"),
        nms_threshold=get.share("MODEL.ROI_HEADS.NMS_THRESH_TEST"),
        detections_per_image=get.whole("TEST.DETECTIONS_PER_IMAGE"),
        rpn_nms_threshold=get.share("MODEL.RPN.NMS_THRESH"),
        rpn_pre_nms=get.whole("MODEL.RPN.PRE_NMS_TOPK_TEST"),
        rpn_post_nms=get.whole("MODEL.RPN.POST_NMS_TOPK_TEST"),
        notes=notes,
    )


def mmdetection_config(text: str, source: str) -> ModelConfig:
    """Return the settings in the Python source of MMDetection's config, which is parsed and never executed.

    ``_base_`` isn't followed, and names of variables aren't resolved: the text in a checkpoint has all values.

    Args:
        text: the source.
        source: its name in messages.

    Raises:
        InvalidInput: the text cannot be parsed, or the poolers of boxes and masks differ.
    """
    try:
        tree = read_assignments(text)
    except UnreadableSource as error:
        raise InvalidInput(f"{source} is not a config of MMDetection that can be parsed: {error}") from None
    return _mmdetection(tree, source)


def _mmdetection(tree: Mapping[str, Any], source: str) -> ModelConfig:
    get = _Tree(tree)
    style = get.text("model.backbone.style")
    strides = get.numbers("model.rpn_head.anchor_generator.strides")
    scales = get.numbers("model.rpn_head.anchor_generator.scales", length=1)
    sides = tuple(scales[0] * stride for stride in strides) if strides and scales else None
    stds = get.numbers("model.roi_head.bbox_head.bbox_coder.target_stds", length=4)
    frozen = get.whole("model.backbone.frozen_stages")
    test = "model.test_cfg" if get.at("model.test_cfg") is not None else "test_cfg"
    layers = ("model.roi_head.bbox_roi_extractor.roi_layer", "model.roi_head.mask_roi_extractor.roi_layer")
    notes: tuple[str, ...] = ()
    if "_base_" in tree:
        notes = (
            f"{source}: _base_ ({shown(tree['_base_'])}) is not read: give the config with all values, such as the one "
            "that MMDetection writes to its work_dir",
        )
    return ModelConfig(
        source=source,
        project=Project.MMDETECTION,
        stride_on={"caffe": "1x1", "pytorch": "3x3"}.get(style or ""),  # type: ignore[arg-type]  # of str, not Literal
        input=_mmdetection_input(get),
        bn_affine_trained=get.flag("model.backbone.norm_cfg.requires_grad"),
        frozen_blocks=tuple(range(frozen + 1)) if frozen is not None and -1 <= frozen <= 4 else None,
        anchor_sides=sides,
        anchor_ratios=get.numbers("model.rpn_head.anchor_generator.ratios"),
        anchor_offset=get.number("model.rpn_head.anchor_generator.center_offset"),
        roi_align_aligned=_one_of(source, "aligned", *(get.flag(f"{layer}.aligned") for layer in layers)),
        roi_align_sampling_ratio=_one_of(
            source,
            "sampling_ratio",
            *(_samples(get, f"{layer}.sampling_ratio", f"{layer}.sample_num") for layer in layers),
        ),
        box_delta_weights=tuple(1 / std for std in stds) if stds and all(std > 0 for std in stds) else None,
        score_threshold=get.share(f"{test}.rcnn.score_thr"),
        nms_threshold=get.share(f"{test}.rcnn.nms.iou_threshold"),
        detections_per_image=get.whole(f"{test}.rcnn.max_per_img"),
        rpn_nms_threshold=get.share(f"{test}.rpn.nms.iou_threshold"),
        rpn_pre_nms=get.whole(f"{test}.rpn.nms_pre"),
        rpn_post_nms=get.whole(f"{test}.rpn.max_per_img"),
        class_names=_class_names(get.at("metainfo.classes")) or _class_names(get.at("classes")),
        notes=notes,
    )


def _samples(get: _Tree, *paths: str) -> int | None:
    """Return a sampling ratio under its name or an older one; both projects take -1 for 0."""
    ratio = next((found for path in paths if (found := get.whole(path)) is not None), None)
    return None if ratio is None else max(ratio, 0)


def _mmdetection_input(get: _Tree) -> InputNormalization | None:
    for at, to_rgb in (("model.data_preprocessor", "bgr_to_rgb"), ("img_norm_cfg", "to_rgb")):
        flag = get.flag(f"{at}.{to_rgb}")
        fmt = None if flag is None else "RGB" if flag else "BGR"
        found = _normalization(fmt, get.three(f"{at}.mean"), get.three(f"{at}.std"))
        if found is not None:
            return found
    return None


def _normalization(fmt: str | None, mean: Three | None, deviation: Three | None) -> InputNormalization | None:
    if mean is None or deviation is None or min(deviation) <= 0:
        return None
    if fmt == "RGB":
        return InputNormalization("RGB", mean, deviation)
    return InputNormalization("BGR", mean, deviation) if fmt == "BGR" else None


def _one_of(source: str, name: str, boxes: T | None, masks: T | None) -> T | None:
    """Return the value of both poolers, None if the one for boxes is unknown."""
    if boxes is not None and masks is not None and boxes != masks:
        raise InvalidInput(
            f"{source}: {name} is {shown(boxes)} for boxes and {shown(masks)} for masks; a model with one value for "
            "both is supported"
        )
    return boxes


def _python_or_none(text: str, source: str) -> ModelConfig | None:
    """Return the config in Python source, None if the text isn't one with a model."""
    try:
        values = read_assignments(text)
    except UnreadableSource:
        return None
    return mmdetection_config(text, source) if isinstance(values.get("model"), dict) else None


def _looks_like_detectron2(document: Mapping[Any, Any]) -> bool:
    return any(isinstance(document.get(key), dict) for key in ("MODEL", "INPUT"))


def _names_in_meta(meta: Mapping[Any, Any]) -> tuple[str, ...] | None:
    data = meta.get("dataset_meta")
    found = [data.get(key) for key in ("classes", "CLASSES")] if isinstance(data, Mapping) else []
    return next((names for value in (*found, meta.get("CLASSES")) if (names := _class_names(value))), None)


def _class_names(value: Any) -> tuple[str, ...] | None:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple) or not 0 < len(value) <= _MOST_NAMES:
        return None
    if not all(isinstance(name, str) and 0 < len(name) <= _LONGEST_NAME for name in value):
        return None
    return tuple(value)


class _Tree:
    """Nested mappings of a config, whose values may be absent or of any type."""

    def __init__(self, root: Mapping[Any, Any]) -> None:
        self._root = root

    def at(self, path: str) -> Any:
        """Return the value at a path of keys, None if there is none; a list in its place isn't searched."""
        value: Any = self._root
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        return value

    def text(self, path: str) -> str | None:
        value = self.at(path)
        return value if isinstance(value, str) else None

    def flag(self, path: str) -> bool | None:
        value = self.at(path)
        return value if isinstance(value, bool) else None

    def whole(self, path: str) -> int | None:
        """Return a whole number that isn't negative, but for -1."""
        value = self.at(path)
        return value if type(value) is int and -1 <= value <= 1_000_000 else None

    def number(self, path: str) -> float | None:
        return _number(self.at(path))

    def share(self, path: str) -> float | None:
        value = _number(self.at(path))
        return value if value is not None and 0 <= value <= 1 else None

    def numbers(self, path: str, *, length: int | None = None) -> tuple[float, ...] | None:
        """Return the numbers in a list, a tuple, or such a text; lists in it are joined."""
        value = self.at(path)
        if isinstance(value, str) and len(value) < 1000:
            value = read_literal(value)
        found = tuple(_flat(value, 0)) if isinstance(value, list | tuple) else ()
        numbers = tuple(number for number in map(_number, found) if number is not None)
        right = len(numbers) == len(found) and (len(found) == length if length is not None else found)
        return numbers if right else None

    def three(self, path: str) -> Three | None:
        found = self.numbers(path, length=3)
        return (found[0], found[1], found[2]) if found is not None else None


def _flat(values: Sequence[Any], level: int) -> Iterator[Any]:
    for value in values[:1000]:
        if isinstance(value, list | tuple) and level < 2:
            yield from _flat(value, level + 1)
        else:
            yield value


def _number(value: Any) -> float | None:
    if type(value) not in (int, float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
