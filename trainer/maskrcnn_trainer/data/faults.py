"""Which record is behind an error of TensorFlow's input pipeline, and what is wrong with it.

TensorFlow decodes images inside its own graph, and its messages name no file. Looking for the record when something has
gone wrong costs nothing while all is well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from maskrcnn_trainer.data import examples
from maskrcnn_trainer.data.class_map import ClassMap
from maskrcnn_trainer.data.pipeline import data_error
from maskrcnn_trainer.data.reader import RecordReader
from maskrcnn_trainer.data.records import RecordIndex
from maskrcnn_trainer.errors import InvalidInput


def named_faults(
    batches: Iterable[Any],
    index: RecordIndex,
    records_of: Callable[[int], Iterable[int]],
    class_map: ClassMap | None = None,
) -> Iterator[Any]:
    """The elements of ``batches``; a data error becomes one that names file, record and image.

    Args:
        batches: a dataset whose elements come in a fixed order.
        index: the records that it reads.
        records_of: the records of element k (from 0).
        class_map: given where category ids are looked up in it.

    Raises:
        InvalidInput: in place of TensorFlow's error, where a record of the element is at fault.
    """
    iterator, element = iter(batches), 0
    while True:
        try:
            batch = next(iterator)
        except StopIteration:
            return
        except tf.errors.OpError as error:
            fault = data_error(error) or _first_fault(index, records_of(element), class_map)
            if fault is None:
                raise
            raise fault from error
        yield batch
        element += 1


def _first_fault(index: RecordIndex, records: Iterable[int], class_map: ClassMap | None) -> InvalidInput | None:
    reader = RecordReader(index)
    for record in records:
        where = f"{index.files[int(index.file_ids[record])]}, record at byte {int(index.offsets[record])}"
        try:
            stored, source_id, objects = examples.parse_example(tf.constant(reader.read(int(record))))
        except tf.errors.OpError as error:
            return _fault(f"{where}: is no example as dataset_convert writes it ({_line(error)}): convert it again")
        image = source_id.numpy().decode(errors="replace")
        try:
            pixels = examples.decode_pixels(stored.encoded)
        except (tf.errors.OpError, ValueError) as error:
            return _fault(f"{where}: image {image} cannot be decoded ({_line(error)}): mend it and convert it again")
        found, given = pixels.shape[:2], stored.size.numpy()
        if given.all() and tuple(given) != tuple(found):
            return _fault(
                f"{where}: image {image} has {found[1]}x{found[0]} pixels (width x height), but the record says "
                f"{given[1]}x{given[0]}, in which its objects are: convert it again"
            )
        known = set(class_map.to_model) if class_map is not None else None
        unknown = sorted(set(np.unique(objects.classes.numpy()).tolist()) - known) if known is not None else []
        if unknown:
            return _fault(
                f"{where}: image {image} has objects of category {unknown[0]}, which valJsonFile and the first records "
                "do not have: convert the data set again with annotations whose categories agree"
            )
    return None


def _fault(message: str) -> InvalidInput:
    return InvalidInput(message, reason="InvalidData")


def _line(error: Exception) -> str:
    text = str(getattr(error, "message", "") or error).strip()
    return text.splitlines()[0].partition(" [Op:")[0][:200] if text else type(error).__name__
