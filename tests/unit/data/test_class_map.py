from __future__ import annotations

import json
import logging

import pytest

from maskrcnn_trainer.data.class_map import ClassMap, class_map_for, class_map_of, same_class_map
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model_files.model_file import ModelFile

GAPS = {1: "person", 2: "bicycle", 13: "stop sign", 90: "toothbrush"}


def test_as_many_classes_as_the_largest_id_plus_one_keep_the_ids() -> None:
    classes = class_map_for(set(GAPS), GAPS, 91)
    assert classes.identity
    assert classes.num_classes == 91
    assert classes.ids == tuple(range(1, 91))
    assert (classes.names[0], classes.names[2], classes.names[89]) == ("person", "", "toothbrush")
    assert classes.to_model[90] == 90
    assert classes.to_raw(13) == 13


def test_one_class_more_than_categories_maps_the_ids_in_ascending_order() -> None:
    classes = class_map_for({90, 2}, GAPS, 5)
    assert not classes.identity
    assert classes.ids == (1, 2, 13, 90)
    assert classes.to_model == {1: 1, 2: 2, 13: 3, 90: 4}
    assert [classes.to_raw(one) for one in (1, 2, 3, 4)] == [1, 2, 13, 90]
    assert classes.names == ("person", "bicycle", "stop sign", "toothbrush")
    assert classes.name_of(13) == "stop sign"
    assert classes.name_of(3) == ""


def test_without_gaps_both_rules_are_one() -> None:
    assert class_map_for({1, 2}, {1: "a", 2: "b"}, 3).identity


def test_more_classes_than_ids_are_noted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        classes = class_map_for({1}, {1: "a", 3: "c"}, 10)
    assert classes.ids == tuple(range(1, 10))
    assert "numClasses 10 is more than the largest category id + 1 = 4" in caplog.text


@pytest.mark.parametrize("num_classes", [4, 6, 90])
def test_any_other_number_is_refused_with_both_numbers(num_classes: int) -> None:
    with pytest.raises(InvalidInput, match=rf"numClasses {num_classes}: .*set it to 91 .*or to 5 "):
        class_map_for(set(GAPS), GAPS, num_classes)


def test_number_is_named_once_where_both_rules_give_the_same() -> None:
    with pytest.raises(InvalidInput, match=r"set it to 3 \(ids kept as they are\)$"):
        class_map_for({1, 2}, {1: "a", 2: "b"}, 2)


def test_the_ids_are_the_union_of_both_sets() -> None:
    classes = class_map_for({7: "seven"}, {3: "three"}, 3)
    assert classes.ids == (3, 7)
    assert classes.names == ("three", "seven")


def test_names_are_those_of_the_records_or_else_of_validation() -> None:
    assert class_map_for({1: "one", 2: "two", 3: ""}, {1: "", 2: "2", 3: "three"}, 4).names == ("one", "two", "three")


@pytest.mark.parametrize(
    ("ids", "names", "same"),
    [
        ((1, 13), ("person", "stop sign"), True),
        ((1, 13), ("person", ""), True),
        ((1, 13), ("person", "traffic light"), False),
        ((1, 12), ("person", "stop sign"), False),
        ((13, 1), ("stop sign", "person"), False),
        ((1, 13, 14), ("person", "stop sign", ""), False),
    ],
)
def test_class_maps_are_the_same_where_ids_and_known_names_agree(
    ids: tuple[int, ...], names: tuple[str, ...], same: bool
) -> None:
    assert same_class_map(ClassMap((1, 13), ("person", "stop sign"), 3), ClassMap(ids, names, len(ids) + 1)) is same


def test_id_zero_and_no_ids_are_refused() -> None:
    with pytest.raises(InvalidInput, match="category id 0: ids start from 1"):
        class_map_for({0, 1}, {}, 3)
    with pytest.raises(InvalidInput, match="no category"):
        class_map_for(set(), {}, 3)


@pytest.mark.parametrize("model_id", [0, 5, -1])
def test_a_class_that_the_model_lacks_has_no_raw_id(model_id: int) -> None:
    with pytest.raises(InvalidInput, match=f"class {model_id}: the model has classes 1 to 4"):
        class_map_for(set(GAPS), GAPS, 5).to_raw(model_id)


def test_json_round_trip() -> None:
    classes = class_map_for(set(GAPS), GAPS, 5)
    assert ClassMap.from_json(json.loads(json.dumps(classes.to_json()))) == classes


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"ids": [1], "names": [], "numClasses": 2},
        {"ids": [1, 1], "names": ["a", "b"], "numClasses": 3},
        {"ids": [0], "names": ["a"], "numClasses": 2},
        {"ids": ["x"], "names": ["a"], "numClasses": 2},
        {"ids": [1], "names": ["a"], "numClasses": 3},
        {"ids": [1.5], "names": ["a"], "numClasses": 2},
    ],
)
def test_json_of_another_form_is_refused(value: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match="class map"):
        ClassMap.from_json(value)


def test_a_class_map_that_cannot_be_read_names_its_model_file() -> None:
    content = {"ids": [1], "names": [], "numClasses": 2}
    model = ModelFile(architecture={}, experiment={}, class_map=content, step=1, variables={}, source="/w/m.tlt")
    with pytest.raises(InvalidInput, match="^/w/m.tlt: class map: 1 ids, 0 names") as refused:
        class_map_of(model)
    assert refused.value.reason == "InvalidModel"


def test_a_class_map_of_another_number_of_classes_than_the_network_is_refused() -> None:
    content = {"ids": [1], "names": ["a"], "numClasses": 2}
    model = ModelFile(
        architecture={"num_classes": 3}, experiment={}, class_map=content, step=1, variables={}, source="/w/m.tlt"
    )
    with pytest.raises(InvalidInput, match="^/w/m.tlt: class map: 2 classes, but the network has 3"):
        class_map_of(model)
