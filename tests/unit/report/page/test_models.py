from __future__ import annotations

from tests.unit.report.page.html_reading import read, words

from maskrcnn_trainer.report.content import ModelRow
from maskrcnn_trainer.report.page.layout import Nesting
from maskrcnn_trainer.report.page.models import models


def drawn(*rows: ModelRow, evaluation: str | None = "evaluate") -> str:
    return words(models(rows, evaluation).drawn(Nesting()))


def test_model_has_accuracy_size_weights_and_speed() -> None:
    metrics = {"mask_AP": 0.25, "mask_AP50": 0.5, "AP": 0.3, "AP50": 0.6}
    text = drawn(ModelRow("export", "int8", "export/model.onnx", metrics, 8.31, 8_102_400, 21.74))
    assert "int8export/model.onnx0.2500.5000.3000.6008.31 MB8,102,40021.7export–" in text


def test_file_has_its_last_two_parts_and_its_whole_path_under_the_pointer() -> None:
    row = ModelRow("train", "trained", "/workspace/shapes/<i>/model.step-260.tlt")
    made = models([row], None).drawn(Nesting())
    assert 'title="/workspace/shapes/&lt;i&gt;/model.step-260.tlt">&lt;i&gt;/<wbr>model.step-260.tlt</bdi>' in made
    assert "workspace" not in words(made)


def test_accuracy_follows_the_name_so_that_a_narrow_screen_shows_it() -> None:
    made = models([ModelRow("train", "trained", "train/model.tlt")], None).drawn(Nesting())
    headers = [text for path, text in read(made).texts if "thead" in path]
    assert headers[:3] == ["model", "mask AP", "mask AP50"]
    assert headers[-2:] == ["made by", "evaluated by"]


def test_names_of_steps_may_be_broken_into_lines() -> None:
    assert '<span class="step">' in models([ModelRow("train", "trained", "p")], None).drawn(Nesting())


def test_what_no_step_recorded_is_named_so() -> None:
    assert drawn(ModelRow("prune", "pruned", "p")).count("not recorded") == 7


def test_evaluation_of_each_model_is_named_and_that_of_the_page_marked() -> None:
    rows = [ModelRow(step, "trained", step, {}, 1.0, 7, 2.0, step) for step in ("evaluate", "evaluate-int8")]
    text = drawn(*rows, ModelRow("prune", "pruned", "prune", {}, 1.0, 7, 2.0))
    assert "2.00evaluateevaluate (this page)" in text
    assert "2.00evaluate-int8evaluate-int8pruned" in text
    assert text.endswith("2.00prune–")


def test_no_models_are_not_recorded() -> None:
    assert "Models: not recorded." in drawn()
