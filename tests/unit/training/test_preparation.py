from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.unit.small_records import Object, annotations, spec_of, write_json, write_records

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.training.preparation import TrainingData, prepare_data

CAT, DOG = (1, "cat"), (2, "dog")
NAMES = {1: "cat", 2: "dog"}


def prepared(
    folder: Path,
    *sets: dict[int, Sequence[Object]],
    names: dict[int, str] = NAMES,
    val_objects: Sequence[int] | None = None,
    crowd: bool = False,
    val_images: Sequence[int] = (101, 102),
    num_classes: int = 3,
) -> TrainingData:
    """Training data of one set of records a mapping, validated on two images with one object of each category.

    Args:
        val_objects: the categories of the objects instead.
    """
    for number, images in enumerate(sets):
        write_records(folder / f"train{number}-00000-of-00001.tfrecord", images, crowd=crowd)
    write_records(folder / "val.tfrecord", {image: [] for image in val_images})
    write_json(
        folder / "val.json", annotations({101: list(names) if val_objects is None else val_objects, 102: []}, names)
    )
    return prepare_data(spec_of(folder, numClasses=num_classes), ranks=1)


def test_data_that_agree_are_accepted_silently(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = prepared(tmp_path, {1: [CAT, DOG], 2: []}, {3: [DOG]})
    assert data.class_map.names == ("cat", "dog")
    assert data.validation.evaluated == {1, 2}
    assert not [record for record in caplog.records if "ategor" in record.getMessage()]


def test_names_of_classes_that_only_training_has_come_from_the_records(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = prepared(tmp_path, {1: [CAT, (7, "cow")]}, names={1: "cat"}, num_classes=8)
    assert data.class_map.name_of(7) == "cow"
    assert caplog.text.count("Categories differ") == 1
    assert f'7 "cow" are in the training records, not in {tmp_path}/val.json' in caplog.text


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("field", "values", "fault"),
    [
        ("bbox/xmax", [0.5, NAN], r"image/object/bbox/xmax\[1\] is nan: a fraction of the image, 0 to 1, is expected"),
        ("bbox/ymin", [-INF, 0.1], r"image/object/bbox/ymin\[0\] is -inf: a fraction"),
        ("bbox/ymax", [1e30, 0.5], r"image/object/bbox/ymax\[0\] is 1e\+30: a fraction"),
        ("bbox/xmax", [0.9, 0.1], r"image/object/bbox/xmax\[1\] is 0.1, below xmin 0.2: the box has a negative size"),
        ("bbox/ymax", [0.9, 0.05], r"image/object/bbox/ymax\[1\] is 0.05, below ymin 0.1: the box has a negative size"),
        ("bbox/ymin", [0.1], r"image/object/bbox/ymin has 1 value for 2 objects \(image/object/class/label\)"),
        ("is_crowd", [0, 0, 0], "image/object/is_crowd has 3 values for 2 objects"),
        ("class/label", [1], "image/object/bbox/ymin has 2 values for 1 object "),
        ("class/label", [1, 2**31], "image/object/class/label is 2147483648: category ids must be at most 2147483647"),
    ],
)
def test_record_with_wrong_objects_is_refused(tmp_path: Path, field: str, values: list[float], fault: str) -> None:
    changes = {f"image/object/{field}": values}
    write_records(tmp_path / "train.tfrecord", {7: [], 8: [CAT], 9: [CAT, DOG]}, changes=changes)
    start = "^trainingFilePattern: 1 of 4 records have wrong values: .*train.tfrecord: record 2"
    with pytest.raises(InvalidInput, match=rf"{start} \(image 9\): {fault}"):
        prepared(tmp_path, {1: [CAT]})


@pytest.mark.parametrize(("field", "values"), [("bbox/xmax", [1.0001]), ("bbox/xmax", [0.2]), ("is_crowd", [])])
def test_record_that_training_can_use_is_accepted(tmp_path: Path, field: str, values: list[float]) -> None:
    write_records(tmp_path / "train.tfrecord", {8: [CAT], 9: [DOG]}, changes={f"image/object/{field}": values})
    assert len(prepared(tmp_path, {1: [CAT]}).records) == 3


@pytest.mark.parametrize("objects", [[], [CAT]])
def test_records_without_an_object_to_learn_are_refused(tmp_path: Path, objects: list[Object]) -> None:
    with pytest.raises(InvalidInput, match=r"trainingFilePattern: 1 records, (no object|all 1 objects are crowds)"):
        prepared(tmp_path, {1: objects}, crowd=True)


def test_validation_records_of_other_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="has no image for 1 of 2 records"):
        prepared(tmp_path, {1: [CAT]}, val_images=(101, 7))


def test_validation_without_objects_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="nothing to compare detections with"):
        prepared(tmp_path, {1: [CAT]}, val_images=(102,))


def test_names_swapped_between_training_and_validation_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r'id 1 is "cat" in .*/train0-\*-of-00001.tfrecord and "dog" in .*val.json'):
        prepared(tmp_path, {1: [CAT, DOG]}, names={1: "dog", 2: "cat"})


def test_name_of_a_validation_category_without_objects_is_not_that_of_the_class(tmp_path: Path) -> None:
    data = prepared(tmp_path, {1: [CAT, DOG]}, names={1: "cat", 2: "bird"}, val_objects=[1])
    assert data.class_map.names == ("cat", "dog")


def test_ids_dealt_anew_between_training_sets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r'"dog" has id 2 in .*/train0-.* and id 3 in .*/train1-'):
        prepared(tmp_path, {1: [CAT, DOG]}, {2: [CAT, (3, "dog")]}, num_classes=4)


def test_training_and_validation_without_a_common_category_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match='no category in common: 5 "cow" in the training records; '):
        prepared(tmp_path, {1: [(5, "cow")]}, num_classes=6)
