"""The calibration tensor file: batches of preprocessed images in HDF5, in the original toolkit's layout.

The root has the attributes ``count`` (batches) and ``shape`` (of a batch); batch i is the gzipped dataset
``_tensorfile_array_key_`` in the group ``_tensorfile_array_key__<i>``, float32 [B, 3, H, W], RGB, normalised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.files import unfinished

KEY = "_tensorfile_array_key_"

Batch = NDArray[np.float32]


def stored_batches(
    path: Path, batches: Iterable[Batch], *, before_rename: Callable[[], None] | None = None
) -> Iterator[Batch]:
    """Passes batches on and writes them to ``path``, which is renamed into place after the last one.

    Args:
        batches: float32 [B, 3, H, W] of equal H and W; the last may have fewer images.
        before_rename: called before the file is renamed; raises when another run has taken over the directory.
    """
    import h5py

    aside = unfinished(path)
    try:
        with h5py.File(aside, "x") as file:
            count = 0
            for number, batch in enumerate(batches):
                if number == 0:
                    file.attrs["shape"] = batch.shape
                file.create_group(f"{KEY}_{number}").create_dataset(KEY, data=batch, compression="gzip")
                count = number + 1
                yield batch
            file.attrs["count"] = count
        if before_rename is not None:
            before_rename()
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


class TensorFile:
    """A tensor file to read.

    Args:
        path: the file.
        image_size: (height, width) that the network takes.

    Raises:
        InvalidInput: no such file, none of this layout, or of images of another size.
    """

    def __init__(self, path: Path, image_size: tuple[int, int]) -> None:
        import h5py

        self._path = path
        try:
            with h5py.File(path, "r") as file:
                self.count = int(file.attrs["count"])
                shape = tuple(int(side) for side in file.attrs["shape"])
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise InvalidInput(
                f"--cal_data_file {path}: no calibration tensor file, or a damaged one ({error}); remove it, and it is "
                "made anew",
                reason="InvalidData",
            ) from error
        if shape[1:] != (3, *image_size) or self.count < 1:
            raise InvalidInput(
                f"--cal_data_file {path}: {self.count} batches of shape {list(shape)}; the model takes images of "
                f"{[3, *image_size]}; remove the file, and it is made anew",
                reason="InvalidData",
            )
        self.images = self.count * shape[0]

    def batches(self) -> Iterator[Batch]:
        """The batches, float32 [B, 3, H, W]."""
        import h5py

        try:
            with h5py.File(self._path, "r") as file:
                for number in range(self.count):
                    yield np.asarray(file[f"{KEY}_{number}"][KEY], np.float32)
        except (OSError, KeyError) as error:
            raise InvalidInput(
                f"--cal_data_file {self._path}: damaged ({error}); remove it, and it is made anew", reason="InvalidData"
            ) from error
