"""Contents of a set of records, found without reading the images: categories, image ids and sizes, objects.

A record is a ``tf.train.Example``: a protobuf map from feature name to a list of bytes, floats or integers. The encoded
image is nearly all of its bytes. The map is walked by hand (protobuf.dev/programming-guides/encoding): values that are
not asked for are skipped by their length, and large ones are never read from the file.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.data.reader import RecordReader
from maskrcnn_trainer.data.record_objects import SIDES, box_fault, list_fault, wrong_boxes
from maskrcnn_trainer.data.records import SHARD, RecordIndex
from maskrcnn_trainer.errors import InvalidInput

_CHUNK = 4096  # one page: what a read costs anyway

_LABEL = b"image/object/class/label"
_TEXT = b"image/object/class/text"
_CROWD = b"image/object/is_crowd"
_SOURCE_ID = b"image/source_id"
_MASK = b"image/object/mask"
_ENCODED = b"image/encoded"
_HEIGHT = b"image/height"
_WIDTH = b"image/width"
_INTEGERS = frozenset((_LABEL, _CROWD, _HEIGHT, _WIDTH))
_BOX_SIDES = tuple(f"image/object/bbox/{side}".encode() for side in SIDES)


@dataclass(frozen=True)
class RecordSummary:
    """What the records of an index hold.

    Attributes:
        categories: the names that objects have, by raw category id, by set of shards (as a pattern of its files); a
            category is without names where the records have none.
        source_ids: ``image/source_id`` of each record, in the order of the index.
        num_instances: int64 [N], objects of each record; num_crowds: those of them that are crowds.
        has_masks: bool [N], whether the record has masks (true for a record without objects).
        sizes: int64 [N, 2], height and width that the record gives; 0 where it gives none.
        faults: what is wrong with the objects of records, one text a record.
    """

    categories: Mapping[str, Mapping[int, frozenset[str]]]
    source_ids: tuple[bytes, ...]
    num_instances: NDArray[np.int64]
    num_crowds: NDArray[np.int64]
    has_masks: NDArray[np.bool_]
    sizes: NDArray[np.int64]
    faults: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.source_ids)

    @property
    def class_ids(self) -> frozenset[int]:
        """The raw category ids of all objects."""
        return frozenset(number for names in self.categories.values() for number in names)

    def require_objects(self, *, skip_crowd: bool) -> None:
        """Raise InvalidInput unless there is an object to learn from.

        Args:
            skip_crowd: whether crowds are left out of training.
        """
        objects, crowds = int(self.num_instances.sum()), int(self.num_crowds.sum())
        if objects > (crowds if skip_crowd else 0):
            return
        found = f"all {objects} objects are crowds (iscrowd 1), which training leaves out" if objects else "no object"
        raise InvalidInput(
            f"trainingFilePattern: {len(self)} records, {found}: nothing can be learned from them; see the warnings of "
            "dataset_convert, and convert the data set again",
            reason="InvalidData",
        )

    def require_sound_objects(self) -> None:
        """Raise InvalidInput where the objects of a record cannot be learned from."""
        if self.faults:
            raise InvalidInput(
                f"trainingFilePattern: {len(self.faults)} of {len(self)} records have wrong values: {self.faults[0]}; "
                "convert the data set again",
                reason="InvalidData",
            )

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
) -> RecordSummary:
    """Scans records for what the class map and the checks before training need.

    Args:
        index: the records.
        records: which of them; all when None.
        threads: readers that wait for the file system at once; twice the CPUs, at least 8, when None.

    Raises:
        InvalidInput: a record is not a ``tf.train.Example`` of an image, with the file and the number of the record.
    """
    reader = RecordReader(index)
    wanted = np.arange(len(index)) if records is None else np.asarray(records, dtype=np.int64)
    blocks = np.array_split(wanted, max(1, -(-len(wanted) // 256)))
    threads = threads or max(8, 2 * len(os.sched_getaffinity(0)))
    shard_sets = [_shard_set(name) for name in index.files]
    names: defaultdict[str, defaultdict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    scans: list[_Scan] = []
    faults: list[str] = []

    def scan_block(block: NDArray[np.int64]) -> list[_Scan]:
        return [_scan(reader, int(record)) for record in block]

    with ThreadPoolExecutor(threads, thread_name_prefix="record-summary") as pool:
        for block, scanned in zip(blocks, pool.map(scan_block, blocks), strict=True):
            for record, scan in zip(block, scanned, strict=True):
                of_set = names[shard_sets[index.file_ids[record]]]
                for number, name in scan.categories:
                    of_set[number].update({name} if name else ())
            faults.extend(_object_faults(index, block, scanned))
            scans.extend(scan._replace(boxes=()) for scan in scanned)
    return RecordSummary(
        {
            shard_set: {number: frozenset(found) for number, found in of_set.items()}
            for shard_set, of_set in names.items()
        },
        tuple(scan.source_id for scan in scans),
        np.asarray([scan.objects for scan in scans], np.int64),
        np.asarray([scan.crowds for scan in scans], np.int64),
        np.asarray([scan.has_masks for scan in scans], np.bool_),
        np.asarray([scan.size for scan in scans], np.int64).reshape(-1, 2),
        tuple(faults),
    )


def _object_faults(index: RecordIndex, records: NDArray[np.int64], scans: Sequence[_Scan]) -> Iterator[str]:
    """Yield what is wrong with the objects of scanned records, the first fault of each."""
    sides = [b"".join([scan.boxes[side] for scan in scans]) for side in range(len(SIDES))]
    boxes = np.stack([np.frombuffer(side, "<f4") for side in sides], axis=1)
    wrong = np.flatnonzero(wrong_boxes(boxes))
    starts = np.cumsum([0, *(len(scan.boxes[0]) // 4 for scan in scans)])
    first = dict(zip(reversed(np.searchsorted(starts, wrong, "right") - 1), reversed(wrong), strict=True))
    for number, (record, scan) in enumerate(zip(records, scans, strict=True)):
        fault = scan.fault
        if number in first:
            fault = box_fault(boxes[first[number]], int(first[number] - starts[number]))
        if fault:
            yield f"{_place(index, int(record))} (image {scan.source_id.decode(errors='replace')}): {fault}"


def _shard_set(name: str) -> str:
    """Return the pattern of the shards that a file belongs to; a file that is no shard is a set of its own."""
    path = Path(name)
    shard = SHARD.fullmatch(path.name)
    pattern = f"{shard['tag']}-*-of-{shard['total']}{shard['suffix'] or ''}" if shard else path.name
    return str(path.with_name(pattern))


class _Scan(NamedTuple):
    """What is kept of one record.

    Attributes:
        categories: pairs of id and name ("" where there is none).
        boxes: the packed float32 of each of :data:`SIDES`, as many of each; empty where there is a `fault`.
        size: height and width, 0 where there is none.
        fault: what is wrong with the lists of its objects, "" if nothing.
    """

    categories: frozenset[tuple[int, str]]
    objects: int
    crowds: int
    source_id: bytes
    has_masks: bool
    boxes: Sequence[bytes]
    size: tuple[int, int]
    fault: str


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


def _scan(reader: RecordReader, record: int) -> _Scan:
    window = _Window(reader, record)
    integers: dict[bytes, list[int]] = {}
    sides = dict.fromkeys(_BOX_SIDES, b"")
    texts: list[bytes] = []
    source_id, has_masks, has_image = b"", False, False
    try:
        for key, begin, end in _features(window):
            if key in _INTEGERS:
                integers[key] = _integers(window, begin, end)
            elif key in sides:
                sides[key] = _floats(window, begin, end)
            elif key == _TEXT:
                texts = list(_items(window, begin, end))
            elif key == _SOURCE_ID:
                source_id = next(_items(window, begin, end), b"")
            elif key == _MASK:
                has_masks = _list_length(window, begin, end) > 0
            elif key == _ENCODED:
                has_image = True
    except ValueError as error:
        raise InvalidInput(f"{_place(reader.index, record)}: is not a tf.train.Example ({error})") from error
    if not has_image:
        raise InvalidInput(
            f"{_place(reader.index, record)}: has no feature image/encoded: it was not written by dataset_convert"
        )
    labels, crowds = integers.get(_LABEL, []), integers.get(_CROWD, [])
    names = texts if len(texts) == len(labels) else [b""] * len(labels)
    categories = frozenset(
        (label, text.decode(errors="replace")) for label, text in set(zip(labels, names, strict=True))
    )
    boxes = list(sides.values())
    fault = list_fault(labels, [len(packed) // 4 for packed in boxes], len(crowds))
    return _Scan(
        categories,
        len(labels),
        sum(map(bool, crowds)),
        source_id,
        has_masks or not labels,
        [b""] * len(boxes) if fault else boxes,
        (next(iter(integers.get(_HEIGHT, ())), 0), next(iter(integers.get(_WIDTH, ())), 0)),
        fault,
    )


def _place(index: RecordIndex, record: int) -> str:
    file_id = int(index.file_ids[record])
    return f"{index.files[file_id]}: record {record - int(np.searchsorted(index.file_ids, file_id))}"


def _features(window: _Window) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name of each feature of a record, and where its value begins and ends."""
    for number, begin, end, _ in _fields(window, 0, window.length):
        if number != 1:
            continue
        for map_number, entry_begin, entry_end, _ in _fields(window, begin, end):
            if map_number == 1:
                yield _entry(window, entry_begin, entry_end)


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


def _floats(window: _Window, begin: int, end: int) -> bytes:
    """Return a list of floats as packed float32, little endian."""
    packed = b""
    for kind, list_begin, list_end, _ in _fields(window, begin, end):
        if kind == 2:
            for number, item_begin, item_end, _ in _fields(window, list_begin, list_end):
                if number == 1:
                    packed += window.bytes_at(item_begin, item_end - item_begin)
    if len(packed) % 4:
        raise ValueError("a list of floats is cut off")
    return packed
