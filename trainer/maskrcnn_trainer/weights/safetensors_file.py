"""Reader of ``.safetensors`` files; the format is checked by the library safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.weights.deferred import native, widened

_BFLOAT16 = "BF16"
_TYPES: Mapping[str, str] = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    _BFLOAT16: "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "?",
}


def read_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    """Return the tensors of a file by name.

    Raises:
        InvalidInput: the file is damaged, or has a tensor of another type.
    """
    try:
        described = safetensors.deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        raise InvalidInput(f"the file is damaged: {str(error)[:200]}") from error
    tensors: dict[str, NDArray[Any]] = {}
    for name, tensor in described:
        kind = tensor["dtype"]
        if kind not in _TYPES:
            raise InvalidInput(f"the tensor {name!r:.200} has the type {kind}; one of {', '.join(_TYPES)} is supported")
        try:
            array = np.frombuffer(tensor["data"], _TYPES[kind]).reshape(tensor["shape"])
        except (ValueError, OverflowError) as error:
            raise InvalidInput(
                f"the file is damaged: the tensor {name!r:.200} has the impossible shape {tensor['shape']!r:.200}"
            ) from error
        tensors[name] = widened(array) if kind == _BFLOAT16 else native(array)
    return tensors
