"""Architecture of a network: valid values, JSON, and contradictions with a spec."""

from __future__ import annotations

import json

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


def test_pooling_of_earlier_releases_is_left_out_of_json_and_read_from_its_absence() -> None:
    """Those releases refuse a model file with a field that they don't know."""
    written = Architecture(roi_aligned=True, roi_sampling_ratio=2).to_json()
    assert not [name for name in written if name.startswith("roi_")]
    read = Architecture.from_json(written)
    assert (read.roi_aligned, read.roi_sampling_ratio) == (True, 2)


def test_other_poolings_are_written_and_read() -> None:
    built = Architecture(roi_aligned=False, roi_sampling_ratio=0)
    written = json.loads(json.dumps(built.to_json()))
    assert (written["roi_aligned"], written["roi_sampling_ratio"]) == (False, 0)
    assert Architecture.from_json(written) == built


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("roi_aligned", 0, "0 is not true or false"),
        ("roi_sampling_ratio", -1, "-1 is not at least 1, or 0 for a number by a box's size"),
        ("roi_sampling_ratio", 2.5, "2.5 is not a whole number"),
    ],
)
def test_pooling_of_a_model_file_that_is_impossible_is_refused_by_field(name: str, value: object, problem: str) -> None:
    with pytest.raises(InvalidInput) as error:
        Architecture.from_json({**Architecture().to_json(), name: value})
    assert str(error.value) == f"architecture.{name}: {problem}"


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
