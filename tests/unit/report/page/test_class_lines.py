from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.report.page import sample

from maskrcnn_trainer.report.page.class_lines import LARGEST_WITH_THIN, by_metric, in_words, kinds_of, lines_of_classes

POINTS = [(0.0, 0.0), (1.0, 1.0)]


def test_few_classes_have_a_color_each() -> None:
    lines, thin = lines_of_classes(sample.evaluation(), lambda one: POINTS)
    assert [(line.name, line.style) for line in lines] == [("disc", 1), ("square", 2), ("triangle", 3)]
    assert not thin


def test_of_many_classes_the_best_and_the_lowest_have_a_color() -> None:
    evaluation = sample.evaluation(sample.many_names(30), with_pictures=False)
    lines, thin = lines_of_classes(evaluation, lambda one: POINTS)
    ranked = [one.name for one in by_metric(evaluation)]
    assert {line.name for line in lines if line.style is not None} == {*ranked[:3], *ranked[-4:]}
    assert sorted(line.style for line in lines if line.style is not None) == [1, 2, 3, 4, 5, 6, 7]
    assert (len(lines), thin) == (30, True)


def test_of_too_many_classes_the_others_are_left_out() -> None:
    evaluation = sample.evaluation(sample.many_names(LARGEST_WITH_THIN + 1), with_pictures=False)
    lines, thin = lines_of_classes(evaluation, lambda one: POINTS)
    assert (len(lines), thin) == (7, True)


def test_class_without_objects_or_without_points_has_no_line() -> None:
    evaluation = sample.evaluation(with_pictures=False)
    first = replace(evaluation.classes[0], metrics={"mask_AP50": -1.0})
    changed = replace(evaluation, classes=(first, *evaluation.classes[1:]))
    lines, _ = lines_of_classes(changed, lambda one: None if one.category == 2 else POINTS)
    assert [line.name for line in lines] == ["triangle"]


@pytest.mark.parametrize(("key", "shown"), [("mask_AP50", "mask AP50"), ("AP", "box AP")])
def test_metric_is_shown_in_words(key: str, shown: str) -> None:
    assert in_words(key) == shown


def test_masks_are_shown_first_and_only_if_there_are_any() -> None:
    assert kinds_of({"AP": 0.1, "mask_AP": 0.1}) == ("segm", "bbox")
    assert kinds_of({"AP": 0.1}) == ("bbox",)
