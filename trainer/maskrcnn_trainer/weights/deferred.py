"""Tensors whose values are read once they turn out to be weights, and what their readers share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.weights.inert import Inert

_MOST_AXES = 64


class Deferred(Inert):
    """Tensor whose values are read once it turns out to be one of the weights."""

    __slots__ = ()

    def nbytes(self) -> int:
        """Return the bytes of all values in the type that the file has, as a Python integer of any size.

        Raises:
            InvalidInput: the tensor is of a kind that cannot be read, or damaged.
        """
        raise NotImplementedError

    def read(self) -> NDArray[Any]:
        """Return the values, which may be a read-only view.

        Raises:
            InvalidInput: the tensor is of a kind that cannot be read, or damaged.
        """
        raise NotImplementedError


def native(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array in the byte order of this machine."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def widened(bits: NDArray[Any]) -> NDArray[np.float32]:
    """Return float32 values for bfloat16 values, given as uint16: they are the upper halves of float32 numbers."""
    return np.asarray(bits.astype(np.uint32) << 16).view(np.float32)


def are_lengths(values: Any) -> bool:
    """Return whether values are a shape, or strides: a tuple or list of at most 64 numbers from 0 to 2^63 - 1."""
    if not isinstance(values, tuple | list) or len(values) > _MOST_AXES:
        return False
    return all(type(value) is int and 0 <= value < 1 << 63 for value in values)
