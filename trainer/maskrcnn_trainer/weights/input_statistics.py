"""Normalization of the input: folding of another one into the first convolution, and the check that weights fit it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.errors import InvalidInput

Three = tuple[float, float, float]

NETWORK_MEAN: Three = (0.485 * 255, 0.456 * 255, 0.406 * 255)
"""Mean that this network subtracts, RGB in 0..255 (`data.padded_image.MEAN`)."""

NETWORK_DEVIATION = 0.224 * 255
"""Standard deviation that this network divides by, of 0..255 (`data.padded_image.STD`)."""

_SAME_MEAN = 1e-3
"""Difference of means, of 255, up to which they agree: 0.406 x 255 is written as 103.53 or 103.530."""


@dataclass(frozen=True)
class InputNormalization:
    """Input of a model: (pixel - mean) / deviation, by channel.

    Attributes:
        channels: order of the model's input channels.
        mean: of the channels in this order, in 0..255.
        deviation: of the channels in this order, of 0..255; positive.
    """

    channels: Literal["RGB", "BGR"]
    mean: Three
    deviation: Three

    def in_rgb(self) -> InputNormalization:
        """Return the same normalization with its numbers in the order red, green, blue."""
        if self.channels == "RGB":
            return self
        return InputNormalization("RGB", _reversed(self.mean), _reversed(self.deviation))

    def agrees_with(self, other: InputNormalization) -> bool:
        """Return whether both give the same input, but for differences of rounding."""
        close = all(
            abs(a - b) <= _SAME_MEAN
            for mine, theirs in ((self.mean, other.mean), (self.deviation, other.deviation))
            for a, b in zip(mine, theirs, strict=True)
        )
        return self.channels == other.channels and close

    def __str__(self) -> str:
        mean, deviation = (", ".join(f"{value:g}" for value in values) for values in (self.mean, self.deviation))
        return f"{self.channels} with mean {mean} and standard deviation {deviation} (of 255)"


@dataclass(frozen=True)
class FoldedKernel:
    """First convolution for the input of this network.

    Attributes:
        kernel: float32 [H, W, 3, O]; its input is red, green, and blue divided by this network's deviation.
        mean: that the network has to subtract instead of its own, RGB in 0..255; None if its own is the model's.
    """

    kernel: NDArray[np.float32]
    mean: Three | None


def fold_input(kernel: NDArray[Any], model: InputNormalization) -> FoldedKernel:
    """Return the first convolution with the order of the channels and their deviations folded into it.

    The result is exact: the model's input is (pixel - mean) / deviation, the network's (pixel - mean) / 57.12, so each
    channel of the kernel is multiplied by 57.12 / deviation. Zeros around the image are the same value in both. A mean
    cannot be folded in, because of these zeros.

    Args:
        kernel: [H, W, 3, O], in the order of the model's channels.
        model: the normalization that the weights were trained with.
    """
    rgb = model.in_rgb()
    ordered = np.asarray(kernel, np.float64)
    if model.channels == "BGR":
        ordered = ordered[:, :, ::-1, :]
    factors = NETWORK_DEVIATION / np.asarray(rgb.deviation)
    folded = np.ascontiguousarray(ordered * factors[:, None], np.float32)
    same = all(abs(mine - theirs) <= _SAME_MEAN for mine, theirs in zip(NETWORK_MEAN, rgb.mean, strict=True))
    return FoldedKernel(folded, None if same else rgb.mean)


class InputScale(StrEnum):
    """Size of the input values that a first convolution was trained for."""

    NORMALIZED = "values divided by their standard deviation (about 57 of 255)"
    PIXELS = "values of 0..255 less their mean"
    UNCLEAR = "neither values of 0..255 nor values divided by their standard deviation"


_TYPICAL = 0.02
"""Median over filters of the root mean square of kernel x gamma / sqrt(variance + epsilon), for normalized input.

It is 0.021 in torchvision's ResNet-18 for ImageNet (over all weights 0.031), and with 0..255 a 57th of it.
"""
_PIXELS_PER_DEVIATION = NETWORK_DEVIATION
_DEAD = 1e-3
"""Share of the third quartile of all filters below which a filter counts as dead: trained stems have some."""


def input_scale_of(
    values: Mapping[str, NDArray[Any]], epsilon: float, *, conv: str = "conv1", norm: str = "bn_conv1"
) -> InputScale | None:
    """Return the input for which a first convolution was trained, by its size with the batch norm folded in.

    The batch norm gives its outputs a size that doesn't depend on the input's, so kernel x gamma / sqrt(variance +
    epsilon) is 57 times as large for input that is 57 times as small. The kernel alone shows nothing.

    Args:
        values: the model's variables in this network's names and layout.
        epsilon: of the batch norm.
        conv: name of the convolution.
        norm: name of the batch norm.

    Returns:
        None if the batch norm or the kernel is missing, or all filters are dead.
    """
    kernel, gamma, variance = (
        values.get(name) for name in (f"{conv}/kernel", f"{norm}/gamma", f"{norm}/moving_variance")
    )
    if kernel is None or gamma is None or variance is None:
        return None
    with np.errstate(all="ignore"):
        scale = np.asarray(gamma, np.float64) / np.sqrt(np.asarray(variance, np.float64) + epsilon)
        size = np.sqrt(np.mean(np.square(np.asarray(kernel, np.float64)), axis=(0, 1, 2))) * np.abs(scale)
    size = size[np.isfinite(size)]
    live = size[size > _DEAD * np.quantile(size, 0.75)] if size.size else size
    if live.size == 0:
        return None
    # 0 for normalized input and -1 for pixels; a third is a factor of 3.9.
    exponent = math.log(float(np.median(live)) / _TYPICAL) / math.log(_PIXELS_PER_DEVIATION)
    if exponent >= -1 / 3:
        return InputScale.NORMALIZED
    return InputScale.PIXELS if exponent <= -2 / 3 else InputScale.UNCLEAR


def check_input_scale(path: str, style: str, normalization: InputNormalization, found: InputScale | None) -> str | None:
    """Refuse weights that contradict a style's input.

    Args:
        path: of the file, for messages.
        style: name of the style.
        normalization: the input of this style.
        found: the result of `input_scale_of`.

    Returns:
        A sentence for a warning if the weights fit neither input, else None.

    Raises:
        InvalidInput: the weights were trained for the other input.
    """
    if found is None:
        return None
    deviation = math.exp(sum(math.log(value) for value in normalization.deviation) / 3)
    divided = deviation > math.sqrt(_PIXELS_PER_DEVIATION)
    expected = InputScale.NORMALIZED if divided else InputScale.PIXELS
    if found is InputScale.UNCLEAR:
        return (
            f"{path}: the first convolution with its batch norm fits {found}; check that checkpointStyle {style} "
            f"({normalization}) is right"
        )
    if found is not expected:
        raise InvalidInput(
            f"checkpoint: {path} was trained for {found}, as its first convolution with its batch norm shows, but "
            f"checkpointStyle {style} has {normalization}: give the style of the model"
        )
    return None


def _reversed(values: Three) -> Three:
    return values[2], values[1], values[0]
