"""NumPy arrays in a pickle, rebuilt from type, shape, and bytes, without NumPy's own functions for pickles.

NumPy writes an array in two ways. Protocols below 5: ``multiarray._reconstruct(ndarray, (0,), b"b")``, and then a state
of version, shape, type, Fortran order, and bytes (a string in Python 2). Protocol 5: ``numeric._frombuffer(bytes, type,
shape, order)``, since NumPy 2.3 also with an order of axes. NumPy 2 names its modules ``numpy._core``, NumPy 1
``numpy.core``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.weights.deferred import Deferred, are_lengths, native
from maskrcnn_trainer.weights.inert import Inert
from maskrcnn_trainer.weights.pickled_containers import Budget, Rebuild

_NUMBERS = re.compile(r"[<>=|]?(b1|[iu][1248]|f[248])")
_LONGEST_TYPE = 100


class _Type(Inert):
    """Type of an array: its code (``f4``, ``O8``), whose byte order is in its state."""

    __slots__ = ("code", "order")

    def __init__(self, code: str) -> None:
        super().__init__("numpy.dtype")
        self.code = code
        self.order = "="

    def set_state(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "|", "="):
            self.order = state[1]

    def dtype(self) -> np.dtype[Any]:
        if not _NUMBERS.fullmatch(self.code):
            what = "Python objects" if self.code.startswith("O") else f"type {self.code}"
            raise InvalidInput(f"it is an array of {what}, not of numbers")
        return np.dtype(self.order + self.code.lstrip("<>=|"))


class PickledArray(Deferred):
    """Array of a pickle."""

    __slots__ = ("_axes", "_data", "_order", "_shape", "_type")

    def __init__(self) -> None:
        super().__init__("numpy.ndarray")
        self._type: Any = None
        self._shape: Any = None
        self._data: Any = None
        self._order: Any = "C"
        self._axes: Any = None

    def set_state(self, state: Any) -> None:
        """Take the state that protocols below 5 give: version, shape, type, Fortran order, and bytes."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise TypeError("the state of an array that isn't five values")
        _, self._shape, self._type, fortran, self._data = state
        self._order = "F" if fortran else "C"

    def set_buffer(self, data: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> None:
        """Take what protocol 5 gives: bytes, type, shape, order (``C``, ``F``, ``K``), and for ``K`` the axes."""
        self._data, self._type, self._shape, self._order, self._axes = data, dtype, shape, order, axes

    def _dtype(self) -> np.dtype[Any]:
        if not isinstance(self._type, _Type):
            raise InvalidInput("it is an array without a type: the file is damaged")
        return self._type.dtype()

    def nbytes(self) -> int:  # noqa: D102 - see Deferred
        item_size = self._dtype().itemsize
        if not are_lengths(self._shape) or not isinstance(self._data, bytes | str):
            raise InvalidInput("it is an array without a shape or without bytes: the file is damaged")
        count: int = math.prod(self._shape)
        return count * item_size

    def read(self) -> NDArray[Any]:  # noqa: D102 - see Deferred
        expected = self.nbytes()
        if len(self._data) != expected:
            raise InvalidInput(f"it is an array of {expected:,} bytes, but the file has {len(self._data):,} for it")
        try:
            data = self._data.encode("latin-1") if isinstance(self._data, str) else self._data
            flat = np.frombuffer(data, self._dtype())
            if self._order == "K":
                return native(flat.reshape(self._shape).transpose(self._axes))
            return native(flat.reshape(self._shape, order="F" if self._order == "F" else "C"))
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"it is a damaged array: {error}") from error


def _type(arguments: tuple[Any, ...], _budget: Budget) -> Inert:
    code = arguments[0]
    return _Type(code) if isinstance(code, str) and len(code) < _LONGEST_TYPE else Inert("numpy.dtype")


def _reconstruct(_arguments: tuple[Any, ...], _budget: Budget) -> PickledArray:
    return PickledArray()


def _from_buffer(arguments: tuple[Any, ...], _budget: Budget) -> PickledArray:
    array = PickledArray()
    array.set_buffer(*arguments)
    return array


def _scalar(arguments: tuple[Any, ...], _budget: Budget) -> Any:
    """Return a Python number for a number of NumPy."""
    if len(arguments) != 2 or not isinstance(arguments[0], _Type) or not isinstance(arguments[1], bytes | str):
        return Inert("numpy.generic")
    kind, data = arguments
    if not _NUMBERS.fullmatch(kind.code) or len(data) != kind.dtype().itemsize:
        return Inert("numpy.generic")
    return np.frombuffer(data.encode("latin-1") if isinstance(data, str) else data, kind.dtype())[0].item()


ARRAYS: Mapping[str, Rebuild] = {
    "numpy.dtype": _type,
    **{
        f"{package}.{function}": rebuild
        for package in ("numpy.core", "numpy._core")
        for function, rebuild in (
            ("multiarray._reconstruct", _reconstruct),
            ("multiarray.scalar", _scalar),
            ("numeric._frombuffer", _from_buffer),
        )
    },
}
"""Functions for `restricted_pickle.load_pickle` by which arrays of NumPy 1 and 2 are rebuilt."""
