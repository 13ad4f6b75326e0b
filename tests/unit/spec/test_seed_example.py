"""The example of the original toolkit's page is the page's own."""

from __future__ import annotations

from pathlib import Path

SAMPLE = Path(__file__).resolve().parents[3] / "examples" / "seed" / "maskrcnn_train_resnet50.txt"


def test_the_specification_is_that_of_the_page_word_for_word(sample: str) -> None:
    assert SAMPLE.read_text() == sample
