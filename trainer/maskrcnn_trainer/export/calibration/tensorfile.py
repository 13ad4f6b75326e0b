"""Calibration tensor file: batches of preprocessed images in HDF5, in TAO Toolkit's layout.

The root has the attributes ``count`` (number of batches) and ``shape`` (of a batch); batch i is the gzipped dataset
``_tensorfile_array_key_`` in the group ``_tensorfile_array_key__<i>``, float32 [B, 3, H, W], RGB, normalized.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.errors import NO_SPACE, InvalidInput, WorkspaceFull
from maskrcnn_trainer.shared.files import open_regular, replacing

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer
    from _typeshed import WriteableBuffer

KEY = "_tensorfile_array_key_"

Batch = NDArray[np.float32]


def stored_batches(
    path: Path, batches: Iterable[Batch], *, before_rename: Callable[[], None] | None = None
) -> Iterator[Batch]:
    """Yield batches while writing them to ``path``, which is renamed into place after the last one.

    Args:
        path: the tensor file.
        batches: float32 [B, 3, H, W] of equal H and W; the last may have fewer images.
        before_rename: called before the file is renamed; raises if another run has taken over the directory.

    Raises:
        WorkspaceFull: the disk or the quota is full; the incomplete file is deleted.
        OSError: the file cannot be written.
    """
    import h5py

    try:
        with replacing(path, before_rename=before_rename) as stream:
            spill = _Spill(stream)
            with h5py.File(spill, "w") as file:
                count = 0
                for number, batch in enumerate(batches):
                    if number == 0:
                        file.attrs["shape"] = batch.shape
                    file.create_group(f"{KEY}_{number}").create_dataset(KEY, data=batch, compression="gzip")
                    file.flush()
                    spill.check()
                    count = number + 1
                    yield batch
                file.attrs["count"] = count
            spill.check()
    except OSError as error:
        if error.errno in NO_SPACE:
            raise WorkspaceFull(f"{path}: no space left for the tensor file: {error.strerror}") from error
        raise


class _Spill(io.RawIOBase):
    """File for HDF5 that keeps the first write error and discards everything after it.

    HDF5 retries failed writes when it closes the file, at the latest in the destructor, where a second failure ends the
    process with SIGSEGV.
    """

    def __init__(self, target: FileIO) -> None:
        self._target = target
        self._error: OSError | None = None

    def check(self) -> None:
        """Raise the first write error, if there was one."""
        if self._error is not None:
            raise self._error

    def write(self, data: Buffer, /) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while rest and self._error is None:
                rest = rest[self._target.write(rest) :]
        except OSError as error:
            self._error = error
        return size

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        return self._target.readinto(buffer)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return self._target.seek(offset, whence)

    def tell(self) -> int:
        return self._target.tell()

    def truncate(self, size: int | None = None, /) -> int:
        try:
            return self._target.truncate(size) if self._error is None else size or 0
        except OSError as error:
            self._error = error
            return size or 0

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


class TensorFile:
    """Tensor file to read.

    Args:
        path: the file.
        image_size: (height, width) of the network's input.

    Raises:
        InvalidInput: the file isn't a tensor file, or its images have another size.
        OSError: the file cannot be read.
    """

    def __init__(self, path: Path, image_size: tuple[int, int]) -> None:
        import h5py

        self._path = path
        try:
            with open_regular(path):  # errors of h5py contain neither the file nor the cause
                pass
            with h5py.File(path, "r") as file:
                self.count = int(file.attrs["count"])
                shape = tuple(int(side) for side in file.attrs["shape"])
        except (OSError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, OSError) and error.filename is not None:
                raise
            raise InvalidInput(
                f"--cal_data_file {path}: not a calibration tensor file, or damaged; delete it, and export creates it "
                "again",
                reason="InvalidData",
            ) from error
        if shape[1:] != (3, *image_size) or self.count < 1:
            raise InvalidInput(
                f"--cal_data_file {path}: {self.count} batches of shape {list(shape)}, expected images of shape "
                f"{[3, *image_size]}; delete the file, and export creates it again",
                reason="InvalidData",
            )
        self.images = self.count * shape[0]
        self._image = shape[1:]

    def batches(self) -> Iterator[Batch]:
        """Yield the batches, float32 [B, 3, H, W]."""
        import h5py

        try:
            file = h5py.File(self._path, "r")
        except OSError as error:
            raise self._damaged("it can no longer be opened") from error
        with file:
            for number in range(self.count):
                yield self._batch(file, number)

    def _batch(self, file: Any, number: int) -> Batch:
        try:
            batch = np.asarray(file[f"{KEY}_{number}"][KEY], np.float32)
        except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._damaged(f"batch {number} of {self.count} is missing or cannot be read") from error
        if batch.shape[1:] != self._image:
            raise self._damaged(
                f"batch {number} has shape {list(batch.shape)}, expected images of shape {list(self._image)}"
            )
        return batch

    def _damaged(self, what: str) -> InvalidInput:
        return InvalidInput(
            f"--cal_data_file {self._path}: damaged: {what}; delete it, and export creates it again",
            reason="InvalidData",
        )
