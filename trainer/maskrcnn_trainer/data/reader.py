"""Reading of records by offset, from files that stay open; many threads may read at once."""

from __future__ import annotations

import os
import threading
import weakref

from maskrcnn_trainer.data.crc32c import masked_crc32c
from maskrcnn_trainer.data.records import FOOTER_BYTES, RecordIndex
from maskrcnn_trainer.errors import InvalidInput

_FILES_KEPT_OPEN = 512  # below the usual limit of 1,024 descriptors of a process


class RecordReader:
    """Reader of the payloads of an index's records.

    ``os.pread`` does not move the file position and releases the interpreter lock, so threads share one descriptor. The
    first 512 files stay open; any other is opened for each read.

    Args:
        index: the files, and the offsets of their records.
    """

    def __init__(self, index: RecordIndex) -> None:
        self.index = index
        self._descriptors: dict[int, int] = {}
        self._lock = threading.Lock()
        weakref.finalize(self, _close, self._descriptors)

    def read(self, record: int) -> bytes:
        """Return the whole payload of one record, after verifying its checksum.

        Raises:
            InvalidInput: the file is missing, unreadable, or too short, or the payload does not match its checksum.
        """
        length = int(self.index.lengths[record])
        framed = self._pread(record, 0, length + FOOTER_BYTES)
        payload = framed[:length]
        if masked_crc32c(payload) != int.from_bytes(framed[length:], "little"):
            raise InvalidInput(
                f"{self.index.files[int(self.index.file_ids[record])]}: the record at byte "
                f"{int(self.index.offsets[record])} is damaged: its checksum does not match; copy the file again, or "
                "convert the data set again",
                reason="InvalidData",
            )
        return payload

    def read_part(self, record: int, start: int, length: int) -> bytes:
        """Return ``length`` bytes from byte ``start`` of the payload, fewer at its end, without verifying them.

        The checksum in the file is that of the whole payload, so a part cannot be verified. The summary before a
        training uses this function: it needs about 100 bytes of each record and must not read all images. The training
        then reads and verifies the whole record.

        Raises:
            InvalidInput: the file is missing, unreadable, or too short.
        """
        return self._pread(record, start, min(length, int(self.index.lengths[record]) - start))

    def _pread(self, record: int, start: int, length: int) -> bytes:
        file_id = int(self.index.file_ids[record])
        offset = int(self.index.offsets[record]) + start
        kept = self._kept_descriptor(file_id)
        descriptor = self._open(file_id) if kept is None else kept
        try:
            data = os.pread(descriptor, length, offset)
        except OSError as error:
            raise InvalidInput(f"{self.index.files[file_id]}: cannot be read: {error.strerror}") from error
        finally:
            if kept is None:
                os.close(descriptor)
        if len(data) != length:
            raise InvalidInput(
                f"{self.index.files[file_id]}: ends in the middle of record {record}: "
                "the file changed since it was indexed; convert the data set again",
                reason="InvalidData",
            )
        return data

    def _kept_descriptor(self, file_id: int) -> int | None:
        descriptor = self._descriptors.get(file_id)
        if descriptor is None:
            with self._lock:
                descriptor = self._descriptors.get(file_id)
                if descriptor is None and len(self._descriptors) < _FILES_KEPT_OPEN:
                    descriptor = self._open(file_id)
                    self._descriptors[file_id] = descriptor
        return descriptor

    def _open(self, file_id: int) -> int:
        try:
            return os.open(self.index.files[file_id], os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise InvalidInput(f"{self.index.files[file_id]}: cannot be opened: {error.strerror}") from error


def _close(descriptors: dict[int, int]) -> None:
    for descriptor in descriptors.values():
        os.close(descriptor)
    descriptors.clear()
