from __future__ import annotations

import math
from dataclasses import replace

from tests.unit.report.page import sample
from tests.unit.report.page.html_reading import read, words

from maskrcnn_trainer.report.content import Curve, TrainingHistory
from maskrcnn_trainer.report.page.layout import Nesting
from maskrcnn_trainer.report.page.training import checkpoints, training, training_of

EXPERIMENT = sample.experiment(with_pictures=False)


def drawn(*histories: TrainingHistory) -> str:
    return training(replace(EXPERIMENT, trainings=histories), Nesting()).drawn(Nesting())


def test_total_loss_parts_ap_learning_rate_and_throughput_have_a_chart() -> None:
    titles = [text for path, text in read(drawn(EXPERIMENT.trainings[0])).texts if path.endswith("figure/b")]
    assert titles == ["Total loss", "Parts of the loss", "AP of the checkpoints", "Learning rate", "Throughput"]


def test_names_of_the_parts_of_the_loss_are_explained_once() -> None:
    assert words(drawn(EXPERIMENT.trainings[0])).count("Those that begin with rpn are of the proposals") == 1


def test_axes_have_units() -> None:
    text = words(drawn(EXPERIMENT.trainings[0]))
    assert all(unit in text for unit in ("training step", "loss", "images/s", "learning rate"))


def test_curves_that_are_not_recorded_are_named() -> None:
    history = replace(EXPERIMENT.trainings[0], learning_rate=None, images_per_second=None)
    assert "Learning rate, Throughput: not recorded." in words(drawn(history))


def test_experiment_without_a_training_is_not_recorded() -> None:
    assert "Losses, learning rate, and AP over steps: not recorded." in words(drawn())


def test_loss_that_is_not_finite_is_a_gap() -> None:
    curve = Curve("loss", (1.0, 2.0, 3.0, 4.0), (2.0, math.nan, math.inf, 1.0))
    assert read(drawn(TrainingHistory("train", (curve,)))).problems == []


def test_training_of_the_evaluated_model_is_found_by_its_directory() -> None:
    found = training_of(EXPERIMENT)
    assert found is not None
    assert found.step == "train"


def test_last_training_is_taken_where_the_path_names_none() -> None:
    assert EXPERIMENT.evaluation is not None
    found = training_of(replace(EXPERIMENT, evaluation=replace(EXPERIMENT.evaluation, model="model.onnx")))
    assert found is not None
    assert found.step == "retrain"


def test_curve_of_a_metric_is_found_by_its_key_or_its_words() -> None:
    for name in ("mask_AP", "mask AP"):
        history = TrainingHistory("train", evaluations=(Curve("AP50", (), ()), Curve(name, (1.0,), (0.1,))))
        assert [curve.name for curve in checkpoints(history, "mask_AP")] == [name]


def test_ap_of_fewer_than_three_checkpoints_is_a_table() -> None:
    few = TrainingHistory("train", evaluations=(Curve("mask AP", (100.0, 260.0), (0.1, 0.245)),))
    made = drawn(few)
    assert "training stepmask AP1000.1002600.245" in words(made)
    assert "<svg" not in made
    more = TrainingHistory("train", evaluations=(Curve("mask AP", (1.0, 2.0, 3.0), (0.1, 0.2, 0.3)),))
    assert "<svg" in drawn(more)


def test_part_of_the_loss_that_is_zero_everywhere_is_named_and_not_drawn() -> None:
    steps = (1.0, 2.0)
    losses = (Curve("total", steps, (1.0, 2.0)), Curve("l2_loss", steps, (1.0, 2.0)), Curve("l1_loss", steps, (0.0, 0)))
    text = words(drawn(TrainingHistory("train", losses)))
    assert "Zero at all steps, and not drawn: l1_loss." in text
    assert text.count("l1_loss") == 1
