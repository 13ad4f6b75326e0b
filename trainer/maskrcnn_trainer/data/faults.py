"""Search for the record that caused an error of TensorFlow's input pipeline.

TensorFlow decodes images inside its graph, and its messages do not name the file. The search runs only after an error,
so it costs nothing otherwise. The messages made here do not quote TensorFlow's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import tensorflow as tf

from maskrcnn_trainer.data import examples
from maskrcnn_trainer.data.class_map import ClassMap
from maskrcnn_trainer.data.reader import RecordReader
from maskrcnn_trainer.data.records import RecordIndex
from maskrcnn_trainer.data.summary import record_summary
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.task.failures import data_error


def named_faults(
    batches: Iterable[Any],
    index: RecordIndex,
    records_of: Callable[[int], Iterable[int]],
    class_map: ClassMap | None = None,
) -> Iterator[Any]:
    """Yield the elements of ``batches``; replace a data error by one that names file, record, and image.

    Args:
        batches: a dataset whose elements come in a fixed order.
        index: the records that it reads.
        records_of: returns the records of element k (from 0).
        class_map: of a training, which looks up category ids; None if the objects of records are not used.

    Raises:
        InvalidInput: in place of TensorFlow's error, if a record of the element is at fault.
    """
    iterator, element = iter(batches), 0
    while True:
        try:
            batch = next(iterator)
        except StopIteration:
            return
        except tf.errors.OpError as error:
            fault = data_error(error) or first_fault(index, records_of(element), class_map)
            if fault is None:
                raise
            raise fault from error
        yield batch
        element += 1


def first_fault(index: RecordIndex, records: Iterable[int], class_map: ClassMap | None = None) -> InvalidInput | None:
    """Return the fault of the first record that training or evaluation cannot use, None if there is none.

    Args:
        index: the data set.
        records: the records to check.
        class_map: of a training; None if the objects of records are not used.
    """
    reader = RecordReader(index)
    for record in records:
        try:
            fault = _fault_of(index, reader, int(record), class_map)
        except InvalidInput as error:  # damaged, or not a record of an image
            return error
        if fault:
            return InvalidInput(f"{fault}; convert the data set again", reason="InvalidData")
    return None


def _fault_of(index: RecordIndex, reader: RecordReader, record: int, class_map: ClassMap | None) -> str:
    payload = tf.constant(reader.read(record))
    summary = record_summary(index, records=[record], threads=1)
    if faults := summary.image_faults + (summary.object_faults if class_map is not None else ()):
        return faults[0]
    where = f"{index.place(record)} (image {summary.source_ids[0].decode(errors='replace')})"
    try:
        stored, _ = examples.parse_image(payload)
        objects = examples.parse_example(payload)[2] if class_map is not None else None
    except tf.errors.OpError:
        return f"{where}: is not a record in the format of dataset_convert"
    try:
        found = examples.decode_pixels(stored.encoded).shape[:2]
    except (tf.errors.OpError, ValueError):
        return f"{where}: {_undecodable(stored.encoded.numpy())}"
    given = stored.size.numpy()
    if any(given > 0) and not all((given == found) | (given == 0)):
        height, width = (int(side) or "?" for side in given)
        return (
            f"{where}: image/encoded has {found[1]}x{found[0]} pixels (width x height), but image/width and "
            f"image/height, to which the objects refer, are {width}x{height}"
        )
    unknown = set(objects.classes.numpy().tolist()) - set(class_map.to_model) if objects and class_map else set()
    if unknown:
        return (
            f"{where}: image/object/class/label is {min(unknown)}, a category that valJsonFile and the first records "
            "do not have: training and validation annotations must have the same categories"
        )
    return ""


def _undecodable(encoded: bytes) -> str:
    """Return the fault of an image that TensorFlow cannot decode."""
    if not encoded:
        return "image/encoded is empty: an image is expected"
    for signature, name in _SIGNATURES.items():
        if encoded.startswith(signature):
            return f"the {name} in image/encoded is damaged or cut off"
    return "image/encoded is not a JPEG, PNG, BMP, or GIF file"


_SIGNATURES = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"BM": "BMP", b"GIF8": "GIF"}
"""First bytes of the file formats that ``tf.io.decode_image`` reads."""
