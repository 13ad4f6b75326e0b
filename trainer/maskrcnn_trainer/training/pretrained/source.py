"""Content of a file with weights, with the variable names of the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

VARIABLES = ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")


@dataclass(frozen=True)
class Source:
    """Variables of a file.

    Attributes:
        kind: of the file, for messages.
        values: arrays by the network's variable name (``conv1/kernel``), in the layout of the network.
        notes: remarks to the user about values that were added or that have another meaning in this network.
        unused: names in the file that are not variables of a network, with the reason.
    """

    kind: str
    values: Mapping[str, NDArray[Any]]
    notes: tuple[str, ...] = ()
    unused: Mapping[str, str] = field(default_factory=dict)


def variable_name(path: str) -> str | None:
    """Return ``conv1/kernel`` for ``model_weights/conv1/conv1/kernel:0`` or ``conv1/kernel``; None for other names.

    Momentum slots (``conv1/kernel/Momentum``), counters, and the state of an optimizer aren't variables of a network.
    """
    parts = path.removesuffix(":0").strip("/").split("/")
    if len(parts) < 2 or parts[-1] not in VARIABLES or "optimizer_weights" in parts:
        return None
    return "/".join(parts[-2:])
