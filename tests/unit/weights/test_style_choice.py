"""Style of a file: given, or from the model's own config, and what the file itself contradicts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.weights.detector import Detector
from maskrcnn_trainer.weights.input_statistics import InputNormalization
from maskrcnn_trainer.weights.model_config import ModelConfig
from maskrcnn_trainer.weights.project import Project
from maskrcnn_trainer.weights.style import STYLES, StyleName
from maskrcnn_trainer.weights.style_choice import cell_anchors, choose_style

TV, D2, MM = Project.TORCHVISION, Project.DETECTRON2, Project.MMDETECTION
DEVIATED = STYLES[StyleName.TORCHVISION].input
PIXELS = STYLES[StyleName.DETECTRON2].input
OTHER_MEAN = InputNormalization("BGR", (102.9801, 115.9465, 122.7717), (1.0, 1.0, 1.0))


def detector(project: Project) -> Detector:
    return Detector("m.pth", project, {}, nlayers=50, num_classes=81, head_dim=1024, has_masks=True)


def config(project: Project) -> ModelConfig:
    return ModelConfig("checkpointConfig: c.yaml", project)


@pytest.mark.parametrize("name", StyleName)
def test_given_style_is_taken(name: StyleName) -> None:
    assert choose_style(detector(STYLES[name].project), name, None) == STYLES[name]


@pytest.mark.parametrize(
    ("project", "listed"),
    [
        (TV, "give torchvision"),
        (D2, "give detectron2, detectron2-torchvision or detectron2-d1compat"),
        (MM, "give mmdet-pytorch or mmdet-caffe"),
    ],
)
def test_detector_without_a_style_is_refused_with_the_styles_of_its_project(project: Project, listed: str) -> None:
    message = rf"^checkpoint: m\.pth is a detector of {project} and needs checkpointStyle, .*: {listed}$"
    with pytest.raises(InvalidInput, match=message):
        choose_style(detector(project), None, None)


def test_unknown_style_is_refused_with_all_names() -> None:
    with pytest.raises(InvalidInput, match=r'^checkpointStyle: "detectron" is not one of torchvision, detectron2, '):
        choose_style(detector(D2), "detectron", None)


def test_style_of_another_project_is_refused() -> None:
    message = r"^checkpointStyle: mmdet-caffe is a style of MMDetection, but m\.pth has the tensor names of Detectron2"
    with pytest.raises(InvalidInput, match=message):
        choose_style(detector(D2), "mmdet-caffe", None)


def test_config_of_another_project_is_refused() -> None:
    message = r"^checkpointConfig: c\.yaml is a config of Detectron2, but m\.pth has the tensor names of torchvision"
    with pytest.raises(InvalidInput, match=message):
        choose_style(detector(TV), "torchvision", config(D2))


@pytest.mark.parametrize(
    ("project", "known", "name"),
    [
        (D2, {"stride_on": "1x1", "input": PIXELS}, "detectron2"),
        (D2, {"stride_on": "3x3", "input": DEVIATED}, "detectron2-torchvision"),
        (
            D2,
            {"stride_on": "1x1", "input": PIXELS, "roi_align_aligned": False, "roi_align_sampling_ratio": 2},
            "detectron2-d1compat",
        ),
        (MM, {"stride_on": "3x3", "input": DEVIATED}, "mmdet-pytorch"),
        (MM, {"stride_on": "1x1", "input": PIXELS}, "mmdet-caffe"),
    ],
)
def test_config_with_stride_and_input_describes_the_style(project: Project, known: dict[str, str], name: str) -> None:
    assert choose_style(detector(project), None, replace(config(project), **known)) == STYLES[StyleName(name)]


def test_config_may_describe_a_model_between_the_styles() -> None:
    known = replace(config(MM), stride_on="3x3", input=OTHER_MEAN, score_threshold=0.001, bn_affine_trained=False)
    style = choose_style(detector(MM), None, known)
    assert (style.stride_on, style.input, style.score_threshold) == ("3x3", OTHER_MEAN, 0.001)
    assert not style.bn_affine_trained
    assert style.proposal_ranking == "sigmoid"


@pytest.mark.parametrize(
    ("known", "missing"),
    [
        ({"stride_on": "1x1"}, "does not name the normalization of the input"),
        ({"input": PIXELS}, "does not name the stride"),
        ({}, "does not name the stride and the normalization of the input"),
    ],
)
def test_config_that_leaves_the_style_open_needs_one(known: dict[str, str], missing: str) -> None:
    with pytest.raises(
        InvalidInput, match=rf"needs checkpointStyle, because checkpointConfig: c\.yaml {missing}: give"
    ):
        choose_style(detector(D2), None, replace(config(D2), **known))


def test_config_decides_what_differs_between_models_of_a_style() -> None:
    known = replace(
        config(MM),
        roi_align_aligned=False,
        roi_align_sampling_ratio=2,
        score_threshold=0.3,
        bn_affine_trained=True,
        frozen_blocks=(0,),
        box_delta_weights=(20.0, 20.0, 10.0, 10.0),
    )
    style = choose_style(detector(MM), "mmdet-caffe", known)
    assert style == replace(
        STYLES[StyleName.MMDET_CAFFE],
        roi_align_aligned=False,
        roi_align_sampling_ratio=2,
        score_threshold=0.3,
        bn_affine_trained=True,
        frozen_blocks=(0,),
        box_delta_weights=(20.0, 20.0, 10.0, 10.0),
    )


@pytest.mark.parametrize(
    ("known", "message"),
    [
        (
            {"stride_on": "3x3"},
            r"has the stride of a stage on the 3x3 convolution, but the style detectron2 has 1x1: give",
        ),
        (
            {"input": DEVIATED},
            r"has an input of RGB with mean 123\.675, .* but the style detectron2 has BGR with mean 103\.53",
        ),
        ({"anchor_sides": (16.0, 32.0)}, r"has anchors with sides of 16 32 pixels, but the style .* has 32 64 128"),
        ({"anchor_ratios": (1.0, 0.5, 2.0)}, r"has anchors with a height by width of 1 0\.5 2, but"),
        ({"anchor_offset": 0.5}, r"has anchors centered 0\.5 strides .*, but the style \S+ has 0:"),
    ],
)
def test_config_that_contradicts_the_given_style_is_refused(known: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=rf"^checkpointConfig: c\.yaml {message}"):
        choose_style(detector(D2), "detectron2", replace(config(D2), **known))  # type: ignore[arg-type]


def test_given_epsilon_replaces_that_of_the_style() -> None:
    assert choose_style(detector(TV), "torchvision", None, bn_epsilon=1e-5).bn_epsilon == 1e-5
    assert choose_style(detector(TV), "torchvision", None).bn_epsilon == 0.0


def test_anchors_of_torchvision_are_rounded_per_level() -> None:
    anchors = cell_anchors(STYLES[StyleName.TORCHVISION])
    assert anchors[2].tolist() == [[-23, -11, 23, 11], [-16, -16, 16, 16], [-11, -23, 11, 23]]
    sides = {level: (anchors[level][0, 2:] - anchors[level][0, :2]).tolist() for level in (2, 3, 4)}
    assert sides == {2: [46, 22], 3: [90, 46], 4: [182, 90]}


def test_anchors_of_detectron2_are_not_rounded() -> None:
    anchors = cell_anchors(STYLES[StyleName.DETECTRON2])
    np.testing.assert_allclose(anchors[2][0], [-22.627417, -11.313708, 22.627417, 11.313708], atol=1e-6)
    np.testing.assert_allclose(anchors[6][2], [-181.019336, -362.038672, 181.019336, 362.038672], atol=1e-6)


def stored(change: float = 0.0) -> dict[int, np.ndarray]:
    anchors = cell_anchors(STYLES[StyleName.DETECTRON2])
    return {level: value.astype(np.float32).astype(np.float64) + change for level, value in anchors.items()}


def test_anchors_in_the_file_that_agree_are_accepted() -> None:
    choose_style(replace(detector(D2), cell_anchors=stored()), "detectron2", None)


@pytest.mark.parametrize("anchors", [stored(0.5), {2: stored()[2][::-1]}, {2: np.zeros((15, 4))}, {9: stored()[2]}])
def test_other_anchors_in_the_file_are_refused(anchors: dict[int, np.ndarray]) -> None:
    with pytest.raises(InvalidInput, match=r"^checkpoint: m\.pth holds other anchors of level \d than the style"):
        choose_style(replace(detector(D2), cell_anchors=anchors), "detectron2", None)


def test_input_statistics_in_the_file_must_be_those_of_the_style() -> None:
    fitting = replace(detector(D2), pixel_mean=(103.53, 116.28, 123.675), pixel_deviation=(1.0, 1.0, 1.0))
    choose_style(fitting, "detectron2", None)
    with pytest.raises(InvalidInput, match=r"^checkpoint: m\.pth holds pixel_mean 103\.53 116\.28 123\.675, but the"):
        choose_style(fitting, "detectron2-torchvision", None)
    with pytest.raises(InvalidInput, match=r"holds pixel_std 1 1, but the style detectron2 has 1 1 1"):
        choose_style(replace(fitting, pixel_deviation=(1.0, 1.0)), "detectron2", None)
