"""Layers of a backbone: their widths, their precision and their freezing, alike for every backbone."""

from __future__ import annotations

from collections.abc import Callable, Collection

import keras

from maskrcnn_trainer.model.batch_norm import BatchNorm
from maskrcnn_trainer.model.convolution import Convolution


class BackboneLayers:
    """Makes the layers with variables of one backbone, and keeps them in the order in which they were made.

    Args:
        width: output filters of a layer from its name and its full number.
        conv: makes a convolution from (name, filters, kernel_size) and keyword arguments.
        batch_norm: makes a batch norm from a name and keyword arguments.
        dtype: of the layers between the convolutions.
        frozen: names of the layers that do not train.

    Attributes:
        made: the layers so far.
    """

    def __init__(
        self,
        *,
        width: Callable[[str, int], int],
        conv: Callable[..., Convolution],
        batch_norm: Callable[..., BatchNorm],
        dtype: keras.DTypePolicy,
        frozen: Collection[str],
    ) -> None:
        self.dtype = dtype
        self.made: list[keras.layers.Layer] = []
        self._width = width
        self._conv = conv
        self._batch_norm = batch_norm
        self._frozen = frozen

    def conv_bn(
        self,
        x: keras.KerasTensor,
        *,
        conv: str,
        bn: str,
        filters: int,
        kernel_size: int,
        stride: int,
        symmetric: bool,
        epsilon: float,
    ) -> keras.KerasTensor:
        """Append a convolution without bias and the batch norm behind it, and return the output.

        Args:
            conv, bn: names of the layers.
            filters: full output width.
            symmetric: see `Convolution`.
            epsilon: of the batch norm.
        """
        convolution = self._conv(
            conv,
            self._width(conv, filters),
            kernel_size,
            strides=stride,
            symmetric=symmetric,
            use_bias=False,
            trainable=conv not in self._frozen,
        )
        frozen = bn in self._frozen
        norm = self._batch_norm(bn, epsilon=epsilon, block_frozen=frozen, trainable=not frozen)
        convolution.carry_scale(norm.scale)
        norm.scale_in_kernel = True
        self.made += [convolution, norm]
        return norm(convolution(x))

    def relu(self, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """Append a ReLU and return its output."""
        return keras.layers.ReLU(name=name, dtype=self.dtype)(x)
