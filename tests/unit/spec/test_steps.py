"""Step arithmetic compared with values computed by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.spec import StepPlan, other_epoch_length, parse_spec, plan_steps


def plan(minimal: dict[str, Any], num_records: int = 1000, ranks: int = 1, **change: Any) -> StepPlan:
    return plan_steps(parse_spec({**minimal, **change}), num_records=num_records, ranks=ranks)


def test_epochs_from_total_steps(minimal: dict[str, Any]) -> None:
    # 14,700 images at 2 per step: 7,350 steps per epoch; step 120,000 is in the 17th epoch
    assert plan(minimal, totalSteps=120000, numExamplesPerEpoch=14700, numStepsPerEval=10000) == StepPlan(
        total_steps=120000, num_epochs=17, steps_per_epoch=7350, steps_per_eval=10000, images_per_epoch=14700
    )


def test_total_steps_from_epochs_are_rounded_up_once(minimal: dict[str, Any]) -> None:
    # 3 * 101 / 4 = 75.75; one epoch has 26 steps, and three times that would be 78
    assert plan(minimal, numEpochs=3, numExamplesPerEpoch=101, trainBatchSize=4) == StepPlan(76, 3, 26, 26, 101)


def test_epochs_win_over_total_steps(minimal: dict[str, Any]) -> None:
    assert plan(minimal, totalSteps=5, numEpochs=2, numExamplesPerEpoch=10).total_steps == 10


def test_examples_are_counted_and_divided_by_the_ranks(minimal: dict[str, Any]) -> None:
    # 1,001 records on 2 ranks at 2 per step: 250.25 steps per epoch
    assert plan(minimal, num_records=1001, ranks=2, numEpochs=4, totalSteps=0) == StepPlan(1001, 4, 251, 251, 1001)


@pytest.mark.parametrize(
    ("change", "records"),
    [
        ({"totalSteps": 8, "numExamplesPerEpoch": 1000}, 12),
        ({"totalSteps": 8}, 3),
        ({"numEpochs": 3, "numExamplesPerEpoch": 101, "trainBatchSize": 4}, 300),
        ({"numEpochs": 3}, 7),
    ],
)
def test_epochs_of_the_steps_count_up_to_the_last_epoch(
    minimal: dict[str, Any], change: dict[str, Any], records: int
) -> None:
    steps = plan(minimal, num_records=records, **change)
    batch = change.get("trainBatchSize", 2)
    epochs = [steps.epoch_of(step * batch) for step in range(1, steps.total_steps + 1)]
    assert epochs == sorted(epochs)
    assert (epochs[0], epochs[-1]) == (1, steps.num_epochs)


def test_epoch_is_finished_by_the_step_with_its_last_image(minimal: dict[str, Any]) -> None:
    steps = plan(minimal, numEpochs=3, numExamplesPerEpoch=101, trainBatchSize=4)
    finished = [steps.epochs_finished(4 * step) for step in range(77)]
    assert [step for step in range(1, 77) if finished[step] > finished[step - 1]] == [26, 51, 76]


def test_resumed_training_takes_the_steps_that_its_epochs_still_need(minimal: dict[str, Any]) -> None:
    # 2 epochs of 1,000 images: 125 steps on 4 ranks are 1,000 images, and the rest takes 500 steps on one rank
    spec = parse_spec({**minimal, "numEpochs": 2, "totalSteps": 0})
    assert plan_steps(spec, num_records=1000, ranks=4).total_steps == 250
    resumed = plan_steps(spec, num_records=1000, ranks=1, steps_done=125, images_done=1000)
    assert (resumed.total_steps, resumed.num_epochs) == (625, 2)
    assert plan_steps(spec, num_records=1000, ranks=4, steps_done=250, images_done=2000).total_steps == 250
    # more images than in the requested epochs: fewer steps than were done
    assert plan_steps(spec, num_records=1000, ranks=4, steps_done=300, images_done=2400).total_steps == 250


def test_resumed_steps_reach_into_the_epochs_of_their_images(minimal: dict[str, Any]) -> None:
    spec = parse_spec({**minimal, "totalSteps": 250})
    resumed = plan_steps(spec, num_records=1000, ranks=1, steps_done=125, images_done=1000)
    assert (resumed.total_steps, resumed.num_epochs) == (250, 2)


@pytest.mark.parametrize(
    ("examples", "records", "ranks"),
    [(14700, 117266, 8), (2, 12, 8), (12, 12, 1), (None, 12, 1)],
)
def test_rounded_images_per_process_give_no_warning(
    minimal: dict[str, Any], examples: int | None, records: int, ranks: int
) -> None:
    spec = parse_spec({**minimal, "numExamplesPerEpoch": examples})
    assert other_epoch_length(spec, num_records=records, ranks=ranks) is None


def test_examples_per_epoch_of_other_data_are_a_remark(minimal: dict[str, Any]) -> None:
    spec = parse_spec({**minimal, "numExamplesPerEpoch": 14700})
    remark = other_epoch_length(spec, num_records=117266, ranks=1)
    assert remark is not None
    assert remark.startswith("numExamplesPerEpoch 14700 times 1 process differs from the 117266 images of the records")
    assert "should be 14659" in str(
        other_epoch_length(parse_spec({**minimal, "numExamplesPerEpoch": 117266}), num_records=117266, ranks=8)
    )


@pytest.mark.parametrize(
    ("total", "every", "evaluated"), [(100, 50, [50, 100]), (100, 40, [40, 80, 100]), (3, 10, [3]), (2, 1, [1, 2])]
)
def test_evaluations_and_their_steps(minimal: dict[str, Any], total: int, every: int, evaluated: list[int]) -> None:
    steps = plan(minimal, totalSteps=total, numStepsPerEval=every)
    assert [step for step in range(1, total + 1) if steps.is_evaluated_at(step)] == evaluated


def test_examples_of_the_spec_win_over_the_count(minimal: dict[str, Any]) -> None:
    assert plan(minimal, num_records=7, ranks=3, numExamplesPerEpoch=100).steps_per_epoch == 50


def test_without_records_there_is_no_plan(minimal: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="trainingFilePattern.*has no training records"):
        plan(minimal, num_records=0)
    with pytest.raises(InvalidInput, match="0 processes: a training needs at least one"):
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


@pytest.mark.parametrize("given", [{}, {"numStepsPerEval": 0}, {"numStepsPerEval": None}])
def test_no_interval_of_evaluations_is_one_epoch(minimal: dict[str, Any], given: dict[str, Any]) -> None:
    plan_of = plan(minimal, totalSteps=120, numExamplesPerEpoch=40, trainBatchSize=2, **given)
    assert plan_of.steps_per_eval == plan_of.steps_per_epoch == 20
