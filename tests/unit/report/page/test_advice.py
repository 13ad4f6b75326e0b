from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.report.page import sample
from tests.unit.report.page.html_reading import words

from maskrcnn_trainer.report.content import BetterModel, Curve, ErrorType, Evaluation, Experiment
from maskrcnn_trainer.report.page.advice import findings, ranked_types
from maskrcnn_trainer.report.page.layout import Nesting
from maskrcnn_trainer.report.page.numbers import threshold


def advice(experiment: Experiment) -> list[str]:
    """Return the findings as text."""
    return [words(finding) for finding in findings(experiment, Nesting())]


def with_costs(costs: dict[ErrorType, float], **changes: object) -> Experiment:
    """Return the sample experiment with other costs of the errors."""
    experiment = sample.experiment(with_pictures=False)
    found = evaluation(experiment)
    errors = tuple(replace(one, ap50=47.1, lost=dict.fromkeys(sample.ERRORS, 0.0) | costs) for one in found.errors)
    return replace(experiment, evaluation=replace(found, errors=errors, **changes))  # type: ignore[arg-type]


def evaluation(experiment: Experiment) -> Evaluation:
    assert experiment.evaluation is not None
    return experiment.evaluation


def test_largest_error_is_named_first_with_its_cost() -> None:
    first = advice(with_costs({"Cls": 21.3, "Loc": 9.0, "Miss": 0.8}))[0]
    assert first.startswith("Class confusion costs 21.3 points of mask AP50 (mask AP50 is 47.1 points of 100).")
    assert first.endswith("The other errors and their cost: localization 9.0 and missed objects 0.8.")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("Loc", "annotations are tight"), ("Both", "wrong class"), ("Dupe", "maskrcnnConfig.testNms"),
     ("Bkg", "annotate what was forgotten"), ("Miss", "maskrcnnConfig.anchorScale")],
)  # fmt: skip
def test_each_error_has_advice(kind: ErrorType, expected: str) -> None:
    assert expected in advice(with_costs({kind: 5.0}))[0]


def test_costs_of_the_kind_that_counts_are_named() -> None:
    assert "points of box AP50" in advice(with_costs({"Loc": 5.0}, kind="bbox"))[0]


def test_costs_shown_as_zero_are_left_out() -> None:
    experiment = with_costs({"Cls": 21.3, "Dupe": 0.04})
    assert ranked_types(evaluation(experiment).errors[0]) == ["Cls"]
    assert "other errors" not in advice(experiment)[0]


def test_most_frequent_confusion_is_named() -> None:
    experiment = sample.experiment(with_pictures=False)
    matrix = evaluation(experiment).confusion
    assert matrix is not None
    counts = ((5, 9, 0, 1), (2, 5, 0, 0), (0, 0, 5, 0), (1, 0, 0, 0))
    shares = tuple(tuple(value / sum(row) for value in row) for row in counts)
    matrix = replace(matrix, counts=counts, normalized=shares, interval=(0.36, 0.8))
    changed = replace(evaluation(experiment), confusion=matrix)
    assert (
        "9 × disc was detected as square, 60% of its objects (95% interval 36% to 80%)."
        in advice(replace(experiment, evaluation=changed))[1]
    )


def test_lowest_class_has_its_objects_of_both_data_sets() -> None:
    experiment = sample.experiment(with_pictures=False)
    text = " ".join(advice(experiment))
    lowest = min(evaluation(experiment).classes, key=lambda one: one.metrics["mask_AP50"])
    trained = next(row.objects for row in experiment.data[0].classes if row.category == lowest.category)
    assert f"The class {lowest.name} has the lowest mask AP50: {lowest.metrics['mask_AP50']:.3f}" in text
    assert f"with {lowest.objects} objects here and {trained} in the training set" in text


def test_class_without_objects_is_not_the_lowest() -> None:
    experiment = sample.experiment(with_pictures=False)
    found = evaluation(experiment)
    undefined = replace(found.classes[0], name="unseen", metrics=dict.fromkeys(found.classes[0].metrics, -1.0))
    changed = replace(experiment, evaluation=replace(found, classes=(undefined, *found.classes[1:])))
    assert "The class unseen" not in " ".join(advice(changed))


def test_best_score_is_named_as_picked_on_this_set() -> None:
    experiment = sample.experiment(with_pictures=False)
    point = replace(evaluation(experiment).operating_point, best_score=0.62)
    text = " ".join(advice(replace(experiment, evaluation=replace(evaluation(experiment), operating_point=point))))
    assert "picked on this very set" in text
    assert "(threshold: 0.620 in a step, -t 0.620 in a command)" in text


def test_rising_ap_of_the_evaluated_model_suggests_a_longer_training() -> None:
    text = " ".join(advice(sample.experiment(with_pictures=False)))
    assert "Mask AP was still rising at the end of step train (0.245 at training step 500)" in text


@pytest.mark.parametrize(("number", "expected"), [(1, "once"), (2, "twice")])
def test_ap_of_few_checkpoints_suggests_more_evaluations(number: int, expected: str) -> None:
    experiment = sample.experiment(with_pictures=False)
    curve = Curve("mask_AP", (100.0, 200.0)[:number], (0.2, 0.31)[:number])
    changed = replace(experiment, trainings=(replace(experiment.trainings[0], evaluations=(curve,)),))
    text = " ".join(advice(changed))
    assert f"Mask AP was measured only {expected} during step train" in text
    assert "numStepsPerEval" in text


def test_training_without_an_ap_has_no_advice_about_its_length() -> None:
    experiment = sample.experiment(with_pictures=False)
    changed = replace(experiment, trainings=(replace(experiment.trainings[0], evaluations=()),))
    assert "numStepsPerEval" not in " ".join(advice(changed))


def test_ap_that_fell_names_the_best_checkpoint() -> None:
    experiment = sample.experiment(with_pictures=False)
    curve = Curve("mask_AP", (100.0, 200.0, 300.0), (0.2, 0.31, 0.25))
    changed = replace(experiment, trainings=(replace(experiment.trainings[0], evaluations=(curve,)),))
    text = " ".join(advice(changed))
    assert "was highest at training step 200 (0.310); at the last one it is 0.250. To keep the best one" in text


@pytest.mark.parametrize("last", [0.5, 0.503, 0.498])
def test_ap_that_stays_suggests_no_longer_training(last: float) -> None:
    experiment = sample.experiment(with_pictures=False)
    curve = Curve("mask_AP", (100.0, 200.0, 300.0, 400.0), (0.5, 0.5, 0.5, last))
    changed = replace(experiment, trainings=(replace(experiment.trainings[0], evaluations=(curve,)),))
    text = " ".join(advice(changed))
    assert "Mask AP no longer rose at the end of step train" in text
    assert "still rising" not in text


def test_nothing_detected_is_the_only_finding() -> None:
    (only,) = advice(sample.nothing_detected())
    assert only.startswith("Nothing was detected.")


def test_evaluation_without_objects_is_named() -> None:
    experiment = sample.experiment(with_pictures=False)
    empty = replace(experiment, evaluation=replace(evaluation(experiment), objects=0))
    assert "have no objects" in advice(empty)[0]


def test_experiment_without_evaluation_has_no_findings() -> None:
    assert advice(sample.bare_experiment()) == []


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("retrained", "retrain this one for more steps, or prune less."), ("pruned", "retrain this one, or prune less."),
     ("int8, engine", "check the export of this one."), ("trained", "use that one instead"),
     ("trained, best", "use that one instead")],
)  # fmt: skip
def test_better_model_comes_first_with_what_to_do(kind: str, expected: str) -> None:
    better = BetterModel("train", "/workspace/shapes/train/model.tlt", 0.2451, 4.52, kind)
    first = advice(replace(sample.experiment(with_pictures=False), better=better))[0]
    assert first.startswith(f"The model of step train is 4.5 points of mask AP better (0.245): {expected}")


def test_better_model_of_no_step_is_named_by_its_file() -> None:
    better = BetterModel("", "/workspace/raw/model.tlt", 0.2451, 4.52, "trained")
    assert "The model of /workspace/raw/model.tlt is" in advice(replace(sample.nothing_detected(), better=better))[0]


def with_falling_loss(measured: int) -> Experiment:
    """Return the sample experiment whose last training has a falling loss and some measurements of AP."""
    experiment = sample.experiment(with_pictures=False)
    train, retrain = experiment.trainings
    curve = Curve("mask AP", (100.0, 200.0, 300.0)[:measured], (0.1, 0.2, 0.3)[:measured])
    return replace(experiment, trainings=(train, replace(retrain, evaluations=(curve,), loss_fall=0.06)))


FALLING = "The loss of step retrain still fell by 6.0% in the last fifth of its steps: train for more steps."


def test_falling_loss_of_a_short_training_comes_before_the_errors() -> None:
    assert advice(with_falling_loss(2))[0].startswith(FALLING)


def test_falling_loss_of_a_training_with_enough_measurements_comes_after_the_score() -> None:
    *_, score, falling, _ = advice(with_falling_loss(3))
    assert score.startswith("F1 is highest")
    assert falling.startswith(FALLING)


@pytest.mark.parametrize(
    ("score", "shown"), [(0.1879094, "0.187"), (0.9997, "0.999"), (0.00042, "0.0004"), (0.5, "0.500")]
)
def test_threshold_keeps_the_detection_with_the_best_score(score: float, shown: str) -> None:
    assert threshold(score) == shown
    assert float(shown) <= score


def test_score_without_a_right_detection_is_no_threshold() -> None:
    experiment = sample.experiment(with_pictures=False)
    found = evaluation(experiment)
    changed = replace(found, operating_point=replace(found.operating_point, best_f1=0.0))
    assert "threshold:" in " ".join(advice(experiment))
    assert "threshold:" not in " ".join(advice(replace(experiment, evaluation=changed)))
