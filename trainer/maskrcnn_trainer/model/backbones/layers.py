"""Creation of a backbone's layers, with the same rules for widths, precision, and freezing in every backbone."""

from __future__ import annotations

from collections.abc import Callable, Collection

import keras

from maskrcnn_trainer.model.batch_norm import BatchNorm
from maskrcnn_trainer.model.convolution import Convolution


class BackboneLayers:
    """Factory of the layers with variables of one backbone.

    Args:
        width: returns the output filters of a layer, given its name and its full number.
        conv: creates a convolution from (name, filters, kernel_size) and keyword arguments.
        batch_norm: creates a batch norm from a name and keyword arguments.
        dtype: of the layers between the convolutions.
        frozen: names of the layers that do not train.

    Attributes:
        made: the layers created so far, in order.
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
        """Append a convolution without bias and a batch norm, and return their output.

        Args:
            x: input of the convolution.
            conv: name of the convolution.
            bn: name of the batch norm.
            filters: full output width.
            kernel_size: side of the square kernel.
            stride: in both directions.
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
