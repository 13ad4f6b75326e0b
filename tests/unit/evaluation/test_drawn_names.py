"""Names in pictures."""

from __future__ import annotations

import pytest

from maskrcnn_trainer.evaluation.drawn_names import drawn_name


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("person", "person"),
        ("traffic light", "traffic light"),
        ("Zürich", "Zurich"),
        ("Straße", "Strasse"),
        ("crème brûlée", "creme brulee"),
        ("łódź", "lodz"),
        ("half\N{NO-BREAK SPACE}moon", "half moon"),
        ("собака", "class 7"),
        ("犬", "class 7"),
        ("犬 dog", "class 7"),
        ("\u0301", "class 7"),
        ("tab\tname", "class 7"),
    ],
)
def test_a_name_is_drawn_in_letters_that_the_font_has(name: str, drawn: str) -> None:
    assert drawn_name(name, 7) == drawn
