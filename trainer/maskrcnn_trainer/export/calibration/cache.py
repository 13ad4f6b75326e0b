"""Calibration cache of TensorRT's ``IInt8EntropyCalibrator2``: a scale for each tensor, as text.

The first line has version and algorithm; every other line is ``name: hex``, the bits of the float32 scale. TensorRT 8
to 10 read it together with a float32 graph (TensorRT 11 supports only explicit quantization).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.export.quantize import LEVELS

HEADER = "TRT-8601-EntropyCalibration2"


def cache_text(ranges: Mapping[str, float]) -> str:
    """Return the text of the cache.

    Args:
        ranges: largest representable absolute value by tensor.

    Raises:
        InvalidInput: the format cannot represent a tensor's name.
    """
    lines = [HEADER]
    for name, largest in ranges.items():
        if ":" in name or name.split() != [name]:
            raise InvalidInput(f"calibration cache: the tensor name {name!r} contains a colon or a space")
        bits = int(np.asarray(largest / LEVELS, np.float32).view(np.uint32))
        lines.append(f"{name}: {bits:x}")
    return "\n".join(lines) + "\n"
