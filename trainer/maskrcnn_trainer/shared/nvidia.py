"""NVIDIA devices of this machine, and the variable with which a user hides them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from maskrcnn_trainer.shared.variables import CUDA_VISIBLE_DEVICES

DEVICES = Path("/dev")


def has_nvidia_device(devices: Path = DEVICES) -> bool:
    """Return whether NVIDIA's driver has made a device file for a GPU, such as ``/dev/nvidia0``."""
    return any(devices.glob("nvidia[0-9]*"))


def gpus_are_hidden(environ: Mapping[str, str] | None = None) -> bool:
    """Return whether ``CUDA_VISIBLE_DEVICES`` is "" or -1, with which a user chooses the CPU.

    Args:
        environ: default: the variables of this process.
    """
    source = os.environ if environ is None else environ
    return source.get(CUDA_VISIBLE_DEVICES, "0").strip() in ("", "-1")
