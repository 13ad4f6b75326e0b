"""Spec and ``.tlt`` file of evaluate, inference, and export: absent fields follow the file, others must agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from maskrcnn_trainer.detector.tlt import read_trained_model
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model.architecture import Architecture, architecture_of
from maskrcnn_trainer.model_files.model_file import ModelFile, write_model_file
from maskrcnn_trainer.spec import parse_spec

OTHER = Architecture(
    nlayers=101,
    arch="resnet_v1",
    aspect_ratios=((1.4, 0.7), (1.0, 1.0), (0.7, 1.4)),
    num_classes=81,
    fast_rcnn_mlp_head_dim=512,
    bbox_reg_weights=(8.0, 8.0, 4.0, 4.0),
    anchor_offset=0.0,
    anchor_rounding="corners",
    roi_max_level=5,
    roi_aligned=False,
    roi_sampling_ratio=0,
    batch_norm_epsilon=0.0,
    score_threshold=0.05,
    candidate_limit=None,
)
"""Architecture with other values than a spec's defaults."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    written = ModelFile(
        architecture=OTHER.to_json(), experiment={}, class_map={}, step=1, variables={}, optimizer={}, state={}
    )
    write_model_file(tmp_path / "model.tlt", written)
    return tmp_path / "model.tlt"


def spec(num_classes: int = 81, **model: Any) -> Any:
    data = {"imageSize": [128, 128], "numClasses": num_classes}
    return parse_spec({"initLearningRate": 0.01, "totalSteps": 1, "dataConfig": data, "maskrcnnConfig": model})


def test_absent_fields_follow_the_file(path: Path) -> None:
    assert architecture_of(read_trained_model(path, None, spec())) == OTHER


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("nlayers", 50, "50 in the spec, but the model was built with 101"),
        ("arch", "resnet", '"resnet" in the spec, but the model was built with "resnet_v1"'),
        ("numScales", 3, "3 in the spec, but the model was built with 1"),
        ("aspectRatios", [[1, 1], [1.4, 0.7], [0.7, 1.4]], "[[1.0, 1.0], [1.4, 0.7], [0.7, 1.4]] in the spec"),
        ("anchorScale", 4, "4.0 in the spec, but the model was built with 8.0"),
        ("fastRcnnMlpHeadDim", 1024, "1024 in the spec, but the model was built with 512"),
        ("mrcnnResolution", 56, "56 in the spec, but the model was built with 28"),
        ("bboxRegWeights", [10, 10, 5, 5], "[10.0, 10.0, 5.0, 5.0] in the spec"),
        ("anchorOffset", 0.5, "0.5 in the spec, but the model was built with 0.0"),
        ("anchorRounding", "none", '"none" in the spec, but the model was built with "corners"'),
        ("roiMaxLevel", 4, "4 in the spec, but the model was built with 5"),
        ("roiAligned", True, "true in the spec, but the model was built with false"),
        ("roiSamplingRatio", 2, "2 in the spec, but the model was built with 0"),
    ],
)
def test_given_default_that_contradicts_the_file_is_refused_by_field(
    path: Path, field: str, value: object, expected: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_trained_model(path, None, spec(**{field: value}))
    message = str(refused.value)
    assert message.startswith(f"{path} does not match the spec: maskrcnnConfig.{field}: {expected}")
    assert f"To follow the file, remove maskrcnnConfig.{field} from the spec, with kubectl edit" in message


def test_other_number_of_classes_is_refused_by_field(path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"dataConfig.numClasses: 4 in the spec.*set dataConfig.numClasses as in"):
        read_trained_model(path, None, spec(num_classes=4))


def test_given_values_of_the_file_are_taken(path: Path) -> None:
    given = spec(nlayers=101, arch="resnet_v1", roiMaxLevel=5, roiAligned=False, anchorOffset=0)
    read_trained_model(path, None, given)


def test_settings_of_detection_contradict_no_file(path: Path) -> None:
    read_trained_model(path, None, spec(testScoreThreshold=0, testCandidateLimit=1000, testNms=0.3))
