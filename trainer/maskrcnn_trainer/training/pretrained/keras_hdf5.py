"""Reader of Keras HDF5 files: TAO Toolkit's pretrained backbones, whole models, or weights only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.training.pretrained.source import Source, variable_name

MAGIC = b"\x89HDF\r\n\x1a\n"


def read_hdf5(path: Path) -> Source:
    """Read the arrays of a file, without deserializing the model in it, so that no code in the file is executed.

    Both layouts are supported: ``model_weights/<layer>/<layer>/kernel:0`` (``Model.save``) and
    ``<layer>/<layer>/kernel:0`` (``Model.save_weights``).

    Raises:
        InvalidInput: the file is damaged.
    """
    values: dict[str, NDArray[Any]] = {}
    unused: dict[str, str] = {}

    def visit(name: str, item: object) -> None:
        if not isinstance(item, h5py.Dataset) or name.startswith("optimizer_weights"):
            return
        variable = variable_name(name)
        if variable is None or not np.issubdtype(item.dtype, np.floating):
            unused[name] = "not a variable of a network"
        else:
            values[variable] = np.asarray(item[()])

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except (OSError, RuntimeError, KeyError) as error:
        raise InvalidInput(f"checkpoint: {path} is a damaged HDF5 file: {error}") from error
    return Source("Keras HDF5", values, unused=unused)
