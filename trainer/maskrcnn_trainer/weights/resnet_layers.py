"""ResNets of other projects: their layers, and the tensors that each must have."""

from __future__ import annotations

from collections.abc import Collection

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model.backbones.resnet import ResNet

RESNET = ResNet("resnet_v1_5", epsilon=1e-5, as_torchvision=True, stride_on_1x1=False)
"""ResNet with the shortcuts of all three projects; where the stride is changes no shape."""

NORM_VARIABLES = ("gamma", "beta", "moving_mean", "moving_variance")


def depth_of(path: str, variables: Collection[str]) -> int:
    """Return the number of layers of the ResNet that a file has.

    Args:
        path: of the file, for the message.
        variables: names of the network's variables that were found in the file.

    Raises:
        InvalidInput: no known depth has these blocks.
    """
    for depth in RESNET.depths:
        if RESNET.found_instead(variables, depth) is None:
            return depth
    found = str(RESNET.found_instead(variables, RESNET.depths[0])).rstrip(",")
    known = ", ".join(map(str, RESNET.depths))
    raise InvalidInput(f"checkpoint: {path} holds {found}; give a model with a ResNet of {known} layers")


def resnet_shapes(nlayers: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a ResNet's variables by name, kernels [H, W, I, O], in listing order."""
    shapes: dict[str, tuple[int, ...]] = {}

    def add(conv: str, norm: str, kernel: tuple[int, int, int, int]) -> None:
        shapes[f"{conv}/kernel"] = kernel
        shapes.update({f"{norm}/{variable}": kernel[3:] for variable in NORM_VARIABLES})

    add("conv1", "bn_conv1", (7, 7, 3, 64))
    channels = 64
    for block in RESNET.sub_blocks(nlayers):
        before = channels
        for spec in block.convs:
            add(spec.conv, spec.bn, (spec.kernel_size, spec.kernel_size, channels, spec.filters))
            channels = spec.filters
        if block.shortcut is not None:
            add(block.shortcut.conv, block.shortcut.bn, (1, 1, before, block.shortcut.filters))
    return shapes


def stage_filters(nlayers: int) -> dict[int, int]:
    """Return the filters of the feature maps that the FPN reads, by level, 2 to 5."""
    return {block.stage + 1: block.convs[-1].filters for block in RESNET.sub_blocks(nlayers)}
