"""Creation of a backbone's layers, with the same rules for widths, precision, and freezing in every backbone."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypedDict, Unpack

import keras

from maskrcnn_trainer.model.batch_norm import BatchNorm, normalize_together
from maskrcnn_trainer.model.convolution import Convolution


class ConvBNOptions(TypedDict):
    """Options of a convolution and its batch norm.

    Attributes:
        conv: name of the convolution.
        bn: name of the batch norm.
        filters: full output width.
        kernel_size: side of the square kernel.
        stride: in both directions.
        symmetric: see `Convolution`.
    """

    conv: str
    bn: str
    filters: int
    kernel_size: int
    stride: int
    symmetric: bool


class BackboneLayers:
    """Factory of the layers with variables of one backbone.

    Args:
        width: returns the output filters of a layer, given its name and its full number.
        conv: creates a convolution from (name, filters, kernel_size) and keyword arguments.
        batch_norm: creates a batch norm from a name and keyword arguments.
        epsilon: of the batch norms.
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
        epsilon: float,
        dtype: keras.DTypePolicy,
        frozen: Collection[str],
    ) -> None:
        self.dtype = dtype
        self.made: list[keras.layers.Layer] = []
        self._width = width
        self._conv = conv
        self._batch_norm = batch_norm
        self._epsilon = epsilon
        self._frozen = frozen

    def conv_bn(self, x: keras.KerasTensor, **options: Unpack[ConvBNOptions]) -> keras.KerasTensor:
        """Append a convolution without bias and a batch norm, and return their output.

        Args:
            x: input of the convolution.
            options: of the two layers.
        """
        convolution, norm = self._make(**options)
        return norm(convolution(x))

    def conv_bns(self, *parts: tuple[keras.KerasTensor, ConvBNOptions]) -> list[keras.KerasTensor]:
        """Append several convolutions with a batch norm each, none of which reads the output of another.

        Batch norms that are synchronized over processes exchange their statistics together.

        Args:
            parts: input and options of each convolution with its batch norm.

        Returns:
            The outputs in the same order.
        """
        made = [self._make(**options) for _, options in parts]
        values = [convolution(x) for (x, _), (convolution, _) in zip(parts, made, strict=True)]
        norms = [norm for _, norm in made]
        return normalize_together(norms, values, name=f"{norms[0].name}_joined_moments")

    def _make(
        self,
        *,
        conv: str,
        bn: str,
        filters: int,
        kernel_size: int,
        stride: int,
        symmetric: bool,
    ) -> tuple[Convolution, BatchNorm]:
        convolution = self._conv(
            conv,
            self._width(conv, filters),
            kernel_size,
            strides=stride,
            symmetric=symmetric,
            use_bias=False,
            trainable=conv not in self._frozen,
        )
        norm = self._batch_norm(bn, epsilon=self._epsilon, block_frozen=bn in self._frozen)
        convolution.carry_scale(norm.scale)
        norm.scale_in_kernel = True
        self.made += [convolution, norm]
        return convolution, norm

    def relu(self, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """Append a ReLU and return its output."""
        return keras.layers.ReLU(name=name, dtype=self.dtype)(x)
