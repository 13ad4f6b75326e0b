"""The text of the calibration cache."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.export.calibration.cache import HEADER, cache_text


def test_cache_lines_are_names_and_the_bits_of_scales() -> None:
    lines = cache_text({"conv1_relu": 127.0, "fc6/BiasAdd": 12.7}).splitlines()
    assert lines[0] == HEADER == "TRT-8601-EntropyCalibration2"
    assert lines[1] == "conv1_relu: 3f800000"
    name, _, bits = lines[2].partition(": ")
    assert name == "fc6/BiasAdd"
    assert struct.unpack(">f", bytes.fromhex(bits))[0] == np.float32(0.1)
    with pytest.raises(InvalidInput, match="Identity:0"):
        cache_text({"Identity:0": 1.0})
