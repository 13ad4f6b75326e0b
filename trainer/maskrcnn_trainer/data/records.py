"""Index of the records of a data set: finding its shard files, checking that they are complete, and record offsets.

The TFRecord format frames a record as: length (8 bytes, little endian), masked CRC-32C of the length (4), payload,
masked CRC-32C of the payload (4). Indexing reads only the lengths with their checksums, 12 bytes a record, so its time
does not depend on the size of the images.
"""

from __future__ import annotations

import glob
import logging
import mmap
import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.data.crc32c import masked_crc32c
from maskrcnn_trainer.data.shard_names import SHARD
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.task.files import directory_fault

log = logging.getLogger(__name__)

HEADER_BYTES = 12
FOOTER_BYTES = 4

_SHOWN = 10


@dataclass(frozen=True)
class RecordIndex:
    """Positions of all records of a data set, in the order of the sorted files and then of the offsets.

    Attributes:
        files: paths.
        file_ids: int32 [N], index into ``files``.
        offsets: int64 [N], first byte of the payload.
        lengths: int64 [N], bytes of the payload.
    """

    files: tuple[str, ...]
    file_ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets)

    def place(self, record: int) -> str:
        """Return the file of a record and its number in that file, from 0, for messages."""
        file_id = int(self.file_ids[record])
        return f"{self.files[file_id]}: record {record - int(np.searchsorted(self.file_ids, file_id))}"


def index_records(patterns: str) -> RecordIndex:
    """Find and index the records of one or more file patterns.

    Args:
        patterns: paths with wildcards, separated by commas.

    Raises:
        InvalidInput: a pattern matches no file, a set of shards is incomplete, two sets with one tag are mixed, a file
            is damaged or truncated, or there is no record at all.
    """
    files = find_files(patterns)
    check_shards(files)
    offsets, lengths = [], []
    for name in files:
        one_offsets, one_lengths = index_file(name)
        offsets.append(one_offsets)
        lengths.append(one_lengths)
    file_ids = np.repeat(np.arange(len(files), dtype=np.int32), [len(one) for one in offsets])
    index = RecordIndex(tuple(files), file_ids, np.concatenate(offsets), np.concatenate(lengths))
    if not len(index):
        raise InvalidInput(f"{patterns}: {len(files)} files without any record; convert the data set again")
    return index


def find_files(patterns: str) -> list[str]:
    """Return the files that match comma-separated patterns, sorted, each once.

    Raises:
        InvalidInput: there is no pattern, or one matches no file.
    """
    separate = [pattern.strip() for pattern in patterns.split(",") if pattern.strip()]
    if not separate:
        raise InvalidInput("no file pattern for records; give a path such as /data/train-*.tfrecord")
    found: set[str] = set()
    for pattern in separate:
        names = glob.glob(pattern, recursive=True)  # noqa: PTH207 - it may be absolute
        matched = [name for name in names if Path(name).is_file()]
        if not matched:
            folder = Path(pattern).parent
            fault = "" if glob.has_magic(str(folder)) else directory_fault(folder)
            hint = f" ({folder}: {fault})" if fault else ""
            raise InvalidInput(f"{pattern}: no file matches{hint}; convert the data set first, or correct the pattern")
        found.update(matched)
    return sorted(found)


def check_shards(files: Iterable[str]) -> None:
    """Refuse shards that are not one complete set for each tag.

    A file whose name is not that of a shard is a set by itself. Shards that exist but that the pattern leaves out are
    accepted with a warning, since the user may have chosen that.

    Raises:
        InvalidInput: a set is incomplete, or has two totals; the message names the set and the missing shards or the
            totals.
    """
    sets: dict[tuple[str, str, str], dict[int, set[int]]] = {}
    for name in files:
        path = Path(name)
        match = SHARD.fullmatch(path.name)
        if match:
            key = (str(path.parent), match["tag"], match["suffix"] or "")
            sets.setdefault(key, {}).setdefault(int(match["total"]), set()).add(int(match["shard"]))
    for (folder, tag, suffix), totals in sorted(sets.items()):
        if len(totals) > 1:
            sizes = " and ".join(
                f"{tag}-*-of-{total:05d}{suffix} ({len(found)} files)" for total, found in sorted(totals.items())
            )
            raise InvalidInput(
                f"{folder}: two sets have the same tag: {sizes}; remove the older one, or convert the data set again",
                reason="InvalidData",
            )
        total, found = next(iter(totals.items()))
        beyond = sorted(one for one in found if one >= total)
        if beyond:
            raise InvalidInput(
                f"{folder}/{tag}-{beyond[0]:05d}-of-{total:05d}{suffix}: "
                f"the shards of this set are numbered from 0 to {total - 1}",
                reason="InvalidData",
            )
        absent = [one for one in range(total) if one not in found]
        lost = [one for one in absent if not (Path(folder) / f"{tag}-{one:05d}-of-{total:05d}{suffix}").is_file()]
        if lost:
            raise InvalidInput(
                f"{folder}/{tag}-*-of-{total:05d}{suffix}: incomplete, "
                f"{len(lost)} of {total} shards are missing: {_list(lost)}; "
                "convert the data set again",
                reason="InvalidData",
            )
        if absent:
            log.warning(
                "%s/%s-*-of-%05d%s: the pattern leaves out %d of %d shards",
                folder,
                tag,
                total,
                suffix,
                len(absent),
                total,
            )


def index_file(name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return offsets and lengths, in bytes, int64 [n] each, of the payloads in one file; an empty file has none.

    Raises:
        InvalidInput: the file cannot be read, is not a TFRecord file, or is damaged or truncated; the message has the
            position.
    """
    offsets: list[int] = []
    lengths: list[int] = []
    try:
        with Path(name).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if not size:
                return np.zeros(0, np.int64), np.zeros(0, np.int64)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                position = 0
                while position + HEADER_BYTES <= size:
                    header = data[position : position + HEADER_BYTES]
                    if not is_record_header(header):
                        what = f"is damaged at record {len(offsets)}" if offsets else "is not a TFRecord file"
                        raise InvalidInput(
                            f"{name}: {what} (byte {position}: the checksum of the record's length is wrong); "
                            "convert the data set again",
                            reason="InvalidData",
                        )
                    length = int.from_bytes(header[:8], "little")
                    end = position + HEADER_BYTES + length + FOOTER_BYTES
                    offsets.append(position + HEADER_BYTES)
                    lengths.append(length)
                    if end > size:
                        break
                    position = end
    except OSError as error:
        raise InvalidInput(f"{name}: cannot be read: {error.strerror}", reason="InvalidData") from error
    if position != size:
        raise InvalidInput(
            f"{name}: is cut off in record {max(0, len(offsets) - (position + HEADER_BYTES <= size))} "
            f"(byte {position} of {size}); convert the data set again",
            reason="InvalidData",
        )
    return np.asarray(offsets, np.int64), np.asarray(lengths, np.int64)


def is_record_header(header: bytes) -> bool:
    """Return whether 12 bytes are the header of a record: the length of its payload, and the length's checksum."""
    return len(header) == HEADER_BYTES and masked_crc32c(header[:8]) == int.from_bytes(header[8:], "little")


def frame(payload: bytes) -> bytes:
    """Return a payload in the framing of a TFRecord file: length, its checksum, payload, its checksum."""
    length = struct.pack("<Q", len(payload))
    return b"".join(
        (length, struct.pack("<I", masked_crc32c(length)), payload, struct.pack("<I", masked_crc32c(payload)))
    )


def _list(numbers: Sequence[int]) -> str:
    text = ", ".join(map(str, numbers[:_SHOWN]))
    return f"{text}, ..." if len(numbers) > _SHOWN else text
