"""The six styles, and the table of their differences."""

from __future__ import annotations

from dataclasses import fields
from typing import get_args

import pytest

from maskrcnn_trainer.spec.base import CheckpointStyle
from maskrcnn_trainer.weights.project import Project
from maskrcnn_trainer.weights.style import STYLES, Style, StyleName, styles_of
from maskrcnn_trainer.weights.style_table import ROWS, style_table


def differences(a: StyleName, b: StyleName) -> set[str]:
    return {
        field.name for field in fields(Style) if getattr(STYLES[a], field.name) != getattr(STYLES[b], field.name)
    } - {"name", "project", "summary"}


def test_each_name_has_a_style() -> None:
    assert list(STYLES) == list(StyleName)
    assert [style.name for style in STYLES.values()] == list(StyleName)


def test_spec_takes_the_names_of_the_styles() -> None:
    assert get_args(CheckpointStyle) == tuple(StyleName)


def test_styles_of_a_project_begin_with_the_most_common() -> None:
    assert [style.name for style in styles_of(Project.DETECTRON2)] == [
        "detectron2",
        "detectron2-torchvision",
        "detectron2-d1compat",
    ]
    assert [style.name for style in styles_of(Project.MMDETECTION)] == ["mmdet-pytorch", "mmdet-caffe"]
    assert styles_of(Project.BACKBONE) == ()


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (StyleName.DETECTRON2, StyleName.DETECTRON2_TORCHVISION, {"stride_on", "input"}),
        (StyleName.DETECTRON2, StyleName.DETECTRON2_D1COMPAT, {"roi_align_aligned", "roi_align_sampling_ratio"}),
        (StyleName.MMDET_PYTORCH, StyleName.MMDET_CAFFE, {"stride_on", "input", "bn_affine_trained"}),
        (StyleName.DETECTRON2, StyleName.MMDET_CAFFE, {"clip_deltas_below", "proposal_ranking"}),
        (
            StyleName.TORCHVISION,
            StyleName.DETECTRON2_TORCHVISION,
            {
                "bn_epsilon",
                "anchor_rounding",
                "roi_align_aligned",
                "roi_align_sampling_ratio",
                "min_proposal_side",
                "min_detection_side",
                "mask_pasting",
            },
        ),
    ],
)
def test_styles_differ_in_these_values_alone(a: StyleName, b: StyleName, expected: set[str]) -> None:
    assert differences(a, b) == expected


def test_anchors_have_equal_areas_and_are_wide_first() -> None:
    style = STYLES[StyleName.DETECTRON2]
    ratios = [height / width for width, height in style.aspect_ratios]
    assert ratios == pytest.approx([0.5, 1.0, 2.0])
    assert [width * height for width, height in style.aspect_ratios] == pytest.approx([1.0] * 3)
    assert [style.anchor_scale * 2**level for level in range(2, 7)] == list(style.anchor_sides)


def test_box_weights_are_in_the_order_of_this_network() -> None:
    assert STYLES[StyleName.TORCHVISION].bbox_reg_weights == (10, 10, 5, 5)


def test_epsilon_is_zero_for_the_weights_of_torchvision_alone() -> None:
    assert {style.name: style.bn_epsilon for style in STYLES.values() if style.bn_epsilon != 1e-5} == {
        "torchvision": 0.0
    }


def test_table_has_a_row_for_each_value_of_a_style() -> None:
    assert {name for row in ROWS for name in row.fields} == {field.name for field in fields(Style)}


def test_each_value_has_its_source_in_all_three_projects() -> None:
    # MMDetection has no lines about a limit that it doesn't have.
    lacking = {row.title for row in ROWS if row.fields and len(row.sources) < 3}
    assert lacking == {"Models", "Detections: smallest side", "Losses of boxes, RPN and box head"}


def test_table_is_markdown_with_a_column_per_style() -> None:
    differences_, sources = (part.splitlines() for part in style_table().split("\n\n") if part.startswith("|"))
    assert differences_[0].split(" | ")[1:] == [*(f"`{name}`" for name in list(StyleName)[:-1]), "`mmdet-caffe` |"]
    assert {line.count("|") for line in differences_} == {8}
    assert {line.count("|") for line in sources} == {5}
    assert len(differences_) == 2 + len(ROWS)


@pytest.mark.parametrize(
    "row",
    [
        "| Stride of a stage | on the 3x3 | on the 1x1 | on the 3x3 | on the 1x1 | on the 3x3 | on the 1x1 |",
        "| Epsilon of batch norm | 0 | 1e-5 | 1e-5 | 1e-5 | 1e-5 | 1e-5 |",
        "| Gamma and beta | fixed | fixed | fixed | fixed | trained | fixed |",
        "| Proposals: ranked by | logit | logit | logit | logit | sigmoid | sigmoid |",
        "| Losses of boxes, RPN and box head | smooth L1, beta 1/9 | L1 | L1 | smooth L1, beta 1/9 and 1 | L1 | L1 |",
        "| Stride of a stage | models/resnet.py:109, 135 | config/defaults.py:499; modeling/backbone/resnet.py:147 | "
        "models/backbones/resnet.py:154-159 |",
    ],
)
def test_table_has_the_row(row: str) -> None:
    assert row in style_table().splitlines()
