from __future__ import annotations

import pytest

from maskrcnn_trainer.data.categories import Categories, compare_categories, require_agreement
from maskrcnn_trainer.errors import InvalidInput


def source(name: str, **names: str) -> Categories:
    """Categories as ``_1="cat"``."""
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
        ({"_1": "part", "_2": "part"}, {"_1": "part", "_2": "part"}),
        ({"_2": "part"}, {"_1": "part", "_2": "part"}),
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
        match='no category in common: model.tlt has 1 "cat", 2; val.json has 11 "car", 12 "bus"; both must',
    ):
        compare_categories(source("model.tlt", _1="cat", _2=""), source("val.json", _11="car", _12="bus"), {11})


def test_missing_categories_are_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    learned = source("the training records", _1="cat", _7="cow")
    validation = source("val.json", _1="cat", _2="dog", _3="bird")
    compare_categories(learned, validation, {1, 2})
    assert [record.getMessage() for record in caplog.records] == [
        "Categories differ, so some are missed or not measured: "
        '2 "dog" have objects in val.json, not in the training records; 7 "cow" are in the training records, not in '
        "val.json"
    ]


def test_category_without_objects_is_not_missed(caplog: pytest.LogCaptureFixture) -> None:
    compare_categories(source("model.tlt", _1="cat"), source("val.json", _1="cat", _2="dog"), {1})
    assert caplog.text == ""
