from __future__ import annotations

from dataclasses import replace

from tests.unit.report.page import sample
from tests.unit.report.page.html_reading import read, words

from maskrcnn_trainer.report.content import ShownImage, ShownObject
from maskrcnn_trainer.report.page.layout import Nesting
from maskrcnn_trainer.report.page.pictures import pictures

PIXEL = "data:image/png;base64,iVBORw0KGgo="


def drawn(*worst: ShownImage, pictures_missing: str | None = None) -> str:
    evaluation = sample.evaluation(with_pictures=False)
    found = replace(
        evaluation, worst=worst, confident_false=(), missed=(), random=(), pictures_missing=pictures_missing
    )  # fmt: skip
    return pictures(found, Nesting()).drawn(Nesting())


def image(*objects: ShownObject, picture: str | None = PIXEL) -> ShownImage:
    return ShownImage("img/7.jpg", 0.25, objects, picture)


def shown(role: str, score: float | None = None, name: str = "disc") -> ShownObject:
    return ShownObject(role, 1, name, score, (1.0, 2.0, 3.0, 4.0), 0)  # type: ignore[arg-type]


def test_caption_has_image_f1_and_each_role_with_class_and_score() -> None:
    text = words(drawn(image(shown("true", 0.912), shown("false", 0.5), shown("missed"), shown("object"))))
    assert "Image img/7.jpg, F1 0.250" in text
    assert "1 ✓ true disc 0.912 ✗ false disc 0.503 ◌ missed disc" in text
    assert "object disc" not in text


def test_line_of_a_false_detection_states_what_it_is() -> None:
    false = shown("false", 0.5)
    wrong = replace(false, error="Cls", other_class="<triangle>")
    text = words(drawn(image(wrong, replace(false, error="Dupe"), replace(false, error="Loc"))))
    assert "false disc 0.50: wrong class, the object is: <triangle>" in text
    assert "false disc 0.50: duplicate" in text
    assert "false disc 0.50: badly placed" in text


def test_alternative_text_has_the_numbers_of_each_role() -> None:
    made = drawn(image(shown("true", 0.9), shown("object"), shown("false", 0.5), shown("false", 0.4)))
    assert 'alt="Image img/7.jpg: 1 true and 2 false detections, 0 missed objects"' in made


def test_many_objects_are_in_a_part_that_opens() -> None:
    made = drawn(image(*(shown("false", 0.5, f"n{number}") for number in range(9))))
    inside = [text for path, text in read(made).texts if "/details/" in path]
    assert "n5" not in inside
    assert {"n6", "n7", "n8"} <= set(inside)


def test_all_pictures_missing_have_the_recorded_reason() -> None:
    made = drawn(image(picture=None), pictures_missing="the validation records are gone.")
    assert "There are no pictures: the validation records are gone." in words(made)
    assert "<img" not in made


def test_some_pictures_missing_is_stated() -> None:
    made = drawn(image(), image(picture=None), pictures_missing="the page would exceed 8 MB")
    assert "Some images have no picture: the page would exceed 8 MB." in words(made)


def test_all_pictures_there_need_no_reason() -> None:
    assert "no picture" not in words(drawn(image()))


def test_empty_list_is_named_so() -> None:
    assert words(drawn()).count("There are none.") == 4
