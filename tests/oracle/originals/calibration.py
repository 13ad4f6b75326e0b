"""Random weights with which a detector behaves as a trained one does: its layers' outputs have a size and a spread.

A layer's weights are drawn, and then scaled and shifted when its first inputs are known, which come from real images:
batch norms get the statistics of their input, every other layer outputs of mean 0 and a given standard deviation.
Otherwise all boxes would have nearly the same features, and so one class.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

STEM_GAMMA = (0.1, 0.4)
"""Range of the first batch norm's factors, as in trained models: its size shows the range of the input."""

LAST_GAMMA, OTHER_GAMMA = (0.1, 0.4), (0.5, 1.5)
"""Ranges of the factors of a block's last batch norm, and of the others. Trained ones are small, too; with larger ones
rounding grows from block to block."""

LAST_NORMS = ("bn3", "conv3.norm")

SMALL_VARIANCE_CHANNELS = 4
"""Every such channel of a convolution is so small that the variance of its outputs is about a batch norm's epsilon."""


def randomize(module: nn.Module, seed: int) -> None:
    """Draw all kernels, and set the other values, which `Calibration` sets, to zero."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in sorted(module.state_dict().items()):
        if not value.is_floating_point() or "anchor" in name or "pixel" in name:
            continue
        if value.ndim >= 2:
            fan_in = value[0].numel()
            value.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
        else:
            value.zero_()


class Calibration:
    """Hooks on all layers of a module that set a layer's values at its first input.

    Args:
        module: with random weights.
        spreads: standard deviation of the outputs of a layer, by the layer's name, for other values than 1.
        offsets: mean of the outputs, likewise, for other values than 0; by output if it is a tensor.
        seed: of gamma and beta.
    """

    def __init__(
        self, module: nn.Module, spreads: Mapping[str, float], offsets: Mapping[str, torch.Tensor], seed: int
    ) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._done: set[nn.Module] = set()
        self._handles = []
        self._stem_seen = False
        for name, layer in module.named_modules():
            if hasattr(layer, "running_mean"):
                gamma = LAST_GAMMA if name.endswith(LAST_NORMS) else OTHER_GAMMA
                self._handles.append(layer.register_forward_pre_hook(self._normalizing(gamma)))
            elif isinstance(layer, (nn.Conv2d, nn.Linear, nn.ConvTranspose2d)) and layer.bias is not None:
                hook = self._spreading(spreads.get(name, 1.0), offsets.get(name, torch.zeros(1)))
                self._handles.append(layer.register_forward_hook(hook))
            elif isinstance(layer, nn.Conv2d):
                layer.weight.data[::SMALL_VARIANCE_CHANNELS] *= 3e-3

    def remove(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()

    def _normalizing(self, gamma: tuple[float, float]) -> Any:
        def hook(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            if layer in self._done:
                return
            self._done.add(layer)
            (values,) = inputs
            low, high = gamma if self._stem_seen else STEM_GAMMA
            self._stem_seen = True
            layer.running_mean.copy_(values.mean((0, 2, 3)))
            layer.running_var.copy_(values.var((0, 2, 3), unbiased=False))
            layer.weight.data.uniform_(low, high, generator=self._generator)
            layer.bias.data.normal_(0, 0.2, generator=self._generator)

        return hook

    def _spreading(self, spread: float, offset: torch.Tensor) -> Any:
        def hook(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor | None:
            if layer in self._done:
                return None
            self._done.add(layer)
            axes = [axis for axis in range(output.ndim) if axis != 1]
            mean, deviation = output.mean(axes), output.std(axes).clamp_min(1e-6)
            by_output = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
            shape = [-1 if axis == by_output else 1 for axis in range(layer.weight.ndim)]
            layer.weight.data.mul_((spread / deviation).reshape(shape))
            layer.bias.data.copy_(offset - mean * spread / deviation)
            return layer.forward(*inputs)

        return hook
