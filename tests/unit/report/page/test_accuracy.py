from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.report.page import sample
from tests.unit.report.page.html_reading import read, words

from maskrcnn_trainer.report.content import Evaluation
from maskrcnn_trainer.report.page.accuracy import accuracy
from maskrcnn_trainer.report.page.class_lines import by_metric
from maskrcnn_trainer.report.page.layout import Nesting

EXPERIMENT = sample.experiment(with_pictures=False)


def evaluation() -> Evaluation:
    assert EXPERIMENT.evaluation is not None
    return EXPERIMENT.evaluation


def drawn(found: Evaluation) -> str:
    return accuracy(EXPERIMENT, found, Nesting()).drawn(Nesting())


def test_metrics_of_masks_and_boxes_are_next_to_each_other() -> None:
    metrics = {"AP": 0.111, "mask_AP": 0.222, "APs": 0.333, "mask_APs": 0.444, "ARs": 0.555, "mask_ARs": 0.666}
    text = words(drawn(replace(evaluation(), metrics=metrics)))
    assert "AP: mean over IoU 0.50 to 0.950.2220.111" in text
    assert "small: area below 32 × 32 pixels0.4440.3330.6660.555" in text


def test_model_without_masks_has_no_columns_of_masks() -> None:
    metrics = {name: value for name, value in evaluation().metrics.items() if not name.startswith("mask_")}
    assert "mask" not in words(drawn(replace(evaluation(), metrics=metrics))).replace("maskrcnnConfig", "")


def test_metric_with_more_detections_has_a_row_of_its_own() -> None:
    metrics = {**evaluation().metrics, "AP_max300": 0.123, "mask_AP_max300": 0.321}
    assert "AP_max3000.3210.123" in words(drawn(replace(evaluation(), metrics=metrics)))


def test_undefined_metric_is_a_dash_and_a_missing_one_is_not_recorded() -> None:
    text = words(drawn(replace(evaluation(), metrics={"AP": 0.1, "APl": -1.0})))
    assert "large: above–not recorded" in text


def test_class_has_support_training_objects_and_its_own_best_score() -> None:
    point = replace(evaluation().classes[0].operating_point, best_score=0.37, best_f1=0.61)
    first = replace(
        evaluation().classes[0], objects=84, detections=99, metrics={"mask_AP": 0.25}, operating_point=point
    )
    text = words(drawn(replace(evaluation(), classes=(first,))))
    trained = EXPERIMENT.data[0].classes[0].objects
    assert f"disc84{trained}990.250not recordednot recordednot recorded0.6100.370" in text


def test_many_classes_are_ordered_by_their_ap() -> None:
    found = sample.evaluation(sample.many_names(30), with_pictures=False)
    rows = [text for path, text in read(drawn(found)).texts if path.endswith("th/bdi") and "tbody" in path]
    assert rows[-30:] == [one.name for one in reversed(by_metric(found))]


def test_evaluation_without_classes_is_named() -> None:
    assert "There are no classes." in words(drawn(replace(evaluation(), classes=())))


@pytest.mark.parametrize(("most", "noted"), [(30, True), (99, True), (100, False), (0, False)])
def test_number_of_detections_below_that_of_ar_is_noted(most: int, noted: bool) -> None:
    experiment = sample.experiment(with_pictures=False)
    assert experiment.evaluation is not None
    evaluation = replace(experiment.evaluation, most_detections=most, images_with_most=45)
    text = words(accuracy(experiment, evaluation, Nesting()).drawn(Nesting()))
    assert (f"so AR with 100 detections is AR with {most}." in text) == noted
    assert ("No image has more than" in text) == noted
