"""The calibration cache of TensorRT's ``IInt8EntropyCalibrator2``: a scale for each tensor, as text.

The first line names version and algorithm; every other one is ``name: hex``, the bits of the float32 scale.
TensorRT 8 to 10 read it beside a float32 graph (TensorRT 11 knows only explicit quantisation).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.export.quantise import LEVELS

HEADER = "TRT-8601-EntropyCalibration2"


def cache_text(ranges: Mapping[str, float]) -> str:
    """The cache of tensors with the largest absolute value that is told apart.

    Raises:
        InvalidInput: a name that the format cannot hold.
    """
    lines = [HEADER]
    for name, largest in ranges.items():
        if ":" in name or name.split() != [name]:
            raise InvalidInput(f"calibration cache: the tensor name {name!r} has a colon or a space in it")
        bits = int(np.asarray(largest / LEVELS, np.float32).view(np.uint32))
        lines.append(f"{name}: {bits:x}")
    return "\n".join(lines) + "\n"
