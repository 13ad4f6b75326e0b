"""The list of trainable variables that training prints at its start, in the original's form."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maskrcnn_trainer.model.network import MaskRCNN


def variable_listing(network: MaskRCNN) -> list[str]:
    """One line a trainable variable, such as ``[#0001] conv1/kernel:0 => (7, 7, 3, 64)``."""
    return [
        f"[#{number:04d}] {network.variable_name(variable)}:0 => {tuple(variable.shape)}"
        for number, variable in enumerate(network.trainable_variables, start=1)
    ]
