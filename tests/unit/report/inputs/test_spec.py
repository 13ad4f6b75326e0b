"""Specs of steps."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.report import made_experiment as made

from maskrcnn_trainer.report.inputs.files import Unreadable
from maskrcnn_trainer.report.inputs.spec import ModelDescription, spec_in, spec_of_attempt


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "The spec isn't valid: train/logs/attempt-1.spec.yaml is neither"),
        (b"\xff", "The spec train/logs/attempt-1.spec.yaml isn't UTF-8 text."),
        (b" " * 2_000_000, "train/logs/attempt-1.spec.yaml has 2,000,000 bytes"),
    ],
)
def test_damaged_spec_is_named_with_its_step(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "train" / "logs" / "attempt-1.spec.yaml"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    with pytest.raises(Unreadable) as caught:
        spec_of_attempt(tmp_path / "train")
    assert str(caught.value).startswith(message)
    assert str(caught.value).count("attempt-1") == 1


def test_problems_of_the_spec_in_a_model_are_named() -> None:
    wrong = made.SPEC | {"seed": "x", "totalSteps": "y"}
    message = r"^The spec in a model isn't valid: train/model\.tlt: 2 problems: .*seed.*; .*totalSteps"
    with pytest.raises(Unreadable, match=message):
        spec_in(ModelDescription(wrong), Path("/x/train/model.tlt"))
