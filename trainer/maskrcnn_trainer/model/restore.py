"""A network from a model file of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model.network import MaskRCNN


class StoredModel(Protocol):
    """What of a model file makes a network."""

    @property
    def architecture(self) -> Mapping[str, Any]: ...

    @property
    def variables(self) -> Mapping[str, np.ndarray]: ...


def assign_variables(network: MaskRCNN, model: StoredModel) -> None:
    """Gives every variable of ``network`` the value stored in ``model``.

    Raises:
        InvalidInput: one is missing, unknown or of another shape.
    """
    variables = network.named_variables
    strangers = sorted(set(variables) ^ set(model.variables))
    if strangers:
        raise InvalidInput(
            f"the model file and the network differ in {len(strangers)} variables: {', '.join(strangers[:5])}",
            reason="InvalidModel",
        )
    for name, variable in variables.items():
        stored = model.variables[name]
        if stored.shape != tuple(variable.shape):
            raise InvalidInput(
                f"{name} is {stored.shape} in the model file, {tuple(variable.shape)} in the network",
                reason="InvalidModel",
            )
        variable.assign(stored)


def network_of(model: StoredModel, *, dtype: str = "float32") -> MaskRCNN:
    """The network of a model file, for inference: stored statistics, nothing trains."""
    network = MaskRCNN(Architecture.from_json(model.architecture), freeze_bn=True, dtype=dtype)
    assign_variables(network, model)
    return network
