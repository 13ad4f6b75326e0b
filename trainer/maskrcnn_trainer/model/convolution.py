"""Convolution layer of the network, and initializers of kernels."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf


class Convolution(keras.layers.Conv2D):
    """Two-dimensional convolution, NHWC, whose kernel can include the scale of the batch norm that follows it.

    With stored statistics a batch norm is y = scale * x + shift per channel, so conv(x, kernel) * scale equals
    conv(x, kernel * scale): the multiplication moves from the activations to the much smaller kernel, and so does the
    gradient of gamma (Jacob et al. 2018, arXiv:1712.05877, section 3.2, fold in the same way for inference). The batch
    norm remains a separate layer, which adds the shift. On a CPU a step takes as long as without folding (ResNet-50,
    ratio 1.0), but the activations before the scale need not be stored for the backward pass (0.9 instead of 1.4 GiB at
    512x512, batch 2).

    Args:
        filters: output channels.
        kernel_size: side of the square kernel.
        symmetric: pad (k - 1) / 2 on both sides, as PyTorch does, instead of TensorFlow's SAME, which pads more on
            the far side if the stride is 2. Output sizes are the same.
        kwargs: of ``keras.layers.Conv2D``.

    Raises:
        ValueError: there are several groups or a dilation, which `call` does not support.
    """

    def __init__(self, filters: int, kernel_size: int, *, symmetric: bool = False, **kwargs: Any) -> None:
        super().__init__(filters, kernel_size, padding="same", data_format="channels_last", **kwargs)
        if self.groups != 1 or self.dilation_rate != (1, 1):
            raise ValueError(
                f"{self.name}: {self.groups} groups and dilation {self.dilation_rate}; a Convolution has 1 group and "
                "dilation (1, 1)"
            )
        self.symmetric = symmetric
        self._scale: Callable[[bool], tf.Tensor | None] | None = None

    def carry_scale(self, scale: Callable[[bool], tf.Tensor | None]) -> None:
        """Make `call` multiply the kernel by ``scale(training)``, float32 [filters]; None leaves it unchanged."""
        self._scale = scale

    @property
    def explicit_padding(self) -> int | None:
        """Zeros on every side in pixels; None for TensorFlow's SAME."""
        return (self.kernel_size[0] - 1) // 2 if self.symmetric and max(self.strides) > 1 else None

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the variables: float32 kernel [k, k, input channels, filters], and bias [filters] if it has one."""
        shape = (*self.kernel_size, input_shape[-1], self.filters)
        # Variables are float32 without autocast, because the scale is applied before the cast to the compute dtype.
        self._kernel = self.add_weight(
            name="kernel", shape=shape, initializer=self.kernel_initializer, dtype="float32", autocast=False
        )
        self.bias = (
            self.add_weight(
                name="bias", shape=(self.filters,), initializer=self.bias_initializer, dtype="float32", autocast=False
            )
            if self.use_bias
            else None
        )
        self.built = True

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Convolve ``inputs``, [B, H, W, C], in their dtype."""
        kernel = tf.convert_to_tensor(self._kernel)
        scale = self._scale(bool(training)) if self._scale is not None else None
        if scale is not None:
            kernel *= scale
        pad = self.explicit_padding
        outputs = tf.nn.conv2d(
            inputs,
            tf.cast(kernel, inputs.dtype),
            strides=self.strides,
            padding="SAME" if pad is None else [[0, 0], [pad, pad], [pad, pad], [0, 0]],
        )
        if self.bias is not None:
            outputs = tf.nn.bias_add(outputs, tf.cast(tf.convert_to_tensor(self.bias), inputs.dtype))
        return outputs if self.activation is None else self.activation(outputs)


class Initializers:
    """Initializers of kernels, which depend on the seed and the layer's name, but not on the order of the layers."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def _for(self, layer: str) -> int:
        return zlib.crc32(f"{self._seed}/{layer}".encode()) & 0x7FFFFFFF

    def glorot(self, layer: str) -> keras.initializers.Initializer:
        """Return a uniform initializer with variance 2 / (fan_in + fan_out) (Glorot and Bengio 2010)."""
        return keras.initializers.GlorotUniform(seed=self._for(layer))

    def normal(self, layer: str, stddev: float) -> keras.initializers.Initializer:
        """Return an initializer of N(0, stddev^2)."""
        return keras.initializers.RandomNormal(stddev=stddev, seed=self._for(layer))
