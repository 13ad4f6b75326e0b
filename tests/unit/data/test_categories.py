from __future__ import annotations

import dataclasses

import pytest

from maskrcnn_trainer.data.categories import Categories, compare_categories, require_agreement
from maskrcnn_trainer.errors import InvalidInput


def source(name: str, **names: str) -> Categories:
    """Categories, given as ``_1="cat"``."""
    return Categories(name, {int(number[1:]): {text} if text else set() for number, text in names.items()})


@pytest.mark.parametrize(
    ("train", "val"),
    [
        ({"_1": "cat", "_2": "dog"}, {"_1": "cat", "_2": "dog"}),
        ({"_1": "cat"}, {"_2": "dog"}),
        ({"_1": "", "_2": "dog"}, {"_1": "cat", "_2": ""}),
        ({"_1": "Stra\u00dfe "}, {"_1": "strasse"}),
        ({"_1": "cafe\u0301"}, {"_1": "caf\u00e9"}),
        ({"_1": "half \\ud800"}, {"_1": "half \ud800"}),
        ({"_1": "a", "_27": "A"}, {"_1": "a", "_27": "A"}),
        ({"_27": "A"}, {"_1": "a", "_27": "A"}),
    ],
)
def test_categories_agree(train: dict[str, str], val: dict[str, str]) -> None:
    require_agreement([source("train", **train), source("val", **val)])


def test_id_with_two_names_is_refused_with_both() -> None:
    swapped = [source("a.tfrecord", _1="cat", _2="dog"), source("val.json", _1="dog", _2="cat")]
    with pytest.raises(InvalidInput) as failure:
        require_agreement(swapped)
    assert str(failure.value).startswith(
        'category id 1 is "cat" in a.tfrecord and "dog" in val.json; id 2 is "dog" in a.tfrecord and "cat" in val.json'
    )


def test_name_with_two_ids_is_refused_with_both() -> None:
    sets = [source("a", _1="cat"), source("b", _5="bird"), source("val.json", _2="Cat", _5="bird")]
    with pytest.raises(InvalidInput, match='^category "cat" has id 1 in a and id 2 in val.json: every id must'):
        require_agreement(sets)


def test_name_with_two_ids_in_one_source_is_refused() -> None:
    with pytest.raises(InvalidInput, match='^category "part" has ids 1 and 7 in val.json: every id must'):
        require_agreement([source("train", _3="cow"), source("val.json", _1="part", _7="part")])


def test_letters_of_two_cases_are_two_categories() -> None:
    sets = [source("train", _1="a", _27="A"), source("val.json", _1="A", _27="a")]
    with pytest.raises(InvalidInput, match='id 1 is "a" in train and "A" in val.json'):
        require_agreement(sets)


def test_ids_without_objects_do_not_count() -> None:
    train, unused = source("train", _1="cat", _2="dog"), source("val.json", _1="cat", _2="bird", _7="dog")
    require_agreement([train, dataclasses.replace(unused, used={1})])
    with pytest.raises(InvalidInput, match=r'id 2 is "dog" in train and "bird" in val\.json: every id'):
        require_agreement([train, dataclasses.replace(unused, used={1, 2})])


@pytest.mark.parametrize(
    ("ids", "used", "conflict"),
    [
        ({1}, {1, 7}, "id 1 in model.tlt and id 7 in val.json"),
        ({1}, {7}, "id 1 in model.tlt and id 7 in val.json"),
        ({1, 7}, {1, 7}, "id 1 in model.tlt and id 7 in model.tlt"),
        ({1, 7}, {9}, "id 1 in model.tlt and id 7 in model.tlt"),
        ({1}, {1}, None),
        ({1, 7}, {7}, None),
        ({7}, {9}, "id 7 in model.tlt and id 9 in val.json"),
        ({1, 7}, set(), None),
    ],
)
def test_name_of_a_model_must_have_the_id_of_the_annotations(
    ids: set[int], used: set[int], conflict: str | None
) -> None:
    model = Categories("model.tlt", {number: {"car"} for number in ids})
    annotations = Categories("val.json", {1: {"car"}, 7: {"car"}, 9: {"car"}}, used)
    if conflict is None:
        require_agreement([annotations], model=model)
        return
    with pytest.raises(InvalidInput, match='^category "car" has ') as failure:
        require_agreement([annotations], model=model)
    assert conflict in str(failure.value).replace("ids 1 and 7 in model.tlt", "id 1 in model.tlt and id 7 in model.tlt")


def test_id_with_two_names_in_one_source_is_refused() -> None:
    with pytest.raises(InvalidInput, match='id 1 is "a" in mixed.tfrecord and "b" in mixed.tfrecord'):
        require_agreement([Categories("mixed.tfrecord", {1: {"a", "b"}})])


def test_many_conflicts_are_counted() -> None:
    first = Categories("a", {number: {f"a{number}"} for number in range(1, 31)})
    second = Categories("b", {number: {f"b{number}"} for number in range(1, 31)})
    with pytest.raises(InvalidInput, match=r"; \.\.\. \(30\): every id") as failure:
        require_agreement([first, second])
    assert len(str(failure.value)) < 500


def test_no_category_in_common_is_refused_with_both_lists() -> None:
    with pytest.raises(
        InvalidInput,
        match='no category in common: 1 "cat", 2 in model.tlt; 11 "car", 12 "bus" in val.json; both must',
    ):
        compare_categories(source("model.tlt", _1="cat", _2=""), source("val.json", _11="car", _12="bus"), {11})


def test_missing_categories_are_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    learned = source("the training records", _1="cat", _7="cow")
    validation = source("val.json", _1="cat", _2="dog", _3="bird")
    compare_categories(learned, validation, {1, 2})
    assert [record.getMessage() for record in caplog.records] == [
        "Categories differ, so some are not detected or not evaluated: "
        '2 "dog" have objects in val.json, not in the training records; 7 "cow" are in the training records, not in '
        "val.json"
    ]


def test_category_without_objects_is_not_missed(caplog: pytest.LogCaptureFixture) -> None:
    compare_categories(source("model.tlt", _1="cat"), source("val.json", _1="cat", _2="dog"), {1})
    assert caplog.text == ""
