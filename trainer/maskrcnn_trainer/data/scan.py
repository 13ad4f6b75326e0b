"""Scan of one record's content without reading its image.

A record is a ``tf.train.Example``: a protobuf map from feature name to a list of bytes, floats, or integers. Nearly all
of its bytes are the encoded image. The wire format (protobuf.dev/programming-guides/encoding) is parsed here: values
that are not needed are skipped by their length, and large ones are never read from the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from maskrcnn_trainer.data.reader import RecordReader
from maskrcnn_trainer.data.record_objects import MASK_HEADER, SIDES, list_fault, mask_fault
from maskrcnn_trainer.errors import InvalidInput

_CHUNK = 4096  # one page, the least that a read transfers
_LONGEST = 65536  # the masks of one photograph take 2 to 30 KB

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

_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = 1, 2, 3  # field numbers of tensorflow/core/example/feature.proto
_KIND_NAMES = {_BYTES_LIST: "bytes", _FLOAT_LIST: "floats", _INT64_LIST: "integers"}
_IMAGE_KINDS = {_ENCODED: _BYTES_LIST, _SOURCE_ID: _BYTES_LIST, _HEIGHT: _INT64_LIST, _WIDTH: _INT64_LIST}
_OBJECT_KINDS = {
    _LABEL: _INT64_LIST,
    _CROWD: _INT64_LIST,
    _MASK: _BYTES_LIST,
    **dict.fromkeys(_BOX_SIDES, _FLOAT_LIST),
}
_KINDS = _IMAGE_KINDS | _OBJECT_KINDS


class RecordScan(NamedTuple):
    """Content of one record without its image.

    Attributes:
        categories: pairs of id and name ("" if it has none).
        objects: number of objects.
        crowds: one byte for each object, 1 for a crowd; empty if there is an `object_fault`.
        source_id: ``image/source_id``.
        has_masks: whether there are masks; true for a record without objects.
        boxes: for each of :data:`SIDES` the packed float32 of all objects; empty if there is an `object_fault`.
        size: height and width in pixels, 0 if absent.
        image_fault: fault of the features of the image, "" if there is none.
        object_fault: fault of the lists of its objects, "" if there is none.
    """

    categories: frozenset[tuple[int, str]]
    objects: int
    crowds: bytes
    source_id: bytes
    has_masks: bool
    boxes: Sequence[bytes]
    size: tuple[int, int]
    image_fault: str
    object_fault: str


class RecordImage(NamedTuple):
    """Image of one record: its encoded bytes, and ``image/source_id``."""

    encoded: bytes
    source_id: bytes


def read_image(reader: RecordReader, record: int) -> RecordImage:
    """Return the image of one record, after verifying the record's checksum.

    Raises:
        InvalidInput: the file can't be read, or the record is damaged or has no image.
    """
    reader.read(record)
    window = _Window(reader, record)
    found = {_ENCODED: b"", _SOURCE_ID: b""}
    try:
        for key, begin, end in _features(window):
            if key in found:
                found[key] = next(_items(window, begin, end), b"")
    except ValueError as error:
        raise InvalidInput(f"{reader.index.place(record)}: is not a tf.train.Example ({error})") from error
    if not found[_ENCODED]:
        raise InvalidInput(f"{reader.index.place(record)}: has no image")
    return RecordImage(found[_ENCODED], found[_SOURCE_ID])


def scan_record(reader: RecordReader, record: int) -> RecordScan:
    """Scan one record.

    Raises:
        InvalidInput: the record is not a ``tf.train.Example`` of an image; the message names file and record.
    """
    window = _Window(reader, record)
    lists = _Lists()
    try:
        for key, begin, end in _features(window):
            lists.add(window, key, begin, end)
    except ValueError as error:
        raise InvalidInput(f"{reader.index.place(record)}: is not a tf.train.Example ({error})") from error
    if _ENCODED not in lists.image_values:
        raise InvalidInput(
            f"{reader.index.place(record)}: has no feature image/encoded: it was not written by dataset_convert"
        )
    labels, crowds = lists.integers.get(_LABEL, []), lists.integers.get(_CROWD, [])
    names = lists.texts if len(lists.texts) == len(labels) else [b""] * len(labels)
    boxes = [lists.sides.get(side, b"") for side in _BOX_SIDES]
    size = (next(iter(lists.integers.get(_HEIGHT, ())), 0), next(iter(lists.integers.get(_WIDTH, ())), 0))
    object_fault = (
        _kind_fault(lists.wrong_kinds, _OBJECT_KINDS)
        or list_fault(labels, [len(packed) // 4 for packed in boxes], len(crowds), len(lists.masks))
        or mask_fault(lists.masks, range(len(lists.masks)), size)
    )
    return RecordScan(
        frozenset((label, text.decode(errors="replace")) for label, text in set(zip(labels, names, strict=True))),
        len(labels),
        b"" if object_fault else bytes(flag > 0 for flag in crowds) or bytes(len(labels)),
        lists.source_id,
        bool(lists.masks) or not labels,
        [b""] * len(boxes) if object_fault else boxes,
        size,
        _kind_fault(lists.wrong_kinds, _IMAGE_KINDS) or _image_fault(lists.image_values, size),
        object_fault,
    )


def _kind_fault(wrong_kinds: Mapping[bytes, int], expected: Mapping[bytes, int]) -> str:
    for key, kind in wrong_kinds.items():
        if key in expected:
            found = _KIND_NAMES.get(kind, "values of an unknown kind")
            return f"{key.decode()} holds {found}: {_KIND_NAMES[expected[key]]} are expected"
    return ""


def _image_fault(values: Mapping[bytes, int], size: tuple[int, int]) -> str:
    """Return the fault of an image's features (number of values, size), "" if there is none.

    TensorFlow requires exactly one value of each feature that is present.
    """
    for key, count in values.items():
        if count != 1:
            return f"{key.decode()} has {count} values: one is expected"
    for key, side in zip((_HEIGHT, _WIDTH), size, strict=True):
        if side < 0:
            return f"{key.decode()} is {side}: the height or width of the image in pixels is expected"
    return ""


class _Lists:
    """Lists of one record.

    Attributes:
        image_values: number of values of each feature of the image.
        integers: integer values by feature.
        sides: packed float32 by feature.
        texts: category name of each object.
        masks: the first bytes of each mask.
        source_id: of the image.
        wrong_kinds: features whose list is of another kind than dataset_convert writes, with the kind found.
    """

    def __init__(self) -> None:
        self.image_values: dict[bytes, int] = {}
        self.integers: dict[bytes, list[int]] = {}
        self.sides: dict[bytes, bytes] = {}
        self.texts: list[bytes] = []
        self.masks: list[bytes] = []
        self.source_id = b""
        self.wrong_kinds: dict[bytes, int] = {}

    def add(self, window: _Window, key: bytes, begin: int, end: int) -> None:
        """Read the needed part of one feature, whose value is at bytes ``begin`` to ``end`` of the record."""
        if key == _TEXT:
            self.texts = list(_items(window, begin, end))
            return
        expected = _KINDS.get(key)
        if expected is None:
            return
        if begin == end:  # a feature without a list counts as absent
            return
        kind = window.bytes_at(begin, 1)[0] >> 3
        if kind != expected:
            self.wrong_kinds[key] = kind
            count = 1
        elif key in _INTEGERS:
            self.integers[key] = _integers(window, begin, end)
            count = len(self.integers[key])
        elif key == _MASK:
            window.prepare(begin, end - begin)
            self.masks = list(_items(window, begin, end, MASK_HEADER))
            return
        elif key in _BOX_SIDES:
            self.sides[key] = _floats(window, begin, end)
            return
        else:
            items = list(_items(window, begin, end, 0 if key == _ENCODED else None))
            count = len(items)
            if key == _SOURCE_ID and items:
                self.source_id = items[0]
        if key in _IMAGE_KINDS:
            self.image_values[key] = count


class _Window:
    """Bytes of one record, read page by page as needed."""

    def __init__(self, reader: RecordReader, record: int) -> None:
        self._reader = reader
        self._record = record
        self._start = 0
        self._data = b""
        self.length = int(reader.index.lengths[record])

    def prepare(self, position: int, length: int) -> None:
        """Read a range, up to 64 KiB, at once instead of page by page, since nearly all of it is needed."""
        if position < self._start or position + length > self._start + len(self._data):
            self._load(position, min(length, _LONGEST))

    def _load(self, position: int, length: int) -> None:
        self._data = self._reader.read_part(self._record, position, max(length, _CHUNK))
        self._start = position

    def bytes_at(self, position: int, length: int) -> bytes:
        """Return ``length`` bytes; raise ValueError if the record is too short."""
        begin = position - self._start
        if begin < 0 or begin + length > len(self._data):
            self._load(position, length)
            begin = 0
        part = self._data[begin : begin + length]
        if len(part) != length:
            raise ValueError("truncated")
        return part

    def varint_at(self, position: int) -> tuple[int, int]:
        """Return a varint and the position after it; raise ValueError if it is invalid."""
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
    """Yield (field number, begin, end, value) of the fields of one message; value is -1 except for a varint."""
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


def _features(window: _Window) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name of each feature of a record, and the begin and end of its value."""
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


def _items(window: _Window, begin: int, end: int, most: int | None = None) -> Iterator[bytes]:
    """Yield the values of a list of bytes, the first `most` bytes of each (all if None)."""
    for kind, list_begin, list_end, _ in _fields(window, begin, end):
        if kind == _BYTES_LIST:
            for number, item_begin, item_end, _ in _fields(window, list_begin, list_end):
                if number == 1:
                    length = item_end - item_begin
                    yield window.bytes_at(item_begin, length if most is None else min(length, most))


def _integers(window: _Window, begin: int, end: int) -> list[int]:
    values: list[int] = []
    for kind, list_begin, list_end, _ in _fields(window, begin, end):
        if kind != _INT64_LIST:
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
    """Return a list of floats as packed float32, little endian; raise ValueError if its length is wrong."""
    packed = b""
    for kind, list_begin, list_end, _ in _fields(window, begin, end):
        if kind == _FLOAT_LIST:
            for number, item_begin, item_end, _ in _fields(window, list_begin, list_end):
                if number == 1:
                    packed += window.bytes_at(item_begin, item_end - item_begin)
    if len(packed) % 4:
        raise ValueError("a list of floats is truncated")
    return packed
