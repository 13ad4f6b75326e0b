"""What a set of records contains, found without reading the images: classes, image ids, masks, object counts.

A record is a ``tf.train.Example``: a protobuf map from feature name to a list of bytes, floats or integers. The encoded
image is nearly all of its bytes. The map is walked by hand (protobuf.dev/programming-guides/encoding): values that are
not asked for are skipped by their length, and large ones are never read from the file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.data.reader import RecordReader
from maskrcnn_trainer.data.records import RecordIndex
from maskrcnn_trainer.errors import InvalidInput

_CHUNK = 4096  # one page: what a read costs anyway

_LABEL = b"image/object/class/label"
_SOURCE_ID = b"image/source_id"
_MASK = b"image/object/mask"
_ENCODED = b"image/encoded"


@dataclass(frozen=True)
class RecordSummary:
    """What the records of an index hold.

    Attributes:
        class_ids: the raw category ids of all objects.
        source_ids: ``image/source_id`` of each record, in the order of the index.
        num_instances: int64 [N], objects of each record.
        has_masks: bool [N], whether the record has masks (true for a record without objects).
    """

    class_ids: frozenset[int]
    source_ids: tuple[bytes, ...]
    num_instances: NDArray[np.int64]
    has_masks: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.source_ids)

    def require_masks(self) -> None:
        """Raises InvalidInput unless every record with objects has masks, as training needs."""
        without = np.flatnonzero(~self.has_masks)
        if len(without):
            raise InvalidInput(
                f"trainingFilePattern: {len(without)} of {len(self)} records have objects without masks, the first is "
                f"image {self.source_ids[without[0]].decode(errors='replace')}: Mask R-CNN is trained on masks; "
                "convert the data set with --include_mask"
            )


def record_summary(
    index: RecordIndex,
    *,
    records: Sequence[int] | NDArray[np.int64] | None = None,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> RecordSummary:
    """Scans records for what the class map and the checks before training need.

    Args:
        index: the records.
        records: which of them; all when None.
        threads: readers that wait for the file system at once; twice the CPUs, at least 8, when None.
        progress: called with the number of records that were just scanned, from the calling thread.

    Raises:
        InvalidInput: a record is not a ``tf.train.Example`` of an image, with the file and the number of the record.
    """
    reader = RecordReader(index)
    wanted = np.arange(len(index)) if records is None else np.asarray(records, dtype=np.int64)
    blocks = np.array_split(wanted, max(1, -(-len(wanted) // 256)))
    threads = threads or max(8, 2 * len(os.sched_getaffinity(0)))
    class_ids: set[int] = set()
    source_ids: list[bytes] = []
    counts: list[int] = []
    masks: list[bool] = []

    def scan_block(block: NDArray[np.int64]) -> list[tuple[set[int], int, bytes, bool]]:
        return [_scan(reader, int(record)) for record in block]

    with ThreadPoolExecutor(threads, thread_name_prefix="record-summary") as pool:
        for scanned in pool.map(scan_block, blocks):
            for labels, count, source_id, has_masks in scanned:
                class_ids |= labels
                counts.append(count)
                source_ids.append(source_id)
                masks.append(has_masks)
            if progress is not None:
                progress(len(scanned))
    return RecordSummary(
        frozenset(class_ids), tuple(source_ids), np.asarray(counts, np.int64), np.asarray(masks, np.bool_)
    )


class _Window:
    """Bytes of one record, read in pages as they are asked for."""

    def __init__(self, reader: RecordReader, record: int) -> None:
        self._reader = reader
        self._record = record
        self._start = 0
        self._data = b""
        self.length = int(reader.index.lengths[record])

    def bytes_at(self, position: int, length: int) -> bytes:
        begin = position - self._start
        if begin < 0 or begin + length > len(self._data):
            self._data = self._reader.read_part(self._record, position, max(length, _CHUNK))
            self._start, begin = position, 0
        part = self._data[begin : begin + length]
        if len(part) != length:
            raise ValueError("truncated")
        return part

    def varint_at(self, position: int) -> tuple[int, int]:
        begin = position - self._start
        if 0 <= begin < len(self._data) and self._data[begin] < 0x80:
            return self._data[begin], position + 1
        value, shift = 0, 0
        while True:
            byte = self.bytes_at(position, 1)[0]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, position
            shift += 7
            if shift > 63:
                raise ValueError("a varint of more than ten bytes")


def _fields(window: _Window, position: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(field number, begin, end, value) of the fields of one message; a varint has its value, others -1."""
    if end > window.length:
        raise ValueError("truncated")
    while position < end:
        tag, position = window.varint_at(position)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == 0:
            value, after = window.varint_at(position)
            yield number, position, after, value
            position = after
        elif wire_type == 2:
            length, position = window.varint_at(position)
            if position + length > end:
                raise ValueError("truncated")
            yield number, position, position + length, -1
            position += length
        elif wire_type in (1, 5):
            length = 8 if wire_type == 1 else 4
            yield number, position, position + length, -1
            position += length
        else:
            raise ValueError(f"wire type {wire_type}")


def _scan(reader: RecordReader, record: int) -> tuple[set[int], int, bytes, bool]:
    window = _Window(reader, record)
    labels: list[int] = []
    source_id, has_masks, has_image = b"", False, False
    try:
        for number, begin, end, _ in _fields(window, 0, window.length):
            if number != 1:
                continue
            for map_number, entry_begin, entry_end, _ in _fields(window, begin, end):
                if map_number != 1:
                    continue
                key, value_begin, value_end = _entry(window, entry_begin, entry_end)
                if key == _LABEL:
                    labels = _integers(window, value_begin, value_end)
                elif key == _SOURCE_ID:
                    source_id = next(_items(window, value_begin, value_end), b"")
                elif key == _MASK:
                    has_masks = _list_length(window, value_begin, value_end) > 0
                elif key == _ENCODED:
                    has_image = True
    except ValueError as error:
        raise InvalidInput(f"{_place(reader.index, record)}: is not a tf.train.Example ({error})") from error
    if not has_image:
        raise InvalidInput(
            f"{_place(reader.index, record)}: has no feature image/encoded: it was not written by dataset_convert"
        )
    return set(labels), len(labels), source_id, has_masks or not labels


def _place(index: RecordIndex, record: int) -> str:
    file_id = int(index.file_ids[record])
    return f"{index.files[file_id]}: record {record - int(np.searchsorted(index.file_ids, file_id))}"


def _entry(window: _Window, begin: int, end: int) -> tuple[bytes, int, int]:
    key, value_begin, value_end = b"", end, end
    for number, field_begin, field_end, _ in _fields(window, begin, end):
        if number == 1:
            key = window.bytes_at(field_begin, field_end - field_begin)
        elif number == 2:
            value_begin, value_end = field_begin, field_end
    return key, value_begin, value_end


def _list_length(window: _Window, begin: int, end: int) -> int:
    return sum(list_end - list_begin for _, list_begin, list_end, _ in _fields(window, begin, end))


def _items(window: _Window, begin: int, end: int) -> Iterator[bytes]:
    for kind, list_begin, list_end, _ in _fields(window, begin, end):
        if kind == 1:
            for number, item_begin, item_end, _ in _fields(window, list_begin, list_end):
                if number == 1:
                    yield window.bytes_at(item_begin, item_end - item_begin)


def _integers(window: _Window, begin: int, end: int) -> list[int]:
    values: list[int] = []
    for kind, list_begin, list_end, _ in _fields(window, begin, end):
        if kind != 3:
            continue
        for number, item_begin, item_end, value in _fields(window, list_begin, list_end):
            if number != 1:
                continue
            if value >= 0:
                values.append(value)
            position = item_begin
            while value < 0 and position < item_end:  # packed
                packed, position = window.varint_at(position)
                values.append(packed)
    return [value - 2**64 if value >= 2**63 else value for value in values]
