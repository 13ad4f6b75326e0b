"""Class layers of a training that starts from a detector: its rows for classes that the data also has, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.weights.class_rows import CLASS_LAYERS, rows_for, take_rows

_SHOWN = 8
_VARIABLES = ("kernel", "bias")


@dataclass(frozen=True)
class ClassLayers:
    """Values of the class layers for the classes of the data, and what became of each class.

    Attributes:
        values: by variable name; variables that the file lacks, or has with another number of inputs, are left out.
        sentence: for the log: classes with the file's weights, and classes whose weights are new.
    """

    values: Mapping[str, NDArray[np.float32]]
    sentence: str


def class_layers_by_name(
    values: Mapping[str, NDArray[Any]],
    initial: Mapping[str, NDArray[np.float32]],
    names: Sequence[str | None] | None,
    data_names: Sequence[str],
    mapping: Mapping[str, str],
) -> ClassLayers:
    """Return the class layers for the classes of the data; rows of classes that the file lacks keep new values.

    Args:
        values: of the file, by variable name, in the layout of the network.
        initial: values of the new network.
        names: of the file's classes, None for the background and where unknown; None if no name is known.
        data_names: of the classes of the data from model id 1, "" if unknown.
        mapping: ``classMapping``, the data's name by the file's.

    Raises:
        InvalidInput: a name in the mapping is unknown in the file or in the data, or two classes become one.
    """
    rows = rows_for(names, data_names, mapping)
    taken = {
        name: take_rows(name, np.asarray(values[name], np.float32), initial[name], rows)
        for layer in CLASS_LAYERS
        for name in (f"{layer}/{variable}" for variable in _VARIABLES)
        if name in values and name in initial and values[name].shape[:-1] == initial[name].shape[:-1]
    }
    kept = [name for name, row in zip(data_names, rows[1:], strict=True) if row is not None]
    new = [name or "a class without a name" for name, row in zip(data_names, rows[1:], strict=True) if row is None]
    unknown = "; the file's classes have no known names" if names is None else ""
    return ClassLayers(
        taken,
        f"weights of the background and of {_listed(kept)} are those of the file; new are those of {_listed(new)}"
        f"{unknown}",
    )


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "no class"
    counted = list(dict.fromkeys(names))
    more = f", and {len(counted) - _SHOWN} more" if len(counted) > _SHOWN else ""
    return f"{len(names)} {'class' if len(names) == 1 else 'classes'} ({', '.join(counted[:_SHOWN])}{more})"
