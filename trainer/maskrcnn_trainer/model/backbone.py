"""ResNet (He et al. 2015, arXiv:1512.03385) under the layer names of the original template."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from string import ascii_lowercase

import keras

from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model.batch_norm import BatchNorm
from maskrcnn_trainer.model.convolution import Convolution

BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
BOTTLENECK_DEPTHS = (50, 101)
STAGE_FILTERS = (64, 128, 256, 512)
EPSILON = {"resnet": 1e-3, "resnet_v1_5": 1e-5}


@dataclass(frozen=True)
class ConvSpec:
    """One convolution of the backbone and the batch norm behind it.

    Attributes:
        conv, bn: layer names.
        kernel_size, stride: of the square kernel.
        filters: full output width.
        block: 0 for the stem, 1..4 for the stages (the numbers of ``freezeBlocks``).
    """

    conv: str
    bn: str
    kernel_size: int
    stride: int
    filters: int
    block: int


@dataclass(frozen=True)
class SubBlock:
    """A residual sub-block: its convolutions in order, and the projection of its shortcut (None = identity)."""

    name: str
    convs: tuple[ConvSpec, ...]
    shortcut: ConvSpec | None


STEM = ConvSpec("conv1", "bn_conv1", 7, 2, 64, 0)


def sub_block_name(stage: int, index: int) -> str:
    """``block_1a`` for the first sub-block of stage 1."""
    return f"block_{stage}{ascii_lowercase[index]}"


def sub_blocks(nlayers: int, arch: str) -> Iterator[SubBlock]:
    """The residual sub-blocks in order.

    ``resnet`` puts the stride on the first convolution and projects the shortcut of every stage's first sub-block;
    ``resnet_v1_5`` puts it on the 3x3 and projects only where the shape changes, as torchvision does.
    """
    bottleneck = nlayers in BOTTLENECK_DEPTHS
    channels = STEM.filters
    for stage, (count, width) in enumerate(zip(BLOCKS[nlayers], STAGE_FILTERS, strict=True), start=1):
        out = width * 4 if bottleneck else width
        for index in range(count):
            name = sub_block_name(stage, index)
            stride = 2 if stage > 1 and index == 0 else 1
            shapes: tuple[tuple[int, int, int], ...]
            if bottleneck:
                first, second = (stride, 1) if arch == "resnet" else (1, stride)
                shapes = ((1, first, width), (3, second, width), (1, 1, out))
            else:
                shapes = ((3, stride, width), (3, 1, width))
            convs = tuple(
                ConvSpec(f"{name}_conv_{i}", f"{name}_bn_{i}", kernel, step, filters, stage)
                for i, (kernel, step, filters) in enumerate(shapes, start=1)
            )
            projected = index == 0 and (arch == "resnet" or stride > 1 or channels != out)
            shortcut = (
                ConvSpec(f"{name}_conv_shortcut", f"{name}_bn_shortcut", 1, stride, out, stage) if projected else None
            )
            channels = out
            yield SubBlock(name, convs, shortcut)


def build_backbone(
    images: keras.KerasTensor,
    architecture: Architecture,
    *,
    conv: Callable[..., Convolution],
    batch_norm: Callable[..., BatchNorm],
    dtype: keras.DTypePolicy,
    freeze_blocks: tuple[int, ...],
) -> tuple[dict[int, keras.KerasTensor], list[keras.layers.Layer]]:
    """Build the backbone on ``images`` [B, H, W, 3].

    Args:
        conv: makes a convolution from (name, filters, kernel_size) and keyword arguments.
        batch_norm: makes a batch norm from a name and keyword arguments.
        dtype: of the layers between the convolutions.
        freeze_blocks: blocks whose kernels and batch norms do not train.

    Returns:
        The outputs of the four stages by level (2..5, stride 2^level), and the layers with variables in listing order.
    """
    arch = architecture.arch
    layers: list[keras.layers.Layer] = []

    def conv_bn(x: keras.KerasTensor, spec: ConvSpec) -> keras.KerasTensor:
        trains = spec.block not in freeze_blocks
        convolution = conv(
            spec.conv,
            architecture.width(spec.conv, spec.filters),
            spec.kernel_size,
            strides=spec.stride,
            symmetric=arch == "resnet_v1_5",
            use_bias=False,
            trainable=trains,
        )
        norm = batch_norm(spec.bn, epsilon=EPSILON[arch], block_frozen=not trains, trainable=trains)
        convolution.carry_scale(norm.scale)
        norm.scale_in_kernel = True
        layers.extend((convolution, norm))
        return norm(convolution(x))

    def relu(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return keras.layers.ReLU(name=name, dtype=dtype)(x)

    x = relu(conv_bn(images, STEM), "conv1_relu")
    if arch == "resnet_v1_5":
        # Zeros on every side: nothing below zero comes out of the ReLU, so they never win against a pixel.
        x = keras.layers.ZeroPadding2D(1, name="pool1_pad", dtype=dtype)(x)
        x = keras.layers.MaxPooling2D(3, 2, padding="valid", name="pool1", dtype=dtype)(x)
    else:
        x = keras.layers.MaxPooling2D(3, 2, padding="same", name="pool1", dtype=dtype)(x)

    taps: dict[int, keras.KerasTensor] = {}
    for block in sub_blocks(architecture.nlayers, arch):
        shortcut, y = x, x
        for i, spec in enumerate(block.convs, start=1):
            y = conv_bn(y, spec)
            if i < len(block.convs):
                y = relu(y, f"{block.name}_relu_{i}")
        if block.shortcut is not None:
            shortcut = conv_bn(x, block.shortcut)
        x = keras.layers.Add(name=f"{block.name}_add", dtype=dtype)([y, shortcut])
        x = relu(x, f"{block.name}_relu")
        taps[block.convs[0].block + 1] = x
    return taps, layers
