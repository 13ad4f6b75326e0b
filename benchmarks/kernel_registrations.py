"""Kernels for GPUs that a wheel of TensorFlow registers, read from a file, so that no GPU and no CUDA are needed."""

from __future__ import annotations

import json
import lzma
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STORED = Path(__file__).with_name("gpu_kernels.json.xz")
"""Registrations of the wheel that requirements/trainer-gpu.lock pins; ``make gpu-kernels`` writes it."""


@dataclass(frozen=True)
class Kernel:
    """Registration of a kernel.

    Attributes:
        allowed: values that the kernel takes, by attribute of the operation, dtypes by name; any value of an attribute
            that isn't listed.
        host_arguments: names of the inputs and outputs that are in host memory.
    """

    allowed: Mapping[str, Sequence[str]]
    host_arguments: frozenset[str]

    def takes(self, attributes: Mapping[str, Sequence[str]]) -> bool:
        """Return whether the kernel takes an operation with these attributes, each a list of values."""
        return all(set(attributes.get(name, ())) <= set(values) for name, values in self.allowed.items())


@dataclass(frozen=True)
class Registrations:
    """Kernels for GPUs of one version of TensorFlow.

    Attributes:
        tensorflow: the version.
        kernels: kernels by operation, in the order in which TensorFlow prefers them.
    """

    tensorflow: str
    kernels: Mapping[str, Sequence[Kernel]]

    def kernel_for(self, operation: str, attributes: Mapping[str, Sequence[str]]) -> Kernel | None:
        """Return the kernel that runs an operation on a GPU, ``None`` if there is none for its attributes."""
        return next((kernel for kernel in self.kernels.get(operation, ()) if kernel.takes(attributes)), None)


def read_registrations(path: Path = STORED) -> Registrations:
    """Return the content of a file that `write_registrations` has written."""
    stored: dict[str, Any] = json.loads(lzma.decompress(path.read_bytes()))
    kernels = {
        operation: [Kernel(allowed, frozenset(host)) for allowed, host in listed]
        for operation, listed in stored["kernels"].items()
    }
    return Registrations(stored["tensorflow"], kernels)


def write_registrations(registrations: Registrations, path: Path = STORED) -> None:
    """Write registrations; the same ones give the same bytes."""
    stored = {
        "tensorflow": registrations.tensorflow,
        "kernels": {
            operation: [[dict(kernel.allowed), sorted(kernel.host_arguments)] for kernel in listed]
            for operation, listed in sorted(registrations.kernels.items())
        },
    }
    text = json.dumps(stored, separators=(",", ":"))
    path.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))
