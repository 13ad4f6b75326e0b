from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.unit.small_records import Object, annotations, mask_png, spec_of, write_json, write_records

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
        val_objects: categories of the validation objects, if they differ.
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
MASK = mask_png(40, 30)


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
        ("class/label", [1.0, 2.0], "image/object/class/label holds floats: integers are expected"),
        ("bbox/ymin", [0, 0], "image/object/bbox/ymin holds integers: floats are expected"),
        ("mask", [MASK], "image/object/mask has 1 value for 2 objects"),
        ("mask", [MASK] * 3, "image/object/mask has 3 values for 2 objects"),
        ("mask", [MASK, b""], r"image/object/mask\[1\] is empty: a PNG is expected"),
        ("mask", [b"garbage" * 9, MASK], r"image/object/mask\[0\] is not a PNG"),
        ("mask", [MASK[:20], MASK], r"image/object/mask\[0\] is not a PNG"),
        (
            "mask",
            [MASK, mask_png(10, 20)],
            r"image/object/mask\[1\] is 10x20 \(width x height\), but the image is 40x30",
        ),
    ],
)
def test_record_with_wrong_objects_is_refused(tmp_path: Path, field: str, values: list[float], fault: str) -> None:
    changes = {f"image/object/{field}": values}
    write_records(tmp_path / "train.tfrecord", {7: [], 8: [CAT], 9: [CAT, DOG]}, size=(40, 30), changes=changes)
    start = "^trainingFilePattern: 1 of 4 records have wrong values: .*train.tfrecord: record 2"
    with pytest.raises(InvalidInput, match=rf"{start} \(image 9\): {fault}"):
        prepared(tmp_path, {1: [CAT]})


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"image/height": [30.0]}, "image/height holds floats: integers are expected"),
        ({"image/height": [30, 30]}, "image/height has 2 values: one is expected"),
        ({"image/height": []}, "image/height has 0 values: one is expected"),
        ({"image/width": [-40]}, "image/width is -40: the height or width of the image in pixels is expected"),
        ({"image/source_id": [5]}, "image/source_id holds integers: bytes are expected"),
        ({"image/encoded": [b"x", b"y"]}, "image/encoded has 2 values: one is expected"),
        ({"image/encoded": []}, "image/encoded has 0 values: one is expected"),
        ({"image/encoded": [1]}, "image/encoded holds integers: bytes are expected"),
    ],
)
@pytest.mark.parametrize("field", ["trainingFilePattern", "validationFilePattern"])
def test_record_with_wrong_features_of_its_image_is_refused_before_the_first_step(
    tmp_path: Path, field: str, changes: dict[str, list[Any]], fault: str
) -> None:
    name = "train.tfrecord" if field == "trainingFilePattern" else "val.tfrecord"
    for one in ("train.tfrecord", "val.tfrecord"):
        write_records(tmp_path / one, {1: [CAT]}, size=(40, 30), changes=changes if one == name else None)
    write_json(tmp_path / "val.json", annotations({1: [1]}, NAMES))
    with pytest.raises(
        InvalidInput, match=rf"^{field}: 1 of 1 records have wrong values: .*{name}: record 0 \(image .*\): {fault}"
    ):
        prepare_data(spec_of(tmp_path), ranks=1)


def test_mask_is_not_compared_with_a_size_that_the_record_lacks(tmp_path: Path) -> None:
    write_records(tmp_path / "train.tfrecord", {8: [CAT]}, changes={"image/object/mask": [mask_png(7, 7)]})
    assert len(prepared(tmp_path, {1: [CAT]}).records) == 2


FLAT = {"image/object/bbox/xmax": [0.2, 0.2]}
OUTSIDE = {"image/object/bbox/ymin": [1.2, 1.2], "image/object/bbox/ymax": [1.9, 1.9]}


@pytest.mark.parametrize("changes", [FLAT, OUTSIDE])
def test_records_whose_boxes_all_lack_area_are_refused(tmp_path: Path, changes: dict[str, list[Any]]) -> None:
    write_records(tmp_path / "train.tfrecord", {7: [], 9: [CAT, DOG]}, changes=changes)
    with pytest.raises(
        InvalidInput,
        match=r"trainingFilePattern: 3 records, the boxes of all 2 objects have no area inside their image "
        r"\(.*train.tfrecord: record 1 \(image 9\): image/object/bbox\[0\]\): nothing can be learned",
    ):
        prepared(tmp_path, {1: []})


def test_only_crowds_and_boxes_without_area_are_refused(tmp_path: Path) -> None:
    changes = {"image/object/bbox/xmax": [0.2, 0.6], "image/object/is_crowd": [0, 1]}
    write_records(tmp_path / "train.tfrecord", {9: [CAT, DOG]}, changes=changes)
    with pytest.raises(InvalidInput, match=r"1 of 2 objects are crowds .* all others have no area inside their image"):
        prepared(tmp_path, {1: []})


def test_some_boxes_without_area_are_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    changes = {"image/object/bbox/xmax": [0.6, 0.2, 0.2]}
    write_records(tmp_path / "train.tfrecord", {9: [CAT, DOG, CAT]}, changes=changes)
    prepared(tmp_path, {1: [CAT]})
    (warning,) = [record.getMessage() for record in caplog.records if "no area" in record.getMessage()]
    assert warning.startswith("trainingFilePattern: 2 of 4 objects are left out of training")
    assert warning.endswith("train.tfrecord: record 0 (image 9): image/object/bbox[1]")


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


def test_ids_reassigned_between_training_sets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r'"dog" has id 2 in .*/train0-.* and id 3 in .*/train1-'):
        prepared(tmp_path, {1: [CAT, DOG]}, {2: [CAT, (3, "dog")]}, num_classes=4)


def test_training_and_validation_without_a_common_category_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match='no category in common: 5 "cow" in the training records; '):
        prepared(tmp_path, {1: [(5, "cow")]}, num_classes=6)
