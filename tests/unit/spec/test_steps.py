"""Step arithmetic against values worked by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.spec import StepPlan, parse_spec, plan_steps


def plan(minimal: dict[str, Any], num_records: int = 1000, ranks: int = 1, **change: Any) -> StepPlan:
    return plan_steps(parse_spec({**minimal, **change}), num_records=num_records, ranks=ranks)


def test_epochs_from_total_steps(minimal: dict[str, Any]) -> None:
    # 14 700 images at 2 a step: 7 350 steps an epoch; 120 000 steps reach into the 17th
    assert plan(minimal, totalSteps=120000, numExamplesPerEpoch=14700, numStepsPerEval=10000) == StepPlan(
        total_steps=120000, num_epochs=17, steps_per_epoch=7350, steps_per_eval=10000
    )


def test_total_steps_from_epochs_are_rounded_up_once(minimal: dict[str, Any]) -> None:
    # 3 * 101 / 4 = 75.75; an epoch alone would be 26 steps, three of them 78
    assert plan(minimal, numEpochs=3, numExamplesPerEpoch=101, trainBatchSize=4) == StepPlan(76, 3, 26, 26)


def test_epochs_win_over_total_steps(minimal: dict[str, Any]) -> None:
    assert plan(minimal, totalSteps=5, numEpochs=2, numExamplesPerEpoch=10).total_steps == 10


def test_examples_are_counted_and_divided_by_the_ranks(minimal: dict[str, Any]) -> None:
    # 1 001 records on 2 ranks at 2 a step: 250.25 steps an epoch
    assert plan(minimal, num_records=1001, ranks=2, numEpochs=4, totalSteps=0) == StepPlan(1001, 4, 251, 251)


@pytest.mark.parametrize(
    ("total", "every", "evaluated"), [(100, 50, [50, 100]), (100, 40, [40, 80, 100]), (3, 10, [3]), (2, 1, [1, 2])]
)
def test_evaluations_and_their_steps(minimal: dict[str, Any], total: int, every: int, evaluated: list[int]) -> None:
    steps = plan(minimal, totalSteps=total, numStepsPerEval=every)
    assert [step for step in range(1, total + 1) if steps.is_evaluated_at(step)] == evaluated


def test_examples_of_the_spec_win_over_the_count(minimal: dict[str, Any]) -> None:
    assert plan(minimal, num_records=7, ranks=3, numExamplesPerEpoch=100).steps_per_epoch == 50


def test_without_records_there_is_no_plan(minimal: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="trainingFilePattern.*holds no training records"):
        plan(minimal, num_records=0)
    with pytest.raises(InvalidInput, match="at least one process"):
        plan(minimal, ranks=0)


@given(
    examples=st.integers(1, 10**6),
    batch=st.integers(1, 64),
    epochs=st.integers(1, 1000),
    ranks=st.integers(1, 64),
)
def test_the_last_step_reaches_into_the_last_epoch(examples: int, batch: int, epochs: int, ranks: int) -> None:
    base: dict[str, Any] = {
        "initLearningRate": 1,
        "trainBatchSize": batch,
        "dataConfig": {"imageSize": [128, 128], "numClasses": 2},
    }
    from_epochs = plan(base, examples, ranks, numEpochs=epochs)
    images = from_epochs.total_steps * batch * ranks
    assert images >= epochs * examples > images - batch * ranks
    from_steps = plan(base, examples, ranks, totalSteps=from_epochs.total_steps)
    assert from_steps.num_epochs >= epochs
    assert (from_steps.num_epochs - 1) * examples < images
