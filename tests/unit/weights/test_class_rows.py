"""Names of a file's classes, and the rows that a data set keeps."""

from __future__ import annotations

import numpy as np
import pytest

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.weights.class_rows import COCO_NAMES, class_names_of, coco_ids_of, rows_for, take_rows
from maskrcnn_trainer.weights.project import Project

TV, D2, MM = Project.TORCHVISION, Project.DETECTRON2, Project.MMDETECTION


def names_of(
    project: Project, rows: int, given: list[str] | None = None, config: list[str] | None = None
) -> tuple[str | None, ...] | None:
    return class_names_of("m.pth", project, rows, given=given, config=config)


def test_coco_has_80_classes_with_ids_up_to_90() -> None:
    assert len(COCO_NAMES) == len(set(COCO_NAMES.values())) == 80
    assert list(COCO_NAMES) == sorted(COCO_NAMES)
    assert sorted(set(range(1, 91)) - set(COCO_NAMES)) == [12, 26, 29, 30, 45, 66, 68, 69, 71, 83]


def test_rows_of_torchvision_are_coco_ids() -> None:
    names = names_of(TV, 91)
    assert names is not None
    assert len(names) == 91
    assert (names[0], names[1], names[12], names[90]) == (None, "person", None, "toothbrush")
    assert names.count(None) == 11


@pytest.mark.parametrize("project", [D2, MM])
def test_rows_of_the_others_are_the_classes_by_ascending_id(project: Project) -> None:
    names = names_of(project, 81)
    assert names == (None, *COCO_NAMES.values())


@pytest.mark.parametrize(("project", "rows"), [(TV, 81), (TV, 4), (D2, 91), (MM, 3)])
def test_names_of_another_number_of_rows_are_unknown(project: Project, rows: int) -> None:
    assert names_of(project, rows) is None


def test_given_names_precede_those_of_the_config_and_of_coco() -> None:
    assert names_of(MM, 3, given=["a", "b"], config=["c", "d"]) == (None, "a", "b")
    assert names_of(MM, 3, config=["c", "d"]) == (None, "c", "d")
    custom = [f"class {number}" for number in range(80)]
    assert names_of(MM, 81, config=custom) == (None, *custom)


def test_list_of_torchvision_may_be_given_as_it_is() -> None:
    given = ["__background__", *(COCO_NAMES.get(row, "N/A") for row in range(1, 91))]
    assert names_of(TV, 91, given=given) == names_of(TV, 91)


def test_another_number_of_given_names_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"^checkpointClassNames: 1 names, but m\.pth has 2 classes without the "):
        names_of(MM, 3, given=["a"])


def test_names_in_the_config_that_do_not_fit_the_rows_are_not_used() -> None:
    assert names_of(MM, 81, config=["a"]) == (None, *COCO_NAMES.values())


def test_coco_ids_are_known_for_the_80_classes_alone() -> None:
    assert coco_ids_of(names_of(TV, 91) or ()) == tuple(COCO_NAMES)
    assert coco_ids_of(names_of(D2, 81) or ()) == tuple(COCO_NAMES)
    assert coco_ids_of((None, "person")) is None


FILE = (None, "person", "car", None, "dog")


@pytest.mark.parametrize(
    ("data", "mapping", "rows"),
    [
        (["dog", "tree", "person"], {}, (0, 4, None, 1)),
        (["pedestrian", "car"], {"person": "pedestrian"}, (0, 1, 2)),
        (["pedestrian", "person"], {"person": "pedestrian"}, (0, 1, None)),
        (["person"], {"dog": "person"}, (0, 4)),
        (["car", "dog"], {"dog": "car", "car": "dog"}, (0, 4, 2)),
        (["Person"], {}, (0, None)),
        ([], {}, (0,)),
    ],
)
def test_rows_are_chosen_by_name(data: list[str], mapping: dict[str, str], rows: tuple[int | None, ...]) -> None:
    assert rows_for(FILE, data, mapping) == rows


def test_background_alone_is_kept_if_the_names_are_unknown() -> None:
    assert rows_for(None, ["a", "b"], {}) == (0, None, None)


@pytest.mark.parametrize(
    ("names", "mapping", "message"),
    [
        (FILE, {"cat": "a"}, r'^classMapping: "cat" is not a class of the file, which has \["person", "car", "dog"\]'),
        (FILE, {"car": "b"}, r'^classMapping\.car: "b" is not a class of the data set, which has \["a"\]'),
        (FILE, {"car": "a", "dog": "a"}, r'^classMapping: "car" and "dog" both become "a"; give one of them'),
        (None, {"car": "a"}, r"^classMapping: the names of the file's classes are unknown; .*checkpointClassNames"),
        ((None, "a", "b", "a"), {}, r'rows 1 and 3 of the file are both of the class "a"'),
    ],
)
def test_wrong_mapping_is_refused(names: tuple[str | None, ...] | None, mapping: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        rows_for(names, ["a"], mapping)


def test_two_rows_of_a_name_that_is_not_needed_are_accepted() -> None:
    assert rows_for((None, "x", "x", "a"), ["a"], {}) == (0, 3)


ROWS = (0, 2, None)


def test_rows_of_classes_are_taken_and_others_keep_their_initial_values() -> None:
    file, initial = np.array([[1.0, 2, 3]], np.float32), np.array([[7.0, 8, 9]], np.float32)
    assert take_rows("class-predict/kernel", file, initial, ROWS).tolist() == [[1, 3, 9]]
    assert take_rows("mask_fcn_logits/bias", file[0], initial[0], ROWS).tolist() == [1, 3, 9]
    assert initial.tolist() == [[7, 8, 9]]


def test_boxes_have_four_values_for_each_class() -> None:
    file, initial = np.arange(12, dtype=np.float32), np.arange(100, 112, dtype=np.float32)
    assert take_rows("box-predict/bias", file, initial, ROWS).tolist() == [0, 1, 2, 3, 8, 9, 10, 11, 108, 109, 110, 111]


@pytest.mark.parametrize(("variable", "outputs"), [("fc7/bias", 3), ("class-predict/bias", 4)])
def test_variable_without_these_classes_is_a_mistake_of_the_caller(variable: str, outputs: int) -> None:
    with pytest.raises(ValueError, match=variable):
        take_rows(variable, np.zeros(3, np.float32), np.zeros(outputs, np.float32), ROWS)
