"""What a reader found in a file, under this network's names."""

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
        kind: what the file is, for people.
        values: arrays by the network's variable name (``conv1/kernel``), in the layout of the network.
        notes: what a user should know about values that were made or that mean something else here.
        unused: names in the file that this network has no place for, with the reason.
    """

    kind: str
    values: Mapping[str, NDArray[Any]]
    notes: tuple[str, ...] = ()
    unused: Mapping[str, str] = field(default_factory=dict)


def variable_name(path: str) -> str | None:
    """``conv1/kernel`` of ``model_weights/conv1/conv1/kernel:0`` or ``conv1/kernel``; None for anything else.

    A momentum slot (``conv1/kernel/Momentum``), a counter or an optimiser's state is no variable of a network.
    """
    parts = path.removesuffix(":0").strip("/").split("/")
    if len(parts) < 2 or parts[-1] not in VARIABLES or "optimizer_weights" in parts:
        return None
    return "/".join(parts[-2:])
