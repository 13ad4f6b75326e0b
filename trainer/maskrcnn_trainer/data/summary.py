"""Summary of a set of records without reading the images: categories, image ids and sizes, objects."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.data.reader import RecordReader
from maskrcnn_trainer.data.record_objects import SIDES, box_fault, without_area, wrong_boxes
from maskrcnn_trainer.data.records import RecordIndex
from maskrcnn_trainer.data.scan import RecordScan, scan_record
from maskrcnn_trainer.data.shard_names import SHARD
from maskrcnn_trainer.errors import InvalidInput


@dataclass(frozen=True)
class RecordSummary:
    """Contents of the records of an index.

    Attributes:
        categories: names of the objects by set of shards (as a pattern of its files) and raw category id; a category
            has no names if the records have none.
        source_ids: ``image/source_id`` of each record, in the order of the index.
        num_instances: int64 [N], objects of each record.
        num_crowds: int64 [N], crowds among the objects.
        num_flat: int64 [N], objects whose boxes have no area inside their image.
        num_flat_crowds: int64 [N], crowds among the objects without area.
        flat_example: the first object without area, "" if there is none.
        has_masks: bool [N], whether the record has masks (true for a record without objects).
        sizes: int64 [N, 2], height and width in the record, 0 if absent.
        image_faults: faults of the features of images, at most one a record.
        object_faults: faults of the objects of records, at most one a record.
    """

    categories: Mapping[str, Mapping[int, frozenset[str]]]
    source_ids: tuple[bytes, ...]
    num_instances: NDArray[np.int64]
    num_crowds: NDArray[np.int64]
    num_flat: NDArray[np.int64]
    num_flat_crowds: NDArray[np.int64]
    flat_example: str
    has_masks: NDArray[np.bool_]
    sizes: NDArray[np.int64]
    image_faults: tuple[str, ...]
    object_faults: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.source_ids)

    @property
    def class_ids(self) -> frozenset[int]:
        """Raw category ids of all objects."""
        return frozenset(number for names in self.categories.values() for number in names)

    def require_objects(self, *, skip_crowd: bool) -> None:
        """Require an object that training can use.

        Args:
            skip_crowd: whether crowds are left out of training.

        Raises:
            InvalidInput: there is no such object.
        """
        objects, flat = int(self.num_instances.sum()), int(self.num_flat.sum())
        crowds = int(self.num_crowds.sum()) if skip_crowd else 0
        flat_crowds = int(self.num_flat_crowds.sum()) if skip_crowd else 0
        if objects > crowds + flat - flat_crowds:
            return
        if not objects:
            found = "no object"
        elif crowds == objects:
            found = f"all {objects} objects are crowds (iscrowd 1), which training leaves out"
        elif flat == objects:
            found = f"the boxes of all {objects} objects have no area inside their image ({self.flat_example})"
        else:
            found = (
                f"{crowds} of {objects} objects are crowds (iscrowd 1), which training leaves out, and the boxes of "
                f"all others have no area inside their image ({self.flat_example})"
            )
        raise InvalidInput(
            f"trainingFilePattern: {len(self)} records, {found}: nothing can be learned from them; see the warnings of "
            "dataset_convert, and convert the data set again",
            reason="InvalidData",
        )

    def flat_remark(self) -> str:
        """Return a remark on the objects whose boxes have no area inside their image, "" if there is none."""
        flat = int(self.num_flat.sum())
        if not flat:
            return ""
        return (
            f"trainingFilePattern: {flat} of {int(self.num_instances.sum())} objects are left out of training, since "
            f"their boxes have no area inside their image, such as {self.flat_example}"
        )

    def require_sound_images(self, field: str) -> None:
        """Require that the features of all images are valid.

        Args:
            field: field of the spec that gave the records, for the message.

        Raises:
            InvalidInput: features of an image are invalid.
        """
        self._refuse(field, self.image_faults)

    def require_sound_objects(self) -> None:
        """Require that the objects of all records are valid.

        Raises:
            InvalidInput: objects of a record are invalid.
        """
        self._refuse("trainingFilePattern", self.object_faults)

    def _refuse(self, field: str, faults: Sequence[str]) -> None:
        if faults:
            raise InvalidInput(
                f"{field}: {len(faults)} of {len(self)} records have wrong values: {faults[0]}; "
                "convert the data set again",
                reason="InvalidData",
            )

    def require_masks(self) -> None:
        """Require masks in all records with objects, since training needs them.

        Raises:
            InvalidInput: a record has objects without masks.
        """
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
    """Scan records for the class map and for the checks before training.

    Args:
        index: the records.
        records: numbers of the records to scan; all if None.
        threads: number of records read at once; twice the CPUs, at least 8, if None.

    Raises:
        InvalidInput: a record is not a ``tf.train.Example`` of an image; the message names file and record.
    """
    reader = RecordReader(index)
    scanned_records = np.arange(len(index)) if records is None else np.asarray(records, dtype=np.int64)
    blocks = np.array_split(scanned_records, max(1, -(-len(scanned_records) // 256)))
    threads = threads or max(8, 2 * len(os.sched_getaffinity(0)))
    shard_sets = [_shard_set(name) for name in index.files]
    names: defaultdict[str, defaultdict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    scans: list[RecordScan] = []
    image_faults: list[str] = []
    object_faults: list[str] = []
    crowds: list[int] = []
    flat: list[NDArray[np.int64]] = []
    flat_example = ""

    def scan_block(block: NDArray[np.int64]) -> list[RecordScan]:
        return [scan_record(reader, int(record)) for record in block]

    with ThreadPoolExecutor(threads, thread_name_prefix="record-summary") as pool:
        for block, scanned in zip(blocks, pool.map(scan_block, blocks), strict=True):
            for record, scan in zip(block, scanned, strict=True):
                of_set = names[shard_sets[index.file_ids[record]]]
                for number, name in scan.categories:
                    of_set[number].update({name} if name else ())
            objects = _Objects(scanned)
            image_faults.extend(_located(index, block, scanned, [scan.image_fault for scan in scanned]))
            object_faults.extend(_located(index, block, scanned, objects.faults()))
            crowds.extend(sum(scan.crowds) for scan in scanned)
            flat.append(objects.flat_counts())
            flat_example = flat_example or next(_located(index, block, scanned, objects.flat_examples()), "")
            scans.extend(scan._replace(boxes=(), crowds=b"") for scan in scanned)
    flat_counts = np.concatenate([np.zeros((0, 2), np.int64), *flat])
    return RecordSummary(
        {
            shard_set: {number: frozenset(found) for number, found in of_set.items()}
            for shard_set, of_set in names.items()
        },
        tuple(scan.source_id for scan in scans),
        np.asarray([scan.objects for scan in scans], np.int64),
        np.asarray(crowds, np.int64),
        flat_counts[:, 0],
        flat_counts[:, 1],
        flat_example,
        np.asarray([scan.has_masks for scan in scans], np.bool_),
        np.asarray([scan.size for scan in scans], np.int64).reshape(-1, 2),
        tuple(image_faults),
        tuple(object_faults),
    )


class _Objects:
    """Objects of several records, whose boxes are checked together.

    Args:
        scans: of the records.
    """

    def __init__(self, scans: Sequence[RecordScan]) -> None:
        self._scans = scans
        sides = [b"".join([scan.boxes[side] for scan in scans]) for side in range(len(SIDES))]
        self._boxes = np.stack([np.frombuffer(side, "<f4") for side in sides], axis=1)
        self._crowds = np.frombuffer(b"".join([scan.crowds for scan in scans]), np.bool_)
        counts = [len(scan.boxes[0]) // 4 for scan in scans]
        self._starts = np.cumsum([0, *counts])
        self._owners = np.repeat(np.arange(len(scans)), counts)
        self._flat = without_area(self._boxes)

    def faults(self) -> list[str]:
        """Return the first fault of the objects of each record, "" if there is none."""
        first = self._first(wrong_boxes(self._boxes))
        return [
            box_fault(self._boxes[first[number]], int(first[number] - self._starts[number]))
            if number in first
            else scan.object_fault
            for number, scan in enumerate(self._scans)
        ]

    def flat_counts(self) -> NDArray[np.int64]:
        """Return the number of boxes without area of each record, and of the crowds among them, int64 [n, 2]."""
        counted = (self._flat, self._flat & self._crowds)
        return np.stack([np.bincount(self._owners[which], minlength=len(self._scans)) for which in counted], axis=1)

    def flat_examples(self) -> list[str]:
        """Return the name of the first box without area of each record, "" if there is none."""
        first = self._first(self._flat)
        return [
            f"image/object/bbox[{first[number] - self._starts[number]}]" if number in first else ""
            for number in range(len(self._scans))
        ]

    def _first(self, which: NDArray[np.bool_]) -> dict[int, int]:
        """Return the index of the first chosen box of each record that has one."""
        chosen = np.flatnonzero(which)
        return dict(zip(self._owners[chosen][::-1].tolist(), chosen[::-1].tolist(), strict=True))


def _located(
    index: RecordIndex, records: NDArray[np.int64], scans: Sequence[RecordScan], texts: Sequence[str]
) -> Iterator[str]:
    """Yield the texts that are not empty, each with its record."""
    for record, scan, text in zip(records, scans, texts, strict=True):
        if text:
            yield f"{index.place(int(record))} (image {scan.source_id.decode(errors='replace')}): {text}"


def _shard_set(name: str) -> str:
    """Return the pattern of the set of shards that a file belongs to; any other file is a set by itself."""
    path = Path(name)
    shard = SHARD.fullmatch(path.name)
    pattern = f"{shard['tag']}-*-of-{shard['total']}{shard['suffix'] or ''}" if shard else path.name
    return str(path.with_name(pattern))
