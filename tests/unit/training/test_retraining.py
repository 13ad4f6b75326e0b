"""Advice in the log of a retraining."""

from __future__ import annotations

from typing import Any

import pytest

from maskrcnn_trainer.spec import parse_spec
from maskrcnn_trainer.training.retraining import retraining_advice


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


def test_other_trainings_give_no_advice() -> None:
    assert retraining_advice(spec(l2WeightDecay=0.0001)) == []
