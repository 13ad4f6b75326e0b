from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from maskrcnn_trainer.data.reader import RecordReader
from maskrcnn_trainer.data.records import RecordIndex, index_records
from maskrcnn_trainer.data.summary import record_summary
from maskrcnn_trainer.errors import InvalidInput

pytestmark = pytest.mark.trainer

WriteRecords = Callable[..., RecordIndex]
NOISE = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)  # its PNG is larger than a page of memory


def test_summary_counts_what_was_written(write_records: WriteRecords, picture: type, thing: type) -> None:
    pictures = [
        picture(NOISE, [thing((1, 2, 30, 40), 3), thing((5, 5, 9, 9), 90)], "first"),
        picture(NOISE, [], "nothing"),
        picture(NOISE, [thing((0, 0, 60, 80), 3, crowd=1)] * 300, "many"),
        picture(NOISE, [thing((0, 0, 60, 80), 2**31 - 1)], "large id"),
        picture(NOISE, [thing((0, 0, 60, 80), -4)], "negative id"),
    ]
    index = write_records(pictures, shards=3)
    summary = record_summary(index, threads=3)
    assert summary.source_ids == (b"first", b"nothing", b"many", b"large id", b"negative id")
    assert summary.class_ids == {3, 90, 2**31 - 1, -4}
    assert summary.num_instances.tolist() == [2, 0, 300, 1, 1]
    assert summary.has_masks.all()
    assert len(summary) == 5
    summary.require_masks()
    assert record_summary(index, records=[2, 0]).source_ids == (b"many", b"first")


def test_names_of_categories_are_those_of_each_set_of_shards(tmp_path: Path, picture: type, thing: type) -> None:
    box = (0, 0, 9, 9)
    sets = {
        "a-00000-of-00001.tfrecord": [
            picture(NOISE, [thing(box, 1, name="cat"), thing(box, 2, name="Hund \u00e9"), thing(box, 1, name="cat")]),
            picture(NOISE, [thing(box, 1, name="katze")]),
        ],
        "b.tfrecord": [picture(NOISE, [thing(box, 2), thing(box, 3)])],
    }
    for name, pictures in sets.items():
        with tf.io.TFRecordWriter(str(tmp_path / name)) as writer:
            for one in pictures:
                writer.write(one.example())
    summary = record_summary(index_records(f"{tmp_path}/*.tfrecord"))
    assert summary.categories == {
        str(tmp_path / "a-*-of-00001.tfrecord"): {1: {"cat", "katze"}, 2: {"Hund \u00e9"}},
        str(tmp_path / "b.tfrecord"): {2: set(), 3: set()},
    }


def test_records_without_an_object_to_learn_are_refused(
    write_records: WriteRecords, picture: type, thing: type
) -> None:
    crowds = record_summary(write_records([picture(NOISE, [thing((0, 0, 9, 9), crowd=1)]), picture(NOISE)]))
    assert crowds.num_crowds.tolist() == [1, 0]
    crowds.require_objects(skip_crowd=False)
    with pytest.raises(InvalidInput, match=r"2 records, all 1 objects are crowds \(iscrowd 1\)"):
        crowds.require_objects(skip_crowd=True)


def test_records_without_masks_are_refused_by_name(write_records: WriteRecords, picture: type, thing: type) -> None:
    boxes = [thing((1, 2, 30, 40))]
    index = write_records(
        [picture(NOISE, boxes, "a"), picture(NOISE, boxes, "b", with_masks=False), picture(NOISE, [], "c")]
    )
    summary = record_summary(index)
    assert summary.has_masks.tolist() == [True, False, True]
    with pytest.raises(InvalidInput, match=r"1 of 3 records.*image b.*--include_mask"):
        summary.require_masks()


def test_unpacked_integers_count_too(tmp_path: Path) -> None:
    # Protobuf readers accept both encodings of a repeated integer; this one is unpacked: tag 8 before each.
    label = b"\x0a\x18image/object/class/label\x12\x06\x1a\x04\x08\x05\x08\x07"
    image = b"\x0a\x0dimage/encoded\x12\x05\x0a\x03\x0a\x01x"
    entries = b"".join(b"\x0a" + bytes([len(entry)]) + entry for entry in (label, image))
    record = b"\x0a" + bytes([len(entries)]) + entries
    parsed = tf.train.Example.FromString(record)
    assert list(parsed.features.feature["image/object/class/label"].int64_list.value) == [5, 7]
    name = str(tmp_path / "one.tfrecord")
    with tf.io.TFRecordWriter(name) as writer:
        writer.write(record)
    assert record_summary(index_records(name)).class_ids == {5, 7}


@pytest.mark.parametrize(
    "payload", [b"", b"\xff" * 40, b"\x0a\x05\x0a\x03", b"\x0a\x7f", tf.train.Example().SerializeToString()]
)
def test_foreign_records_are_refused_by_file_and_number(tmp_path: Path, payload: bytes) -> None:
    name = str(tmp_path / "foreign.tfrecord")
    with tf.io.TFRecordWriter(name) as writer:
        writer.write(payload)
    with pytest.raises(InvalidInput, match=r"foreign\.tfrecord: record 0"):
        record_summary(index_records(name))


def payload_in_file(index: RecordIndex, number: int) -> bytes:
    start, length = int(index.offsets[number]), int(index.lengths[number])
    return Path(index.files[index.file_ids[number]]).read_bytes()[start : start + length]


def test_reader_gives_the_same_bytes_and_notices_a_file_that_changed(
    write_records: WriteRecords, picture: type, thing: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = write_records([picture(NOISE, [thing((1, 2, 3, 4))], str(k)) for k in range(7)], shards=4)
    expected = [payload_in_file(index, k) for k in range(7)]
    reader = RecordReader(index)
    assert [*map(reader.read, range(7))] == expected
    assert reader.read_part(3, 10, 20) == expected[3][10:30]
    monkeypatch.setattr("maskrcnn_trainer.data.reader._FILES_KEPT_OPEN", 1)
    few = RecordReader(index)
    assert [*map(few.read, reversed(range(7)))] == expected[::-1]
    assert len(few._descriptors) == 1

    with Path(index.files[0]).open("r+b") as file:
        file.truncate(int(index.offsets[0]) + 5)
    with pytest.raises(InvalidInput, match="ends in the middle of record 0"):
        reader.read(0)
    Path(index.files[2]).unlink()
    with pytest.raises(InvalidInput, match="cannot be opened"):
        RecordReader(index).read(int(np.flatnonzero(index.file_ids == 2)[0]))
