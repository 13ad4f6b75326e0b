"""A faulty record is named with file, number, and image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf

from maskrcnn_trainer.data.class_map import ClassMap
from maskrcnn_trainer.data.examples import decode_stored, parse_image
from maskrcnn_trainer.data.faults import named_faults
from maskrcnn_trainer.data.pipeline import evaluation_dataset, training_dataset
from maskrcnn_trainer.data.records import RecordIndex, index_records
from maskrcnn_trainer.errors import EXIT_INVALID, InvalidInput
from maskrcnn_trainer.spec import ExperimentSpec

pytestmark = pytest.mark.trainer

GRAY = np.full((96, 128, 3), 90, np.uint8)
ANCHORS = np.array([[0, 0, 32, 32]], np.float32)
ONE_CLASS = ClassMap((1,), ("thing",), 2)


def test_an_undecodable_image_is_named(
    write_records: Callable[..., RecordIndex], make_spec: Callable[..., ExperimentSpec], picture: type, thing: type
) -> None:
    good, bad = picture(GRAY, [thing((2, 2, 30, 30), 1)]), picture(GRAY, [thing((2, 2, 30, 30), 1)])
    index = write_records([good, good, picture(GRAY, bad.things, "broken", encoded=b"\xff\xd8\xff no picture")])
    spec = make_spec(eval_batch_size=2)
    dataset = evaluation_dataset(index, spec, rank=0, ranks=1, limit=0)
    batches = named_faults(dataset, index, lambda k: range(3)[2 * k : 2 * k + 2])
    assert next(batches)["valid"].numpy().all()
    with pytest.raises(
        InvalidInput, match=r"\(image broken\): the JPEG in image/encoded is damaged or cut off"
    ) as raised:
        next(batches)
    assert raised.value.exit_code == EXIT_INVALID
    assert str(raised.value).startswith(f"{index.files[1]}: record 0 (image broken): ")


@pytest.mark.parametrize("training", [True, False])
def test_image_of_another_size_than_its_record_gives_is_named(
    write_records: Callable[..., RecordIndex],
    make_spec: Callable[..., ExperimentSpec],
    picture: type,
    thing: type,
    training: bool,
) -> None:
    things, half = [thing((2, 2, 30, 30), 1)], cv2.imencode(".png", GRAY[::2, ::2])[1].tobytes()
    index = write_records([picture(GRAY, things, "other", encoded=half)])
    dataset = (
        training_dataset(index, make_spec(), ONE_CLASS, ANCHORS, start=0, rank=0, ranks=1, with_rpn_targets=False)
        if training
        else evaluation_dataset(index, make_spec(), rank=0, ranks=1, limit=0)
    )
    with pytest.raises(
        InvalidInput,
        match=r"\(image other\): image/encoded has 64x48 pixels \(width x height\), but .* are 128x96.*; convert",
    ):
        next(named_faults(dataset, index, lambda _: [0], ONE_CLASS))


def test_record_without_a_size_is_read(picture: type) -> None:
    example = tf.train.Example.FromString(picture(GRAY, []).example())
    for key in ("image/height", "image/width"):
        del example.features.feature[key]
    image, _ = parse_image(tf.constant(example.SerializeToString()))
    assert decode_stored(image).shape == (96, 128, 3)


def test_a_category_outside_the_map_is_named(
    write_records: Callable[..., RecordIndex], make_spec: Callable[..., ExperimentSpec], picture: type, thing: type
) -> None:
    index = write_records([picture(GRAY, [thing((2, 2, 30, 30), 9)], "odd")])
    dataset = training_dataset(index, make_spec(), ONE_CLASS, ANCHORS, start=0, rank=0, ranks=1, with_rpn_targets=False)
    with pytest.raises(
        InvalidInput, match=r"\(image odd\): image/object/class/label is 9, a category that valJsonFile"
    ):
        next(named_faults(dataset, index, lambda _: [0], ONE_CLASS))


def changed(example: bytes, changes: dict[str, tf.train.Feature | None]) -> bytes:
    """Return an example with changed features; those that are None are removed."""
    parsed = tf.train.Example.FromString(example)
    for key, feature in changes.items():
        del parsed.features.feature[key]
        if feature is not None:
            parsed.features.feature[key].CopyFrom(feature)
    return bytes(parsed.SerializeToString())


def floats(*values: float) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def integers(*values: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def texts(*values: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"image/height": floats(96.0)}, "image/height holds floats: integers are expected"),
        ({"image/height": integers(96, 96)}, "image/height has 2 values: one is expected"),
        ({"image/height": integers()}, "image/height has 0 values: one is expected"),
        ({"image/height": integers(-96)}, "image/height is -96: the height or width of the image in pixels"),
        ({"image/height": integers(48), "image/width": None}, "image/encoded has 128x96 pixels .* refer, are ?x48"),
        ({"image/source_id": integers(5)}, "image/source_id holds integers: bytes are expected"),
        ({"image/encoded": texts(b"x", b"y")}, "image/encoded has 2 values: one is expected"),
        ({"image/encoded": texts(b"xxxx")}, "image/encoded is not a JPEG, PNG, BMP, or GIF file"),
        ({"image/encoded": texts(b"")}, "image/encoded is empty: an image is expected"),
        ({"image/encoded": texts(b"\x89PNG\r\n\x1a\n")}, "the PNG in image/encoded is damaged or cut off"),
    ],
)
def test_record_that_tensorflow_refuses_is_reported_without_its_text(
    tmp_path: Path,
    make_spec: Callable[..., ExperimentSpec],
    picture: type,
    changes: dict[str, tf.train.Feature | None],
    fault: str,
) -> None:
    name = str(tmp_path / "val.tfrecord")
    with tf.io.TFRecordWriter(name) as writer:
        writer.write(changed(picture(GRAY, []).example(), changes))
    index = index_records(name)
    dataset = evaluation_dataset(index, make_spec(), rank=0, ranks=1, limit=0)
    with pytest.raises(InvalidInput, match=rf"^{name}: record 0 \(image .*\): {fault.replace('?', '[?]')}") as raised:
        next(named_faults(dataset, index, lambda _: [0]))
    assert not any(internal in str(raised.value) for internal in ("{{", "Key:", "DecodeImage", "Op:", "node "))


def test_faults_of_objects_are_ignored_in_evaluation(
    tmp_path: Path, make_spec: Callable[..., ExperimentSpec], picture: type
) -> None:
    name = str(tmp_path / "val.tfrecord")
    with tf.io.TFRecordWriter(name) as writer:
        changes = {"image/object/class/label": floats(1.0), "image/encoded": texts(b"xxxx")}
        writer.write(changed(picture(GRAY, []).example(), changes))
    index = index_records(name)
    with pytest.raises(InvalidInput, match="image/encoded is not a JPEG"):
        next(named_faults(evaluation_dataset(index, make_spec(), rank=0, ranks=1, limit=0), index, lambda _: [0]))


@pytest.mark.parametrize("flip", [False, True])
def test_mask_of_another_size_than_an_image_without_given_size_is_named(
    tmp_path: Path, make_spec: Callable[..., ExperimentSpec], picture: type, thing: type, flip: bool
) -> None:
    name = str(tmp_path / "train.tfrecord")
    small = cv2.imencode(".png", np.ones((10, 12), np.uint8))[1].tobytes()
    things = [thing((5, 5, 5, 9)), thing((2, 2, 30, 30)), thing((2, 2, 30, 30))]  # the first object has no area
    example = tf.train.Example.FromString(picture(GRAY, things, "odd").example())
    example.features.feature["image/object/mask"].bytes_list.value[2] = small
    with tf.io.TFRecordWriter(name) as writer:
        writer.write(picture(GRAY, things).example())
        writer.write(changed(example.SerializeToString(), {"image/height": None, "image/width": None}))
    index, spec = index_records(name), make_spec(data={"augment_input_data": flip})
    dataset = training_dataset(index, spec, ONE_CLASS, ANCHORS, start=0, rank=0, ranks=1, with_rpn_targets=False)
    fault = r"image/object/mask\[2\] is 12x10 \(width x height\), but the image is 128x96; convert the data set again"
    with pytest.raises(InvalidInput, match=rf"^{name}: record 1 \(image odd\): {fault}$"):
        next(named_faults(dataset, index, lambda _: [0, 1], ONE_CLASS))


def test_error_without_a_faulty_record_is_raised_unchanged(
    write_records: Callable[..., RecordIndex], picture: type
) -> None:
    index = write_records([picture(GRAY, [])])

    def fails(_: tf.Tensor) -> tf.Tensor:
        with tf.control_dependencies([tf.debugging.Assert(False, ["something else"])]):
            return tf.constant(1)

    dataset = tf.data.Dataset.range(1).map(fails)
    with pytest.raises(tf.errors.InvalidArgumentError, match="something else"):
        next(named_faults(dataset, index, lambda _: [0]))


@pytest.mark.parametrize("kind", ["training", "evaluation"])
def test_damaged_record_is_named(
    write_records: Callable[..., RecordIndex],
    make_spec: Callable[..., ExperimentSpec],
    picture: type,
    thing: type,
    kind: str,
) -> None:
    index = write_records([picture(GRAY, [thing((2, 2, 30, 30), 1)])])
    file = Path(index.files[int(index.file_ids[0])])
    content = bytearray(file.read_bytes())
    place = content.index(np.float32(2 / 96).tobytes())  # a byte of a box, which TensorFlow reads without an error
    content[place + 3] ^= 0x80
    file.write_bytes(content)
    spec = make_spec()
    dataset = (
        training_dataset(index, spec, ONE_CLASS, ANCHORS, start=0, rank=0, ranks=1, with_rpn_targets=False)
        if kind == "training"
        else evaluation_dataset(index, spec, rank=0, ranks=1, limit=0)
    )
    with pytest.raises(InvalidInput, match=rf"{file.name}: the record at byte 12 is damaged") as raised:
        next(named_faults(dataset, index, lambda _: [0], ONE_CLASS))
    assert raised.value.exit_code == EXIT_INVALID
