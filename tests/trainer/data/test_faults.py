"""A bad record is named: file, place and image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf

from maskrcnn_trainer.data.class_map import ClassMap
from maskrcnn_trainer.data.examples import decode, parse_image
from maskrcnn_trainer.data.faults import named_faults
from maskrcnn_trainer.data.pipeline import evaluation_dataset, training_dataset
from maskrcnn_trainer.data.records import RecordIndex
from maskrcnn_trainer.errors import EXIT_INVALID, InvalidInput
from maskrcnn_trainer.spec import ExperimentSpec

pytestmark = pytest.mark.trainer

GREY = np.full((96, 128, 3), 90, np.uint8)
ANCHORS = np.array([[0, 0, 32, 32]], np.float32)
ONE_CLASS = ClassMap((1,), ("thing",), 2)


def test_an_undecodable_image_is_named(
    write_records: Callable[..., RecordIndex], make_spec: Callable[..., ExperimentSpec], picture: type, thing: type
) -> None:
    good, bad = picture(GREY, [thing((2, 2, 30, 30), 1)]), picture(GREY, [thing((2, 2, 30, 30), 1)])
    index = write_records([good, good, picture(GREY, bad.things, "broken", encoded=b"\xff\xd8 no picture")])
    spec = make_spec(eval_batch_size=2)
    dataset = evaluation_dataset(index, spec, rank=0, ranks=1, limit=0)
    batches = named_faults(dataset, index, lambda k: range(3)[2 * k : 2 * k + 2])
    assert next(batches)["valid"].numpy().all()
    with pytest.raises(InvalidInput, match=r"image broken cannot be decoded") as raised:
        next(batches)
    assert raised.value.exit_code == EXIT_INVALID
    assert str(index.files[int(index.file_ids[2])]) in str(raised.value)
    assert f"record at byte {int(index.offsets[2])}" in str(raised.value)


@pytest.mark.parametrize("training", [True, False])
def test_image_of_another_size_than_its_record_gives_is_named(
    write_records: Callable[..., RecordIndex],
    make_spec: Callable[..., ExperimentSpec],
    picture: type,
    thing: type,
    training: bool,
) -> None:
    things, half = [thing((2, 2, 30, 30), 1)], cv2.imencode(".png", GREY[::2, ::2])[1].tobytes()
    index = write_records([picture(GREY, things, "other", encoded=half)])
    dataset = (
        training_dataset(index, make_spec(), ONE_CLASS, ANCHORS, start=0, rank=0, ranks=1, with_rpn_targets=False)
        if training
        else evaluation_dataset(index, make_spec(), rank=0, ranks=1, limit=0)
    )
    with pytest.raises(
        InvalidInput, match=r"image other has 64x48 pixels \(width x height\), but the record says 128x96.*convert it"
    ):
        next(named_faults(dataset, index, lambda _: [0], ONE_CLASS))


def test_record_without_a_size_is_read(picture: type) -> None:
    example = tf.train.Example.FromString(picture(GREY, []).example())
    for key in ("image/height", "image/width"):
        del example.features.feature[key]
    image, _ = parse_image(tf.constant(example.SerializeToString()))
    assert decode(image).shape == (96, 128, 3)


def test_a_category_outside_the_map_is_named(
    write_records: Callable[..., RecordIndex], make_spec: Callable[..., ExperimentSpec], picture: type, thing: type
) -> None:
    index = write_records([picture(GREY, [thing((2, 2, 30, 30), 9)], "odd")])
    dataset = training_dataset(index, make_spec(), ONE_CLASS, ANCHORS, start=0, rank=0, ranks=1, with_rpn_targets=False)
    with pytest.raises(InvalidInput, match=r"image odd has objects of category 9"):
        next(named_faults(dataset, index, lambda _: [0], ONE_CLASS))


def test_what_is_no_fault_of_a_record_stays_what_it_was(
    write_records: Callable[..., RecordIndex], picture: type
) -> None:
    index = write_records([picture(GREY, [])])

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
    index = write_records([picture(GREY, [thing((2, 2, 30, 30), 1)])])
    file = Path(index.files[int(index.file_ids[0])])
    content = bytearray(file.read_bytes())
    place = content.index(np.float32(2 / 96).tobytes())  # of a box: TensorFlow reads the record without complaint
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
