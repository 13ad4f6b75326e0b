"""Measurements of a training step, which come from the device in one vector."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray


class Measured(Mapping[str, float]):
    """Measurements of one step by name.

    The first access to a value copies the vector from the device. The copy waits for the step, and for all other work
    that the device was given until then.

    Args:
        vector: float32 [N + F] on the device, N named values and F flags.
        names: of the first N values.
    """

    def __init__(self, vector: tf.Tensor, names: Sequence[str]) -> None:
        self._vector = vector
        self._positions = {name: position for position, name in enumerate(names)}

    def read(self) -> None:
        """Copy the vector from the device, unless it was."""
        _ = self.vector

    @cached_property
    def vector(self) -> NDArray[np.float32]:
        """The vector on the host, float32 [N + F]."""
        values: NDArray[np.float32] = self._vector.numpy()
        return values

    @property
    def flags(self) -> NDArray[np.float32]:
        """The flags given to the step, float32 [F], means over ranks."""
        return self.vector[len(self._positions) :]

    def __getitem__(self, name: str) -> float:
        return float(self.vector[self._positions[name]])

    def __iter__(self) -> Iterator[str]:
        return iter(self._positions)

    def __len__(self) -> int:
        return len(self._positions)
