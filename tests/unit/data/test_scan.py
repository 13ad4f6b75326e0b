"""Reading the image of one record."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.small_records import write_records

from maskrcnn_trainer.data.reader import RecordReader
from maskrcnn_trainer.data.records import frame, index_records
from maskrcnn_trainer.data.scan import read_image
from maskrcnn_trainer.errors import InvalidInput


def test_image_and_its_id_are_those_of_the_record(tmp_path: Path) -> None:
    index = index_records(str(write_records(tmp_path / "val.tfrecord", {7: [(1, "one")], 9: []})))
    found = read_image(RecordReader(index), 1)
    assert (found.encoded, found.source_id) == (b"an image", b"9")


def test_damaged_record_is_refused(tmp_path: Path) -> None:
    file = write_records(tmp_path / "val.tfrecord", {7: [(1, "one")]})
    content = bytearray(file.read_bytes())
    content[content.index(b"an image")] ^= 1
    file.write_bytes(content)
    with pytest.raises(InvalidInput, match="checksum"):
        read_image(RecordReader(index_records(str(file))), 0)


@pytest.mark.parametrize(("payload", "message"), [(b"\xff" * 20, "is not a tf.train.Example"), (b"", "has no image")])
def test_other_content_is_refused(tmp_path: Path, payload: bytes, message: str) -> None:
    file = tmp_path / "val.tfrecord"
    file.write_bytes(frame(payload))
    with pytest.raises(InvalidInput, match=message):
        read_image(RecordReader(index_records(str(file))), 0)
