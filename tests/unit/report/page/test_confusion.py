from __future__ import annotations

from dataclasses import replace

from tests.unit.report.page import sample
from tests.unit.report.page.html_reading import read, words

from maskrcnn_trainer.report.content import Confusion, Evaluation
from maskrcnn_trainer.report.page.confusion import MOST_DRAWN, ConfusedPair, confused_pairs, confusion
from maskrcnn_trainer.report.page.layout import Nesting

COUNTS = ((5, 1, 0, 4), (3, 6, 0, 0), (0, 0, 0, 0), (2, 0, 7, 0))
SHARES = ((0.5, 0.1, 0.0, 0.4), (1 / 3, 2 / 3, 0.0, 0.0), None, (2 / 9, 0.0, 7 / 9, 0.0))
MATRIX = Confusion(0.5, ("cat", "dog", "cow"), COUNTS, SHARES)


def drawn(matrix: Confusion | None) -> str:
    evaluation: Evaluation = replace(sample.evaluation(with_pictures=False), confusion=matrix)
    return confusion(evaluation, Nesting()).drawn(Nesting())


def test_pairs_are_ranked_without_diagonal_and_background() -> None:
    assert confused_pairs(MATRIX) == [ConfusedPair("dog", "cat", 3, 1 / 3), ConfusedPair("cat", "dog", 1, 0.1)]


def test_of_equal_pairs_the_one_with_the_larger_share_is_first() -> None:
    counts = ((9, 1, 0, 0), (1, 1, 0, 0), (0, 0, 0, 0), (0, 0, 0, 0))
    shares = ((0.9, 0.1, 0.0, 0.0), (0.5, 0.5, 0.0, 0.0), None, None)
    pairs = confused_pairs(replace(MATRIX, counts=counts, normalized=shares))
    assert [pair.truth for pair in pairs] == ["dog", "cat"]


def test_counts_and_normalized_counts_are_in_the_cells() -> None:
    texts = [text for path, text in read(drawn(MATRIX)).texts if path.endswith("svg/text")]
    assert [texts.count(shown) for shown in ("5", "6", "7", "50%", "67%", "33%")] == [1, 1, 1, 1, 1, 1]


def test_row_without_entries_has_dashes() -> None:
    texts = [text for path, text in read(drawn(MATRIX)).texts if path.endswith("svg/text")]
    assert texts.count("–") == 4


def test_description_of_a_cell_names_truth_and_detection() -> None:
    assert "dog detected as cat: 3 (33% of the row)" in words(drawn(MATRIX))


def test_remarks_count_false_detections_and_objects_that_are_found_as_well() -> None:
    text = words(drawn(replace(MATRIX, on_taken=6, misplaced=2, on_nothing=1, found_as_well=3)))
    assert "Of the 4 objects that are detected as another class, 3 also have a right detection" in text
    assert "Of the 9 false detections, 6 lie on an object" in text
    assert "2 are badly placed (IoU 0.1 to 0.5), and 1 are where nothing is annotated" in text


def test_many_classes_have_tables_for_the_numbers() -> None:
    evaluation = sample.evaluation(sample.many_names(30), with_pictures=False)
    text = words(confusion(evaluation, Nesting()).drawn(Nesting()))
    assert "Found, missed, and false by class" in text
    assert "The class with the smallest share found first." in text


def test_class_without_objects_is_the_last_of_those_found() -> None:
    evaluation = sample.evaluation(sample.many_names(15), with_pictures=False)
    assert evaluation.confusion is not None
    normalized = (None, *evaluation.confusion.normalized[1:])
    changed = replace(evaluation, confusion=replace(evaluation.confusion, normalized=normalized))
    texts = read(confusion(changed, Nesting()).drawn(Nesting())).texts
    assert [text for path, text in texts if path.endswith("tbody/tr/th/bdi")][-1] == "person"


def test_more_classes_than_can_be_drawn_have_tables_alone() -> None:
    evaluation = sample.evaluation(sample.many_names(MOST_DRAWN + 1), with_pictures=False)
    made = confusion(evaluation, Nesting()).drawn(Nesting())
    assert "<svg" not in made
    assert "it is in report.json" in words(made)


def test_nothing_detected_has_no_matrix() -> None:
    assert "Nothing was detected" in words(drawn(None))
