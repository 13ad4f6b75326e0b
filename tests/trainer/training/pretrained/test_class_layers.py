"""Rows of class layers by name, and the sentence about them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.training.pretrained.class_layers import ClassLayers, class_layers_by_name

pytestmark = pytest.mark.trainer

NAMES = (None, "person", "car", "dog")


def layers_of(classes: int, start: float, width: int = 2) -> dict[str, Any]:
    """Return class layers whose values in the row of class i are ``start`` + i."""
    rows = np.arange(classes, dtype=np.float32) + start
    return {
        "class-predict/kernel": np.tile(rows, (width, 1)),
        "class-predict/bias": rows,
        "box-predict/kernel": np.tile(np.repeat(rows, 4), (width, 1)),
        "box-predict/bias": np.repeat(rows, 4),
        "mask_fcn_logits/kernel": np.tile(rows, (1, 1, width, 1)),
        "mask_fcn_logits/bias": rows,
    }


FILE = {**layers_of(4, 0), "fc6/bias": np.zeros(2, np.float32)}


def by_name(
    data: tuple[str, ...], mapping: dict[str, str] | None = None, names: tuple[str | None, ...] | None = NAMES
) -> ClassLayers:
    return class_layers_by_name(FILE, layers_of(len(data) + 1, 100), names, data, mapping or {})


def test_rows_of_both_are_kept_in_all_six_variables() -> None:
    found = by_name(("cat", "dog", "person"))
    expected = np.array([0, 101, 3, 1], np.float32)
    assert sorted(found.values) == sorted(set(FILE) - {"fc6/bias"})
    for name, value in found.values.items():
        rows = np.repeat(expected, 4) if name.startswith("box") else expected
        np.testing.assert_array_equal(value, np.broadcast_to(rows, value.shape), err_msg=name)


def test_sentence_counts_and_names_kept_and_new_classes() -> None:
    assert by_name(("cat", "dog", "person")).sentence == (
        "weights of the background and of 2 classes (dog, person) are those of the file; new are those of 1 class (cat)"
    )


def test_mapped_names_are_kept() -> None:
    found = by_name(("pedestrian", "cat"), {"person": "pedestrian"})
    np.testing.assert_array_equal(found.values["class-predict/bias"], [0, 1, 102])
    assert "of 1 class (pedestrian) are those of the file" in found.sentence


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"people": "cat"}, r'^classMapping: "people" is not a class of the file, which has'),
        ({"person": "human"}, r'^classMapping\.person: "human" is not a class of the data set, which has'),
        ({"person": "cat", "dog": "cat"}, "^classMapping: .* both become"),
    ],
)
def test_unknown_names_of_a_mapping_are_refused(mapping: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        by_name(("cat", "dog"), mapping)


def test_file_without_names_keeps_the_background() -> None:
    found = by_name(("cat", ""), names=None)
    np.testing.assert_array_equal(found.values["class-predict/bias"], [0, 101, 102])
    assert found.sentence.endswith(
        "no class are those of the file; new are those of 2 classes (cat, a class without a name); the file's classes "
        "have no known names"
    )


def test_layers_that_the_file_lacks_are_left_out() -> None:
    boxes = {name: value for name, value in FILE.items() if not name.startswith("mask")}
    found = class_layers_by_name(boxes, layers_of(2, 100), NAMES, ("dog",), {})
    assert not any(name.startswith("mask") for name in found.values)


def test_layers_with_another_number_of_inputs_are_left_out() -> None:
    found = class_layers_by_name(FILE, layers_of(2, 100, width=3), NAMES, ("dog",), {})
    assert sorted(found.values) == ["box-predict/bias", "class-predict/bias", "mask_fcn_logits/bias"]
