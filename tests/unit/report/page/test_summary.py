from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.report.page import sample
from tests.unit.report.page.html_reading import read, words

from maskrcnn_trainer.report.content import Experiment
from maskrcnn_trainer.report.page.layout import Nesting
from maskrcnn_trainer.report.page.summary import summary

EXPERIMENT = sample.experiment(with_pictures=False)


def drawn(experiment: Experiment = EXPERIMENT) -> str:
    return words(summary(experiment, Nesting()).drawn(Nesting()))


def test_main_numbers_are_shown_with_the_best_score() -> None:
    assert EXPERIMENT.evaluation is not None
    point = replace(EXPERIMENT.evaluation.operating_point, best_score=0.62, best_f1=0.71)
    evaluation = replace(
        EXPERIMENT.evaluation, operating_point=point, images=60, objects=1377, metrics={"AP": 0.2, "mask_AP": 0.3}
    )  # fmt: skip
    text = drawn(replace(EXPERIMENT, evaluation=evaluation))
    assert "mask AP0.300IoU 0.50 to 0.95" in text
    assert "box AP0.200IoU 0.50 to 0.95" in text
    assert "best F10.710at score 0.620, picked on this set" in text
    assert "images60evaluatedobjects1,377without crowds" in text


def test_other_evaluations_of_the_experiment_are_named() -> None:
    assert "has other evaluations, by evaluate-pruned and evaluate-int8; their metrics are in" in drawn()
    own = tuple(replace(row, evaluation="evaluate") for row in EXPERIMENT.models)
    assert "other evaluations" not in drawn(replace(EXPERIMENT, models=own))


def test_model_without_masks_has_no_tiles_of_masks() -> None:
    assert EXPERIMENT.evaluation is not None
    evaluation = replace(EXPERIMENT.evaluation, metrics={"AP": 0.2, "AP50": 0.3})
    assert "mask AP0" not in drawn(replace(EXPERIMENT, evaluation=evaluation))
    assert "mask AP50not recorded" not in drawn(replace(EXPERIMENT, evaluation=evaluation))


def test_best_score_of_nothing_detected_is_named_so() -> None:
    assert "best F1–nothing was detected" in drawn(sample.nothing_detected())


def test_inputs_that_can_not_be_read_are_pointed_at() -> None:
    assert "There are notes on the inputs" in drawn(replace(EXPERIMENT, notes=("x isn't there.",)))
    assert "There are notes on the inputs" not in drawn()


def test_without_an_evaluation_the_ap_of_the_checkpoints_is_pointed_at() -> None:
    assert "AP of the checkpoints is in the training curves." in drawn(replace(EXPERIMENT, evaluation=None))
    assert "AP of the checkpoints" not in drawn(sample.bare_experiment())


def test_without_an_evaluation_the_notes_are_shown() -> None:
    assert "No evaluation can be read, so there are no metrics.train/history.jsonl isn't there." in drawn(
        sample.bare_experiment()
    )


@pytest.mark.parametrize(
    ("most", "images", "expected"),
    [(30, 60, "of any score, 30 in each image"), (30, 45, "of any score, at most 30 in an image, so many in 45"),
     (0, 0, "of any score")],
)  # fmt: skip
def test_images_with_the_largest_number_of_detections_are_counted(most: int, images: int, expected: str) -> None:
    assert EXPERIMENT.evaluation is not None
    evaluation = replace(
        EXPERIMENT.evaluation, detections=7, images=60, most_detections=most, images_with_most=images
    )  # fmt: skip
    assert f"detections7{expected}" in drawn(replace(EXPERIMENT, evaluation=evaluation))


def test_recall_at_the_best_score_has_its_interval() -> None:
    assert EXPERIMENT.evaluation is not None
    point = replace(
        EXPERIMENT.evaluation.operating_point, scores=(0.62,), recall=(0.61,), best_score=0.62,
        recall_interval=(0.55, 0.67),
    )  # fmt: skip
    evaluation = replace(EXPERIMENT.evaluation, operating_point=point, objects=121)
    text = drawn(replace(EXPERIMENT, evaluation=evaluation))
    assert (
        "Recall at the best score is 0.610, with a 95% interval from 0.550 to 0.670 (Wilson's, of 121 objects" in text
    )
    assert "95% interval" not in drawn(sample.nothing_detected())


def test_findings_are_numbered() -> None:
    found = summary(EXPERIMENT, Nesting()).content
    assert [path for path, text in read(found).texts if text.startswith("F1 is highest")] == ["ol/li/b"]
