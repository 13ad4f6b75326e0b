"""Table of the differences between the styles, each with its source, for the documentation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from maskrcnn_trainer.weights.project import Project
from maskrcnn_trainer.weights.style import STYLES, Style, StyleName

_TV, _D2, _MM = Project.TORCHVISION, Project.DETECTRON2, Project.MMDETECTION


@dataclass(frozen=True)
class StyleRow:
    """Difference between the projects.

    Attributes:
        title: of the row.
        cell: returns the text for a style.
        fields: of `Style` that the text depends on; none: the row is advice, and no code depends on it.
        sources: file and lines of the original by project.
    """

    title: str
    cell: Callable[[Style], str]
    fields: tuple[str, ...] = ()
    sources: Mapping[Project, str] = field(default_factory=dict)


def _by_project(torchvision: str, detectron2: str, mmdetection: str) -> Callable[[Style], str]:
    texts = {_TV: torchvision, _D2: detectron2, _MM: mmdetection}
    return lambda style: texts[style.project]


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:g}" for value in values)


def _above(value: float) -> str:
    return f"at least {value:g} px" if value else "above 0"


def _samples(style: Style) -> str:
    ratio = style.roi_align_sampling_ratio
    return f"{ratio} x {ratio} in a bin" if ratio else "as many as a bin has cells"


def _losses(style: Style) -> str:
    if style.name is StyleName.DETECTRON2_D1COMPAT:
        return "smooth L1, beta 1/9 and 1"
    return "smooth L1, beta 1/9" if style.project is _TV else "L1"


ROWS = (
    StyleRow("Models", lambda style: style.summary, ("name", "project", "summary")),
    StyleRow(
        "Stride of a stage",
        lambda style: f"on the {style.stride_on}",
        ("stride_on",),
        {
            _TV: "models/resnet.py:109, 135",
            _D2: "config/defaults.py:499; modeling/backbone/resnet.py:147",
            _MM: "models/backbones/resnet.py:154-159",
        },
    ),
    StyleRow(
        "Channels of the input",
        lambda style: style.input.channels,
        ("input",),
        {_TV: "models/detection/faster_rcnn.py:275-278", _D2: "config/defaults.py:84", _MM: "the model's config"},
    ),
    StyleRow(
        "Mean, of 255",
        lambda style: _numbers(style.input.mean),
        ("input",),
        {_TV: "models/detection/faster_rcnn.py:275-278", _D2: "config/defaults.py:42", _MM: "the model's config"},
    ),
    StyleRow(
        "Standard deviation, of 255",
        lambda style: _numbers(style.input.deviation),
        ("input",),
        {_TV: "models/detection/faster_rcnn.py:275-278", _D2: "config/defaults.py:46", _MM: "the model's config"},
    ),
    StyleRow(
        "Epsilon of batch norm",
        lambda style: f"{style.bn_epsilon:g}".replace("e-0", "e-"),
        ("bn_epsilon",),
        {
            _TV: "models/detection/mask_rcnn.py:500-502; faster_rcnn.py:566-568",
            _D2: "layers/batch_norm.py:35",
            _MM: "mmcv/cnn/bricks/norm.py:118",
        },
    ),
    StyleRow(
        "Gamma and beta",
        lambda style: "trained" if style.bn_affine_trained else "fixed",
        ("bn_affine_trained",),
        {_TV: "ops/misc.py:30-33", _D2: "layers/batch_norm.py:39-42", _MM: "norm_cfg.requires_grad of the config"},
    ),
    StyleRow(
        "Blocks that are not trained",
        lambda style: _numbers(style.frozen_blocks),
        ("frozen_blocks",),
        {
            _TV: "trainable_backbone_layers, 3 of 5",
            _D2: "config/defaults.py:139 (FREEZE_AT 2)",
            _MM: "frozen_stages 1 of the config",
        },
    ),
    StyleRow(
        "Anchors by level from P2: side in pixels",
        lambda style: _numbers(style.anchor_sides),
        ("anchor_sides",),
        {
            _TV: "models/detection/faster_rcnn.py:37-40",
            _D2: "configs/Base-RCNN-FPN.yaml",
            _MM: "anchor_generator of the config: scale 8 times the stride",
        },
    ),
    StyleRow(
        "Anchors of a cell: height by width",
        lambda style: _numbers(style.anchor_ratios),
        ("anchor_ratios",),
        {
            _TV: "models/detection/faster_rcnn.py:37-40",
            _D2: "modeling/anchor_generator.py:204-216",
            _MM: "anchor_generator of the config",
        },
    ),
    StyleRow(
        "Rounding of anchors",
        lambda style: "corners, to whole pixels" if style.anchor_rounding else "none",
        ("anchor_rounding",),
        {
            _TV: "models/detection/anchor_utils.py:74",
            _D2: "modeling/anchor_generator.py:204-216",
            _MM: "models/task_modules/prior_generators/anchor_generator.py:183-202",
        },
    ),
    StyleRow(
        "Center of an anchor in its cell",
        lambda style: f"{style.anchor_offset:g} strides",
        ("anchor_offset",),
        {_TV: "models/detection/anchor_utils.py:119-125", _D2: "config/defaults.py:195", _MM: "center_offset 0"},
    ),
    StyleRow(
        "Stride of a level",
        _by_project("image side // map side, so P6 of an image 800 px high has 61", "fixed, P6 has 64", "fixed"),
        sources={_TV: "models/detection/anchor_utils.py:119-125"},
    ),
    StyleRow(
        "Levels that boxes are pooled from",
        lambda style: f"P2 to P{style.roi_max_level}",
        ("roi_max_level",),
        {
            _TV: "ops/poolers.py:79-83",
            _D2: "modeling/poolers.py:51-58",
            _MM: "models/roi_heads/roi_extractors/single_level_roi_extractor.py:59-62",
        },
    ),
    StyleRow(
        "Level of a box of side s",
        _by_project(
            "floor(4 + log2(s / 224) + 1e-6)", "floor(4 + log2(s / 224 + 1e-8))", "floor(log2(s / 56 + 1e-6)) + 2"
        ),
        sources={
            _TV: "ops/poolers.py:79-83",
            _D2: "modeling/poolers.py:51-58",
            _MM: "models/roi_heads/roi_extractors/single_level_roi_extractor.py:59-62",
        },
    ),
    StyleRow(
        "RoIAlign: position",
        lambda style: "aligned" if style.roi_align_aligned else "not aligned, a side is at least one cell",
        ("roi_align_aligned",),
        {
            _TV: "models/detection/faster_rcnn.py:248; mask_rcnn.py:215",
            _D2: "config/defaults.py:306-308, 352, 361",
            _MM: "mmcv/ops/roi_align.py:174-180",
        },
    ),
    StyleRow(
        "RoIAlign: samples",
        _samples,
        ("roi_align_sampling_ratio",),
        {
            _TV: "models/detection/faster_rcnn.py:248; mask_rcnn.py:215",
            _D2: "config/defaults.py:306-308, 352, 361",
            _MM: "mmcv/ops/roi_align.py:174-180",
        },
    ),
    StyleRow(
        "Rows of classes",
        _by_project(
            "91: background, then COCO's ids, of which 10 are N/A",
            "81: the 80 classes by ascending COCO id, then the background",
            "81: the 80 classes by ascending COCO id, then the background",
        ),
    ),
    StyleRow(
        "Rows of boxes and masks",
        _by_project("with the background", "without the background", "without the background"),
        sources={_TV: "models/detection/roi_heads.py:698", _D2: "modeling/roi_heads/fast_rcnn.py:236-239"},
    ),
    StyleRow(
        "Order of deltas",
        _by_project(*["dx dy dw dh; RPN channel = 4 x anchor + coordinate"] * 3),
        sources={_TV: "models/detection/rpn.py:81-85"},
    ),
    StyleRow(
        "Weights of the box head's deltas",
        lambda style: _numbers(style.box_delta_weights),
        ("box_delta_weights",),
        {
            _TV: "models/detection/roi_heads.py:531",
            _D2: "config/defaults.py:228, 302",
            _MM: "target_stds .1 .1 .2 .2 of the config",
        },
    ),
    StyleRow(
        "Limits of dw and dh",
        lambda style: "-log(1000/16) to log(1000/16)" if style.clip_deltas_below else "up to log(1000/16)",
        ("clip_deltas_below",),
        {
            _TV: "models/detection/_utils.py:207-208",
            _D2: "modeling/box_regression.py:103-104",
            _MM: "models/task_modules/coders/delta_xywh_bbox_coder.py:345-350",
        },
    ),
    StyleRow(
        "Proposals: ranked by",
        lambda style: style.proposal_ranking,
        ("proposal_ranking",),
        {
            _TV: "models/detection/rpn.py:180, 230-296",
            _D2: "modeling/proposal_generator/proposal_utils.py:67-129",
            _MM: "models/dense_heads/rpn_head.py:197-289",
        },
    ),
    StyleRow(
        "Proposals: smallest side",
        lambda style: _above(style.min_proposal_side),
        ("min_proposal_side",),
        {
            _TV: "models/detection/rpn.py:180, 230-296",
            _D2: "modeling/proposal_generator/proposal_utils.py:67-129",
            _MM: "models/dense_heads/rpn_head.py:197-289",
        },
    ),
    StyleRow("Proposals in a test: of a level, of all", _by_project(*["1,000, 1,000 after NMS at 0.7"] * 3)),
    StyleRow(
        "Proposals in training: of a level, of all",
        _by_project("2,000, 2,000", "2,000, 1,000", "2,000, 1,000"),
    ),
    StyleRow(
        "Detections: score",
        lambda style: f"above {style.score_threshold:g}",
        ("score_threshold",),
        {
            _TV: "models/detection/roi_heads.py:708-718",
            _D2: "modeling/roi_heads/fast_rcnn.py:151-164",
            _MM: "models/layers/bbox_nms.py:65, 96",
        },
    ),
    StyleRow(
        "Detections: pairs of box and class in NMS",
        lambda style: "all" if style.candidate_limit is None else f"the best {style.candidate_limit:,}",
        ("candidate_limit",),
        {
            _TV: "models/detection/roi_heads.py:708-718",
            _D2: "modeling/roi_heads/fast_rcnn.py:151-164",
            _MM: "models/layers/bbox_nms.py:65, 96",
        },
    ),
    StyleRow(
        "Detections: smallest side",
        lambda style: f"at least {style.min_detection_side:g} px" if style.min_detection_side else "any",
        ("min_detection_side",),
        {
            _TV: "models/detection/roi_heads.py:708-718",
            _D2: "modeling/postprocessing.py (empty boxes, after scaling to the image)",
        },
    ),
    StyleRow("Detections: NMS, number", _by_project(*["0.5 within a class, 100"] * 3)),
    StyleRow(
        "Masks",
        lambda style: (
            "padded by a cell, box widened and cut to whole pixels; above 0.5"
            if style.mask_pasting == "cells"
            else "sampled at the centers of pixels; at least 0.5"
        ),
        ("mask_pasting",),
        {
            _TV: "models/detection/roi_heads.py:392-489",
            _D2: "layers/mask_ops.py:50-64, 138",
            _MM: "models/roi_heads/mask_heads/fcn_mask_head.py:391, 450-469",
        },
    ),
    StyleRow(
        "Losses of boxes, RPN and box head",
        _losses,
        ("name",),
        {_D2: "configs/Detectron1-Comparisons/mask_rcnn_R_50_FPN_noaug_1x.yaml, for its style"},
    ),
    StyleRow(
        "Size of an image",
        _by_project(
            "800, at most 1,333; bilinear without antialiasing, rounded down",
            "800, at most 1,333; bilinear with antialiasing, rounded",
            "800, at most 1,333; bilinear (OpenCV), rounded",
        ),
        sources={
            _TV: "models/detection/transform.py:43-60",
            _D2: "data/transforms/augmentation_impl.py:181-200",
            _MM: "mmcv/image/geometric.py:33",
        },
    ),
    StyleRow(
        "Normalizing",
        _by_project("before resizing", "after resizing", "after resizing"),
        sources={_TV: "models/detection/transform.py:129-130"},
    ),
    StyleRow(
        "Padding",
        _by_project(*["zeros right and below after normalizing, to a multiple of 32"] * 3),
        sources={_TV: "models/detection/transform.py:233-243", _D2: "modeling/backbone/fpn.py:107"},
    ),
    StyleRow("Boxes are clipped to", _by_project(*["the image without its padding"] * 3)),
    StyleRow("Sides of boxes", _by_project(*["x2 - x1, without the + 1 of older models"] * 3)),
    StyleRow(
        "NMS: a box is dropped at",
        _by_project(*["an IoU above the threshold"] * 3),
        sources={_TV: "ops/boxes.py:72", _MM: "mmcv/ops/nms.py:291-302"},
    ),
    StyleRow(
        "Stem, P6, FPN",
        _by_project(*["7x7/2, max pool 3/2; every second pixel of P5; nearest neighbor, no normalization"] * 3),
    ),
    StyleRow("Inputs of the first dense layer", _by_project(*["channel, row, column, as in this network"] * 3)),
)
"""All differences, in the order of the documentation."""

_HEADER = "Line numbers: torchvision 0.14.1, Detectron2 at commit 02b5c4e2, MMDetection 3.3.0 with mmcv 2.1.0."


def style_table() -> str:
    """Return the differences as Markdown: a table with a row each and a column per style, and their sources."""
    styles = tuple(STYLES.values())
    lines = [
        "| | " + " | ".join(f"`{style.name}`" for style in styles) + " |",
        "|---" * (len(styles) + 1) + "|",
        *(f"| {row.title} | " + " | ".join(row.cell(style) for style in styles) + " |" for row in ROWS),
        "",
        _HEADER,
        "",
        "| | torchvision | Detectron2 | MMDetection |",
        "|---|---|---|---|",
        *(
            f"| {row.title} | " + " | ".join(row.sources.get(project, "") for project in (_TV, _D2, _MM)) + " |"
            for row in ROWS
            if row.sources
        ),
    ]
    return "\n".join(lines) + "\n"
