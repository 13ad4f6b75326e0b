from __future__ import annotations

from tests.unit.report.page.html_reading import words

from maskrcnn_trainer.report.content import ModelRow
from maskrcnn_trainer.report.page.layout import Nesting
from maskrcnn_trainer.report.page.models import models


def drawn(*rows: ModelRow, evaluation: str | None = "evaluate") -> str:
    return words(models(rows, evaluation).drawn(Nesting()))


def test_model_has_accuracy_size_weights_and_speed() -> None:
    metrics = {"mask_AP": 0.25, "mask_AP50": 0.5, "AP": 0.3, "AP50": 0.6}
    text = drawn(ModelRow("export", "int8", "export/model.onnx", metrics, 8.31, 8_102_400, 21.74))
    assert "int8exportexport/model.onnx0.2500.5000.3000.6008.31 MB8,102,40021.7" in text


def test_file_is_broken_after_its_slashes() -> None:
    row = ModelRow("train", "trained", "/workspace/<i>/model.tlt")
    assert "/<wbr>workspace/<wbr>&lt;i&gt;/<wbr>model.tlt" in models([row], None).drawn(Nesting())


def test_what_no_step_recorded_is_named_so() -> None:
    assert drawn(ModelRow("prune", "pruned", "p")).count("not recorded") == 7


def test_evaluation_of_each_model_is_named_and_that_of_the_page_marked() -> None:
    rows = [ModelRow(step, "trained", step, {}, 1.0, 7, 2.0, step) for step in ("evaluate", "evaluate-int8")]
    text = drawn(*rows, ModelRow("prune", "pruned", "prune", {}, 1.0, 7, 2.0))
    assert "2.00evaluate (this page)" in text
    assert "2.00evaluate-int8trained" not in text
    assert "2.00evaluate-int8" in text
    assert text.endswith("2.00–")


def test_no_models_are_not_recorded() -> None:
    assert "Models: not recorded." in drawn()
