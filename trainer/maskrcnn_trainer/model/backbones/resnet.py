"""ResNet (He et al. 2015, arXiv:1512.03385) with the layer names of TAO Toolkit's template."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.model.backbones.protocol import Stage

if TYPE_CHECKING:
    import keras

    from maskrcnn_trainer.model.backbones.layers import BackboneLayers, ConvBNOptions

_SUB_BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
"""Sub-blocks of each stage by depth."""
_BOTTLENECK_DEPTHS = (50, 101)
_STAGE_FILTERS = (64, 128, 256, 512)


@dataclass(frozen=True)
class ConvSpec:
    """Convolution of the backbone and the batch norm that follows it.

    Attributes:
        conv: name of the convolution.
        bn: name of the batch norm.
        kernel_size: side of the square kernel.
        stride: in both directions.
        filters: full output width.
    """

    conv: str
    bn: str
    kernel_size: int
    stride: int
    filters: int


@dataclass(frozen=True)
class SubBlock:
    """Residual sub-block.

    Attributes:
        stage: 1 to 4.
        name: prefix of its layers' names.
        convs: its convolutions in order.
        shortcut: projection of its shortcut; None for the identity.
    """

    stage: int
    name: str
    convs: tuple[ConvSpec, ...]
    shortcut: ConvSpec | None

    @property
    def output(self) -> str:
        """Name of its last layer."""
        return f"{self.name}_relu"


_STEM = ConvSpec("conv1", "bn_conv1", 7, 2, 64)

_VARIABLE = re.compile(rf"({_STEM.conv}|{_STEM.bn}|block_\d[a-z]_(conv|bn)_\w+)/\w+")
_TORCH_STEM = "conv1.weight"
_TORCH_BLOCK = re.compile(r"layer([1-4])\.(\d+)\.(conv|bn|downsample\.)(\d)\.(\w+)")
_TORCH_OTHER_CONV1 = re.compile(r"layer\d+\.\d+\.conv1\.weight$")
_TORCH_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


@dataclass(frozen=True)
class ResNet:
    """ResNet 10, 18, 34, 50, and 101; see `Backbone`.

    Attributes:
        arch: value of ``maskrcnnConfig.arch``.
        epsilon: of the batch norms.
        as_torchvision: only shortcuts whose shape changes have a projection, and padding is symmetric. Otherwise, as in
            TAO Toolkit, the shortcut of every stage's first sub-block has a projection, and padding is TensorFlow's
            SAME.
        stride_on_1x1: the stride of a bottleneck is on its first convolution, as in the original network (He et al.
            2015, arXiv:1512.03385) and in the model zoo of Detectron2, and not on the 3x3.
    """

    arch: str
    epsilon: float
    as_torchvision: bool
    stride_on_1x1: bool
    title: ClassVar[str] = "ResNet"
    depths: ClassVar[tuple[int, ...]] = tuple(_SUB_BLOCKS)
    stem: ClassVar[str] = _STEM.conv
    torch_stem: ClassVar[str] = _TORCH_STEM
    torch_misfit: ClassVar[str] = "variants with another stem, such as timm's resnet50d,"

    def sub_blocks(self, nlayers: int) -> Iterator[SubBlock]:
        """Yield the residual sub-blocks of a depth in order."""
        bottleneck = nlayers in _BOTTLENECK_DEPTHS
        channels = _STEM.filters
        for stage, (count, width) in enumerate(zip(_SUB_BLOCKS[nlayers], _STAGE_FILTERS, strict=True), start=1):
            out = width * 4 if bottleneck else width
            for index in range(count):
                name = _sub_block_name(stage, index)
                stride = 2 if stage > 1 and index == 0 else 1
                shapes: tuple[tuple[int, int, int], ...]
                if bottleneck:
                    first, second = (stride, 1) if self.stride_on_1x1 else (1, stride)
                    shapes = ((1, first, width), (3, second, width), (1, 1, out))
                else:
                    shapes = ((3, stride, width), (3, 1, width))
                convs = tuple(
                    ConvSpec(f"{name}_conv_{i}", f"{name}_bn_{i}", kernel, step, filters)
                    for i, (kernel, step, filters) in enumerate(shapes, start=1)
                )
                projected = index == 0 and (not self.as_torchvision or stride > 1 or channels != out)
                shortcut = (
                    ConvSpec(f"{name}_conv_shortcut", f"{name}_bn_shortcut", 1, stride, out) if projected else None
                )
                channels = out
                yield SubBlock(stage, name, convs, shortcut)

    def stages(self, nlayers: int) -> tuple[Stage, ...]:
        """Return the outputs of stages 1 to 4, which have levels 2 to 5."""
        last = {block.stage: block.output for block in self.sub_blocks(nlayers)}
        return tuple(Stage(stage + 1, layer) for stage, layer in last.items())

    def blocks(self, nlayers: int) -> Mapping[int, tuple[str, ...]]:
        """Return the layers of the stem as block 0, and those of stages 1 to 4 as blocks 1 to 4."""
        found: dict[int, tuple[str, ...]] = {0: (_STEM.conv, _STEM.bn)}
        for block in self.sub_blocks(nlayers):
            specs = (*block.convs, *((block.shortcut,) if block.shortcut else ()))
            names = tuple(name for spec in specs for name in (spec.conv, spec.bn))
            found[block.stage] = (*found.get(block.stage, ()), *names)
        return found

    def build(self, images: keras.KerasTensor, nlayers: int, layers: BackboneLayers) -> Mapping[str, keras.KerasTensor]:
        """Build the backbone, see `Backbone.build`."""
        import keras

        def options(spec: ConvSpec) -> ConvBNOptions:
            return {
                "conv": spec.conv,
                "bn": spec.bn,
                "filters": spec.filters,
                "kernel_size": spec.kernel_size,
                "stride": spec.stride,
                "symmetric": self.as_torchvision,
            }

        x = layers.relu(layers.conv_bn(images, **options(_STEM)), "conv1_relu")
        if self.as_torchvision:
            # Zero padding does not change the maximum, since the ReLU's output is never below zero.
            x = keras.layers.ZeroPadding2D(1, name="pool1_pad", dtype=layers.dtype)(x)
            x = keras.layers.MaxPooling2D(3, 2, padding="valid", name="pool1", dtype=layers.dtype)(x)
        else:
            x = keras.layers.MaxPooling2D(3, 2, padding="same", name="pool1", dtype=layers.dtype)(x)

        outputs: dict[str, keras.KerasTensor] = {}
        for block in self.sub_blocks(nlayers):
            shortcut, y = x, x
            *first, last = block.convs
            for i, spec in enumerate(first, start=1):
                y = layers.relu(layers.conv_bn(y, **options(spec)), f"{block.name}_relu_{i}")
            if block.shortcut is None:
                y = layers.conv_bn(y, **options(last))
            else:
                y, shortcut = layers.conv_bns((y, options(last)), (x, options(block.shortcut)))
            x = keras.layers.Add(name=f"{block.name}_add", dtype=layers.dtype)([y, shortcut])
            x = outputs[block.output] = layers.relu(x, block.output)
        return outputs

    def owns(self, variable: str) -> bool:
        """Return whether a variable belongs to a ResNet, see `Backbone.owns`."""
        return _VARIABLE.fullmatch(variable) is not None

    def found_instead(self, variables: Collection[str], nlayers: int) -> str | None:
        """Return the ResNet that a file's variables belong to, see `Backbone.found_instead`."""
        counts = tuple(
            sum(f"{_sub_block_name(stage, i)}_conv_1/kernel" in variables for i in range(len(ascii_lowercase)))
            for stage in range(1, 5)
        )
        bottleneck = "block_1a_conv_3/kernel" in variables
        fits = [n for n in self.depths if _SUB_BLOCKS[n] == counts and (n in _BOTTLENECK_DEPTHS) == bottleneck]
        if nlayers in fits:
            return None
        if fits:
            return f"a ResNet-{fits[0]}"
        listed = ", ".join(map(str, counts))
        return f"a ResNet with {listed} blocks in its stages, which no nlayers has,"

    def torch_prefix(self, tensors: Collection[str]) -> str | None:
        """Return the prefix of torchvision's names, see `Backbone.torch_prefix`."""
        found = sorted((n for n in tensors if n == _TORCH_STEM or n.endswith(f".{_TORCH_STEM}")), key=len)
        stems = [name.removesuffix(_TORCH_STEM) for name in found if not _TORCH_OTHER_CONV1.search(name)]
        return stems[0] if stems else None

    def torch_name(self, tensor: str) -> str | None:
        """Return the variable of torchvision's name, see `Backbone.torch_name`."""
        if tensor == _TORCH_STEM:
            return f"{_STEM.conv}/kernel"
        if tensor.startswith("bn1.") and tensor[4:] in _TORCH_NORM:
            return f"{_STEM.bn}/{_TORCH_NORM[tensor[4:]]}"
        match = _TORCH_BLOCK.fullmatch(tensor)
        if match is None or int(match[2]) >= len(ascii_lowercase):
            return None
        stage, index, kind, number, last = match.groups()
        block = _sub_block_name(int(stage), int(index))
        if kind == "downsample.":
            is_norm, suffix = number == "1", "shortcut"
        else:
            is_norm, suffix = kind == "bn", number
        if is_norm:
            return f"{block}_bn_{suffix}/{_TORCH_NORM[last]}" if last in _TORCH_NORM else None
        return f"{block}_conv_{suffix}/kernel" if last == "weight" else None

    def torch_rest(self, variables: Collection[str], nlayers: int, epsilon: float) -> Mapping[str, NDArray[Any]]:
        """Return identities for the projections that torchvision's ResNet does not have."""
        theirs = {block.name for block in replace(self, as_torchvision=True).sub_blocks(nlayers) if block.shortcut}
        made: dict[str, NDArray[Any]] = {}
        for block in self.sub_blocks(nlayers):
            spec = block.shortcut
            if spec is None or block.name in theirs or f"{spec.conv}/kernel" in variables:
                continue
            filters = spec.filters
            made[f"{spec.conv}/kernel"] = np.eye(filters, dtype=np.float32)[None, None]
            made[f"{spec.bn}/gamma"] = np.ones(filters, np.float32)
            made[f"{spec.bn}/beta"] = np.zeros(filters, np.float32)
            made[f"{spec.bn}/moving_mean"] = np.zeros(filters, np.float32)
            made[f"{spec.bn}/moving_variance"] = np.full(filters, 1.0 - epsilon, np.float32)
        return made

    def torch_notes(self, rest: Mapping[str, NDArray[Any]]) -> tuple[str, ...]:
        """Return remarks about torchvision's weights, see `Backbone.torch_notes`."""
        identities = tuple(
            f"{name.removesuffix('/kernel')} is the identity: torchvision has no projection there"
            for name in rest
            if name.endswith("/kernel")
        )
        if not self.as_torchvision:
            other = "resnet has other strides and padding"
        elif self.stride_on_1x1:
            other = "resnet_v1 has other strides with nlayers 50 and 101"
        else:
            return identities
        return (
            *identities,
            f"maskrcnnConfig.arch: weights with torchvision names fit resnet_v1_5; {other}, so the features differ "
            "from those that the weights were trained for",
        )


def _sub_block_name(stage: int, index: int) -> str:
    """Return the name of a sub-block, such as ``block_1a`` for the first one of stage 1."""
    return f"block_{stage}{ascii_lowercase[index]}"
