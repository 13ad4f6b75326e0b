"""Reading records by offset: open files are kept, reads are positional and may run in many threads."""

from __future__ import annotations

import os
import threading
import weakref

from maskrcnn_trainer.data.crc32c import masked_crc32c
from maskrcnn_trainer.data.records import FOOTER_BYTES, RecordIndex
from maskrcnn_trainer.errors import InvalidInput

_FILES_KEPT_OPEN = 512  # below the usual limit of 1024 descriptors of a process


class RecordReader:
    """Payloads of the records of an index.

    ``os.pread`` moves no file position and releases the interpreter lock, so threads share one descriptor. Beyond 512
    files a file is opened for each read.

    Args:
        index: which files, and where their records are.
    """

    def __init__(self, index: RecordIndex) -> None:
        self.index = index
        self._descriptors: dict[int, int] = {}
        self._lock = threading.Lock()
        weakref.finalize(self, _close, self._descriptors)

    def read(self, record: int) -> bytes:
        """Return the whole payload of one record, compared with its checksum.

        Raises:
            InvalidInput: the file is gone or too short, or the payload is not the one that was written.
        """
        length = int(self.index.lengths[record])
        framed = self._pread(record, 0, length + FOOTER_BYTES)
        payload = framed[:length]
        if masked_crc32c(payload) != int.from_bytes(framed[length:], "little"):
            raise InvalidInput(
                f"{self.index.files[int(self.index.file_ids[record])]}: the record at byte "
                f"{int(self.index.offsets[record])} is damaged: its bytes are not those of its checksum; copy the file "
                "again, or convert the data set again",
                reason="InvalidData",
            )
        return payload

    def read_part(self, record: int, start: int, length: int) -> bytes:
        """Return ``length`` bytes from byte ``start`` of the payload, fewer at its end; errors as ``read``.

        A part cannot be checked: the checksum in the file is of the whole payload. It serves the summary before a
        training, which needs some 100 bytes of each record and must not read all images; the training then reads, and
        checks, the whole record.
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
