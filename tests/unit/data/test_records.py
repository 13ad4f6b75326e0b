from __future__ import annotations

import logging
from pathlib import Path

import pytest

from maskrcnn_trainer.data.reader import RecordReader
from maskrcnn_trainer.data.records import RecordIndex, frame, index_records
from maskrcnn_trainer.data.shard_names import shard_name
from maskrcnn_trainer.errors import InvalidInput


def write_set(folder: Path, tag: str = "train", shards: int = 3, records: int = 5) -> list[Path]:
    """Write a set of shards; record i, the text "<tag> i" and i * 1000 bytes, is in shard i % shards."""
    files = [folder / shard_name(tag, shard, shards) for shard in range(shards)]
    for shard, file in enumerate(files):
        file.write_bytes(b"".join(frame(payload(tag, i)) for i in range(shard, records, shards)))
    return files


def payload(tag: str, number: int) -> bytes:
    return f"{tag} {number}".encode() + bytes(number * 1000)


def test_records_come_by_file_then_position(tmp_path: Path) -> None:
    files = write_set(tmp_path)
    index = index_records(f"{tmp_path}/train*.tfrecord")
    assert len(index) == 5
    assert index.files == tuple(map(str, files))
    assert index.file_ids.tolist() == [0, 0, 1, 1, 2]
    assert [*map(RecordReader(index).read, range(5))] == [payload("train", i) for i in (0, 3, 1, 4, 2)]
    assert index.offsets[0] == 12
    assert index.lengths.tolist() == [7 + 1000 * i for i in (0, 3, 1, 4, 2)]


def test_several_patterns_and_each_file_once(tmp_path: Path) -> None:
    write_set(tmp_path, "a", 1, 2)
    write_set(tmp_path, "b", 2, 3)
    assert len(index_records(f"{tmp_path}/b-*, {tmp_path}/a-*,{tmp_path}/*-of-00002.tfrecord")) == 5
    assert index_records(f"{tmp_path}/b-*,{tmp_path}/a-*").files[0].endswith("a-00000-of-00001.tfrecord")


def test_shards_without_records_are_accepted(tmp_path: Path) -> None:
    write_set(tmp_path, shards=7, records=2)
    index = index_records(f"{tmp_path}/train-*")
    assert (len(index.files), len(index)) == (7, 2)


def test_file_that_is_not_a_shard_is_a_set_by_itself(tmp_path: Path) -> None:
    (tmp_path / "own.tfrecord").write_bytes(frame(b"x"))
    assert len(index_records(str(tmp_path / "own.tfrecord"))) == 1


def test_nothing_matches(tmp_path: Path) -> None:
    write_set(tmp_path)
    with pytest.raises(InvalidInput, match=r"val\*\.tfrecord: no file matches; convert the data set first"):
        index_records(f"{tmp_path}/train*,{tmp_path}/val*.tfrecord")
    with pytest.raises(InvalidInput, match=rf"{tmp_path}/none: there is no such directory"):
        index_records(f"{tmp_path}/none/train*")
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match=rf"{tmp_path}/file: is a file, not a directory"):
        index_records(f"{tmp_path}/file/train*")
    with pytest.raises(InvalidInput, match="no file pattern"):
        index_records(" , ")


def test_an_incomplete_set_is_refused_by_name(tmp_path: Path) -> None:
    files = write_set(tmp_path, shards=12)
    files[3].unlink()
    files[11].unlink()
    with pytest.raises(
        InvalidInput, match=r"train-\*-of-00012\.tfrecord: incomplete, 2 of 12 shards are missing: 3, 11;"
    ):
        index_records(f"{tmp_path}/train*")


def test_shards_that_the_pattern_leaves_out_are_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_set(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert len(index_records(f"{tmp_path}/train-00000*")) == 2
    assert "leaves out 2 of 3 shards" in caplog.text


def test_two_sets_with_one_tag_are_refused(tmp_path: Path) -> None:
    write_set(tmp_path, shards=2)
    write_set(tmp_path, shards=3)
    with pytest.raises(
        InvalidInput, match=r"two sets have the same tag: train-\*-of-00002\.tfrecord \(2 files\) and train-\*-of-0000"
    ):
        index_records(f"{tmp_path}/train*")


def test_sets_of_several_tags_are_accepted(tmp_path: Path) -> None:
    write_set(tmp_path, "train", 2)
    write_set(tmp_path, "train2", 3)
    assert len(index_records(f"{tmp_path}/train*")) == 10


def test_a_shard_number_beyond_the_total_is_refused(tmp_path: Path) -> None:
    write_set(tmp_path, shards=2)
    (tmp_path / "train-00002-of-00002.tfrecord").write_bytes(frame(b"x"))
    with pytest.raises(InvalidInput, match="numbered from 0 to 1"):
        index_records(f"{tmp_path}/train*")


@pytest.mark.parametrize("kept", [1, 5, 12, 15, 1022, 1023, 1030, 1034])
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, kept: int) -> None:
    file = tmp_path / "train-00000-of-00001.tfrecord"
    whole = frame(payload("train", 1)) + frame(payload("train", 0))
    assert len(whole) == 1023 + 23
    file.write_bytes(whole[:kept])
    if kept == 1023:
        assert len(index_records(str(file))) == 1
        return
    record = 0 if kept < 1023 else 1
    with pytest.raises(InvalidInput, match=rf"train-00000-of-00001\.tfrecord: is cut off in record {record} "):
        index_records(str(file))


def test_files_that_are_not_records_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.tfrecord"
    file.write_bytes(b"\xff\xd8\xff\xe0 a photograph, for example, of any size at all")
    with pytest.raises(InvalidInput, match=r"x\.tfrecord: is not a TFRecord file"):
        index_records(str(file))
    file.write_bytes(frame(b"one") + b"\x05" + frame(b"two")[1:])
    with pytest.raises(InvalidInput, match=r"is damaged at record 1 \(byte 19"):
        index_records(str(file))
    file.write_bytes(b"")
    with pytest.raises(InvalidInput, match="without any record"):
        index_records(str(file))


def test_frame_is_length_and_payload_each_with_its_checksum() -> None:
    # the bytes that tf.io.TFRecordWriter writes for this payload
    assert frame(b"one") == bytes.fromhex("0300000000000000 b099490e 6f6e65 01405508")


@pytest.fixture
def damaged(tmp_path: Path) -> RecordIndex:
    """Two records, with one flipped bit in the payload of the first."""
    content = bytearray(frame(b"one") + frame(b"two"))
    content[12] ^= 1
    (tmp_path / "x.tfrecord").write_bytes(content)
    return index_records(str(tmp_path / "x.tfrecord"))


def test_reader_refuses_a_damaged_payload(damaged: RecordIndex) -> None:
    reader = RecordReader(damaged)
    assert reader.read(1) == b"two"
    with pytest.raises(InvalidInput, match=r"x\.tfrecord: the record at byte 12 is damaged") as caught:
        reader.read(0)
    assert caught.value.reason == "InvalidData"
