from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.small_records import annotations, spec_of, write_json, write_records

from maskrcnn_trainer.data.class_map import ClassMap
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.evaluation.validation_data import ValidationData, open_validation

CATEGORIES = {1: "cat", 2: "dog"}


def opened(
    folder: Path,
    content: dict[str, Any],
    *,
    images: tuple[int, ...] = (1, 2, 3),
    size: tuple[int, int] | None = None,
    **data: Any,
) -> ValidationData:
    write_records(folder / "val.tfrecord", {image: [] for image in images}, size=size)
    write_json(folder / "val.json", content)
    return open_validation(spec_of(folder, **data))


def test_categories_with_objects_in_the_images_are_evaluated(tmp_path: Path) -> None:
    content = annotations({1: [1], 2: [], 3: [1, 1], 4: [2]}, CATEGORIES)
    data = opened(tmp_path, content)
    assert data.evaluated == {1}
    assert len(data.records) == 3
    assert data.categories.names == {1: {"cat"}, 2: {"dog"}}


def test_records_of_other_images_are_refused_with_count_and_ids(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as failure:
        opened(tmp_path, annotations({1: [1]}, CATEGORIES), images=(30, 31, 1, 32, 33))
    message = str(failure.value)
    assert message.startswith(f"valJsonFile: {tmp_path}/val.json has no image for 4 of 5 records of ")
    assert f"validationFilePattern {tmp_path}/val.tfrecord (ids '30', '31', '32', ...)" in message


def test_image_of_another_size_than_its_record_is_refused(tmp_path: Path) -> None:
    content = annotations({1: [1], 2: [1], 3: []}, CATEGORIES)
    opened(tmp_path, content, size=(40, 30))
    content["images"][1].update(width=80, height=60)
    with pytest.raises(InvalidInput) as failure:
        opened(tmp_path, content, size=(40, 30))
    assert str(failure.value).startswith(
        f"valJsonFile: {tmp_path}/val.json: image 2 (2.jpg) is 80x60 (width x height), but its record in "
        f"{tmp_path}/val.tfrecord is 40x30; 1 of 3 images differ"
    )


def test_image_with_swapped_sides_is_refused_with_a_hint_at_exif(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"is 40x30 .* is 30x40; 3 of 3 images differ.*EXIF"):
        opened(tmp_path, annotations({1: [1], 2: [1], 3: []}, CATEGORIES), size=(30, 40))


def test_records_past_eval_samples_are_not_compared(tmp_path: Path) -> None:
    content = annotations({1: [1]}, CATEGORIES)
    assert opened(tmp_path, content, images=(1, 30), evalSamples=1).evaluated == {1}


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (annotations({1: [], 2: [], 3: []}, CATEGORIES), "has no object in the 3 images"),
        (annotations({1: [], 2: [], 3: [], 4: [1]}, CATEGORIES), "has no object in the 3 images"),
        (
            annotations({1: [1], 2: [], 3: [2]}, CATEGORIES, iscrowd=1),
            r"has crowds \(iscrowd 1\) only in the 3 images",
        ),
    ],
)
def test_nothing_to_compare_with_is_refused(tmp_path: Path, content: dict[str, Any], what: str) -> None:
    with pytest.raises(InvalidInput, match=what):
        opened(tmp_path, content)


def test_objects_past_eval_samples_are_nothing_to_compare_with(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="in the 2 images"):
        opened(tmp_path, annotations({1: [], 2: [], 3: [1]}, CATEGORIES), evalSamples=2)


def test_objects_without_masks_can_be_compared(tmp_path: Path) -> None:
    assert opened(tmp_path, annotations({1: [1], 2: [], 3: []}, CATEGORIES, segmentation=None)).evaluated == {1}


@pytest.mark.parametrize(
    ("class_map", "message"),
    [
        (ClassMap((1, 2), ("dog", "cat"), 3), 'id 1 is "dog" in model.tlt and "cat" in .*val.json'),
        (ClassMap((2, 3), ("cat", "cow"), 3), 'id 2 is "cat" in model.tlt and "dog" in'),
        (ClassMap((1, 2, 3), ("", "", "cat"), 4), '"cat" has id 3 in model.tlt and id 1 in'),
        (ClassMap((11, 12), ("car", "bus"), 3), 'no category in common: 11 "car", 12 "bus" in model.tlt; 1 "cat"'),
        (ClassMap((11, 12), ("", ""), 3), "no category in common: 11, 12 in model.tlt"),
    ],
)
def test_model_of_other_categories_is_refused(tmp_path: Path, class_map: ClassMap, message: str) -> None:
    data = opened(tmp_path, annotations({1: [1], 2: [], 3: [2]}, CATEGORIES))
    with pytest.raises(InvalidInput, match=message):
        data.check_model(class_map, "model.tlt")


def test_name_of_the_model_under_another_id_counts_where_it_has_objects(tmp_path: Path) -> None:
    model = ClassMap((1, 2), ("cat", "dog"), 3)
    twice = CATEGORIES | {7: "cat"}
    opened(tmp_path, annotations({1: [1], 2: [], 3: [2]}, twice)).check_model(model, "model.tlt")
    with pytest.raises(InvalidInput, match='"cat" has id 1 in model.tlt and id 7 in'):
        opened(tmp_path, annotations({1: [7], 2: [], 3: [2]}, twice)).check_model(model, "model.tlt")


@pytest.mark.parametrize("names", [("cat", "dog"), ("", ""), ("Cat", "dog ")])
def test_model_of_the_same_categories_is_accepted_silently(
    tmp_path: Path, names: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    data = opened(tmp_path, annotations({1: [1], 2: [], 3: [2]}, CATEGORIES))
    data.check_model(ClassMap((1, 2), names, 3), "model.tlt")
    assert caplog.text == ""


def test_category_that_the_model_lacks_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = opened(tmp_path, annotations({1: [1], 2: [], 3: [2]}, CATEGORIES))
    data.check_model(ClassMap((1, 2), ("cat", ""), 3), "model.tlt")
    assert len(caplog.messages) == 1
    assert f'2 "dog" have objects in {tmp_path}/val.json, not in model.tlt' in caplog.text
