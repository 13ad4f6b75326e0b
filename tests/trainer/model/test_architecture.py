"""Architecture of a network: valid values, JSON, and contradictions with a spec."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.spec import parse_spec

pytestmark = pytest.mark.trainer

SPEC = {
    "totalSteps": 10,
    "initLearningRate": 0.01,
    "dataConfig": {"imageSize": [256, 256], "numClasses": 4},
    "maskrcnnConfig": {"nlayers": 18, "arch": "resnet_v1_5", "anchorScale": 4, "fastRcnnMlpHeadDim": 256},
}


def test_json_gives_the_same_architecture() -> None:
    built = Architecture(nlayers=34, aspect_ratios=((1, 1), (2, 0.5)), filters={"conv1": 48, "fc6": 16})
    assert Architecture.from_json(json.loads(json.dumps(built.to_json()))) == built


def test_spec_is_read_and_contradictions_are_named_as_in_yaml() -> None:
    spec = parse_spec(SPEC)
    built = Architecture.from_spec(spec)
    assert (built.nlayers, built.arch, built.num_classes, built.anchor_scale) == (18, "resnet_v1_5", 4, 4.0)
    assert built.levels == (2, 3, 4, 5, 6)
    assert built.num_anchors_per_cell == 3
    assert built.contradictions(spec) == []
    assert Architecture.from_spec(spec, num_classes=7).num_classes == 7

    deeper = Architecture(**{**built.__dict__, "nlayers": 50, "num_classes": 91})
    found = deeper.contradictions(spec)
    assert [line.split(":")[0] for line in found] == ["maskrcnnConfig.nlayers", "dataConfig.numClasses"]
    assert "18" in found[0]
    assert "50" in found[0]


def test_absent_fields_of_a_spec_follow_a_model_and_given_ones_override_it() -> None:
    model = Architecture(
        nlayers=101,
        arch="resnet_v1",
        num_classes=4,
        filters={"conv1": 48},
        roi_max_level=5,
        roi_aligned=False,
        batch_norm_epsilon=0.0,
        clip_small_deltas=True,
        score_threshold=0.05,
        candidate_limit=None,
    )
    absent = parse_spec({**SPEC, "maskrcnnConfig": {}})
    assert Architecture.from_spec(absent, model=model) == model
    assert model.contradictions(absent) == []
    given = {"nlayers": 101, "roiAligned": True, "testScoreThreshold": 0.0, "testCandidateLimit": 1000}
    spec = parse_spec({**SPEC, "maskrcnnConfig": given})
    changed = replace(model, roi_aligned=True, score_threshold=0.0, candidate_limit=1000)
    assert Architecture.from_spec(spec, model=model) == changed
    assert [text.partition(":")[0] for text in model.contradictions(spec)] == ["maskrcnnConfig.roiAligned"]


def test_level_that_the_model_does_not_have_is_a_contradiction() -> None:
    spec = parse_spec({**SPEC, "maskrcnnConfig": {"roiMaxLevel": 6}})
    (found,) = Architecture(num_classes=4, max_level=5).contradictions(spec)
    assert found == "maskrcnnConfig.roiMaxLevel: 6 is not one of the levels 3 to 5"


def test_only_given_fields_are_contradictions() -> None:
    spec = parse_spec({**SPEC, "maskrcnnConfig": {"maxLevel": 5}})
    (found,) = Architecture(num_classes=4, roi_max_level=5).contradictions(spec)
    assert found == "maskrcnnConfig.maxLevel: 5 in the spec, but the model was built with 6"


def test_without_a_model_absent_fields_have_their_defaults_and_given_ones_are_built() -> None:
    assert Architecture.from_spec(parse_spec({**SPEC, "maskrcnnConfig": {}})) == Architecture(num_classes=4)
    given = {
        "anchorOffset": 0,
        "anchorRounding": "corners",
        "roiMaxLevel": 5,
        "roiAligned": False,
        "roiSamplingRatio": 0,
        "testScoreThreshold": 0.05,
        "testCandidateLimit": 3839,
    }
    assert Architecture.from_spec(parse_spec({**SPEC, "maskrcnnConfig": given})) == Architecture(
        num_classes=4,
        anchor_offset=0.0,
        anchor_rounding="corners",
        roi_max_level=5,
        roi_aligned=False,
        roi_sampling_ratio=0,
        score_threshold=0.05,
        candidate_limit=3839,
    )


def test_contradicting_lists_are_written_as_in_a_spec() -> None:
    spec = parse_spec({**SPEC, "maskrcnnConfig": {"aspectRatios": [[1, 1]]}})
    built = Architecture.from_spec(parse_spec({**SPEC, "maskrcnnConfig": {}}))
    assert built.contradictions(spec) == [
        "maskrcnnConfig.aspectRatios: [[1.0, 1.0]] in the spec, "
        "but the model was built with [[1.0, 1.0], [1.4, 0.7], [0.7, 1.4]]"
    ]


@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [
        ("nlayers", 152, "maskrcnnConfig.nlayers"),
        ("arch", "vgg", "maskrcnnConfig.arch"),
        ("min_level", 3, "maskrcnnConfig.minLevel"),
        ("max_level", 7, "maskrcnnConfig.maxLevel"),
        ("mrcnn_resolution", 30, "maskrcnnConfig.mrcnnResolution"),
        ("num_classes", 1, "dataConfig.numClasses"),
        ("aspect_ratios", (), "maskrcnnConfig.aspectRatios"),
    ],
)
def test_architecture_that_cannot_be_built_is_refused_by_field(field: str, value: object, shown: str) -> None:
    with pytest.raises(InvalidInput, match=shown):
        Architecture(**{field: value})  # type: ignore[arg-type]


def test_json_with_a_missing_or_unknown_field_is_refused() -> None:
    values = Architecture().to_json()
    with pytest.raises(InvalidInput, match="nlayers"):
        Architecture.from_json({k: v for k, v in values.items() if k != "nlayers"})
    with pytest.raises(InvalidInput, match="depth"):
        Architecture.from_json({**values, "depth": 50})


OTHERS: dict[str, Any] = {
    "anchor_offset": 0.0,
    "anchor_rounding": "corners",
    "roi_max_level": 5,
    "roi_aligned": False,
    "roi_sampling_ratio": 0,
    "batch_norm_epsilon": 0.0,
    "clip_small_deltas": True,
    "rank_by_sigmoid": True,
    "least_proposal_side": 1e-3,
    "least_detection_side": 1e-2,
    "mask_pasting": "whole_pixels",
    "score_threshold": 0.05,
    "candidate_limit": None,
}
"""A value for each field that release 0.1.0 doesn't know, other than its default."""

FIELDS_OF_0_1_0 = {
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
}


def test_release_0_1_0_knows_all_fields_of_a_network_with_its_settings() -> None:
    assert set(Architecture(nlayers=18, filters={"conv1": 8}).to_json()) == FIELDS_OF_0_1_0


def test_field_that_a_file_of_release_0_1_0_lacks_has_the_value_of_that_release() -> None:
    read = Architecture.from_json(Architecture().to_json())
    assert (read.anchor_offset, read.anchor_rounding, read.highest_roi_level, read.epsilon) == (0.5, "none", 6, 1e-3)
    assert (read.roi_aligned, read.roi_sampling_ratio) == (True, 2)
    assert not (read.clip_small_deltas or read.rank_by_sigmoid)
    assert (read.least_proposal_side, read.least_detection_side, read.mask_pasting) == (0.0, 0.0, "pixel_centers")


def test_other_values_are_written_and_read() -> None:
    built = Architecture(arch="resnet_v1", **OTHERS)
    written = json.loads(json.dumps(built.to_json()))
    assert set(written) == FIELDS_OF_0_1_0 | set(OTHERS)
    assert Architecture.from_json(written) == built


def test_value_that_is_the_default_of_others_is_the_default() -> None:
    """Then networks with the same results are equal, and release 0.1.0 reads their files."""
    given = Architecture(arch="resnet_v1_5", max_level=5, roi_max_level=5, batch_norm_epsilon=1e-5)
    assert given == Architecture(arch="resnet_v1_5", max_level=5)
    assert set(given.to_json()) == FIELDS_OF_0_1_0
    assert replace(given, arch="resnet").epsilon == 1e-3


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("anchor_offset", 1.5, "1.5 is not 0 to 1"),
        ("anchor_offset", "0", '"0" is not a number'),
        ("anchor_rounding", "up", '"up" is not one of ["none", "corners"]'),
        ("roi_max_level", 7, "7 is not one of the levels 3 to 6"),
        ("roi_max_level", 5.0, "5.0 is not a whole number or null"),
        ("roi_aligned", 0, "0 is not true or false"),
        ("roi_sampling_ratio", -1, "-1 is not at least 1, or 0 for a number by a box's size"),
        ("roi_sampling_ratio", 2.5, "2.5 is not a whole number"),
        ("batch_norm_epsilon", -1e-5, "-1e-05 is not 0 to 1"),
        ("batch_norm_epsilon", True, "true is not a number or null"),
        ("clip_small_deltas", 1, "1 is not true or false"),
        ("rank_by_sigmoid", None, "null is not true or false"),
        ("least_proposal_side", -1.0, "-1.0 is not a number of at least 0"),
        ("least_detection_side", [1], "[1] is not a number"),
        ("least_detection_side", math.inf, "is not a number of at least 0"),
        ("mask_pasting", "rounded", '"rounded" is not one of ["pixel_centers", "whole_pixels"]'),
        ("mask_pasting", 1, "1 is not a string"),
        ("score_threshold", 1.0, "1.0 is not at least 0 and below 1"),
        ("candidate_limit", 0, "0 is not at least 1, or null"),
    ],
)
def test_value_of_a_model_file_with_which_no_network_can_be_built_is_named(
    field: str, value: object, message: str
) -> None:
    with pytest.raises(InvalidInput) as error:
        Architecture.from_json({**Architecture().to_json(), field: value})
    assert str(error.value).startswith(f"architecture.{field}: ")
    assert message in str(error.value)
