"""Pruned models of a retraining, and advice in its log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model_files.model_file import ModelFile, write_model_file
from maskrcnn_trainer.spec import parse_spec
from maskrcnn_trainer.training.retraining import open_pruned, retraining_advice


def spec(**fields: Any) -> Any:
    data = {"imageSize": [128, 128], "numClasses": 3}
    return parse_spec({"initLearningRate": 0.01, "totalSteps": 1, "dataConfig": data, **fields})


@pytest.mark.parametrize(
    ("decays", "reason"),
    [
        ({"l1WeightDecay": 0, "l2WeightDecay": 0}, None),
        ({"l1WeightDecay": 0, "l2WeightDecay": 0.0001}, "l2WeightDecay is 0.0001"),
        ({"l1WeightDecay": 1e-6, "l2WeightDecay": 0.0001}, "l1WeightDecay is 1e-06 and l2WeightDecay is 0.0001"),
    ],
)
def test_weight_decay_in_a_retraining_gives_advice(decays: dict[str, float], reason: str | None) -> None:
    advice = retraining_advice(spec(prunedModelPath="/workspace/model.tlt", **decays))
    assert len(advice) == (reason is not None)
    assert all(f"({reason})" in line and "recommended to turn it off" in line for line in advice)


def test_absent_fields_follow_the_pruned_model_and_given_ones_must_agree(tmp_path: Path) -> None:
    built = Architecture(nlayers=101, num_classes=3, roi_aligned=False, filters={"conv1": 48})
    path = tmp_path / "pruned.tlt"
    write_model_file(
        path,
        ModelFile(
            architecture=built.to_json(),
            experiment={},
            class_map={},
            step=0,
            variables={},
            optimizer={},
            state={},
            retrain_required=True,
        ),
    )
    opened = open_pruned(spec(prunedModelPath=str(path)), None)
    assert opened is not None
    assert Architecture.from_json(opened.architecture) == built
    with pytest.raises(InvalidInput) as refused:
        open_pruned(spec(prunedModelPath=str(path), maskrcnnConfig={"roiAligned": True, "testNms": 0.4}), None)
    assert str(refused.value).startswith(
        f"prunedModelPath {path} does not match the spec: maskrcnnConfig.roiAligned: true in the spec, but the model "
        "was built with false. To follow the file, remove maskrcnnConfig.roiAligned from the spec"
    )


def test_other_trainings_give_no_advice() -> None:
    assert retraining_advice(spec(l2WeightDecay=0.0001)) == []
