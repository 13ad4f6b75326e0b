"""Another model that is better than the evaluated one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from tests.unit.report.page import sample

from maskrcnn_trainer.report.better_model import better_model
from maskrcnn_trainer.report.content import BetterModel, ModelRow

EVALUATION = replace(
    sample.evaluation(with_pictures=False), step="evaluate-retrained", model="r", metrics={"AP": 0.3, "mask_AP": 0.2}
)
SHOWN = ModelRow("retrain", "retrained", "r", {"mask_AP": 0.2}, evaluation="evaluate-retrained")


def trained(metrics: Mapping[str, float]) -> ModelRow:
    return ModelRow("train", "trained", "t", metrics, evaluation="evaluate")


def test_best_other_model_is_returned_with_its_gain() -> None:
    rows = (ModelRow("export", "fp16", "e", {"mask_AP": 0.22}), SHOWN, trained({"mask_AP": 0.245}))
    assert better_model(rows, EVALUATION) == BetterModel("train", "t", 0.245, pytest.approx(4.5), "retrained")


def test_gain_of_exactly_a_point_counts_and_less_does_not() -> None:
    assert better_model((SHOWN, trained({"mask_AP": 0.21})), EVALUATION) is not None
    assert better_model((SHOWN, trained({"mask_AP": 0.2099})), EVALUATION) is None


def test_boxes_are_compared_where_they_count() -> None:
    rows = (SHOWN, trained({"mask_AP": 0.1, "AP": 0.35}))
    found = better_model(rows, replace(EVALUATION, kind="bbox"))
    assert found is not None
    assert (found.ap, found.gain) == (0.35, pytest.approx(5.0))


def test_model_of_the_page_is_not_better_than_itself() -> None:
    assert better_model((replace(SHOWN, metrics={"mask_AP": 0.9}, evaluation="again"),), EVALUATION) is None


def test_models_without_an_ap_are_left_out() -> None:
    assert better_model((SHOWN, trained({})), EVALUATION) is None
    assert better_model((SHOWN, trained({"mask_AP": 0.3})), replace(EVALUATION, metrics={"mask_AP": -1.0})) is None
