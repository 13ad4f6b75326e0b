"""Reader of ``.npz`` files: a zip archive of ``.npy`` members, without pickled objects."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.weights.deferred import native
from maskrcnn_trainer.weights.inert import Inert
from maskrcnn_trainer.weights.zip_members import ZipMembers

_NUMBERS = "biuf"
# Version 3.0 is for names of fields, which arrays of numbers don't have.
_HEADERS: Mapping[tuple[int, int], Any] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_npz(members: ZipMembers) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return the arrays of numbers by name, and inert objects for arrays of anything else.

    Raises:
        InvalidInput: a member is damaged.
    """
    arrays: dict[str, NDArray[Any]] = {}
    others: dict[str, Any] = {}
    for member in members.names:
        name = member.removesuffix(".npy")
        array = _array(name, members.read(member))
        if isinstance(array, Inert):
            others[name] = array
        else:
            arrays[name] = array
    return arrays, others


def _array(name: str, content: bytearray) -> NDArray[Any] | Inert:
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)  # type: ignore[no-untyped-call]
        if version not in _HEADERS:
            return Inert(f"numpy array of version {version[0]}.{version[1]}")
        shape, fortran, dtype = _HEADERS[version](stream)
    except Exception as error:  # the header is a Python literal, whose reader raises many types of errors
        raise InvalidInput(f"the array {name!r:.200} has a damaged header: {str(error)[:200]}") from error
    if dtype.kind not in _NUMBERS:
        return Inert(f"numpy array of {dtype}"[:200])
    data = memoryview(content)[stream.tell() :].toreadonly()
    expected = math.prod(shape) * dtype.itemsize
    if any(side < 0 for side in shape) or len(data) != expected:
        raise InvalidInput(f"the array {name!r:.200} should have {expected:,} bytes, but has {len(data):,}")
    try:
        return native(np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C"))
    except ValueError as error:
        raise InvalidInput(f"the array {name!r:.200} is damaged: {error}") from error
